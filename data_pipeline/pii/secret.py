"""Keys and secrets of services, as they slip into code and configuration.

Known forms (as detect-secrets and gitleaks list them), private key blocks, JSON web tokens, and
values given to a name such as api_key or password whose Shannon entropy is high.
"""

import math
import re
from collections import Counter

from data_pipeline.pii.text import ALNUM, Text, class_of

_TOKEN = ALNUM | class_of(b"_-./+=")
_SHORTEST = 16
_KNOWN = re.compile(
    rb"""(?x)(?<![A-Za-z0-9])(?:
      (?:AKIA|ASIA|ABIA|ACCA|AGPA|AIDA|AROA)[0-9A-Z]{16}               # Amazon
    | gh[pousr]_[0-9A-Za-z]{36,255} | github_pat_[0-9A-Za-z_]{22,255}  # GitHub
    | glpat-[0-9A-Za-z_-]{20,64}                                       # GitLab
    | xox[abeoprs]-[0-9A-Za-z-]{10,250}                                # Slack
    | hooks\.slack\.com/(?:services|workflows)/[0-9A-Za-z+/]{40,60}
    | AIza[0-9A-Za-z_-]{35} | ya29\.[0-9A-Za-z_-]{20,300}              # Google
    | GOCSPX-[0-9A-Za-z_-]{28}
    | [spr]k_(?:live|test)_[0-9A-Za-z]{16,247} | whsec_[0-9A-Za-z]{32,64}  # Stripe
    | sk-(?:ant-|proj-|svcacct-)?[0-9A-Za-z_-]{20,200}                 # OpenAI, Anthropic
    | SG\.[0-9A-Za-z_-]{16,32}\.[0-9A-Za-z_-]{16,64}                   # SendGrid
    | key-[0-9a-f]{32} | (?:AC|SK)[0-9a-f]{32}                         # Mailgun, Twilio
    | npm_[0-9A-Za-z]{36} | pypi-AgE[0-9A-Za-z_-]{50,300}              # registries
    | hf_[0-9A-Za-z]{34} | dop_v1_[0-9a-f]{64} | shp(?:at|ss|ca)_[0-9a-fA-F]{32}
    | eyJ[0-9A-Za-z_-]{8,2000}\.eyJ[0-9A-Za-z_-]{8,4000}\.[0-9A-Za-z_-]{8,1000}  # JSON web token
    )(?![0-9A-Za-z])"""
)
_BLOCK_BEGIN = b"-----BEGIN "
_BLOCK = re.compile(
    rb"-----BEGIN ([A-Z0-9 ]{0,24}PRIVATE KEY(?: BLOCK)?)-----[^\x00-]{16,8192}-----END \1-----"
)
_NAMED = re.compile(
    rb"(?:api|access|auth|secret|private|client|account|encryption|signing|aws|db|database)?[_-]?"
    rb"(?:key|token|secret|passw(?:or)?d|pwd|passphrase|credentials?|bearer)[\w-]{0,20}"
    rb"[\"']?\]?\s{0,4}(?:=>|:=|:|=|\s)\s{0,4}[\"'`]?$"
)
_NAMES = frozenset(
    b"key token secret password passwd pwd passphrase credential credentials bearer apikey "
    b"secretkey accesskey privatekey clientsecret accesstoken authtoken apisecret apitoken "
    b"keys tokens secrets passwords".split()
)
_VALUE = re.compile(rb"[0-9A-Za-z_/+.=-]+")
# bits a character: random hexadecimal text of 32 has 3.6, random base64 of 40 has 4.7, a path or an
# identifier in words 3 to 4 but no digits among its letters
_LEAST_HEX, _LEAST_OTHER = 2.8, 3.4
_HEX = re.compile(rb"[0-9a-fA-F-]+")
_NEAR = 56


def secrets(text: Text) -> list[tuple[int, int]]:
    """Spans of secrets; of an assignment the value only."""
    found = []
    starts, ends = text.tokens_with_digits(_TOKEN, _SHORTEST)
    named = text.may_be_near(_NAMES, starts, ends, _NEAR)
    for start, end, may_be_named in zip(
        starts.tolist(), ends.tolist(), named.tolist(), strict=True
    ):
        known = []
        if not _HEX.fullmatch(text.data, start, end):
            known = [match.span() for match in _KNOWN.finditer(text.data, start, end)]
        found += known or (_assigned(text, start, end) if may_be_named else [])
    place = text.data.find(_BLOCK_BEGIN)
    while place >= 0:
        block = _BLOCK.match(text.data, place)
        if block is not None:
            found.append(block.span())
        place = text.data.find(_BLOCK_BEGIN, block.end() if block else place + 1)
    return found


def _assigned(text: Text, start: int, end: int) -> list[tuple[int, int]]:
    data = text.data
    equals = data.rfind(b"=", start, end - _SHORTEST)  # KEY=value is one token
    if equals > 0:
        start = equals + 1
    while end > start and data[end - 1] in b".-/":
        end -= 1
    if end - start < _SHORTEST or end - start > 512:
        return []
    if _NAMES.isdisjoint(text.words_before(start, _NEAR)):
        return []
    if not _NAMED.search(text.before(start, _NEAR)):
        return []
    value = data[start:end]
    least = _LEAST_HEX if _HEX.fullmatch(value) else _LEAST_OTHER
    if not _VALUE.fullmatch(value) or _is_name(value) or entropy(value) < least:
        return []
    return [(start, end)]


def _is_name(value: bytes) -> bool:
    """Words with a few digits at their ends (path/to/file2, some_name_v2, my.host.name1)."""
    parts = re.split(rb"[_/.=-]", value)
    return all(
        re.fullmatch(rb"(?:[A-Z]?[a-z]+|[A-Z]+)?(?:[A-Z][a-z]+)*\d{0,4}[a-z]*", part)
        and len(part) < 20
        for part in parts
    )


def entropy(value: bytes) -> float:
    """Shannon's, of the bytes' frequencies, in bits a byte."""
    counts = Counter(value).values()
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts)
