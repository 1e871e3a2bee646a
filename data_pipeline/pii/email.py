"""E-mail addresses, and the user and password that stand in a URL.

The form is RFC 5321's without quoted local parts and literal addresses, with the letters of Latin,
Greek and Cyrillic allowed as in RFC 6531. "name [at] host.org" and "name (at) host.org" count too.
"""

import re

import numpy as np

from data_pipeline.pii.text import ALNUM, Text, class_of

_LETTER = rb"[\xc3-\xd4][\x80-\xbf]"
_LOCAL = rb"A-Za-z0-9!#$%&'*+/=?^_`{|}~-"
# Read backwards from the "@": at most 64 bytes; a dot stands between two others.
_BACKWARDS = re.compile(
    rb"(?:[" + _LOCAL + rb"]|[\x80-\xbf][\xc3-\xd4])+"
    rb"(?:\.(?:[" + _LOCAL + rb"]|[\x80-\xbf][\xc3-\xd4])+)*"
)
_LABEL = rb"(?:[A-Za-z0-9-]|" + _LETTER + rb"){1,63}"
_DOMAIN = re.compile(
    rb"(?:" + _LABEL + rb"\.){1,8}(xn--[A-Za-z0-9-]{2,59}|(?:[A-Za-z]|" + _LETTER + rb"){2,24})"
    rb"(?![A-Za-z0-9_(]|-[A-Za-z0-9])"
)
_LOCAL_END = class_of(b"!#$%&'*+/=?^_`{|}~-)]") | ALNUM | class_of(bytes(range(128, 192)))
_DOMAIN_START = ALNUM | class_of(bytes(range(0xC3, 0xD5)))
_LONGEST = 64
# Pictures for two pixels a point and modules of a package, not hosts: logo@2x.png
_FILES = frozenset(
    b"png jpg jpeg gif svg webp ico css js ts tsx jsx mjs json py rb rs md txt html htm pdf".split()
)
_SERVICES = frozenset((b"git", b"hg", b"svn", b"ssh"))  # git@host:path names a repository
_RESERVED = re.compile(rb"(?:^|\.)example\.(?:com|org|net)$|\.(?:example|invalid|test)$", re.I)
_WRITTEN_OUT = re.compile(rb"[\[(]at[\])] ?", re.I)
_URL = re.compile(
    rb"[a-z][a-z0-9+.-]{1,15}://([^\s/@:<>\"'\x00]{0,64}:[^\s/@<>\"'\x00]{1,128})@", re.I
)
# a variable of a template, or our own: $USER:$PASSWORD, {user}:{password}
_PLACEHOLDER = re.compile(rb"[<${%]|[^:]*:(?:[<${%]|removed-)")
_IN_URL = re.compile(rb"://[^\s/@\x00]*$")
_LONGEST_URL = 220


def emails(text: Text) -> list[tuple[int, int]]:
    """Spans of e-mail addresses; those at example.com and the like (RFC 2606) are left alone."""
    found = []
    codes, data = text.codes, text.data
    signs = text.places(b"@")
    signs = signs[_LOCAL_END[codes[signs - 1]] & _DOMAIN_START[codes[signs + 1]]]
    for sign in signs.tolist():
        span = _address(data, sign, sign + 1)
        if span is not None:
            found.append(span)
    brackets = np.flatnonzero((codes == 91) | (codes == 40))
    brackets = brackets[(codes[brackets + 1] | 32 == 97) & (codes[brackets + 2] | 32 == 116)]
    for bracket in brackets.tolist():
        written = _WRITTEN_OUT.match(data, bracket)
        if written is not None:
            span = _address(data, bracket - (data[bracket - 1] == 32), written.end())
            if span is not None:
                found.append(span)
    return found


def _address(data: bytes, end_of_local: int, domain_at: int) -> tuple[int, int] | None:
    domain = _DOMAIN.match(data, domain_at, domain_at + 256)
    if domain is None or domain[1].lower() in _FILES or _RESERVED.search(domain[0]):
        return None
    local = _BACKWARDS.match(data[end_of_local - 1 : max(0, end_of_local - 1 - _LONGEST) : -1])
    if local is None:
        return None
    start = end_of_local - len(local[0].lstrip())
    name = local[0][::-1]
    if data[domain.end()] == 58 and name.lower() in _SERVICES:
        return None
    # A quotation mark or a key before it belongs to the sentence: 'a@b.de', mail=a@b.de
    cut = max(name.rfind(mark) for mark in (b"'", b"`", b"=", b"|", b"/"))
    if cut >= 0:
        if cut == len(name) - 1:
            return None
        start += cut + 1
    if data[start - 1] == 58 and _IN_URL.search(data[max(0, start - _LONGEST_URL) : start]):
        return None  # the password of `credentials`
    return start, domain.end()


def credentials(text: Text) -> list[tuple[int, int]]:
    """Spans of user:password in scheme://user:password@host."""
    found = []
    signs = text.places(b"@")
    if not len(signs):
        return found
    previous = np.concatenate(([0], signs[:-1]))
    for sign, last in zip(signs.tolist(), previous.tolist(), strict=True):
        window = max(last + 1, sign - _LONGEST_URL)
        scheme = text.data.rfind(b"://", window, sign)
        if scheme < 0:
            continue
        url = _URL.search(text.data, max(window, scheme - 16), sign + 1)
        if url is not None and not _PLACEHOLDER.match(url[1]):
            found.append(url.span(1))
    return found
