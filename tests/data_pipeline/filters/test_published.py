"""The published rules decide as datatrove's own filters do, on the same documents."""

import ast
import gzip
import importlib.util
import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_pipeline.document import batch_of
from data_pipeline.filters.heuristic import HeuristicFilter
from data_pipeline.filters.lines import Lines, LinesConfig
from data_pipeline.filters.rules import (
    C4Quality,
    FineWebQuality,
    GopherQuality,
    GopherRepetition,
    HeuristicConfig,
)

pytestmark = pytest.mark.skipif(
    not (importlib.util.find_spec("datatrove") and importlib.util.find_spec("spacy")),
    reason="datatrove and spacy are not installed",
)

# datatrove's reasons -> ours.
REASONS = {
    "gopher_short_doc": "gopher_too_few_words",
    "gopher_long_doc": "gopher_too_many_words",
    "gopher_below_avg_threshold": "gopher_mean_word_too_short",
    "gopher_above_avg_threshold": "gopher_mean_word_too_long",
    "gopher_too_many_hashes": "gopher_too_many_hashes",
    "gopher_too_many_ellipsis": "gopher_too_many_ellipses",
    "gopher_too_many_bullets": "gopher_too_many_bullets",
    "gopher_too_many_end_ellipsis": "gopher_too_many_ellipsis_lines",
    "gopher_below_alpha_threshold": "gopher_too_few_alphabetic_words",
    "gopher_enough_stop_words": "gopher_too_few_stop_words",
    "dup_para_frac": "gopher_repeated_paragraphs",
    "dup_para_char_frac": "gopher_repeated_paragraph_characters",
    "dup_line_frac": "gopher_repeated_lines",
    "dup_line_char_frac": "gopher_repeated_line_characters",
    **{f"top_{n}_gram": f"gopher_top_{n}_gram" for n in (2, 3, 4)},
    **{f"duplicated_{n}_n_grams": f"gopher_repeated_{n}_grams" for n in range(5, 11)},
    "lorem_ipsum": "c4_lorem_ipsum",
    "curly_bracket": "c4_curly_bracket",
    "too_few_sentences": "c4_too_few_sentences",
    "line_punct_ratio": "fineweb_too_few_ended_lines",
    "short_line_ratio": "fineweb_too_many_short_lines",
    "char_dup_ratio": "fineweb_repeated_line_characters",
    "list_ratio": "fineweb_too_many_newlines",
}
OURS = {
    "GopherQualityFilter": HeuristicConfig(prose=None, gopher_quality=GopherQuality()),
    "GopherRepetitionFilter": HeuristicConfig(prose=None, gopher_repetition=GopherRepetition()),
    "C4QualityFilter": HeuristicConfig(prose=None, c4=C4Quality()),
    "FineWebQualityFilter": HeuristicConfig(prose=None, fineweb=FineWebQuality()),
}


def filter_with(name: str, **options: Any) -> Callable[[str], tuple[str | None, str]]:
    """datatrove's filter: the reason (None = kept) and the text of a document."""
    from datatrove.data import Document
    from datatrove.pipeline import filters

    judge = getattr(filters, name)(**options)

    def filtered(text: str) -> tuple[str | None, str]:
        document = Document(text=text, id="0")
        result = judge.filter(document)
        keep, reason = result if isinstance(result, tuple) else (result, "")
        return None if keep else REASONS.get(reason, reason), document.text

    return filtered


def all_filters(texts: list[str]) -> dict[str, list[str | None]]:
    """Name of each filter -> datatrove's reasons."""
    filters = {name: filter_with(name) for name in OURS}
    found: dict[str, list[str | None]] = {name: [] for name in OURS}
    for text in texts:  # one after the other: datatrove remembers the words of the last few texts
        for name, judge in filters.items():
            found[name].append(judge(text)[0])
    return found


