"""What spaCy's English tokenizer treats as exceptions: contractions, abbreviations, emoticons.

Rebuilt from the tables of spaCy 3.8 (spacy/lang/tokenizer_exceptions.py and
lang/en/tokenizer_exceptions.py, MIT licence); of no further use than that words.py splits alike.
"""

# ruff: noqa: RUF001  (both apostrophes are meant)

import functools
import re
from dataclasses import dataclass

import numpy as np

from data_pipeline.filters.joined import mix

_LOW = r"a-zß-öø-ÿāăąćĉċčďđēĕėęěĝğġģĥħĩīĭįıĵķĺļľłńņňŋōŏőœŕŗřśŝşšţťŧũūŭůűųŵŷźżžα-ωа-яё"
# A host with a top-level domain, perhaps with a scheme, a user, a port, a path; or an IPv4 address
# that is not private (URL_PATTERN of spaCy).
_SCHEME, _USER = r"(?:(?:[\w\+\-\.]{2,})://)?", r"(?:\S+(?::\S*)?@)?"
_HOST = (
    r"(?:"
    r"(?!(?:10|127)(?:\.\d{1,3}){3})(?!(?:169\.254|192\.168)(?:\.\d{1,3}){2})"
    r"(?!172\.(?:1[6-9]|2\d|3[0-1])(?:\.\d{1,3}){2})"
    r"(?:[1-9]\d?|1\d\d|2[01]\d|22[0-3])(?:\.(?:1?\d{1,2}|2[0-4]\d|25[0-5])){2}"
    r"(?:\.(?:[1-9]\d?|1\d\d|2[0-4]\d|25[0-4]))|"
    r"(?:(?:[A-Za-z0-9\u00a1-\uffff][A-Za-z0-9\u00a1-\uffff_-]{0,62})?"
    rf"[A-Za-z0-9\u00a1-\uffff]\.)+(?:[{_LOW}]{{2,63}}))(?::\d{{2,5}})?(?:[/?#]\S*)?$"
)
_URL, _URL_WITH_USER = re.compile(_SCHEME + _HOST), re.compile(_SCHEME + _USER + _HOST)
# A longer one with "@" in it is taken for no URL: time would grow with the square of its length.
_LONGEST_WITH_USER, _LONGEST = 256, 20_000
_UNITS = r"""
    km m dm cm mm ha nm yd in ft kg g mg t lb oz kmh mph hPa Pa mbar mb MB kb KB gb GB tb TB T G M
    K
"""
_PRONOUNS = ("i", "you", "he", "she", "it", "we", "they")
_QUESTIONS = "who what when where why how there that this these those".split()  # noqa: SIM905
_VERBS = "ca could do does did had may might must need ought sha should wo would".split()  # noqa: SIM905
_MORE_VERBS = "ai are is was were have has dare".split()  # noqa: SIM905
# These are words of their own.
_NOT_CUT = frozenset("ill its hell shell shed were well whore".split())  # noqa: SIM905
_OTHER_CUTS = r"""
    how|'d|'y not|'ve not|ve can|not gon|na got|ta let|'s c'm|on °|c|. °|f|. °|k|. i|'m i|m i|'m|a
    i|m|a
"""
_ABBREVIATIONS = r"""
    Mt Ak Ala Apr Ariz Ark Aug Calif Colo Conn Dec Del Feb Fla Ga Ia Id Ill Ind Jan Jul Jun Kan
    Kans Ky La Mar Mass Mich Minn Miss N.C N.D N.H N.J N.M N.Y Neb Nebr Nev Nov Oct Okla Ore Pa
    S.C Sep Sept Tenn Va Wash Wis a.m Adm Bros co Co Corp D.C Dr e.g E.g E.G Gen Gov i.e I.e I.E
    Inc Jr Ltd Md Messrs Mo Mont Mr Mrs Ms p.m Ph.D Prof Rep Rev Sen St vs v.s a b c d e f g h i j
    k l m n o p q r s t u v w x y z ä ö ü
"""
_AFTER_APOSTROPHE = "cause cos coz cuz Cause Cos Coz Cuz bout d em ll nuff re s S"
_BEFORE_APOSTROPHE = r"""
    doin goin havin lovin nothin nuthin ol somethin Doin Goin Havin Lovin Nothin Nuthin Ol
    Somethin
"""
# Marks that belong together: emoticons of two and of three characters.
_PAIRS = r"""
    :) (: =) (= :] [: =] [= :} 8) ;) (; :( ): =( =[ :/ =/ =| :| ]= :1 :P :p :O :o :0 :* :3 =3 :>
    :X :x :D ;D =D <3 ''
"""
_TRIPLES = r"""
    :-) :)) (-: :-] [-: :-} 8-) (-8 ;-) (-; :-( :(( )-: >:( :') :'( :-/ :-| :-P :-p :-O :-o :-0
    :() >:o :-* :-3 :-> :-X :-x :-D ;-D 8-D <33 </3 >.< >.> <.< ;_; -_- @_@ ^_^ \")
"""


