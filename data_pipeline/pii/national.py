"""National numbers of persons: each form, its check digits, and whether a word must stand by it.

A form that any number of its length may have, and whose check one in ten random numbers passes,
counts only beside a word such as "NHS" or "Steuer-ID". A form with punctuation, letters or a date
of its own counts anywhere. The checks are those that python-stdnum documents and the issuers
publish.
"""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from data_pipeline.pii.checksums import ean, luhn, mod_11_10, verhoeff, weighted
from data_pipeline.pii.text import UPPER, WORD, Text, class_of


@dataclass(frozen=True)
class Number:
    """A national number.

    form: of the whole number as written. valid: of its letters and digits, in capitals.
    words: one of which must stand within 40 bytes of it (small letters); empty = none need.
    """

    form: re.Pattern[bytes]
    valid: Callable[[bytes], bool]
    words: frozenset[bytes] = frozenset()


def _ssn(n: bytes) -> bool:
    """Rules of the Social Security Administration; 9xx are taxpayers' numbers (ITIN) of the IRS."""
    area, group, serial = n[:3], n[3:5], n[5:]
    if area[:1] == b"9":
        return serial != b"0000" and (b"50" <= group <= b"65" or b"70" <= group <= b"99")
    return area not in (b"000", b"666") and group != b"00" and serial != b"0000"


def _nhs(n: bytes) -> bool:
    check = 11 - weighted(n, range(10, 1, -1)) % 11
    return check != 10 and check % 11 == n[9] - 48


def _steuer_id(n: bytes) -> bool:
    """Of the first ten digits one comes twice or three times, the others once at most."""
    counts = sorted(n[:10].count(digit) for digit in set(n[:10]))
    return n[:1] != b"0" and counts[-1] in (2, 3) and counts[-2:-1] != [2] and mod_11_10(n)


def _nir(n: bytes) -> bool:
    body = n[:13].replace(b"2A", b"19", 1) if n[5:7] == b"2A" else n[:13]
    body = body.replace(b"2B", b"18", 1) if n[5:7] == b"2B" else body
    return body.isdigit() and 97 - int(body) % 97 == int(n[13:])


def _dni(n: bytes) -> bool:
    digits = n[:-1].translate(bytes.maketrans(b"XYZ", b"012"))
    return digits.isdigit() and b"TRWAGMYFPDXBNJZSQVHLCKE"[int(digits) % 23] == n[-1]


_ODD_PLACES = dict(
    zip(
        b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        [
            *(1, 0, 5, 7, 9, 13, 15, 17, 19, 21) * 2,
            2,
            4,
            18,
            20,
            11,
            3,
            6,
            8,
            12,
            14,
            16,
            10,
            22,
            25,
            24,
            23,
        ],
        strict=True,
    )
)


def _codice_fiscale(n: bytes) -> bool:
    total = sum(_ODD_PLACES[code] for code in n[:15:2])
    total += sum(code - 48 if code < 58 else code - 65 for code in n[1:15:2])
    return total % 26 == n[15] - 65


def _bsn(n: bytes) -> bool:
    return (weighted(n, range(9, 1, -1)) - (n[8] - 48)) % 11 == 0 and int(n) > 0


def _cpf(n: bytes) -> bool:
    if n == n[:1] * 11:
        return False
    first = weighted(n, range(10, 1, -1)) * 10 % 11 % 10
    second = weighted(n, range(11, 1, -1)) * 10 % 11 % 10
    return first == n[9] - 48 and second == n[10] - 48


def _tfn(n: bytes) -> bool:
    return weighted(n, (1, 4, 3, 7, 5, 8, 6, 9, 10)) % 11 == 0


def _pesel(n: bytes) -> bool:
    return weighted(n, (1, 3, 7, 9) * 2 + (1, 3, 1)) % 10 == 0 and _day(n[4:6])


def _day(written: bytes) -> bool:
    return b"01" <= written <= b"31"


def _month(written: bytes) -> bool:
    return b"01" <= written <= b"12"


def _personnummer(n: bytes) -> bool:
    n = n[-10:]
    return _month(n[2:4]) and _day(n[4:6]) and luhn(n)


def _hetu(n: bytes) -> bool:
    """ddmmyy nnn C: the remainder of the nine digits by 31 is a letter or digit."""
    digits = n[:6] + n[-4:-1]
    check = b"0123456789ABCDEFHJKLMNPRSTUVWXY"[int(digits) % 31]
    return _day(n[:2]) and _month(n[2:4]) and check == n[-1]


def _rijksregister(n: bytes) -> bool:
    check = int(n[9:])
    return check in (97 - int(n[:9]) % 97, 97 - int(b"2" + n[:9]) % 97)