def compare(name: str, texts: list[str], expected: list[str | None]) -> tuple[int, int]:
    """How many decisions and how many reasons differ."""
    reasons = HeuristicFilter(OURS[name]).judge(batch_of(texts)).verdicts.reason
    got = ["empty" if r in ("gopher_empty", "fineweb_empty") else r for r in reasons]
    pairs = list(zip(expected, got, strict=True))
    decisions = sum((a is None) != (b is None) for a, b in pairs)
    return decisions, sum(a != b for a, b in pairs)


def pieces(text: str, rng: random.Random) -> Iterator[str]:
    """A text in pieces of whole lines, of very different lengths."""
    piece: list[str] = []
    target = rng.choice([150, 300, 600, 1500, 4000, 12000])
    for line in text.split("\n"):
        piece.append(line)
        if sum(map(len, piece)) >= target:
            yield "\n".join(piece)
            piece, target = [], rng.choice([150, 300, 600, 1500, 4000, 12000])
    yield "\n".join(piece)


def real_documents(shared: Path) -> list[str]:
    """Speeches, chats, plays, encyclopedia, laws, other languages, problems, code, docstrings."""
    rng, made = random.Random(0), []
    for name in ("state_union", "inaugural", "webtext", "novels_val"):
        with gzip.open(shared / f"lm/{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            for line in file:
                made += pieces(json.loads(line)["text"], rng)
    made = rng.sample(made, 900)
    plays = (shared / "lm/tinyshakespeare.txt").read_text(encoding="utf-8")
    made += list(pieces(plays, rng))[:150]
    with gzip.open(shared / "lm/wikitext2_valid.txt.gz", "rt", encoding="utf-8") as file:
        made += list(pieces(file.read(), rng))[:250]
    for name, key, step in (
        ("neardup/docs_dev", "text", 2),
        ("langid/udhr", "text", 1),
        ("langid/lingua_dev", "text", 25),
        ("eval/gsm8k_train1500", "question", 5),
    ):
        with gzip.open(shared / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            made += [json.loads(line)[key] for line in list(file)[::step]]
    paths = sorted(Path(ast.__file__).parent.glob("*.py"))[::2]
    for path in paths:
        source = path.read_text(encoding="utf-8")
        made.append(source[:6000])
        made += filter(None, map(ast.get_docstring, _described(ast.parse(source))))
    return made


def _described(tree: ast.Module) -> Iterator[Any]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Module)):
            docstring = ast.get_docstring(node)
            if docstring and len(docstring) > 400:
                yield node


@pytest.mark.slow
def test_on_3000_documents_and_more_decisions_and_reasons_are_datatroves(
    odd_documents: Callable[[int, int], list[str]], shared_data: Path
):
    texts = real_documents(shared_data) + odd_documents(3, 1000)
    assert len(texts) >= 3000
    for name, expected in all_filters(texts).items():
        dropped = sum(reason is not None for reason in expected)
        assert min(dropped, len(texts) - dropped) >= 300  # both happen often
        decisions, reasons = compare(name, texts, expected)
        assert decisions <= 0.001 * len(texts), name
        assert reasons <= 0.01 * len(texts), name


def test_on_documents_near_every_bound_the_reasons_are_datatroves(
    odd_documents: Callable[[int, int], list[str]],
):
    texts = odd_documents(1, 120)
    for name, expected in all_filters(texts).items():
        assert compare(name, texts, expected) == (0, 0), name
        assert len(set(expected)) >= 4


def test_every_reason_of_datatrove_is_ours_by_a_name_of_its_own():
    assert len(set(REASONS.values())) == len(REASONS)


@pytest.mark.parametrize("options", [{}, {"filter_no_terminal_punct": False}])
def test_the_lines_that_stay_are_datatroves(
    options: dict[str, bool], odd_documents: Callable[[int, int], list[str]]
):
    texts = odd_documents(2, 200)
    rules = C4Quality(end_punctuation=not options)
    judged = Lines(LinesConfig(c4=rules)).judge(batch_of(texts))
    assert judged.texts is not None
    c4 = filter_with("C4QualityFilter", **options)
    for (reason, expected), own, text in zip(
        map(c4, texts),
        judged.verdicts.reason,
        judged.texts.to_pylist(),
        strict=True,
    ):
        assert (own and f"c4_{own}") == reason
        if reason is None:  # a document without a line to remove keeps the blanks around its lines
            assert [line.strip() for line in text.splitlines()] == [
                line.strip() for line in expected.splitlines()
            ]


