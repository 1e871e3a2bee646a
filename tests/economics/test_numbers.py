"""Numbers are read as people write them, and written as they read them."""

import pytest

from nanojaxlm.economics.numbers import amount, days, money, parse_number, parse_range
from nanojaxlm.economics.ranges import Range
from nanojaxlm.errors import UserError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("6.74e9", 6.74e9), ("7B", 7e9), ("7b", 7e9), ("2T", 2e12), ("180k", 1.8e5),
        ("1,000,000", 1e6), ("125M", 1.25e8), ("$250k", 2.5e5), (".5", 0.5), ("1_000", 1e3),
        ("-3", -3.0), ("2e+3", 2000.0),
    ],
)  # fmt: skip
def test_numbers_as_people_write_them(text, value):
    assert parse_number("--x", text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "seven", "7Q", "1e", "1.2.3", "nan", "inf", "7 B B", "1e999"])
def test_what_is_no_number_is_told_with_the_flag(text):
    with pytest.raises(UserError, match="--params="):
        parse_number("--params", text)


def test_ranges_rise():
    assert parse_range("x", "2.5") == Range(2.5, 2.5, 2.5)
    assert parse_range("x", "1:2k:3M") == Range(1.0, 2e3, 3e6)
    for text in ("3:2:1", "1:2", "1:2:3:4", "a:b:c"):
        with pytest.raises(UserError, match="x="):
            parse_range("x", text)


def test_amounts_keep_three_digits_and_read_back():
    assert amount(6.74e9) == "6.74B"
    assert (amount(2e12), amount(184_320), amount(950), amount(0)) == ("2T", "184k", "950", "0")
    assert amount(999_950) == "1M"
    for value in (1.0, 12.3, 999.0, 1e3, 5.67e6, 1.23e9, 9.99e12):
        assert parse_number("x", amount(value)) == pytest.approx(value, rel=5e-3)


def test_money_and_days():
    assert (money(1.72e6), money(0.25), money(-3100)) == ("$1.72M", "$0.25", "-$3.1k")
    assert (days(1 / 1440), days(0.5), days(5.25), days(21.4)) == (
        "1 minutes", "12 hours", "5.2 days", "21 days",
    )  # fmt: skip
