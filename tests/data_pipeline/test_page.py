"""The page: what it says, and that nothing of a document can act in it."""

import html.parser

from data_pipeline import histogram, page
from data_pipeline.mix import SPLITS
from data_pipeline.tally import Tally

EVIL = '<script>alert("x")</script>\u202e\x00'
CHANGE = {"before": "to x@y.z now", "after": "to <EMAIL> now"}
VOID = {"meta", "rect", "line", "br"}


class Checker(html.parser.HTMLParser):
    """Every tag is closed in order; notes tags and text."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.text, self.ids, self.links = [], set(), "", set(), set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        attributes = dict(attrs)
        self.ids |= {attributes["id"]} if "id" in attributes else set()
        self.links |= {attributes["href"]} if "href" in attributes else set()
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def make_report():
    counts = Tally().plain | {
        "documents_in": 100, "documents_out": 90, "bytes_in": 5000, "bytes_out": 4000,
        "dropped": {EVIL: 9, "short": 1}, "lengths_in": {"50": 100}, "lengths_out": {"44": 90},
        "scores": {"short": {"1": 4, "2": 5}}, "measures": {"quality": {"0.1": 3, "0.9": 80}},
        "notes": {"language": {"en": 80, EVIL: 20}},
        "changes": {"email": [{"id": "a", "source": EVIL} | CHANGE]},
    }  # fmt: skip
    stage = {
        "name": "filter", "seconds": 0.5, **counts,
        "details": {"largest": 7, "clusters": {"2": 5, "3": 1}, "members": [{"ids": [EVIL, "b"]}]},
        "examples": {EVIL: [{"id": "a", "source": EVIL, "score": 0.25, "excerpt": EVIL}]},
    }  # fmt: skip
    return {
        "inputs": [EVIL],
        "skipped": {".bin": 2},
        "read": {
            "documents": 100, "bytes": 5000, "seconds": 1.0, "tally": counts,
            "failed": [{"source": EVIL, "error": EVIL}], "failed_by_reason": {"not_utf8": 1},
        },
        "stages": [stage],
        "lengths": {"44": 90},
        "kept": {s: {"documents": 45, "bytes": 2000, "tokens": 500} for s in SPLITS},
        "tokenizer": {"vocab_size": 9, "languages": {EVIL: {"bytes_per_token": 3.5}}},
        "versions": {"python": "3"},
        "cores": 2, "workers": 2, "seconds": 9.5,
    }  # fmt: skip


def test_the_page_is_whole_and_nothing_of_a_document_acts_in_it():
    text = page.render(make_report())
    checker = Checker()
    checker.feed(text)
    assert not checker.open and "script" not in checker.tags
    assert "\u202e" not in text and "\0" not in text and "⟨202E⟩" in checker.text
    assert "http" not in text.replace("http://www.w3.org", "")
    assert {link.removeprefix("#") for link in checker.links} <= checker.ids
    for said in ("Kept 90 of 100 documents", "not_utf8", "largest", "1,000 tokens", ".bin"):
        assert said in checker.text


def test_what_changed_is_marked_on_both_sides():
    old, new = page.marked("to a&b@y.z now", "to <EMAIL> now")
    assert old.startswith("to ") and "&amp;" in old and "<del>" in old and "<ins>" not in old
    assert "<ins>" in new and "&lt;EMAIL&gt;" in new.replace("</ins>", "").replace("<ins>", "")


def test_bars_hold_every_count_and_choose_their_scale():
    wide = {"1": 5, "10": 3, "1000": 2}
    bars, ratio = histogram.bars(wide)
    assert ratio and sum(count for _, _, count in bars) == 10
    bars, ratio = histogram.bars({"-1": 5, "0": 3, "1": 2})
    assert not ratio and [count for _, _, count in bars] == [5, 3, 2]
    assert histogram.bars({"7": 4})[0][0][2] == 4
    assert histogram.quantile(wide, 0.5) == 1 and histogram.quantile(wide, 0.9) == 1000
    assert histogram.svg({}, "none") == ""
