"""Names of persons, by lists of names and the words beside them.

A person is a title ("Mr.", "Dr.", "Frau") with the capitalised words after it; a given name with
the family name, known or not, that follows it; and a given name alone, unless it is a word or a
place as well. Names in small letters, and family names alone, are not found.
"""

import numpy as np

from data_pipeline.pii.gazetteer import COMMON, FAMILY, GIVEN, gazetteer, keys
from data_pipeline.pii.text import BOUND, LOWER, UPPER, Text, class_of

_LETTER = class_of(UPPER + LOWER + b"'" + bytes(range(0x80, 0xC0)) + bytes(range(0xC3, 0xD5)))
_FIRST = class_of(UPPER + bytes(range(0xC3, 0xD5)))
_TITLES = frozenset(
    b"Mr Mrs Ms Miss Dr Prof Professor Herr Frau Mme Monsieur Madame Sra Sr Signor".split()
)
_LONGEST_TITLE = max(map(len, _TITLES))
_MOST_WORDS = 4
_THINGS = frozenset(
    b"Ltd Inc LLC Corp Corporation Company Co Group Bank Partners Research "
    b"Orchestra University College School Hospital Airport Park Street St Road "
    b"Avenue Ave Lane Drive Square Bridge Union County City "
    b"Island Islands Lake River Bay Beach Hotel Museum Library Church Press Stadium Center Centre "
    b"Award Prize Foundation Institute Society Act War Law".split()
)
_BEFORE_THINGS = frozenset(
    b"San Santa Los Las Saint St Rua Rue Via Calle Avenida ul. ulica Mount Lake Port Fort Cape "
    b"Place Avenue Boulevard Plaza Piazza Apt. Suite".split()
)
_SPACED = bytes.maketrans(b"\x00\n,.;", b"     ")


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
    sure = np.array([bool(k & (GIVEN | FAMILY)) and not k & COMMON for k in kind])
    found = []
    reach = 0
    for i in np.flatnonzero(is_title | sure).tolist():
        if starts[i] < reach:
            continue
        last = _follow(data, starts, ends, i)
        first = i
        if is_title[i]:
            first = i + 1
        else:
            while first and _adjoins(data, ends[first - 1], starts[first]) and first > i - 2:
                first -= 1
            if ends[first] <= reach or kind[first] & COMMON or is_title[first]:
                first = i
            # a family name alone is a word or a place too often
            if last == first and not kind[i] & GIVEN:
                continue
        if first > last or not _of_persons(data, starts[first], starts[last], ends[last]):
            continue
        found.append((starts[first], ends[last]))
        reach = ends[last]
    return found


def _adjoins(data: bytes, end: int, start: int) -> bool:
    """With a space between, or an initial's dot and a space."""
    between = data[end:start]
    return between == b" " or (between == b". " and data[end - 2] == 32)


def _of_persons(data: bytes, start: int, last: int, end: int) -> bool:
    """Not a company, a street, a town that are called after a person."""
    before = data[max(0, start - 12) : start].replace(BOUND, b"\n").split(b"\n")[-1].split()
    after = data[end : end + 16].translate(_SPACED).split(b" ", 2)
    following = after[1] if len(after) > 1 and not after[0] else b""
    return (
        data[last:end] not in _THINGS
        and following not in _THINGS
        and not (before and before[-1] in _BEFORE_THINGS)
    )


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
