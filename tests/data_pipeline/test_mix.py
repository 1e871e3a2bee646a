"""The split and the order depend on the text and the seed alone; weights are kept to."""

import collections
import itertools
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from data_pipeline.document import batch_of
from data_pipeline.engine import Tasks
from data_pipeline.mix import MixConfig, SourceWeight, Weights, mix, split_and_order
from nanojaxlm import typed_config
from nanojaxlm.errors import UserError


@dataclass(frozen=True)
class Part:
    """Documents in memory, in batches of 100."""

    name: str
    documents: pa.RecordBatch

    @property
    def num_documents(self):
        return len(self.documents)

    def batches(self):
        for start in range(0, len(self.documents), 100):
            yield self.documents.slice(start, 100)


def mixed(texts, folder, config=None, num_parts=1, sources=None):
    folder.mkdir(exist_ok=True)
    sources = sources or [f"s/{i:05d}" for i in range(len(texts))]
    parts = [
        Part(f"part-{i}", batch_of(texts[i::num_parts], sources[i::num_parts]))
        for i in range(num_parts)
    ]
    return mix(parts, config or MixConfig(validation_rate=0.1), folder, Tasks(0))


def splits_of(found):
    """Texts of train and of validation, in order."""
    splits = [], []
    for bucket in range(found.num_buckets):
        table, held_out, _ = found.read(bucket)
        for text, held in zip(table["text"].to_pylist(), held_out, strict=True):
            splits[int(held)].append(text)
    assert list(found.train_texts()) == splits[0]
    return splits


def run(texts, folder, config=None, **more):
    return splits_of(mixed(texts, folder, config, **more))


TEXTS = [f"text number {i} é" for i in range(1000)]


def test_the_places_are_fixed_for_all_time():
    # Were these to change, documents would move between splits of stores that exist.
    assert split_and_order("hello", 0) == (15446725258110086819, 6432784594636420436)


def test_every_document_falls_into_one_split_at_the_rate_asked_for(tmp_path):
    train, validation = run(TEXTS, tmp_path)
    assert sorted(train + validation) == sorted(TEXTS)
    assert 70 <= len(validation) <= 130  # three standard deviations of a binomial


def test_a_split_is_ordered_by_the_second_hash(tmp_path):
    train, validation = run(TEXTS, tmp_path)
    limit = 0.1 * 2**64
    for split, held_out in ((train, False), (validation, True)):
        hashes = [split_and_order(text, 0) for text in TEXTS]
        expected = [(order, t) for (h, order), t in zip(hashes, TEXTS, strict=True)
                    if (h < limit) == held_out]  # fmt: skip
        assert split == [text for _, text in sorted(expected)]


def test_the_order_is_shuffled_and_independent_of_the_inputs_order(tmp_path):
    train, validation = run(TEXTS, tmp_path / "a")
    assert run(TEXTS[::-1], tmp_path / "b") == (train, validation)
    positions = [TEXTS.index(text) for text in train]
    rises = sum(a < b for a, b in itertools.pairwise(positions))
    assert 0.4 < rises / len(positions) < 0.6


def test_parts_and_buckets_change_nothing(tmp_path, monkeypatch):
    one = run(TEXTS, tmp_path / "a")
    monkeypatch.setattr("data_pipeline.mix.BUCKET_BYTES", 2000)
    monkeypatch.setattr("data_pipeline.mix._FILE_BYTES", 2000)
    found = mixed(TEXTS, tmp_path / "b", num_parts=7)
    assert found.num_buckets == 16
    assert len(list((tmp_path / "b").glob("*.arrow"))) > 7
    assert splits_of(found) == one


def test_more_documents_move_none_into_the_other_split(tmp_path):
    _, few = run(TEXTS[:500], tmp_path / "a")
    _, many = run(TEXTS, tmp_path / "b")
    assert set(few) == set(many) & set(TEXTS[:500])


def test_another_seed_holds_out_others(tmp_path):
    one = run(TEXTS, tmp_path / "a")[1]
    two = run(TEXTS, tmp_path / "b", MixConfig(validation_rate=0.1, seed=1))[1]
    assert len(set(one) & set(two)) < len(one) / 2


def test_a_few_documents_still_give_one_to_validate_on(tmp_path):
    train, validation = run(TEXTS[:2], tmp_path, MixConfig(validation_rate=1e-6))
    assert (len(train), len(validation)) == (1, 1)


def test_the_end_of_a_single_document_is_held_out(tmp_path):
    text = "".join(f"line {i}\n" for i in range(100))
    (train,), (validation,) = run([text], tmp_path, MixConfig(validation_rate=0.02))
    assert train + validation == text
    assert train.endswith("\n")
    assert 0.1 <= len(validation) / len(text) < 0.12


