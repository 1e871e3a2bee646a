"""What the main text looks like, and pages that are no articles."""

import pytest

from data_pipeline.extraction.article import main_text
from data_pipeline.extraction.config import ExtractionConfig

SENTENCE = "The committee met on Tuesday and spoke about the bridge for more than three hours."


def page(body: str, title: str = "A title") -> str:
    return f"<html><head><title>{title}</title></head><body>{body}</body></html>"


def text_of(body: str, title: str = "A title", **config) -> str:
    return main_text(page(body, title), ExtractionConfig(**config))


def test_blocks_are_lines_lists_tables_and_code_keep_their_form():
    body = f"""<main><p>{SENTENCE}</p>
<pre><code>class A:
    @property
    def share(self):

        return 1
</code></pre><h2>Options</h2>
<table><tr><th>Name</th><th>Meaning</th></tr><tr><td>a</td><td>the first</td></tr></table>
<ul><li>one</li><li>two<ul><li>nested</li></ul></li></ul>
<p>line one<br>line <b>two</b> and <code>f()</code></p><p>{SENTENCE}</p></main>"""
    assert text_of(body) == "\n".join(
        [
            SENTENCE,
            "class A:",
            "    @property",
            "    def share(self):",
            "",
            "        return 1",
            "Options",
            "| Name | Meaning |",
            "|---|---|",
            "| a | the first |",
            "- one",
            "- two",
            "  - nested",
            "line one",
            "line two and f()",
            SENTENCE,
        ]
    )


def test_every_post_of_a_forum_stays():
    posts = [f"Answer {i}: {SENTENCE}" for i in range(12)]
    body = "".join(
        f'<div class="post"><div class="user"><a href="/u">u{i}</a></div><p>{post}</p></div>'
        for i, post in enumerate(posts)
    )
    text = text_of(f"<h1>How do I mend it?</h1>{body}", "How do I mend it?")
    assert [line for line in text.split("\n") if line.startswith("Answer")] == posts


def test_a_page_of_cards_is_not_emptied():
    cards = "".join(
        f'<a href="/{i}"><h3>Chair {i}</h3><p>Chair number {i} of oak, for the garden.</p></a>'
        for i in range(30)
    )
    text = text_of(f"<div>{cards}</div>")
    assert all(f"Chair number {i} of oak" in text for i in range(30))


def test_a_short_description_of_a_product_is_found():
    body = """<h1>Chair</h1><div class="price">$ 49.00</div><div id="description">A chair of teak
    that folds flat.</div><ul><li>Weight: 4 kg</li><li>Height: 90 cm</li></ul>"""
    text = text_of(body, "Chair")
    assert "A chair of teak that folds flat." in text and "Weight: 4 kg" in text


def test_an_article_that_is_only_in_json_is_found():
    article = SENTENCE * 5
    data = f'{{"@type": "Article", "articleBody": "{article}"}}'
    body = f'<script type="application/ld+json">{data}</script><div id="app"></div>'
    assert text_of(body) == article


@pytest.mark.parametrize("remove", [True, False])
def test_the_rules_can_be_left_out(remove):
    body = f"<article><p>{SENTENCE * 4}</p><p>Follow us on Twitter</p></article>"
    text = text_of(body, remove_boilerplate=remove)
    assert ("Follow us" in text) == (not remove)


def test_comments_are_kept_only_if_wanted():
    comment = "I was there and can say that the mayor was asleep for most of the meeting."
    body = f"""<article><p>{SENTENCE * 4}</p></article>
    <div class="comments-list" id="comments"><p>{comment}</p></div>"""
    assert comment not in text_of(body)
