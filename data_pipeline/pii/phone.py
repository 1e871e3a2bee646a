"""Telephone numbers, by their written form.

Only the form decides, and words beside it. A library that knows every numbering plan (phonenumbers)
takes 50 µs a number, and a number that is not assigned may be a typing error in one that is; so
"+" with a country's code, North America's (541) 714-1388, the national forms that begin with 0, and
an area code in parentheses count anywhere, and other groups of 7 to 15 digits beside a word such as
"phone", "fax" or "call".
"""

import re

import numpy as np

from data_pipeline.pii.text import WORD, Text, class_of, digits_of

# Country calling codes (ITU-T E.164, list of 2024).
_COUNTRY = (
    r"(?:1|7|2(?:0|7|1[1-368]|[2-6]\d|9[0178])|3(?:[0123469]|5\d|7[0-8]|8[0-9])"
    r"|4(?:[013-9]|2[013])|5(?:[1-8]|0\d|9\d)|6(?:[0-6]|7[02-9]|8[0-9]|9[0-2])"
    r"|8(?:[1246]|0[08]|5\d|7[08]|8[0-8])|9(?:[0-58]|6\d|7\d|9[2-8]))"
)
_GAP = r"(?:[ ./-]|\xc2\xa0|\xe2\x80[\x90-\x93\xaf])"
_STRONG = re.compile(
    rf"""(?x)
      \+ {_COUNTRY} {_GAP}? (?:\(0?\d{{0,5}}\){_GAP}?)? \d(?:{_GAP}?\d){{5,12}}
    | 00{_COUNTRY} {_GAP} \d{{1,5}} {_GAP}\d(?:{_GAP}?\d){{3,10}}
    # North America
    | (?:1[-.\ ]?)? (?:\([2-9]\d\d\)\ ?-?|[2-9]\d\d[-.]|(?<=1[-.\ ])[2-9]\d\d\ )
      \d{{3}}[-.\ ]\d{{4}}
    # an area code in parentheses
    | \(0?[1-9]\d{{1,4}}\)\ ?-? \d{{3,4}}[-\ ]?\d{{3,4}}
    | \(0[1-9]\d{{1,4}}\)\ ? \d(?:{_GAP}?\d){{3,7}}
    # the national forms: France's pairs, one digit of an area and eight, longer areas
    | 0[1-9](?P<same>[ .-]) \d\d(?:(?P=same)\d\d){{3}}
    | 0[1-9][\ -]\d{{4}}\ ?\d{{3,4}}
    | 0[1-9]\d{{1,4}}{_GAP}\d(?:{_GAP}?\d){{4,9}}
    """.encode("latin-1")
)
_WEAK = re.compile(rb"\(?\d{1,5}\)?(?:[ ./-]?\(?\d{1,8}\)?){0,5}")
_EXTENSION = re.compile(rb"(?:,? ?(?:x|ext\.?|extension|#)) ?\d{1,6}(?![\w])", re.I)
_WORDS_BEFORE = frozenset(
    """
    phone phones telephone telephones tel tele cellphone mobile mob cell cellular fax telefax call
    calls calling dial ring desk office sms text texts whatsapp viber contact hotline landline
    handy telefon telefonnummer rufnummer handynummer tlf puh puhelin téléphone portable teléfono
    telefono móvil celular cellulare telefone telemóvel telefoon telefonszám тел телефон answering
    reach message messages registered
    """.encode().split()
)
_WORDS_AFTER = frozenset(b"office fax mobile cell phone tel desk".split())
_WORDS = _WORDS_BEFORE | _WORDS_AFTER
_DATE = re.compile(
    rb"(?:\d{1,2}([./ -])\d{1,2}\1(?:19|20)\d\d|(?:1[5-9]|20)\d\d([./ -])?[01]?\d(?(2)\2)[0-3]?\d"
    rb"|(?:1[0-9]|20)\d\d ?(?:-|/|\xe2\x80\x93) ?(?:1[0-9]|20)\d\d)(?!\d)"
)
_DECIMAL = re.compile(rb"\+?\d+\.\d+$|\d{3,4}/\d{4}$")  # also a pair of numbers: 900/1800
# A number of nobody: 555-0100 to 555-0199 (North American Numbering Plan), here for all countries.
NOBODY = re.compile(rb"55501\d\d$")
_BESIDE = WORD | class_of(b".,/$%&=#@-")
_DIGIT = class_of(b"0123456789")
_NEAR = 28


