"""Main text of pages; other documents pass untouched."""

from data_pipeline.engine import daft
from data_pipeline.extraction import Extraction, ExtractionConfig, main_text

PARAGRAPH = "The river rose during the night and the village woke to the sound of bells. " * 4
PAGE = f"""<html><head><title>News</title><script>var tracker = 1;</script></head><body>
<nav><ul><li><a href="/">Home</a></li><li><a href="/shop">Shop</a></li></ul></nav>
<article><h1>The flood</h1><p>{PARAGRAPH}</p><p>{PARAGRAPH[::-1]}</p></article>
<footer>Copyright 2024, all rights reserved. Cookies</footer></body></html>"""


def test_the_article_stays_and_what_surrounds_it_goes():
    text, verdict = main_text(PAGE, ExtractionConfig())
    assert verdict.keep
    assert PARAGRAPH.strip() in text
    assert "tracker" not in text and "Shop" not in text and "Cookies" not in text


def test_a_page_without_text_is_dropped_by_name():
    text, verdict = main_text("<html><body><img src='a.png'></body></html>", ExtractionConfig())
    assert (verdict.keep, verdict.reason) == (False, "no_main_text")
    assert text == ""


def test_the_stage_rewrites_html_only():
    frame = daft.from_pydict(
        {
            "id": ["0", "1", "2"],
            "text": [PAGE, PAGE, "<p></p>"],
            "source": ["a.html", "a.txt", "b.htm.gz"],
        }
    )
    rows = Extraction(ExtractionConfig()).judge(frame).sort("id").to_pydict()
    assert rows["text"][0].startswith("The flood")
    assert rows["text"][1:] == [PAGE, "<p></p>"]
    assert rows["reason"] == [None, None, "no_main_text"]
