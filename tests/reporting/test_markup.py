"""Tables and lists escape what they show, and words become sentences."""

import pytest

from nanojaxlm.reporting.markup import bullets, facts, sentence, table

HOSTILE = "<b>&"


def test_everything_is_escaped():
    for page in (
        facts([(HOSTILE, HOSTILE)]),
        table([HOSTILE], [[HOSTILE] * 2]),
        bullets([HOSTILE]),
    ):
        assert HOSTILE not in page
        assert "&lt;b&gt;&amp;" in page


def test_columns_are_numbers_but_the_first_and_those_of_words():
    page = table(("name", "value", "note"), [("a", "1", "x")], words=(2,), totals=(0,))
    assert page.count('class="number"') == 2
    assert '<td class="number">1</td><td>x</td>' in page
    assert "<tr class=total>" in page


@pytest.mark.parametrize(
    ("words", "made"),
    [("an API costs $5", "An API costs $5."), ("Is it?", "Is it?"), ("", ".")],
)
def test_words_become_a_sentence(words, made):
    assert sentence(words) == made