def phones(text: Text) -> list[tuple[int, int]]:
    codes, groups = text.codes, text.groups
    many = (groups.num_digits >= 7) & (groups.num_runs <= 12)
    first = np.flatnonzero(many)
    found = []
    runs = text.runs
    start = groups.start[first]
    first_length = runs.length[groups.first_run[first]]
    alone = groups.num_runs[first] == 1
    plus = codes[start - 1] == 43
    open_ = codes[start - 1] == 40
    decimal = (groups.num_runs[first] == 2) & (codes[start + first_length] == 46) & ~plus
    beside = _BESIDE[codes[start - 1]] & ~plus
    beside &= (codes[start - 1] != 44) | _DIGIT[codes[start - 2]]  # "Office,0341 8387176"
    may = ~decimal & ~beside & (first_length <= 15) & (groups.num_digits[first] <= 60)
    after_first = codes[np.minimum(start + first_length, len(codes) - 1)]
    american = ((first_length == 3) & ((after_first == 45) | (after_first == 46))) | (
        (first_length == 1) & (codes[start] == 49)
    )
    trunk = (codes[start] == 48) & (first_length <= 6)
    strong = may & (plus | open_ | (~alone & (american | trunk)))
    weak = may & (groups.num_digits[first] <= 15) & (groups.num_runs[first] <= 6) & ~plus
    # 2024-03-05 12:30 and the like: logs are full of them
    runs_of = np.minimum(groups.first_run[first] + 1, len(runs.start) - 1)
    weak &= (first_length != 4) | (after_first != 45) | (runs.length[runs_of] != 2)
    where = np.flatnonzero(weak)
    weak[where] = text.may_be_near(_WORDS, start[where], groups.end[first[where]], _NEAR)
    may = strong | weak
    for i in np.flatnonzero(may).tolist():
        begin = int(start[i]) - bool(plus[i] or open_[i])
        end = int(groups.end[first[i]])
        spans = _strong(text, begin, end) if strong[i] else []
        if not spans and weak[i]:
            spans = _weak(text, begin, end)
        found += spans
    return found


def _strong(text: Text, begin: int, end: int) -> list[tuple[int, int]]:
    found = []
    data = text.data
    for match in _STRONG.finditer(data, begin, end):
        start, stop = match.span()
        digits = digits_of(match[0])
        if data[start] == 43:
            separated = len(digits) < stop - start - 1
            if WORD[data[start - 1]] or not (8 if separated else 10) <= len(digits) <= 16:
                continue
        elif not 8 <= len(digits) <= 15 or (start > begin and _BESIDE[data[start - 1]]):
            continue
        if 48 <= data[stop] < 58 or (data[stop] == 46 and 48 <= data[stop + 1] < 58):
            continue
        if _DATE.match(match[0]) or _DECIMAL.match(match[0]) or NOBODY.search(digits):
            continue
        found.append((start, _with_extension(text, stop)))
    return found


def _weak(text: Text, begin: int, end: int) -> list[tuple[int, int]]:
    match = _WEAK.match(text.data, begin, end)
    if match is None or match.end() < end:
        return []
    written = match[0]
    digits = digits_of(written)
    if not 7 <= len(digits) <= 15 or _DATE.match(written) or _DECIMAL.match(written):
        return []
    if _WORDS_BEFORE.isdisjoint(text.words_before(begin, _NEAR)) and _WORDS_AFTER.isdisjoint(
        text.words_after(end, 14)[:1]
    ):
        return []
    stop = _with_extension(text, end)
    if (stop == end and WORD[text.data[end]]) or NOBODY.search(digits):
        return []
    return [(begin, stop)]


def _with_extension(text: Text, end: int) -> int:
    extension = _EXTENSION.match(text.data, end, end + 18)
    return extension.end() if extension else end