def _rrn(n: bytes) -> bool:
    total = weighted(n, (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5))
    return _month(n[2:4]) and _day(n[4:6]) and (11 - total % 11) % 10 == n[12] - 48


def _resident(n: bytes) -> bool:
    """ISO 7064 mod 11-2, of GB 11643."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    check = b"10X98765432"[weighted(n, weights) % 11]
    return _month(n[10:12]) and _day(n[12:14]) and check == n[17]


def _south_africa(n: bytes) -> bool:
    return _month(n[2:4]) and _day(n[4:6]) and luhn(n)


def _nino(n: bytes) -> bool:
    """His Majesty's Revenue and Customs, NIM39110: prefixes that are not given out."""
    return n[:2] not in (b"BG", b"GB", b"NK", b"KN", b"TN", b"NT", b"ZZ")


def _any(_: bytes) -> bool:
    return True


def _number(form: bytes, valid: Callable[[bytes], bool], words: str = "") -> Number:
    return Number(re.compile(form, re.X), valid, frozenset(words.encode().split()))


_STEUER = "steuer steuerid steueridentifikationsnummer idnr identifikationsnummer tin tax"
_LICENCE = "licence license driver drivers passport reisepass führerschein pasaporte passeport"

# Names by country (ISO 3166) and number; several forms of one number share a name.
NUMBERS: dict[str, tuple[Number, ...]] = {
    "us_ssn": (
        _number(rb"\d{3}-\d\d-\d{4}", _ssn),
        _number(rb"\d{3}[ ]?\d\d[ ]?\d{4}", _ssn, "ssn social itin"),
    ),
    "gb_nino": (
        _number(rb"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z][ ]?\d\d[ ]?\d\d[ ]?\d\d[ ]?[A-D]", _nino),
    ),
    "gb_nhs": (_number(rb"\d{3}[ -]?\d{3}[ -]?\d{4}", _nhs, "nhs"),),
    "de_steuer_id": (_number(rb"\d{11}|\d\d[ ]\d{3}[ ]\d{3}[ ]\d{3}", _steuer_id, _STEUER),),
    "fr_nir": (
        _number(
            rb"[12][ ]?\d\d[ ]?(?:0[1-9]|1[0-2]|[2-9]\d)[ ]?(?:\d\d|2[AB])"
            rb"[ ]?\d{3}[ ]?\d{3}[ ]?\d\d",
            _nir,
        ),
    ),
    "es_dni": (_number(rb"\d{8}[ -]?[A-HJ-NP-TV-Z]|[XYZ][ -]?\d{7}[ -]?[A-HJ-NP-TV-Z]", _dni),),
    "it_codice_fiscale": (
        _number(rb"[A-Z]{6}\d\d[ABCDEHLMPRST][0-7]\d[A-Z]\d{3}[A-Z]", _codice_fiscale),
    ),
    "nl_bsn": (
        _number(rb"\d{9}|\d{4}[. ]\d\d[. ]\d{3}", _bsn, "bsn burgerservicenummer sofinummer"),
    ),
    "be_rrn": (
        _number(rb"\d\d\.\d\d\.\d\d-\d{3}\.\d\d", _rijksregister),
        _number(rb"\d{11}", _rijksregister, "rijksregisternummer registre niss insz"),
    ),
    "ch_ahv": (_number(rb"756\.\d{4}\.\d{4}\.\d\d|756\d{10}", ean),),
    "se_personnummer": (_number(rb"(?:19|20)?\d{6}[-+]\d{4}", _personnummer),),
    "fi_hetu": (_number(rb"\d{6}[-+A]\d{3}[0-9A-FHJ-NPR-Y]", _hetu),),
    "pl_pesel": (_number(rb"\d{11}", _pesel, "pesel"),),
    "br_cpf": (
        _number(rb"\d{3}\.\d{3}\.\d{3}-\d\d", _cpf),
        _number(rb"\d{9}-?\d\d", _cpf, "cpf"),
    ),
    "ca_sin": (_number(rb"\d{3}[ -]?\d{3}[ -]?\d{3}", luhn, "sin social sociale nas"),),
    "au_tfn": (_number(rb"\d{3}[ ]?\d{3}[ ]?\d{3}", _tfn, "tfn tax"),),
    "in_aadhaar": (
        _number(rb"[2-9]\d{3}[ ]\d{4}[ ]\d{4}", verhoeff),
        _number(rb"[2-9]\d{3}[ -]?\d{4}[ -]?\d{4}", verhoeff, "aadhaar aadhar uid uidai"),
    ),
    "kr_rrn": (_number(rb"\d{6}-\d{7}", _rrn),),
    "cn_resident": (
        _number(rb"[1-8]\d{5}(?:19|20)\d\d(?:0[1-9]|1[0-2])[0-3]\d{4}[0-9X]", _resident),
    ),
    "za_id": (_number(rb"\d{6}[ ]?\d{4}[ ]?\d{3}", _south_africa, "id identity"),),
    # no check digits and no common form: only beside its word
    "licence": (
        _number(
            rb"[A-Z]{0,3}\d{6,14}[A-Z]?|\d{3,4}-\d\d-\d{4}|[A-Z]\d{3}(?:-\d{3,4}){2,3}",
            _any,
            _LICENCE,
        ),
    ),
}

