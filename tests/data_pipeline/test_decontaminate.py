"""Planted examples are found, whatever their case and punctuation, and nothing else is."""

import dataclasses
import gzip
import json
import pickle
import random
import re
from pathlib import Path

import numpy as np
import pytest

from data_pipeline.decontaminate import (
    NAMED,
    Decontaminate,
    DecontaminateConfig,
    hits_of,
)
from data_pipeline.document import batch_of
from data_pipeline.evaluation_sets import EvalSet
from nanojaxlm.errors import UserError

GSM8K = Path(__file__).parents[3] / "shared/data/eval/gsm8k_train1500.jsonl.gz"
EXAMPLES = [
    "Anna has fourteen apples, and she gives five of them to her brother Tom.",  # 14 words
    "Why is the sky so blue at noon?",  # 8
    "Too short to be looked for.",  # 6
]


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "examples.txt"
    path.write_text("\n".join(EXAMPLES) + "\n")
    return DecontaminateConfig(sets=(EvalSet(name="plain", path=str(path)),))


def judge(config, texts):
    judged = Decontaminate(config).judge(batch_of(texts))
    return judged, list(judged.verdicts.reason), list(judged.notes["hits"])


def test_contaminated_documents_are_dropped_with_the_example_they_hold(config):
    texts = [
        f"Before it. {EXAMPLES[0].upper().replace(',', ' -')} After it.",
        EXAMPLES[0][:-5],  # the first 13 of 14 words
        "has fourteen apples and she gives five of them to her brother",  # 12
        "Of all things: why is the sky so blue at noon?!",
        "Why is the sky so blue at dawn?",
        EXAMPLES[2],
        "",
    ]
    judged, reasons, hits = judge(config, texts)
    assert reasons == ["contaminated"] * 2 + [None, "contaminated"] + [None] * 3
    assert hits == ["plain:0", "plain:0", None, "plain:1", None, None, None]
    assert judged.verdicts.score[[0, 1, 3]].tolist() == [2, 1, 1]
    rate = judged.measures["contaminated_rate"]
    assert rate[0] == 2 / 6 and rate[1] == 1 and np.isnan(rate[2])


def test_min_hits_asks_for_more(config):
    more = dataclasses.replace(config, min_hits=2)
    assert judge(more, [EXAMPLES[0][:-5], EXAMPLES[0]])[1] == [None, "contaminated"]


def test_details_count_what_was_hit_by_set_and_example(config):
    notes = {"plain:0": 3, "plain:1 plain:0": 2, "other:7 plain:1 +4": 1}
    assert hits_of(notes) == {
        "plain": {"documents": 6, "examples": {0: 5, 1: 3}},
        "other": {"documents": 1, "examples": {7: 1}},
    }
    assert Decontaminate(config).details({"hits": notes})["plain"] == {
        "examples": 3,
        "too_short": 1,
        "hit": 2,
        "documents": 6,
        "most": [{"example": 0, "documents": 5}, {"example": 1, "documents": 3}],
    }
    assert Decontaminate(config).details({})["plain"]["documents"] == 0


def test_a_document_of_very_many_examples_names_some(tmp_path):
    examples = [
        f"the number {i} of a list of examples that are all alike but this" for i in range(30)
    ]
    (tmp_path / "a.txt").write_text("\n".join(examples))
    config = DecontaminateConfig(sets=(EvalSet(name="s", path=str(tmp_path / "a.txt")),))
    (note,) = judge(config, ["\n".join(examples)])[2]
    assert len(note.split()) == NAMED + 1 and note.endswith(f" +{30 - NAMED}")


def test_cutting_leaves_the_text_around(config):
    cut = dataclasses.replace(config, action="cut", cut_characters=10, min_piece_characters=20)
    before, after = "Ein Weg führt über " * 5, " durch den grünen Wald" * 5
    judged, reasons, hits = judge(cut, [before + EXAMPLES[0] + after, "as it was", EXAMPLES[1]])
    assert reasons == [None, None, "contaminated"] and hits[0] == "plain:0"
    assert judged.texts is not None and judged.texts[1].as_py() == "as it was"
    left, right = judged.texts[0].as_py().split("\n\n")
    assert before.startswith(left) and after.endswith(right)
    # 10 characters to either side, and what would be left of a word.
    assert left.endswith("Weg") and right.startswith("grünen")
    assert Decontaminate(cut).rewrites and not Decontaminate(config).rewrites


def test_a_document_cut_at_too_many_places_is_dropped(config):
    cut = dataclasses.replace(
        config, action="cut", cut_characters=0, min_piece_characters=5, max_cuts=2
    )
    twice, thrice = (
        "Something else. ".join([""] + [EXAMPLES[1] + " "] * n) + "End." for n in (2, 3)
    )
    assert judge(cut, [twice, thrice])[1] == [None, "contaminated"]


def test_the_stage_travels_and_asks_for_its_files_first(config, tmp_path):
    stage = pickle.loads(pickle.dumps(Decontaminate(config)))
    assert stage.judge(batch_of([EXAMPLES[1]])).verdicts.reason[0] == "contaminated"
    assert stage.files == (str(tmp_path / "examples.txt"),)
    missing = EvalSet(name="gone", path=str(tmp_path / "gone.txt"))
    with pytest.raises(UserError, match=r"decontaminate\.sets, gone"):
        Decontaminate(DecontaminateConfig(sets=(missing,)))


@pytest.mark.parametrize(
    "wrong",
    [{"sets": ()}, {"min_words": 1}, {"ngram_words": 7}, {"action": "x"}, {"max_cuts": 0}],
)
def test_impossible_configs_are_refused(config, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        dataclasses.replace(config, **wrong)


def test_two_sets_of_one_name_are_refused(config):
    with pytest.raises(ValueError, match="different names"):
        DecontaminateConfig(sets=config.sets * 2)


@pytest.mark.skipif(not GSM8K.is_file(), reason="needs ../shared/data/eval")
def test_planted_problems_of_gsm8k_are_found_as_a_plain_search_finds_them(make_prose):
    records = [json.loads(line) for line in gzip.decompress(GSM8K.read_bytes()).splitlines()]
    rng = random.Random(1)
    texts = []
    for i in range(300):
        piece = records[rng.randrange(len(records))]["question"].split()
        start, size = rng.randrange(len(piece)), rng.randint(8, 40)
        planted = " ".join(piece[start : start + size])
        texts.append(make_prose(i, 5) + rng.choice([planted, planted.upper()]) + make_prose(-i, 5))
    config = DecontaminateConfig(
        sets=(EvalSet(name="gsm8k", path=str(GSM8K), fields=("question",)),)
    )
    _, reasons, hits = judge(config, texts)

    def runs(text):
        words = re.findall(r"\w+", text.lower())
        return {tuple(words[i : i + 13]) for i in range(len(words) - 12)}

    known = {}
    for number, record in enumerate(records):
        for run in runs(record["question"]):
            known.setdefault(run, number)
    want = [any(run in known for run in runs(text)) for text in texts]
    assert [reason is not None for reason in reasons] == want and 50 < sum(want) < 280
    for text, note in zip(texts, hits, strict=True):
        examples = {f"gsm8k:{known[run]}" for run in runs(text) if run in known}
        assert set(note.split() if note else []) == examples
