"""What the stage `lines` removes, what it leaves, and what it says of it."""

import pickle

import pytest

from data_pipeline.document import batch_of
from data_pipeline.filters.lines import FINEWEB_LINES, Lines, LinesConfig
from data_pipeline.filters.rules import C4Quality, RefinedWebLines
from data_pipeline.stage import Stage
from nanojaxlm.errors import UserError

GOOD = [
    "The river ran past the old mill, and nobody had crossed it for years.",
    "A letter lay on the table in the hall, and she did not open it.",
    "Why should anyone want to know what the winter had been like?",
    'He said, "The village is not what it was before the railway came."',
    "There were lanterns on the bridge, and music in the market!",
    "In the morning the captain wrote down what the harbour had cost.",
]
BARE = LinesConfig(c4=C4Quality(min_sentences=None))
REFINED = LinesConfig(c4=None, refinedweb=RefinedWebLines(max_removed_word_rate=None))


def judge(lines, config=BARE, kind="prose"):
    """Reason, text and notes of one document."""
    judged = Lines(config).judge(batch_of(["\n".join(lines)], kinds=[kind]))
    assert judged.texts is not None
    notes = {name: values[0] for name, values in judged.notes.items() if values[0] is not None}
    return judged.verdicts.reason[0], judged.texts[0].as_py(), notes


def test_good_lines_stay_byte_by_byte():
    lines = [f"  {line} " for line in GOOD]
    assert judge(lines, LinesConfig()) == (None, "\n".join(lines), {})


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("A heading without an end", "no_end_punctuation"),
        ("And so it goes on...", "no_end_punctuation"),
        ("Go on!", "too_few_words"),
        ("Please enable JavaScript to see this page.", "javascript"),
        ("This site uses cookies and you agree to the terms.", "policy"),
        ("See our Privacy Policy for all of this.", "policy"),
        ("It is " + "x" * 1001 + " long.", "long_word"),
    ],
)
def test_c4_removes_a_line_for_a_named_reason(line, name):
    lines = [*GOOD[:3], line, *GOOD[3:]]
    text = "\n".join(GOOD)
    assert judge(lines) == (None, text, {"lines_removed": 1, f"lines_{name}": 1})


def test_citations_are_cut_out_of_lines_that_stay():
    line = "It was built in 1850[1] and burnt down[citation needed] in 1901."
    reason, text, notes = judge([*GOOD, line])
    assert reason is None
    assert text.endswith("\nIt was built in 1850 and burnt down in 1901.")
    assert notes == {"lines_citations": 2}


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([*GOOD, "Here is some Lorem Ipsum for you."], "lorem_ipsum"),
        ([*GOOD, "function() { return 'x'; } is code."], "curly_bracket"),
        (["It has { in it, as one sees.", "It is lorem ipsum, you see."], "curly_bracket"),
        (["It is lorem ipsum, { you see."], "lorem_ipsum"),
        (GOOD[:4], "too_few_sentences"),
        (["Home", "About", "Contact"], "too_few_sentences"),
        ([], "too_few_sentences"),
    ],
)
def test_c4_drops_a_document_for_a_named_reason(lines, reason):
    assert judge(lines, LinesConfig())[0] == reason


def test_sentences_are_counted_within_lines():
    lines = ["One came by. Two came by. Mr. Three came by! Did four come?", GOOD[0]]
    assert judge(lines, LinesConfig())[0] is None
    lines = ["One came by. Mr. Two came by! Did three come?", GOOD[0]]
    assert judge(lines, LinesConfig())[0] == "too_few_sentences"


def test_finewebs_preset_keeps_lines_without_an_end():
    lines = ["A heading without an end", *GOOD]
    assert judge(lines, FINEWEB_LINES) == (None, "\n".join(lines), {})


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("SUBSCRIBE TO OUR NEWS Today", "uppercase"),
        ("12 34 / 56", "numbers"),
        ("1,234 likes", "counter"),
        ("3k Followers", "counter"),
        ("Home", "single_word"),
    ],
)
def test_refinedweb_removes_a_line_for_a_named_reason(line, name):
    lines = [*GOOD[:3], "", line, *GOOD[3:]]
    text = "\n".join([*GOOD[:3], "", *GOOD[3:]])
    assert judge(lines, REFINED) == (None, text, {"lines_removed": 1, f"lines_{name}": 1})


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("Sign in to your account here", "to your account here"),
        ("The mill burnt down last night. Read more...", "The mill burnt down last night."),
        ("You have 3 items in cart now", "You have 3  now"),
    ],
)
def test_refinedweb_cuts_patterns_out_of_short_lines(line, left):
    reason, text, notes = judge([*GOOD, line], REFINED)
    assert (reason, text.split("\n")[-1], notes) == (None, left, {"lines_pattern": 1})
    long = line + " and the rest of this line is long enough to be left alone"
    assert judge([*GOOD, long], REFINED)[1] == "\n".join([*GOOD, long])


def test_refinedweb_drops_a_document_of_which_more_than_5_percent_would_go():
    config = LinesConfig(c4=None, refinedweb=RefinedWebLines())
    num_words = sum(len(line.split()) for line in GOOD)
    few = ["HOME"] * (num_words // 20)
    assert judge([*GOOD, *few], config)[0] is None
    reason = judge([*GOOD, *few, "HOME", "HOME"], config)[0]
    assert reason == "too_many_removed"


def test_documents_with_a_blocked_word_are_dropped(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("gadzooks\nbad phrase\n\n", "utf-8")
    stage = Lines(LinesConfig(c4=None, blocked_words=str(path)))
    assert stage.files == (str(path),)
    texts = ["Well, Gadzooks!", "a gadzooksy word", "a bad phrase", "a bad phrasebook", ""]
    judged = stage.judge(batch_of(texts))
    blocked = "blocked_word"
    assert judged.verdicts.reason.tolist() == [blocked, None, blocked, None, None]
    path.write_text("\n", "utf-8")
    other = tmp_path / "none.txt"
    for name in (str(other), str(tmp_path)):
        with pytest.raises(UserError, match="blocked_words"):
            Lines(LinesConfig(blocked_words=name)).judge(batch_of(texts))


def test_code_is_left_alone():
    lines = ["def f():", "    return {1: 2}"]
    config = LinesConfig(refinedweb=RefinedWebLines())
    assert judge(lines, config, kind="code") == (None, "\n".join(lines), {})


def test_a_documents_text_does_not_depend_on_its_neighbours(odd_documents):
    texts = odd_documents(9, 40)
    config = LinesConfig(c4=C4Quality(end_punctuation=False), refinedweb=RefinedWebLines())
    together = Lines(config).judge(batch_of(texts))
    assert together.texts is not None
    for i, text in enumerate(texts):
        alone = Lines(config).judge(batch_of([text]))
        assert alone.texts is not None
        assert alone.texts[0].as_py() == together.texts[i].as_py()
        assert alone.verdicts.reason[0] == together.verdicts.reason[i]


def test_it_is_a_stage_that_travels():
    stage = pickle.loads(pickle.dumps(Lines(LinesConfig())))
    assert isinstance(stage, Stage)
    assert (stage.name, stage.rewrites, stage.files) == ("lines", True, ())
    judged = stage.judge(batch_of([]))
    assert judged.texts is not None
    assert len(judged.texts) == 0


def test_a_config_that_does_nothing_is_refused():
    with pytest.raises(ValueError, match="leave the stage lines out"):
        LinesConfig(c4=None)