_CAPITAL = class_of(UPPER)
_BESIDE = WORD | class_of(b"/=&%#$-.")
_GOES_ON = class_of(UPPER + b"-+")
_NEAR, _LONGEST, _LETTERS = 40, 32, 6
_END = rb"(?!\w|[-.+][A-Za-z0-9])"


@functools.lru_cache
def _patterns(names: tuple[str, ...]) -> tuple[list[Number], re.Pattern[bytes], frozenset[bytes]]:
    """(the numbers, a pattern of those that need no words, the words of the others)."""
    numbers = [number for name in names for number in NUMBERS[name]]
    free = b"|".join(b"(?:%s)" % number.form.pattern for number in numbers if not number.words)
    return (
        numbers,
        re.compile(b"(?:%s)%s" % (free or b"(?!)", _END), re.X),
        frozenset().union(*(number.words for number in numbers)),
    )


def national_numbers(text: Text, names: tuple[str, ...]) -> list[tuple[int, int]]:
    """Spans of the named numbers of NUMBERS."""
    numbers, free, words = _patterns(names)
    groups, codes = text.groups, text.codes
    if not len(groups.start):
        return []
    may = (groups.num_digits >= 6) & (groups.num_digits <= 20) & (groups.num_runs <= 8)
    runs = text.runs
    first_end = groups.start + runs.length[groups.first_run]
    may &= (groups.num_runs != 2) | (codes[first_end] != 46)  # 0.123456
    begin, end = groups.start[may], groups.end[may]
    # of the forms that need no word, those of one run of digits have 13, 15 or 18
    alone = (groups.num_runs[may] == 1) & ~np.isin(groups.num_digits[may], (13, 15, 18))
    alone &= ~_GOES_ON[codes[end]]
    # letters of its own before the digits: as many as stand there, if they are capitals
    for _ in range(_LETTERS):
        begin = begin - _CAPITAL[codes[begin - 1]]
    # AB 12 34 56 C, and RCCMNL83S18D969H, whose digits letters part
    spaced = (codes[begin - 1] == 32) & _CAPITAL[codes[begin - 2]] & _CAPITAL[codes[begin - 3]]
    plain = alone & (begin == groups.start[may])
    parted = (runs.length == 2) & _CAPITAL[codes[runs.end]]
    for i in range(1, _LETTERS + 1):
        parted &= _CAPITAL[codes[np.maximum(runs.start - i, 0)]]
    begin = np.concatenate((begin, begin[spaced] - 3, runs.start[parted] - _LETTERS))
    end = np.concatenate((end, end[spaced], runs.end[parted]))
    plain = np.append(plain, np.zeros(len(begin) - len(plain), bool))
    chosen = np.flatnonzero(~_BESIDE[codes[begin - 1]])
    begin, end, plain = begin[chosen], end[chosen], plain[chosen]
    worded = text.may_be_near(words, begin, end, _NEAR)
    chosen = worded | ~plain
    found: list[tuple[int, int]] = []
    rows = zip(begin[chosen].tolist(), end[chosen].tolist(), worded[chosen].tolist(), strict=True)
    for place, stop, may_be_worded in rows:
        nearby = text.words_around(place, stop, _NEAR) if may_be_worded else []
        if not words.isdisjoint(nearby):
            span = _number_at(text, place, stop, numbers, nearby)
        elif free.match(text.data, place, place + _LONGEST + 2):
            span = _number_at(text, place, stop, numbers, [])
        else:
            continue
        if span is not None:
            found.append(span)
    return found


def _number_at(
    text: Text, start: int, end: int, numbers: list[Number], nearby: list[bytes]
) -> tuple[int, int] | None:
    for number in numbers:
        if number.words and number.words.isdisjoint(nearby):
            continue
        match = number.form.match(text.data, start, start + _LONGEST)
        if match is None or match.end() < end:
            continue
        after = text.data[match.end() : match.end() + 2]
        if WORD[after[0]] or (after[0] in b"-.+" and after[1:].isalnum()):
            continue
        if number.valid(match[0].translate(None, b" .+-")):
            return match.span()
    return None
