"""Each rule drops what it is for, by its own name, and leaves ordinary text alone."""

import dataclasses
import pickle

import pytest

from data_pipeline.document import batch_of, kind_of
from data_pipeline.filters.heuristic import HeuristicFilter
from data_pipeline.filters.rules import (
    C4Quality,
    CodeRules,
    FineWebQuality,
    GopherQuality,
    GopherRepetition,
    HeuristicConfig,
    ProseRules,
)
from data_pipeline.stage import Stage

CODE = '''
def parse(stream, limit=100):
    """Reads records until the stream ends."""
    for number, line in enumerate(stream):
        if number > limit:
            raise ValueError(f"more than {limit} records")
        name, _, value = line.partition("=")
        yield name.strip(), value.strip()


class Cache:
    def __init__(self, size):
        self.size = size
        self.entries = {}

    def put(self, key, entry):
        while len(self.entries) >= self.size:
            self.entries.popitem()
        self.entries[key] = entry
'''


def judge_all(texts, sources, config=None):
    kinds = [kind_of(source) for source in sources]
    batch = batch_of(texts, sources, kinds)
    return HeuristicFilter(config or HeuristicConfig()).judge(batch).verdicts


def judge(text, source="a.txt", config=None):
    verdicts = judge_all([text], [source], config)
    return verdicts.reason[0], verdicts.score[0]


def alone(kind, name):
    """The rules with every bound off but one, so that a test sees that rule and no other."""
    defaults = kind()
    values = {
        f.name: None if not isinstance(getattr(defaults, f.name), bool) else False
        for f in dataclasses.fields(defaults)
    }
    values[name] = getattr(defaults, name)
    rules = kind(**values)
    if kind is ProseRules:
        return HeuristicConfig(prose=rules, max_digit_rate=None, max_encoded_rate=None)
    return HeuristicConfig(code=rules, max_digit_rate=None, max_encoded_rate=None)


def numbered(num, start=0):
    return " ".join(f"word{chr(97 + (start + i) % 26)}{chr(97 + i // 26)}" for i in range(num))


PROSE_CASES = [  # rule, reason, a text just beyond the bound, a text just within, the score beyond
    ("min_words", "too_few_words", "word " * 49, "word " * 50, 49),
    ("max_words", "too_many_words", "a " * 100_001, "a " * 100_000, 100_001),
    ("min_mean_word_length", "mean_word_too_short", "ab abc", "abc abc", 2.5),
    ("max_mean_word_length", "mean_word_too_long", "a" * 11, "a" * 10, 11),
    ("max_symbol_word_ratio", "too_many_symbols", "# " * 2 + "a " * 8, "# " + "a " * 9, 0.2),
    ("max_symbol_word_ratio", "too_many_symbols", "a... b… c d", "a. b.. c d", 0.5),
    ("max_bullet_line_rate", "too_many_bullets", "- a\n" * 10, "- a\n" * 9 + "b\n", 1.0),
    ("max_ellipsis_line_rate", "too_many_ellipses", "a...\nb…\nc\n", "a...\nb\nc\nd\n", 2 / 3),
    ("min_alphabetic_word_rate", "too_few_alphabetic_words", "1 2 a b c", "1 a b c d", 0.6),
    ("min_stop_words", "too_few_stop_words", "the cat the dog", "the cat and dog", 1),
    ("max_short_line_rate", "too_many_short_lines", "word\n" * 3, "word\n" + "b" * 30 + "\n", 1),
    ("max_repeated_line_rate", "repeated_lines", "a\na\nb\nb\nc\nd\n", "a\na\nb\nc\nd\n", 1 / 3),
    (
        "max_repeated_paragraph_rate",
        "repeated_paragraphs",
        "a\n\na\n\nb\n\nb\n",
        "a\n\na\n\nb\n\nc\n",
        0.5,
    ),
    (
        "max_repeated_line_character_rate",
        "repeated_line_characters",
        "aaaa\naaaa\nbbbb\ncc\n",
        "a\na\nbbbb\ncccc\n",
        4 / 14,
    ),
    (
        "max_repeated_paragraph_character_rate",
        "repeated_paragraph_characters",
        "aaaa\n\naaaa\n\nbbbb\n",
        "a\n\na\n\nbbbb\n\ncccc\n",
        1 / 3,
    ),
    ("max_top_2_gram_rate", "top_2_gram", "x y a x y b c d", "x y a x y b " + numbered(20), 0.5),
    ("max_top_3_gram_rate", "top_3_gram", "x y z a x y z b", numbered(60), 6 / 8),
    ("max_top_4_gram_rate", "top_4_gram", "w x y z a w x y z b", numbered(60), 0.8),
    (
        "repeated_ngram_factor",
        "repeated_5_grams",
        numbered(20) + " " + numbered(20),
        numbered(60),
        0.5,
    ),
    (
        "repeated_ngram_factor",
        "repeated_10_grams",
        numbered(11) + " " + numbered(75, 5) + " " + numbered(11),
        numbered(200),
        None,
    ),
]


