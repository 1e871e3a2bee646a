"""What is cut around the main text, and what looks like it and stays."""

import pytest

from data_pipeline.extraction.article import main_text
from data_pipeline.extraction.boilerplate import Line, without
from data_pipeline.extraction.config import ExtractionConfig

SENTENCE = "The committee met on Tuesday and spoke about the bridge for more than three hours."
LONG = SENTENCE * 4


def article(inner: str, **config) -> str:
    page = f"""<html><head><title>Bridge opens - The Paper</title></head><body>
    <article><h1>Bridge opens</h1>{inner}<p>{LONG}</p></article></body></html>"""
    return main_text(page, ExtractionConfig(**config))


def test_the_headline_goes_unless_it_is_wanted():
    assert article(f"<p>{SENTENCE}</p>") == f"{SENTENCE}\n{LONG}"
    kept = article(f"<p>{SENTENCE}</p>", keep_headline=True)
    assert kept == f"Bridge opens\n{SENTENCE}\n{LONG}"


@pytest.mark.parametrize(
    "inner",
    [
        '<h2 class="sub-head">Mayor says that it took far too long to build</h2>',
        '<p><a href="/a">Mayor to resign over the bridge</a></p>',
        '<p><strong><a href="/a">MAYOR TO RESIGN OVER THE BRIDGE</a></strong></p>',
        '<a href="/a"><h3>Mayor to resign</h3><p>The mayor of the town will go.</p></a>',
        '<ul><li><h3><a href="/a">Mayor to resign</a></h3>He will go, it is said.</li></ul>',
        "<p>Related: Mayor to resign</p>",
        "<p>Follow us on Twitter and Facebook</p>",
        "<p>mayor@example.org</p>",
        "<p>© 2024 The Paper. All rights reserved.</p>",
        "<p>11:45 AM PST 11/19/2019 by A. Reporter</p>",
    ],
)
def test_what_surrounds_an_article_goes(inner):
    assert article(f"<p>{SENTENCE}</p>{inner}") == f"{SENTENCE}\n{LONG}"


@pytest.mark.parametrize(
    "inner",
    [
        '<p>The <a href="/a">mayor</a> says that it took far too long to build.</p>',
        "<p>Follow the river for a mile, then turn left at the old mill.</p>",
        "<p>Share prices fell by a tenth after the news came out.</p>",
        "<p>Copying the bridge was not allowed, the copyright holder said.</p>",
        "<h2>A section of the text</h2><p>With something in it.</p>",
    ],
)
def test_what_is_said_in_the_article_stays(inner):
    import re

    said = re.sub(r"<[^>]+>", " ", inner).split()
    assert set(said) <= set(article(f"<p>{SENTENCE}</p>{inner}").split())


@pytest.mark.parametrize(
    "line",
    [
        "Follow us on Twitter",
        "Share this story on Facebook!",
        "Get the latest news in your inbox. Subscribe to our newsletter.",
        "Write to A. Reporter at reporter@example.org",
        "Copyright 2019 The Paper",
        "(c) 2019 The Paper",
        "Last updated: 12 May, 2019",
        "Updated at 1:23 p.m.",
        "Read more: the mayor resigns",
        "Also on example.com: the mayor resigns",
        "A fine sentence to repeat.Click To Tweet",
        "https://example.org/a/b",
        "5:45 AM PST 11/19/2019 by A. Reporter",
    ],
)
def test_lines_that_only_invite(line):
    assert without([Line(line, False)], frozenset()) == []


@pytest.mark.parametrize(
    "line",
    [
        "Like many others, she posted it on Facebook.",
        "Follow these steps to install updates.",
        "Share of the vote: 12 percent",
        "Get more light for free.",
        "Write to the file with print(x).",
        "Reach for the stars, said the twitter account of the museum.",
        "Copyright law is a matter of debate.",
        "(c) the party shall pay the sum.",
        "Published in 2019, the book was a success.",
        "Updated figures show 3.5 million jobs in 2019.",
        "Also on Tuesday, the mayor spoke.",
        "At 10:30 on 4 May 1945 the war ended.",
        "Listen carefully, he said: the bridge is open.",
        "Click to open the file.",
        "An error occurred while the disk was read.",
        "Download the app from the store and start it.",
    ],
)
def test_sentences_that_begin_like_an_invitation_stay(line):
    assert without([Line(line, False)], frozenset()) == [Line(line, False)]


def test_rows_items_and_code_are_never_boilerplate():
    lines = [Line("| Share |", False), Line("- a@b.org", False), Line("@property", True)]
    assert without(lines, frozenset()) == lines
    assert without([Line("Share", False), Line("@handle", False)], frozenset()) == []


def test_a_post_from_elsewhere_stays_in_its_place():
    post = "We have opened the bridge today, come and see it."
    inner = f"""<p>{SENTENCE}</p><div class="embed share-embed"><blockquote class="twitter-tweet">
    <p>{post}</p></blockquote></div>"""
    assert post in article(inner).split(LONG)[0]


def test_a_table_that_lays_out_the_page_is_no_table():
    body = f"""<table><tr><td><a href="/">Home</a></td><td><p>{LONG}</p><p>{LONG[::-1]}</p></td>
    </tr></table>"""
    text = main_text(f"<html><body>{body}</body></html>", ExtractionConfig())
    assert text.split("\n")[-2:] == [LONG, LONG[::-1]] and "|" not in text


def test_a_page_of_links_keeps_them():
    links = "".join(f'<p><a href="/{i}">{SENTENCE} No {i}.</a></p>' for i in range(9))
    text = main_text(f"<html><body>{links}</body></html>", ExtractionConfig())
    assert text.count(SENTENCE) == 9
