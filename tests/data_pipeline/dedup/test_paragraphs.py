"""Of equal paragraphs the first stays, wherever the documents lie; against a plain reading."""

import random

import pyarrow as pa
import pytest

from data_pipeline.dedup.paragraphs import ParagraphConfig, ParagraphDedup, Paragraphs
from data_pipeline.document import CODE, PROSE, batch_of
from data_pipeline.engine import Tasks

CONFIG = ParagraphConfig(min_characters=3, min_characters_left=0)


@pytest.fixture
def run(make_parts, judge_all):
    """run(texts, config, num_parts): {id: (text after it, reason, score, paragraphs removed)}."""

    def judge(texts, config=CONFIG, num_parts=1, kinds=None, ids=None):
        stage = ParagraphDedup(config)
        ids = ids or [f"{i:04d}" for i in range(len(texts))]
        rows = batch_of(texts, kinds=kinds, ids=ids)
        batches = [
            rows.take(pa.array(range(i, len(texts), num_parts), pa.int64()))
            for i in range(num_parts)
        ]
        result = {}
        said = judge_all(stage, make_parts(batches, stage))
        for batch, judged in zip([batch for batch in batches if len(batch)], said, strict=True):
            after = batch["text"] if judged.texts is None else judged.texts
            columns = judged.verdicts.reason, judged.verdicts.score
            removed = judged.notes["paragraphs_removed"]
            for i, name in enumerate(batch["id"].to_pylist()):
                result[name] = (after[i].as_py(), columns[0][i], columns[1][i], removed[i])
        return result

    return judge


def test_the_first_of_equal_paragraphs_stays_across_and_within_documents(run):
    texts = ["One two.\n\nThree four.\n", "New.\n\nTHREE  four.\n\nOne two.", "Yes.\n\nNo.\n\nyes."]
    got = run(texts)
    assert got["0000"] == (texts[0], None, pytest.approx(float("nan"), nan_ok=True), None)
    assert got["0001"][0] == "New." and got["0001"][3] == 2
    assert got["0002"][0] == "Yes.\n\nNo." and got["0002"][3] == 1


def test_first_is_by_id_not_by_the_order_of_reading(run):
    got = run(["Same text.", "Same text."], ids=["b", "a"])
    assert got["a"][0] == "Same text." and got["b"][0] == ""


@pytest.mark.parametrize("unit", ["paragraph", "line"])
def test_agrees_with_a_plain_reading_however_the_parts_are_cut(run, unit):
    rng = random.Random(5)
    pieces = [f"{rng.choice(['alpha', 'Beta', 'g'])} {i}" for i in range(25)] + ["x", "y z", " "]
    breaks = ["\n", "\n\n", "\n \n", "\n\n\n"]
    texts = [
        "".join(rng.choice(pieces) + rng.choice(breaks) for _ in range(rng.randint(0, 9)))
        for _ in range(60)
    ]
    config = ParagraphConfig(unit=unit, min_characters=3, min_characters_left=0)
    seen, want = set(), []
    for text in texts:
        lines = text.splitlines(keepends=True)
        blocks = []
        for i, line in enumerate(lines):
            begins = i == 0 or unit == "line" or (line.strip() and not lines[i - 1].strip())
            blocks += [line] if begins else []
            blocks[-1] += "" if begins else line
        left = []
        for block in blocks:
            key = " ".join(block.lower().split())
            if len(block.strip()) >= 3 and key in seen:
                continue
            seen.add(key)
            left.append(block)
        cut = bool(blocks) and (not left or left[-1] is not blocks[-1])
        want.append("".join(left).rstrip() if cut else "".join(left))
    for num_parts in (1, 4):
        assert [got[0] for _, got in sorted(run(texts, config, num_parts).items())] == want


def test_short_paragraphs_and_other_kinds_stay(run):
    config = ParagraphConfig(min_characters=10, min_characters_left=0, kinds=(PROSE,))
    texts = ["short\n\na long paragraph", "short\n\na long paragraph", "a long paragraph"]
    got = run(texts, config, kinds=[PROSE, PROSE, CODE])
    assert [got[name][0] for name in sorted(got)] == [texts[0], "short", texts[2]]


def test_what_is_left_with_too_little_is_dropped_with_the_fraction_removed(run):
    config = ParagraphConfig(min_characters=3, min_characters_left=5)
    got = run(["abcd efgh", "abcd efgh\n\nxy", "abcd efgh\n\nlong enough"], config)
    assert got["0001"][1:] == ("duplicate_paragraphs", pytest.approx(1 - 2 / 13), 1)
    assert got["0002"][0] == "long enough" and got["0002"][1] is None


def test_details_name_what_is_most_repeated(make_parts, tmp_path):
    stage = ParagraphDedup(CONFIG)
    texts = ["footer", "footer", "a b c\n\nfooter", "a b c"]
    parts = make_parts([batch_of(texts, ids=list("dcba"))], stage)
    details = stage.decide(parts, tmp_path, Tasks(0))
    assert details == {
        "documents_cut": 3,
        "paragraphs_removed": 3,
        "most_repeated": [
            {"documents": 3, "id": "b", "excerpt": "footer"},
            {"documents": 2, "id": "a", "excerpt": "a b c"},
        ],
    }


@pytest.mark.parametrize("texts", [[], [""], ["", "", "\n\n"]])
def test_nothing_to_compare_is_no_special_case(run, texts):
    assert [got[0] for _, got in sorted(run(texts).items())] == texts


def test_paragraphs_together_are_the_text():
    texts = ["a\n\nb\n \nc", "", "\n\nd\ne\n"]
    found = Paragraphs.of(pa.array(texts, pa.large_string()), "paragraph")
    assert found.texts().to_pylist() == ["a\n\n", "b\n \n", "c", "\n\n", "d\ne\n"]
    assert found.documents.tolist() == [0, 0, 0, 2, 2]
    assert found.numbers.tolist() == [0, 1, 2, 0, 1]


@pytest.mark.parametrize("wrong", [{"unit": "word"}, {"min_characters": 0}, {"kinds": ("x",)}])
def test_impossible_configs_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ParagraphConfig(**wrong)
