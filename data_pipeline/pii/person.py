"""Names of persons, by lists of names and the words beside them.

A person is a title ("Mr.", "Dr.", "Frau") with the capitalised words after it; a given name with
the family name, known or not, that follows it; and a given name alone, unless it is a word or a
place as well. Names in small letters, and family names alone, are not found.
"""

import numpy as np

from data_pipeline.pii.gazetteer import COMMON, GIVEN, gazetteer, keys
from data_pipeline.pii.text import LOWER, UPPER, Text, class_of

_LETTER = class_of(UPPER + LOWER + b"'" + bytes(range(0x80, 0xC0)) + bytes(range(0xC3, 0xD5)))
_FIRST = class_of(UPPER + bytes(range(0xC3, 0xD5)))
_TITLES = frozenset(
    b"Mr Mrs Ms Miss Dr Prof Professor Herr Frau Mme Monsieur Madame Sra Sr Signor".split()
)
_LONGEST_TITLE = max(map(len, _TITLES))
_MOST_WORDS = 4


def persons(text: Text) -> list[tuple[int, int]]:
    """Spans of persons' names, titles left out."""
    codes = text.codes
    letter = _LETTER[codes]
    edges = np.flatnonzero(letter[1:] != letter[:-1]) + 1
    starts, ends = edges[::2], edges[1::2]
    capital = _FIRST[codes[starts]]
    starts, ends = starts[capital], ends[capital]
    if not len(starts):
        return []
    hashes, kinds = gazetteer()
    wanted = keys(codes, starts, ends)
    place = np.minimum(np.searchsorted(hashes, wanted), len(hashes) - 1)
    kind = np.where(hashes[place] == wanted, kinds[place], 0)
    is_title = np.zeros(len(starts), bool)
    for i in np.flatnonzero(ends - starts <= _LONGEST_TITLE).tolist():
        is_title[i] = text.data[starts[i] : ends[i]] in _TITLES
    return _sequences(text, starts.tolist(), ends.tolist(), kind.tolist(), is_title)


def _sequences(
    text: Text, starts: list[int], ends: list[int], kind: list[int], is_title: np.ndarray
) -> list[tuple[int, int]]:
    data = text.data
    sure = [bool(k & GIVEN) and not k & COMMON for k in kind]
    found = []
    reach = 0
    for i in np.flatnonzero(is_title | np.array(sure)).tolist():
        if starts[i] < reach:
            continue
        last = _follow(data, starts, ends, i)
        first = i
        if is_title[i]:
            if last == i:
                continue
            first = i + 1
        elif last == i and not kind[i] & GIVEN:
            continue
        elif i and kind[i - 1] and ends[i - 1] + 1 == starts[i] and data[ends[i - 1]] == 32:
            first = i - 1 if ends[i - 1] > reach and not kind[i - 1] & COMMON else i
        if first > last:
            continue
        found.append((starts[first], ends[last]))
        reach = ends[last]
    return found


def _follow(data: bytes, starts: list[int], ends: list[int], i: int) -> int:
    """The last of the capitalised words that follow word i with a space, or an initial's dot."""
    last = i
    while last + 1 < len(starts) and last - i < _MOST_WORDS:
        gap = data[ends[last] : starts[last + 1]]
        initial = ends[last] - starts[last] <= 3 and gap == b". "
        title = last == i and gap == b". "
        if gap != b" " and not initial and not (title and ends[i] - starts[i] <= 4):
            break
        last += 1
    return last
