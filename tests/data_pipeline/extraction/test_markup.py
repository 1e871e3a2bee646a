"""What is cut before the parse, byte by byte."""

import time

import pytest

from data_pipeline.extraction import markup
from data_pipeline.extraction.config import ExtractionConfig

CONFIG = ExtractionConfig()


@pytest.mark.parametrize(
    ("page", "left"),
    [
        (b"a<script>b</script>c", b"ac"),
        (b"a<SCRIPT src='x'>b</ScRiPt >c", b"ac"),
        (b"a<style>p > b {}</style>c<!-- d <p> -->e", b"ace"),
        (b"a<!-->b<!---->c", b"abc"),
        (b"a<script>'<!--'</script>b", b"ab"),
        (b"a<!-- <script> -->b", b"ab"),
        (b"a<svg/>b<svg><path/></svg>c", b"abc"),
        (b"a<script>b", b"a"),
        (b"a<!-- b", b"a"),
        (b"a<noscript>b", b"ab"),
        (b"a<scripts>b", b"a<scripts>b"),
        (b"a<script", b"a"),
        (b"\0a\x1f\tb\xef\xbf\xbf", b"a\tb"),
        (b"a&#1;b&#x1F;c&#9;d&#65;e&#x0a;f&#xe9;g", b"abc&#9;d&#65;e&#x0a;f&#xe9;g"),
        (
            b'<script type="application/ld+json">{}</script><script>x</script>',
            b'<script type="application/ld+json">{}</script>',
        ),
    ],
)
def test_visible_by_hand(page, left):
    assert markup.visible(page, CONFIG) == left


def test_data_in_a_page_is_kept_up_to_a_bound():
    script = b"<script type='application/ld+json'>%s</script>"
    assert markup.visible(script % (b"x" * 65_000), CONFIG) == b""
    kept = markup.visible(script % (b"x" * 50_000) * 20, CONFIG)
    assert 200_000 < len(kept) < 256_000


@pytest.mark.parametrize("part", [b"<svg>", b"<script>", b"<!--", b"<noscript", b"</svg", b"<"])
def test_never_closed_is_linear(part):
    start = time.process_time()
    markup.visible(part * (2_000_000 // len(part)), CONFIG)
    assert time.process_time() - start < 10  # 0.3 s where it was tried; a square would be minutes


def test_depth_is_counted():
    root = markup.parse(b"<html><body><div><p>a</p></div><p>b</p></body></html>", CONFIG)
    assert root is not None and markup._depth(root) == 4


def test_nothing_is_no_tree():
    assert markup.parse(b"", CONFIG) is None
    assert markup.parse(b"  \n", CONFIG) is None
