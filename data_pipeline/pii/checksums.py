"""Check digits of cards, bank accounts and national numbers. All take ASCII digits as bytes."""

from collections.abc import Sequence

_ODD = bytes.maketrans(b"0123456789", bytes([0, 2, 4, 6, 8, 1, 3, 5, 7, 9]))
_EVEN = bytes.maketrans(b"0123456789", bytes(range(10)))

_VALUES = {ord(sign): str(int(sign, 36)) for sign in "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"}

# Verhoeff, "Error detecting decimal codes" (1969): products of the dihedral group D5, and the
# powers of its permutation.
_PRODUCT = [
    [(i + j) % 5 if j < 5 else 5 + (i + j) % 5 for j in range(10)]
    if i < 5
    else [5 + (i - j) % 5 if j < 5 else (i - j) % 5 for j in range(10)]
    for i in range(10)
]
_PERMUTATION = [list(range(10)), [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]]
for _ in range(6):
    _PERMUTATION.append([_PERMUTATION[-1][digit] for digit in _PERMUTATION[1]])


def luhn(digits: bytes) -> bool:
    """ISO/IEC 7812-1, annex B."""
    backwards = digits[::-1]
    total = sum(backwards[::2].translate(_EVEN)) + sum(backwards[1::2].translate(_ODD))
    return total % 10 == 0


def weighted(digits: bytes, weights: Sequence[int]) -> int:
    """The sum of digit times weight; further digits count nothing."""
    return sum((digit - 48) * weight for digit, weight in zip(digits, weights, strict=False))


def verhoeff(digits: bytes) -> bool:
    check = 0
    for i, digit in enumerate(reversed(digits)):
        check = _PRODUCT[check][_PERMUTATION[i % 8][digit - 48]]
    return check == 0


def mod_97(account: bytes) -> int:
    """ISO 7064 mod 97-10 of an IBAN (digits and capitals): 1 for a valid one."""
    return int("".join([_VALUES[code] for code in account[4:] + account[:4]])) % 97


def mod_11_10(digits: bytes) -> bool:
    """ISO 7064 mod 11,10, the check digit last."""
    product = 10
    for digit in digits[:-1]:
        total = (digit - 48 + product) % 10 or 10
        product = total * 2 % 11
    return (11 - product) % 10 == digits[-1] - 48


def ean(digits: bytes) -> bool:
    """GS1's check digit of 13 digits."""
    return weighted(digits, (1, 3) * 6 + (1,)) % 10 == 0
