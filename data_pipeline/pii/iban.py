"""International bank account numbers: the country's length and ISO 7064 mod 97-10."""

import re

import numpy as np

from data_pipeline.pii.checksums import mod_97
from data_pipeline.pii.text import ALNUM, Text, class_of

# ISO 13616 registry (SWIFT, release 99): countries and lengths.
_REGISTRY = """
    AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18
    DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23
    IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27
    MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19
    SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30
"""
LENGTHS = {code[:2].encode(): int(code[2:]) for code in _REGISTRY.split()}
_FORM = re.compile(rb"[A-Z]{2}\d\d(?: ?[A-Z0-9]){11,30}", re.I)
_LETTER = ALNUM & ~class_of(b"0123456789")
# Accounts of no bank, which pseudonyms are taken from.
NOBODY = (b"0000", b"XXXX0")


def ibans(text: Text) -> list[tuple[int, int]]:
    """Spans of valid IBANs, with or without a space after each four."""
    codes, runs = text.codes, text.runs
    start = runs.start
    may = _LETTER[codes[start - 1]] & _LETTER[codes[start - 2]] & ~ALNUM[codes[start - 3]]
    may &= runs.length >= 2
    found = []
    for place in (np.flatnonzero(may)).tolist():
        first = int(start[place]) - 2
        length = LENGTHS.get(text.data[first : first + 2].upper())
        match = _FORM.match(text.data, first) if length else None
        if match is None:
            continue
        end = _end(match[0], length or 0)
        account = match[0][:end].replace(b" ", b"").upper()
        beyond = text.data[first + end]
        if (
            end
            and not ALNUM[beyond]
            and mod_97(account) == 1
            and not account[4:].startswith(NOBODY)
        ):
            found.append((first, first + end))
    return found


def _end(written: bytes, length: int) -> int:
    """Where `length` letters and digits end; 0 = there are fewer."""
    if b" " not in written:
        return length if len(written) >= length else 0
    count = 0
    for i, code in enumerate(written):
        count += code != 32
        if count == length:
            return i + 1
    return 0
