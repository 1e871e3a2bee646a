"""What stands in the place of what was found: the name of its kind, or an invented value.

An invented value comes from a keyed BLAKE2b of the value (without case and punctuation where its
kind has none), so that it is the same in all documents, and another under another key. It is of
the same form, and nobody's:

    e-mail           user-0f3a9c2b@example.com (RFC 2606)
    telephone        its format, the last seven digits 555-01xx (kept free by the American plan)
    IP               198.51.100.x, 203.0.113.x, 192.0.2.x (RFC 5737), 2001:db8:: (RFC 3849)
    card             its format and length, prefix 400000 (Visa's test range), right by Luhn
    IBAN             its country and format, a bank that does not exist, right by mod 97
    national number  its format, 000 first, wrong check digits; only zeros where it has none
    date of birth    its format, another day in the same decade
    street           its house number replaced, "Example Street"
    person           as many invented names as it has
    secret           REMOVED and four digits of the hash; a key block loses its body
    credentials      user:removed- and digits of the hash

All but dates of birth, persons and licences are left alone when they are met again.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from data_pipeline.pii.checksums import luhn, mod_97
from data_pipeline.pii.national import NUMBERS
from data_pipeline.pii.text import digits_of
from nanojaxlm.errors import UserError

Replacement = Callable[[str, bytes], bytes]
_SHORTEST_KEY = 16  # bytes
_MAKE_KEY = "openssl rand -hex 32"
_WORDS = re.compile(rb"[^\s.,;'\"-]+")
_NAMES = (b"Alex Sam Robin Kim Charlie Jamie Taylor Morgan Jordan Casey Riley Avery Quinn Rowan "
          b"Skyler Dana").split()  # fmt: skip


def placeholder(kind: str, value: bytes) -> bytes:
    """b"<EMAIL>", b"<NATIONAL_NUMBER>", …"""
    return b"<" + kind.upper().encode() + b">"


class Pseudonyms:
    """Invented values under a key; call it with (kind, value) for the value's."""

    def __init__(self, secret: bytes):
        self._key = hashlib.blake2b(secret, digest_size=32, person=b"pseudonyms").digest()

    @classmethod
    def under_key_of(cls, path: str) -> "Pseudonyms":
        """Under the key that is all of a file's content.

        Raises:
            UserError: there is no such file, or it is too short to be a secret.
        """
        try:
            secret = Path(path).read_bytes()
        except OSError as error:
            raise UserError(f"pseudonym_key_file: {error}; make it: {_MAKE_KEY} > {path}") from None
        if len(secret) < _SHORTEST_KEY:
            raise UserError(
                f"pseudonym_key_file: {path} has {len(secret)} bytes; a secret key has "
                f"{_SHORTEST_KEY} at least: {_MAKE_KEY} > {path}"
            )
        return cls(secret)

    def __call__(self, kind: str, value: bytes) -> bytes:
        return getattr(self, f"_{kind}")(value)

    def _numbers(self, kind: str, value: bytes) -> "_Numbers":
        return _Numbers(hashlib.blake2b(value, key=self._key, person=kind.encode()[:16]).digest())

    def _email(self, value: bytes) -> bytes:
        return b"user-%08x@example.com" % self._numbers("email", value.lower()).below(1 << 32)

    def _credentials(self, value: bytes) -> bytes:
        return b"user:removed-%08x" % self._numbers("credentials", value).below(1 << 32)

    def _phone(self, value: bytes) -> bytes:
        number = re.split(rb"[xe#,]", value, maxsplit=1, flags=re.I)[0]
        extension = value[len(number) :]
        digits = digits_of(number)
        numbers = self._numbers("phone", digits)
        number = _written_as(number, digits[:-7] + b"55501%02d" % numbers.below(100))
        return number + re.sub(rb"\d", b"0", extension)

    def _ip(self, value: bytes) -> bytes:
        numbers = self._numbers("ip", value.lower())
        if b":" in value:
            return b"2001:db8::%x:%x" % (numbers.below(1 << 16), numbers.below(1 << 16))
        net = (b"192.0.2.%d", b"198.51.100.%d", b"203.0.113.%d")[numbers.below(3)]
        return net % (1 + numbers.below(254))

    def _card(self, value: bytes) -> bytes:
        digits = digits_of(value)
        numbers = self._numbers("card", digits)
        body = b"400000" + numbers.digits(len(digits) - 7)
        checked = (body + b"%d" % last for last in range(10))
        return _written_as(value, next(number for number in checked if luhn(number)))

    def _iban(self, value: bytes) -> bytes:
        account = re.sub(rb"[^A-Z0-9]", b"", value.upper())
        numbers = self._numbers("iban", account)
        letters = re.sub(rb"[A-Z]", b"X", account[4:])
        zeros = re.sub(rb"\d", b"0", letters)
        tail = min(8, len(zeros) - 5)
        body = zeros[:-tail] + numbers.digits(tail)
        check = 98 - mod_97(account[:2] + b"00" + body)
        return _written_as(value, account[:2] + b"%02d" % check + body)

    def _national_number(self, value: bytes) -> bytes:
        numbers = self._numbers("national", re.sub(rb"[^A-Z0-9]", b"", value))
        digits = digits_of(value)
        for _ in range(256):
            # no national number begins with 000, so where letters come first the digits decide
            invented = _written_as(value, b"000" + numbers.digits(len(digits) - 3))
            if not any(
                number.form.fullmatch(invented) and number.valid(invented.translate(None, b" .+-"))
                for name, forms in NUMBERS.items()
                if name != "licence"
                for number in forms
            ):
                return invented
        return _written_as(value, b"0" * len(digits))

    def _birth_date(self, value: bytes) -> bytes:
        numbers = self._numbers("birth", value)

        def another(match: re.Match[bytes]) -> bytes:
            written = match[0]
            if len(written) == 4:
                return written[:3] + b"%d" % numbers.below(10)
            return (b"%02d" if len(written) == 2 else b"%d") % (1 + numbers.below(9))

        return re.sub(rb"\d+", another, value)

    def _street(self, value: bytes) -> bytes:
        return b"%d Example Street" % (1 + self._numbers("street", value).below(999))

    def _person(self, value: bytes) -> bytes:
        numbers = self._numbers("person", value)
        return _WORDS.sub(lambda _: _NAMES[numbers.below(len(_NAMES))], value)

    def _secret(self, value: bytes) -> bytes:
        if value.startswith(b"-----BEGIN"):
            first, last = value.split(b"\n", 1)[0], value.rsplit(b"\n", 1)[-1]
            return first + b"\nREMOVED\n" + last
        return b"REMOVED" + self._numbers("secret", value).digits(4)


class _Numbers:
    """Numbers drawn from a hash, as many as wanted."""

    def __init__(self, seed: bytes):
        self._state, self._seed, self._count = int.from_bytes(seed, "big"), seed, 0

    def below(self, bound: int) -> int:
        if self._state < bound << 64:
            self._count += 1
            block = hashlib.blake2b(self._seed + b"%d" % self._count).digest()
            self._state = int.from_bytes(block, "big")
        self._state, value = divmod(self._state, bound)
        return value

    def digits(self, count: int) -> bytes:
        return b"".join(b"%d" % self.below(10) for _ in range(count))


def _written_as(form: bytes, characters: Sequence[int]) -> bytes:
    """`form` with its letters and digits replaced one by one, or its digits only by digits."""
    rest = iter(characters)
    with_letters = any(code > 58 for code in characters)
    taken = b"[A-Za-z0-9]" if with_letters else rb"[0-9]"
    return re.sub(taken, lambda _: bytes([next(rest)]), form)