def test_a_single_document_whose_only_line_end_is_late_is_cut_there(tmp_path):
    (train,), (validation,) = run(["x" * 99 + "\nyz"], tmp_path)
    assert (train, validation) == ("x" * 99 + "\n", "yz")


def test_one_line_alone_cannot_be_split(tmp_path):
    with pytest.raises(UserError, match="one document of one line"):
        run(["one line\n"], tmp_path)


def test_a_part_that_was_placed_is_not_placed_again(tmp_path, monkeypatch):
    one = run(TEXTS, tmp_path, num_parts=3)
    monkeypatch.setattr(Part, "batches", None)
    assert run(TEXTS, tmp_path, num_parts=3) == one
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    assert run(TEXTS, moved, num_parts=3) == one


SOURCES = [f"{('a', 'b', 'c', 'd')[i % 4]}/{i}" for i in range(1000)]
WEIGHTED = MixConfig(
    validation_rate=0.1,
    weights=(
        SourceWeight(pattern="a/*", weight=2.5),
        SourceWeight(pattern="b/*", weight=0.25),
        SourceWeight(pattern="c/*", weight=0),
        SourceWeight(pattern="?/*", weight=1),
        SourceWeight(pattern="a/*", weight=50),  # comes too late
    ),
)


def weighted(folder, num_parts=1):
    """The splits that are left of TEXTS, and what was dropped for which reason."""
    judged = Weights(WEIGHTED).judge(batch_of(TEXTS, SOURCES))
    reasons = judged.verdicts.reason
    keep = [reason is None for reason in reasons]
    texts = [text for text, kept in zip(TEXTS, keep, strict=True) if kept]
    sources = [source for source, kept in zip(SOURCES, keep, strict=True) if kept]
    found = mixed(texts, folder, WEIGHTED, num_parts, sources)
    return found, collections.Counter(reasons), judged


def test_weights_repeat_and_drop_and_every_document_is_accounted_for(tmp_path):
    found, reasons, judged = weighted(tmp_path)
    train, validation = splits_of(found)
    source_of = dict(zip(TEXTS, SOURCES, strict=True))
    counts = collections.Counter(train)
    times = collections.defaultdict(list)
    for text, count in counts.items():
        times[source_of[text][0]].append(count)
    assert set(times["a"]) == {2, 3} and 0.35 < np.mean(np.array(times["a"]) == 3) < 0.65
    assert set(times["b"]) == {1} and set(times["d"]) == {1}
    assert set(collections.Counter(validation).values()) == {1}  # never more often
    assert not set(validation) & set(train)
    assert reasons["weight_0"] == 250
    assert 150 <= reasons["not_sampled"] <= 220  # three quarters of 250
    assert len(set(train + validation)) + reasons["weight_0"] + reasons["not_sampled"] == 1000
    scores = judged.verdicts.score
    assert set(scores[judged.verdicts.reason == "not_sampled"]) == {0.25}
    assert set(scores[judged.verdicts.reason == "weight_0"]) == {0}
    again = sum(int(found.read(i)[2].sum()) for i in range(found.num_buckets))
    assert again == len(train) - len(set(train))
    notes = dict(zip(TEXTS, judged.notes["copies"], strict=True))
    assert {t for t, n in notes.items() if n} == {t for t, count in counts.items() if count > 1}
    assert all(counts[text] == int(n) for text, n in notes.items() if n)


def test_copies_lie_apart_and_parts_change_nothing(tmp_path):
    train, validation = splits_of(weighted(tmp_path / "a")[0])
    assert splits_of(weighted(tmp_path / "b", num_parts=4)[0]) == (train, validation)
    neighbours = sum(a == b for a, b in itertools.pairwise(train))
    assert neighbours < 5


def test_weights_move_no_document_into_the_other_split(tmp_path):
    _, plain = run(TEXTS, tmp_path / "a", sources=SOURCES)
    _, some = splits_of(weighted(tmp_path / "b")[0])
    assert set(some) < set(plain)


def test_weights_go_through_the_config_surface():
    tree: Any = typed_config.to_config_dict(WEIGHTED)
    assert typed_config.from_config_dict(MixConfig, tree) == WEIGHTED
    saved = json.loads(typed_config.dump_json(WEIGHTED))
    assert typed_config.from_config_dict(MixConfig, saved) == WEIGHTED
    tree.weights = ({"pattern": "*/wiki/*", "weight": 2},)  # as the command line gives it
    found = typed_config.from_config_dict(MixConfig, tree)
    assert found.weights == (SourceWeight(pattern="*/wiki/*", weight=2.0),)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), 101.0])
def test_impossible_weights_are_refused(weight):
    with pytest.raises(ValueError, match=r"weight of '\*'"):
        SourceWeight(pattern="*", weight=weight)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1])
def test_impossible_rates_are_refused(rate):
    with pytest.raises(ValueError, match="validation_rate"):
        MixConfig(validation_rate=rate)
