"""Texts made to be slow: the time is bounded by their size."""

import time

import pytest

from data_pipeline.document import batch_of
from data_pipeline.pii import KINDS, Pii, PiiConfig

SIZE = 200_000  # bytes; quadratic patterns would take hours
SLOWEST = 5.0  # seconds for them, 100 times what they take
UNITS = {
    "at signs": "@",
    "letters and at signs": "a@",
    "dots": "a.",
    "a local part": "a",
    "a domain": "x@a.a.a.a.a.a.a.a.a.a.a.a.",
    "digits": "1",
    "single digits": "1 ",
    "pairs": "12-34.56/",
    "parentheses": "(1",
    "plus": "+1",
    "colons": ":",
    "hexadecimal": "ab:1:",
    "octets": "1.1.1.1.",
    "capitals": "A",
    "capitalised": "Aa Bb ",
    "houses": "12 Aa ",
    "streets": "12 Mill Street ",
    "streets before": "Rue de la Aa 1 ",
    "towns": "1 Mill Road, Aa, Bb Cc ",
    "boxes": "P.O. Box ",
    "key blocks": "-----BEGIN RSA PRIVATE KEY-----\n",
    "tokens": "eyJ1",
    "web tokens": "eyJaaaaaaaa.",
    "assignments": "api_key=",
    "keys": "key='a1",
    "urls": "a://b:",
    "births": "born 1-",
    "accounts": "GB29 ",
    "zeros": "0",
    "null bytes": "\x00",
    "high bytes": "é1",
    "brackets": "[at]",
}


@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS)
def test_time_is_bounded(unit: str):
    kinds = tuple(kind for kind in KINDS if kind != "person")
    text = unit * (SIZE // len(unit.encode()))
    start = time.perf_counter()
    Pii(PiiConfig(kinds=kinds)).judge(batch_of([text]))
    assert time.perf_counter() - start < SLOWEST


@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS)
def test_time_is_linear(unit: str):
    """Eight times the text takes less than 24 times as long."""
    stage = Pii(PiiConfig())
    seconds = []
    for size in (SIZE // 4, 2 * SIZE):
        batch = batch_of([unit * (size // len(unit.encode()))])
        best = float("inf")
        for _ in range(2):
            start = time.process_time()
            stage.judge(batch)
            best = min(best, time.process_time() - start)
        seconds.append(best)
    assert seconds[1] < 24 * seconds[0] + 0.1