@pytest.mark.parametrize(("rule", "reason", "beyond", "within", "score"), PROSE_CASES)
def test_a_prose_rule_drops_beyond_its_bound_and_keeps_within(rule, reason, beyond, within, score):
    config = alone(ProseRules, rule)
    got_reason, got_score = judge(beyond, config=config)
    if rule != "repeated_ngram_factor":
        assert got_reason == reason
    else:
        assert got_reason.startswith("repeated_")
    if score is not None:
        assert got_score == pytest.approx(score)
    assert judge(within, config=config)[0] is None


CODE_CASES = [
    ("min_words", "too_few_words", "x = 1\n" * 6, "x = 1\n" * 7),
    ("max_mean_line_length", "mean_line_too_long", ("a " * 60 + "\n") * 2, ("a " * 40 + "\n") * 2),
    ("max_line_length", "line_too_long", "a" * 1001, "a" * 1000),
    ("min_alphabetic_rate", "too_few_letters", "a = [[1, 2], [3]]", "alpha = beta(1)"),
    ("max_literal_line_rate", "mostly_literals", "x = [\n1,\n2,\n'c',\n]\n", "x = [\n1,\n]\n"),
    ("drop_generated", "generated", "# This file is generated by x\n" + CODE, CODE),
    (
        "drop_generated",
        "generated",
        "# Auto-generated, do not edit\n" + CODE,
        "#\n" * 600 + "# autogenerated",
    ),
    (
        "max_repeated_line_character_rate",
        "repeated_line_characters",
        "aaaa\n    aaaa\nbbbb\n",
        "a\na\nbbbb\ncccc\n",
    ),
    ("max_top_4_gram_rate", "top_4_gram", "w x y z a w x y z b", numbered(60)),
    ("repeated_ngram_factor", "repeated_5_grams", numbered(20) + " " + numbered(20), CODE),
]


@pytest.mark.parametrize(("rule", "reason", "beyond", "within"), CODE_CASES)
def test_a_code_rule_drops_beyond_its_bound_and_keeps_within(rule, reason, beyond, within):
    config = alone(CodeRules, rule)
    assert judge(beyond, "a.py", config)[0] == reason
    assert judge(within, "a.py", config)[0] is None
    assert judge(beyond, "a.txt", dataclasses.replace(config, prose=None))[0] is None


@pytest.mark.parametrize("source", ["a.txt", "a.py"])
def test_tables_and_encoded_data_are_dropped_in_both_kinds(source):
    config = HeuristicConfig(prose=None, code=None)
    bare = (
        alone(CodeRules, "min_words") if source.endswith("py") else alone(ProseRules, "min_words")
    )
    bare = dataclasses.replace(
        bare, max_digit_rate=config.max_digit_rate, max_encoded_rate=config.max_encoded_rate
    )
    words = numbered(80)
    assert judge(words, source, bare)[0] is None
    assert judge(words + " 123456789" * 40, source, bare)[0] == "mostly_numbers"
    assert judge(words + " " + "QUJDabcx+/" * 60, source, bare)[0] == "encoded_data"
    assert judge(words + r"\u00e9\u00e8" * 60, source, bare)[0] in (
        "encoded_data",
        "mostly_numbers",
    )


def test_ordinary_prose_and_code_are_kept(make_prose):
    assert judge(make_prose(1)) == (None, pytest.approx(float("nan"), nan_ok=True))
    assert judge(CODE, "a.py")[0] is None


def test_the_verdict_of_a_document_does_not_depend_on_its_neighbours(make_prose):
    texts = [make_prose(1), "", "word " * 60, CODE, make_prose(2), "12 " * 90, " ", make_prose(3)]
    sources = ["a.txt", "b.txt", "c.txt", "d.py", "e.txt", "f.py", "g.py", "h.py#docstrings"]
    together = judge_all(texts, sources)
    for i, (text, source) in enumerate(zip(texts, sources, strict=True)):
        assert (together.reason[i], together.score[i]) == pytest.approx(
            judge(text, source), nan_ok=True
        )


