"""Given and family names of 70 languages, from the lists of the package faker (MIT licence)."""

import functools
import importlib
import pkgutil
import re
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import numpy as np

from nanojaxlm.errors import UserError

GIVEN, FAMILY, COMMON = 1, 2, 4
_GIVEN_LISTS = ("first_names", "first_names_male", "first_names_female", "first_names_nonbinary")
_FAMILY_LISTS = ("last_names", "last_names_male", "last_names_female")
_MULTIPLIER = np.uint64(0x100000001B3)  # FNV-1a's
_SHORTEST = 3  # bytes; two letters are a syllable more often than a name
# Names that are words, places or times more often.
_WORDS = """
    Will Mark Grant Rose Grace Hope Faith Joy Art Bill Drew Rich Summer Autumn April May June
    August Dawn Christian Chase Hunter Dean Major Earl Duke Prince Princess King Queen Page
    Penny Ruby Amber Crystal Jade Sky Star Young Long Short White Black Brown Green Gray Grey
    Hill Wood Stone Field Church Park Lake River Forest Rivers Woods Fields Banks Day Night Love
    Price Best Good Noble Paris London Florence Victoria Virginia Georgia Carolina Dakota
    Montana Austin Dallas Houston Jordan Israel India China Asia America Chelsea Brooklyn
    Madison Lincoln Jackson Washington Sydney Roman German English French Irish Scott Norman Guy
    Sir Miss Lord Lady Saint San Santa Angel Bishop Baker Cook Smith Miller Carter Mason Cooper
    Porter Walker Archer Judge Marshall Ford Case Cross Power Powers Strong Small Little Moon
    Sun Sunny Winter Spring Snow Frost Storm Rain Ray Rusty Sandy Rocky Cliff Glen Dale Heath
    Basil Rosemary Olive Ginger Cherry Berry Ivy Violet Lily Iris Daisy Poppy Heather Holly
    Hazel Myrtle Pearl Opal Coral Gold Silver Chance Trinity Genesis Justice Destiny Harmony
    Melody Serenity Liberty Charity Honor Patience Mercy Royal General Colonel Captain Son Sonny
    Buddy Junior Doll Man Mann Many Much More Most Can See Say Said Song Sing Lo So Ho Ha No Yes
    Do Go Come Bring Take Let Put Ask Tell The This That These Those There Then When Where What
    Who Why How And But For Not You Your His Her She They Them Our Are Was Has Had Have Been
    From With Into Over Under Upon After Before While Since Until All Any Some Each Every One
    Two Three Monday Tuesday Wednesday Thursday Friday Saturday Sunday January February March
    July September October November December North South East West State States Union City
    Street Road Avenue House France Germany Italy Spain Poland Sweden Norway Denmark Finland
    Phoenix Orange Memphis American Congress Senate President Christ Jesus God Heaven Chapter
    Part Book Section Act Scene Ever Dear Bell Beach Camp Campus Flower Fox Wolf Bear Lamb Bird
    Fish Swan Martin Robin Ash Oak Reed Reese Rice Sage Lane Mall Max Van Von Den Der Del Las
    Los Dos Mai Ana Ai An
"""


def list_files() -> tuple[str, ...]:
    """The files of the lists, in order.

    Raises:
        UserError: faker is not installed.
    """
    return tuple(sorted(str(path) for path in Path(_lists().__path__[0]).glob("*/__init__.py")))


def _lists() -> ModuleType:
    try:
        return importlib.import_module("faker.providers.person")
    except ImportError:
        raise UserError(
            'kind "person" needs faker\'s lists of names: pip install faker, or leave the kind out'
        ) from None


@functools.lru_cache(maxsize=1)
def gazetteer() -> tuple[np.ndarray, np.ndarray]:
    """(uint64 [N], sorted `keys` of names; uint8 [N], GIVEN | FAMILY | COMMON of each).

    Raises:
        UserError: faker is not installed.
    """
    lists = _lists()
    kinds: dict[bytes, int] = {}
    for module in pkgutil.iter_modules(lists.__path__):
        provider = vars(importlib.import_module(f"{lists.__name__}.{module.name}").Provider)
        for names, kind in ((_GIVEN_LISTS, GIVEN), (_FAMILY_LISTS, FAMILY)):
            for name in names:
                _add(kinds, provider.get(name), kind)
    for word in _WORDS.encode().split():
        if word in kinds:
            kinds[word] |= COMMON
    data = b" ".join(kinds)
    lengths = np.fromiter(map(len, kinds), np.int64, len(kinds))
    starts = np.cumsum(lengths + 1) - lengths - 1
    hashes = keys(np.frombuffer(data, np.uint8), starts, starts + lengths)
    order = np.argsort(hashes, kind="stable")
    return hashes[order], np.fromiter(kinds.values(), np.uint8, len(kinds))[order]


def _add(kinds: dict[bytes, int], names: object, kind: int) -> None:
    """Words of faker's lists: tuples of names, or names with their weights."""
    if not isinstance(names, Iterable):
        return
    for name in names:
        for word in re.split(r"[\s-]", name) if isinstance(name, str) else ():
            written = word.encode()
            if len(written) >= _SHORTEST and word[:1].isupper() and word[1:].islower():
                kinds[written] = kinds.get(written, 0) | kind


def keys(codes: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """uint64 [W] of the words codes[start:end] (FNV-1a); 64 bytes of each count."""
    found = np.full(len(starts), 0xCBF29CE484222325, np.uint64)
    left = np.arange(len(starts))
    for i in range(64):
        left = left[starts[left] + i < ends[left]]
        if not len(left):
            break
        found[left] = (found[left] ^ codes[starts[left] + i]) * _MULTIPLIER
    return found