def test_the_lists_of_characters_are_datatroves_and_spacys():
    from datatrove.utils.text import PUNCTUATION_SET, TERMINAL_PUNCTUATION
    from spacy.lang import char_classes

    from data_pipeline.filters import characters

    assert set(characters.SENTENCE_ENDS) == TERMINAL_PUNCTUATION
    codes = np.arange(0x32000)
    table, marks = characters.CLASSES.of(codes), characters.MARKS.of(codes)
    spaces = {chr(i) for i in range(0x32000) if chr(i).isspace()}
    symbols = {chr(i) for i in range(0x32000) if not table[i] & characters.WORDLIKE}
    assert symbols - spaces == PUNCTUATION_SET - spaces
    for letters, bit in (
        (char_classes.ALPHA_LOWER, characters.LOWER),
        (char_classes.ALPHA_UPPER, characters.UPPER),
    ):
        listed = re.compile(f"[{letters}]")
        other = [i for i in range(0x3000) if bool(listed.match(chr(i))) != bool(table[i] & bit)]
        assert len(other) < 40  # letters that were added to Unicode or hardly occur
    for listed, bit in (
        (char_classes.LIST_QUOTES, characters.QUOTE),
        (char_classes.LIST_PUNCT, characters.PUNCTUATION),
        (char_classes.LIST_CURRENCY, characters.CURRENCY),
    ):
        plain = {quote.replace("\\", "") for quote in listed}
        plain = {quote for quote in plain if len(quote) == 1}
        assert {chr(i) for i in range(0x10000) if marks[i] & bit} == plain


def test_the_bounds_are_datatroves_defaults():
    from datatrove.pipeline import filters

    repetition, ours = filters.GopherRepetitionFilter(), GopherRepetition()
    assert dict(repetition.top_n_grams) == ours.max_top_ngram_rates
    assert dict(repetition.dup_n_grams) == ours.max_repeated_ngram_rates
    pairs = {
        "GopherQualityFilter": (
            GopherQuality(),
            {
                "min_doc_words": "min_words",
                "max_doc_words": "max_words",
                "min_avg_word_length": "min_mean_word_length",
                "max_avg_word_length": "max_mean_word_length",
                "max_symbol_word_ratio": "max_symbol_word_ratio",
                "max_bullet_lines_ratio": "max_bullet_line_rate",
                "max_ellipsis_lines_ratio": "max_ellipsis_line_rate",
                "max_non_alpha_words_ratio": "min_alphabetic_word_rate",
                "min_stop_words": "min_stop_words",
            },
        ),
        "GopherRepetitionFilter": (
            ours,
            {
                "dup_line_frac": "max_repeated_line_rate",
                "dup_para_frac": "max_repeated_paragraph_rate",
                "dup_line_char_frac": "max_repeated_line_character_rate",
                "dup_para_char_frac": "max_repeated_paragraph_character_rate",
            },
        ),
        "C4QualityFilter": (
            C4Quality(),
            {
                "min_num_sentences": "min_sentences",
                "min_words_per_line": "min_words_per_line",
                "max_word_length": "max_word_length",
            },
        ),
        "FineWebQualityFilter": (
            FineWebQuality(),
            {
                "line_punct_thr": "min_ended_line_rate",
                "short_line_threshold": "max_short_line_rate",
                "short_line_length": "short_line",
                "char_duplicates_ratio": "max_repeated_line_character_rate",
                "new_line_ratio": "max_newline_word_ratio",
            },
        ),
    }
    for name, (rules, names) in pairs.items():
        theirs = getattr(filters, name)()
        for attribute, field in names.items():
            assert getattr(theirs, attribute) == getattr(rules, field), attribute
    assert filters.GopherQualityFilter().stop_words == set(GopherQuality().stop_words)