@pytest.mark.parametrize("bound", [-0.1, 1.1])
def test_a_rate_outside_0_to_1_is_refused(bound):
    with pytest.raises(ValueError, match="max_bullet_line_rate"):
        ProseRules(max_bullet_line_rate=bound)


PUBLISHED = HeuristicConfig(
    gopher_repetition=GopherRepetition(),
    gopher_quality=GopherQuality(),
    c4=C4Quality(),
    fineweb=FineWebQuality(),
    prose=None,
)


def test_published_sets_name_themselves_in_the_order_of_fineweb(make_prose):
    prose = make_prose(1)
    assert judge(prose, config=PUBLISHED)[0] is None
    repeated = prose.split("\n")[0] + "\n"
    cases = [
        (repeated * 40, "gopher_repeated_lines"),
        (prose[:200], "gopher_too_few_words"),
        (prose.replace(".", ""), "c4_too_few_sentences"),
        (prose.rstrip() + " {}.", "c4_curly_bracket"),
        (prose + prose.split("\n")[0], "fineweb_repeated_line_characters"),
    ]
    for text, reason in cases:
        assert judge(text, config=PUBLISHED)[0] == reason
    without = dataclasses.replace(PUBLISHED, gopher_repetition=None, c4=None)
    assert judge(repeated * 40, config=without)[0] == "fineweb_repeated_line_characters"


def test_published_sets_go_before_ours_and_leave_code_alone(make_prose):
    both = dataclasses.replace(PUBLISHED, prose=ProseRules())
    assert judge("word " * 20, config=both)[0] == "gopher_top_2_gram"
    assert (
        judge("1 " * 3 + make_prose(1), config=dataclasses.replace(both, fineweb=None))[0] is None
    )
    assert judge(CODE, "a.py", both)[0] is None
    assert judge("x = {}\n", "a.py", dataclasses.replace(PUBLISHED, code=None))[0] is None


def test_stop_words_of_another_language():
    german = "Der Fluss und die Mühle waren alt, und der Müller kannte sie gut. " * 8
    english = HeuristicConfig(prose=None, gopher_quality=GopherQuality())
    assert judge(german, config=english)[0] == "gopher_too_few_stop_words"
    words = ("der", "die", "das", "und", "nicht")
    own = HeuristicConfig(prose=None, gopher_quality=GopherQuality(stop_words=words))
    assert judge(german, config=own)[0] is None
    with pytest.raises(ValueError, match="name more or set min_stop_words"):
        GopherQuality(stop_words=("und",))


def test_odd_documents_are_judged_alike_alone_and_in_any_portion(odd_documents):
    texts = [*odd_documents(4, 60), "", "é" * 300_000, "word " * 120_000, "\0" * 100]
    config = dataclasses.replace(PUBLISHED, prose=ProseRules())
    sources = ["a.txt"] * len(texts)
    together = judge_all(texts, sources, config)
    backwards = judge_all(texts[::-1], sources, config)
    for i, text in enumerate(texts):
        alone = judge(text, config=config)
        assert alone == pytest.approx((together.reason[i], together.score[i]), nan_ok=True)
        assert alone[0] == backwards.reason[len(texts) - 1 - i]


@pytest.mark.parametrize("text", ["", "\n", " \n \n", "a", "...", "\u2028"])
@pytest.mark.parametrize("name", ["gopher_repetition", "gopher_quality", "c4", "fineweb"])
def test_a_batch_of_nothing_is_judged_by_each_set(name, text):
    config = HeuristicConfig(prose=None, **{name: getattr(PUBLISHED, name)})
    assert len(judge_all([text] * 2, ["a.txt"] * 2, config).reason) == 2
    assert judge_all([text], ["a.txt"], HeuristicConfig()).reason[0] == "too_few_words"


def test_it_is_a_stage_that_travels():
    stage = pickle.loads(pickle.dumps(HeuristicFilter(PUBLISHED)))
    assert isinstance(stage, Stage)
    assert (stage.name, stage.rewrites, stage.files) == ("filter", False, ())
    assert len(stage.judge(batch_of([])).verdicts.reason) == 0
