import random

import pytest

from data_pipeline.pii.checksums import ean, luhn, mod_11_10, mod_97, verhoeff

# ISO/IEC 7812's example, Verhoeff's paper's, the IBAN registry's, GS1's
EXAMPLES = [(luhn, b"79927398713"), (verhoeff, b"2363"), (ean, b"4006381333931")]


@pytest.mark.parametrize(("check", "number"), EXAMPLES)
def test_one_check_digit_is_right(check, number: bytes):
    assert [check(number[:-1] + b"%d" % last) for last in range(10)].count(True) == 1
    assert check(number)


@pytest.mark.parametrize(("check", "number"), EXAMPLES)
def test_a_wrong_digit_is_found(check, number: bytes):
    for place in range(len(number)):
        for digit in b"0123456789":
            changed = number[:place] + bytes([digit]) + number[place + 1 :]
            assert check(changed) == (changed == number)


def test_verhoeff_finds_swapped_neighbours():
    number = b"2363"
    for i in range(3):
        swapped = number[:i] + number[i : i + 2][::-1] + number[i + 2 :]
        assert verhoeff(swapped) == (swapped == number)


def test_mod_97_of_the_registry():
    assert mod_97(b"GB29NWBK60161331926819") == 1
    assert mod_97(b"BE68539007547034") == 1
    assert mod_97(b"BE68539007547035") != 1


def test_checks_agree_with_stdnum():
    stdnum = pytest.importorskip("stdnum", reason="python-stdnum is not installed")
    from stdnum import luhn as their_luhn
    from stdnum import verhoeff as their_verhoeff
    from stdnum.iso7064 import mod_11_10 as their_mod

    assert stdnum
    rng = random.Random(0)
    for _ in range(3000):
        number = "".join(rng.choices("0123456789", k=rng.randint(2, 20)))
        assert luhn(number.encode()) == their_luhn.is_valid(number)
        assert verhoeff(number.encode()) == their_verhoeff.is_valid(number)
        assert mod_11_10(number.encode()) == their_mod.is_valid(number)
