"""IP addresses of both versions; by default only those that can be someone's (public ones)."""

import re
import socket

import numpy as np

from data_pipeline.pii.text import ALNUM, WORD, Text, class_of

_HEX = class_of(b"0123456789abcdefABCDEF")
_DOT, _COLON = 46, 58
# A number whose first three parts are small is a version or a section (1.2.3.4) unless an address
# is spoken of; of random addresses (32 / 256)^3 = 0.2% look so.
_SMALL = 32
_SPEAKS_OF_ADDRESSES = re.compile(rb"\bip(?:v4)?\b|addr|host|server|client|ping|dns|from ")
_SPEAKS_OF_VERSIONS = re.compile(
    rb"(?:version|release|\bver\.?|\bv\.?|section|chapter|clause|build|==|>=|<=|~=)[ :=\"'(]*$"
)
_NEAR = 24
_SIX = re.compile(rb"[0-9a-f:]{2,39}", re.I)
# RFC 6890 and IANA's registries: blocks that are nobody's public address.
_NOT_PUBLIC_6 = re.compile(rb"(?i)::1?$|fe[89a-f]|f[cdf]|2001:0?db8|3fff|0*:|64:ff9b:1:|100:0*:")


def addresses(text: Text, public_only: bool) -> list[tuple[int, int]]:
    """Spans of IP addresses; public_only leaves private, local and documentation blocks alone."""
    return [*_version_4(text, public_only), *_version_6(text, public_only)]


def _version_4(text: Text, public_only: bool) -> list[tuple[int, int]]:
    codes, runs = text.codes, text.runs
    start, end = runs.start, runs.end
    if len(start) < 4:
        return []
    dotted = (start[1:] - end[:-1] == 1) & (codes[end[:-1]] == _DOT)
    four = np.flatnonzero(dotted[:-2] & dotted[1:-1] & dotted[2:])
    length = runs.length
    short = (length[four] <= 3) & (length[four + 1] <= 3) & (length[four + 2] <= 3)
    four = four[short & (length[four + 3] <= 3)]
    first, last = start[four], end[four + 3]
    alone = ~WORD[codes[first - 1]] & ~WORD[codes[last]] & (codes[first - 1] != _DOT)
    alone &= (codes[last] != _DOT) | ~ALNUM[codes[last + 1]]
    found = []
    for place, stop in zip(first[alone].tolist(), last[alone].tolist(), strict=True):
        written = text.data[place:stop].split(b".")
        parts = [int(part) for part in written]
        if max(parts) > 255 or any(part[0] == 48 and len(part) > 1 for part in written):
            continue
        if public_only and not is_public_4(*parts):
            continue
        before = text.before(place, _NEAR)
        if before[-1:] in b"-/" and before[-2:-1].isalnum():  # Firefox/3.0.0.1, lib-1.2.3.4
            continue
        if _SPEAKS_OF_VERSIONS.search(before):
            continue
        if max(parts[:3]) < _SMALL and not _SPEAKS_OF_ADDRESSES.search(before):
            continue
        found.append((place, stop))
    return found


def is_public_4(a: int, b: int, c: int, _: int) -> bool:
    """Not of a block of IANA's registry of special purposes, nor multicast (RFC 6890, RFC 5771)."""
    return not (
        a in (0, 10, 127)
        or a >= 224
        or (a == 100 and 64 <= b < 128)
        or (a == 169 and b == 254)
        or (a == 172 and 16 <= b < 32)
        or (a == 192 and (b == 168 or (b == 0 and c in (0, 2))))
        or (a == 198 and (b in (18, 19) or (b == 51 and c == 100)))
        or (a == 203 and b == 0 and c == 113)
    )


def _version_6(text: Text, public_only: bool) -> list[tuple[int, int]]:
    codes = text.codes
    colons = text.places(b":")
    if len(colons) < 2:
        return []
    near = colons[1:] - colons[:-1]
    # the first of two colons with at most four hexadecimal digits between them
    pair = np.flatnonzero(near <= 5)
    between = np.ones(len(pair), bool)
    for i in range(1, 5):
        between &= _HEX[codes[colons[pair] + i]] | (near[pair] <= i)
    first = colons[pair[between]]
    after_pair = colons[pair[between] + 1]
    # a third colon or an empty group: else it is a time of day
    wide = (after_pair - first == 1) | np.isin(after_pair, first)
    first = first[wide & (_HEX[codes[first - 1]] | (codes[first + 1] == _COLON))]
    found = []
    end = 0
    for place in first.tolist():
        if place < end:
            continue
        begin = place
        while begin > place - 5 and _HEX[codes[begin - 1]]:
            begin -= 1
        match = _SIX.match(text.data, begin)
        if match is None:
            continue
        end = match.end()
        stop = end - 1 if text.data[end - 1] == _COLON and text.data[end - 2] != _COLON else end
        if WORD[codes[begin - 1]] or WORD[codes[stop]] or codes[begin - 1] == _COLON:
            continue
        if _is_version_6(text.data[begin:stop], public_only):
            found.append((begin, stop))
    return found


def _is_version_6(written: bytes, public_only: bool) -> bool:
    groups = [group for group in written.split(b":") if group]
    # "::" stands in code too (abc::def): then a full group of digits must begin a public address
    if len(groups) < 8 and (len(groups) < 3 or not re.search(rb"\d", written)):
        return False
    if len(groups) < 8 and b"::" not in written:
        return False
    try:
        socket.inet_pton(socket.AF_INET6, written.decode())
    except (OSError, ValueError):
        return False
    return not (public_only and _NOT_PUBLIC_6.match(written))