class Table:
    """uint64 keys to be found in arrays of them."""

    def __init__(self, keys: list[int]):
        order = sorted(range(len(keys)), key=keys.__getitem__)
        self._keys = np.array([keys[i] for i in order], np.uint64)
        self._rules = np.array(order, np.int64)
        self._maybe = np.zeros(1 << 16, bool)
        self._maybe[_slot(self._keys)] = True

    def maybe(self, hashes: np.ndarray) -> np.ndarray:
        """Indices of all hashes that are keys, and of a few that are not."""
        return np.flatnonzero(self._maybe[_slot(hashes)])

    def find(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Indices of hashes that are keys, and of which keys."""
        maybe = self.maybe(hashes)
        place = np.minimum(np.searchsorted(self._keys, hashes[maybe]), len(self._keys) - 1)
        found = self._keys[place] == hashes[maybe]
        return maybe[found], self._rules[place[found]]


@dataclass(frozen=True)
class Tables:
    """cuts: words to be cut after first_cut and second_cut bytes (0 = not again); beginnings: their
    first 8 bytes.

    joined: a word and the dot or apostrophe at its edge that are one word; around_mark: two words
    and the mark between; pairs, triples: marks that are one word.
    """

    cuts: Table
    beginnings: Table
    first_cut: np.ndarray
    second_cut: np.ndarray
    joined: Table
    around_mark: Table
    pairs: Table
    triples: Table


def is_url(text: str) -> bool:
    """Whether spaCy takes a text without spaces for a URL or an e-mail address."""
    if "@" in text:
        return len(text) <= _LONGEST_WITH_USER and bool(_URL_WITH_USER.match(text))
    return len(text) <= _LONGEST and bool(_URL.match(text))


def hash_of(text: str) -> int:
    """What Joined.hashes gives this text, of 64 bytes at most."""
    data = text.encode()
    eights = [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8)]
    found = np.array([eights[0]], np.uint64)
    for step, more in enumerate(eights[1:], 1):
        found = mix(found + np.uint64(step)) + np.uint64(more)
    return int(found[0])


def _slot(hashes: np.ndarray) -> np.ndarray:
    return (hashes * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(48)


def _contractions() -> dict[str, tuple[str, ...]]:
    """Word -> its pieces, with straight apostrophes or none."""
    cuts: list[tuple[str, ...]] = []
    for word in _PRONOUNS + tuple(_QUESTIONS):
        pronoun = word in _PRONOUNS
        endings = [("ll",), ("d",), ("ll", "ve"), ("d", "ve")]
        if (pronoun and word in ("i", "you", "we", "they")) or (
            not pronoun and word not in ("that", "this")
        ):
            endings.append(("ve",))
        if word in ("you", "we", "they") or (not pronoun and word not in ("that", "this")):
            endings.append(("re",))
        if word in ("he", "she", "it") or (not pronoun and word not in ("these", "those")):
            endings.append(("s",))
        for ending in endings:
            cuts += [(word, *("'" + e for e in ending)), (word, *ending)]
    for verb in _VERBS + _MORE_VERBS:
        cuts += [(verb, "n't"), (verb, "nt")]
    for verb in _VERBS:
        cuts += [(verb, "n't", "'ve"), (verb, "nt", "ve")]
    for verb in ("could", "might", "must", "should", "would"):
        cuts += [(verb, "'ve"), (verb, "ve")]
    cuts += [tuple(pieces.split("|")) for pieces in _OTHER_CUTS.split()]
    for hour in range(1, 13):
        cuts += [(str(hour), half) for half in ("am", "pm", "a.m.", "p.m.")]
    found: dict[str, tuple[str, ...]] = {
        "y'all": ("y'", "all"),
        "y’all": ("y’", "all"),
        "yall": ("y", "all"),
    }
    for pieces in cuts:
        for first in (pieces[0], pieces[0][0].upper() + pieces[0][1:]):
            for mark in ("'", "’"):
                cased = tuple(p.replace("'", mark) for p in (first, *pieces[1:]))
                if "".join(cased).lower() not in _NOT_CUT:
                    found["".join(cased)] = cased
    return found


@functools.cache
def tables() -> Tables:
    cuts = _contractions()
    first = [len(pieces[0].encode()) for pieces in cuts.values()]
    second = [len(p[0].encode()) + len(p[1].encode()) if len(p) > 2 else 0 for p in cuts.values()]
    edged = [word + "." for word in _ABBREVIATIONS.split()]
    for mark in "'’":
        edged += [mark + word for word in _AFTER_APOSTROPHE.split()] + [mark + mark]
        edged += [word + mark for word in _BEFORE_APOSTROPHE.split()]
    return Tables(
        Table([hash_of(word) for word in cuts]),
        Table([int.from_bytes(word.encode()[:8], "little") for word in cuts]),
        np.array(first),
        np.array(second),
        Table([hash_of(word) for word in edged]),
        Table([hash_of(word) for word in ("and/or", "w/o", "Ph.D.")]),
        Table([hash_of(pair) for pair in _PAIRS.split()]),
        Table([hash_of(triple) for triple in _TRIPLES.split()]),
    )


@functools.cache
def units() -> dict[int, np.ndarray]:
    """Bytes of a unit -> uint64 of the units."""
    sizes: dict[int, list[int]] = {}
    for unit in _UNITS.split():
        sizes.setdefault(len(unit), []).append(hash_of(unit))
    return {size: np.array(values, np.uint64) for size, values in sizes.items()}
