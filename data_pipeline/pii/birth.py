"""Dates of birth: a day of a month of a year, shortly after a word for being born."""

import re

import numpy as np

from data_pipeline.pii.text import WORD, Text, class_of

_MONTH = (
    rb"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|m\xc3\xa4r|mai|okt|dez|ene|abr|ago|dic|"
    rb"f\xc3\xa9v|avr|juin|juil|ao\xc3\xbb|d\xc3\xa9c|gen|mag|giu|lug|set|ott)"
    rb"(?:[a-z]|\xc3.){0,7}\.?"
)
_DATE = re.compile(
    rb"(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/. ]\d{1,2}[-/. ](?:19|20)?\d\d"
    rb"|\d{1,2}(?:st|nd|rd|th|\.|er)?(?: of| de)? " + _MONTH + rb",?(?: de| of)? (?:1[89]|20)\d\d"
    rb"|" + _MONTH + rb" \d{1,2}(?:st|nd|rd|th)?,? (?:1[89]|20)\d\d)(?![0-9]|\.[0-9])",
    re.I,
)
_MONTH_BEFORE = re.compile(_MONTH + rb" $")
_BORN = frozenset(
    """
    born birth birthdate birthday dob geb geboren geburtsdatum geburtstag né née naissance nacido
    nacida nacimiento nato nata nascita nascido nascida nascimento geboorte geboortedatum född
    urodzony urodzona urodzenia narozen narozena született syntynyt født родился родилась рождения
    """.encode().split()
)
_WORDS = frozenset((*_BORN, b"d.o.b"))
_SAME = re.compile(rb"[.;!?]\s.*[.;!?]\s")  # at most one sentence's end lies between word and date
_BESIDE = WORD | class_of(b"-/.")
_NEAR = 48


def births(text: Text) -> list[tuple[int, int]]:
    runs = text.runs
    start, length = runs.start, runs.length
    if len(start) < 2:
        return []
    gap = start[1:] - runs.end[:-1]
    # three numbers in a row, or a day and, after a month's name perhaps, a year
    small = (length <= 2) | (length == 4)
    near = (gap == 1) & small[1:] & small[:-1]
    between = text.codes[runs.end[:-1]]
    row = near[1:] & near[:-1] & (between[1:] == between[:-1])
    # 2/8/1935, 4.13.78, 1978-4-13, but of numbers with spaces between only 2 8 1935
    row &= (length[2:] == 4) | ((between[1:] != 32) & ((length[2:] == 2) | (length[:-2] == 4)))
    row = np.append(row, [False])
    first = text.codes[start]
    dated = (length[:-1] <= 2) & (length[1:] == 4) & (first[1:] <= 50) & (gap >= 2) & (gap <= 20)
    may = np.append(row | dated, [False]) & ~_BESIDE[text.codes[start - 1]]
    found = []
    end = 0
    places = start[may]
    places = places[text.may_be_near(_WORDS, places, places, _NEAR)]
    for place in places.tolist():
        if place < end:
            continue
        before = text.before(place, _NEAR)
        if _BORN.isdisjoint(text.words_before(place, _NEAR)) and b"d.o.b" not in before:
            continue
        if _SAME.search(before):
            continue
        word = _MONTH_BEFORE.search(before)
        begin = place - len(word[0]) if word else place
        date = _DATE.match(text.data, begin) or _DATE.match(text.data, place)
        if date is not None:
            found.append(date.span())
            end = date.end()
    return found
