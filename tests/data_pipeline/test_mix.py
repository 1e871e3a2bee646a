"""The split and the order depend on the text and the seed alone."""

import itertools
from collections import Counter
from dataclasses import dataclass

import pyarrow as pa
import pytest

from data_pipeline.document import batch_of
from data_pipeline.engine import Tasks
from data_pipeline.mix import MixConfig, SourceWeight, Weights, mix, split_and_order
from nanojaxlm.errors import UserError


@dataclass(frozen=True)
class InMemory:
    name: str
    batch: pa.RecordBatch

    @property
    def num_documents(self):
        return len(self.batch)

    def batches(self):
        for start in range(0, len(self.batch), 60):
            yield self.batch.slice(start, 60)


def run(texts, folder, config=None, num_parts=1, sources=None):
    """(texts to train on, texts held out), in their order."""
    folder.mkdir(exist_ok=True)
    batch = batch_of(texts, sources, ids=[f"{i:05d}" for i in range(len(texts))])
    size = -(-len(batch) // num_parts)
    parts = [InMemory(f"p{i}", batch.slice(i * size, size)) for i in range(num_parts)]
    mixed = mix(parts, config or MixConfig(validation_rate=0.1), folder, Tasks(0))
    train, validation = [], []
    for bucket in range(mixed.buckets.num_buckets):
        table, held_out = mixed.read(bucket)
        for text, held in zip(table["text"].to_pylist(), held_out, strict=True):
            (validation if held else train).append(text)
    assert list(mixed.train_texts()) == train
    return train, validation


TEXTS = [f"text number {i} é" for i in range(1000)]


def test_the_places_are_fixed_for_all_time():
    # Were these to change, documents would move between splits of stores that exist.
    assert split_and_order("hello", 0) == (15446725258110086819, 6432784594636420436)


def test_every_document_falls_into_one_split_at_the_rate_asked_for(tmp_path):
    train, validation = run(TEXTS, tmp_path)
    assert sorted(train + validation) == sorted(TEXTS)
    assert 70 <= len(validation) <= 130  # three standard deviations of a binomial


def test_the_order_is_shuffled_and_independent_of_the_inputs_order(tmp_path):
    train, validation = run(TEXTS, tmp_path / "a")
    assert run(TEXTS[::-1], tmp_path / "b") == (train, validation)
    positions = [TEXTS.index(text) for text in train]
    rises = sum(a < b for a, b in itertools.pairwise(positions))
    assert 0.4 < rises / len(positions) < 0.6


def test_the_parts_and_the_buckets_change_nothing(tmp_path, monkeypatch):
    whole = run(TEXTS, tmp_path / "a")
    monkeypatch.setattr("data_pipeline.mix.BUCKET_BYTES", 2000)
    monkeypatch.setattr("data_pipeline.mix._FILE_BYTES", 500)
    assert run(TEXTS, tmp_path / "b", num_parts=7) == whole
    assert len(list((tmp_path / "b").glob("*.parquet"))) > 14


def test_weights_repeat_leave_out_and_sample_the_documents_of_a_source(tmp_path):
    sources = [f"/{'abcd'[i % 4]}/{i}" for i in range(1000)]
    weights = [("/a/*", 2.5), ("/b/*", 0.0), ("/c/*", 0.25)]
    config = MixConfig(
        validation_rate=0.1,
        weights=tuple(SourceWeight(pattern=p, weight=w) for p, w in weights),
    )
    judged = Weights(config).judge(batch_of(TEXTS, sources))
    dropped = Counter(zip([s[1] for s in sources], judged.verdicts.reason, strict=True))
    assert dropped["b", "weight_0"] == 250 and dropped["a", None] == dropped["d", None] == 250
    assert 40 < dropped["c", None] < 85 and dropped["c", None] + dropped["c", "not_sampled"] == 250
    left = [i for i, reason in enumerate(judged.verdicts.reason) if reason is None]
    texts = [TEXTS[i] for i in left]
    train, validation = run(texts, tmp_path, config, sources=[sources[i] for i in left])
    copies = Counter(train)
    assert set(train) | set(validation) == set(texts) and not set(train) & set(validation)
    assert max(Counter(validation).values()) == 1
    of_a = [copies[TEXTS[i]] for i in left if i % 4 == 0 and TEXTS[i] in copies]
    assert set(of_a) == {2, 3} and 2.3 < sum(of_a) / len(of_a) < 2.7
    assert all(copies[TEXTS[i]] == 1 for i in left if i % 4 > 1 and TEXTS[i] in copies)
    apart = [b - a for a, b in itertools.pairwise(i for i, t in enumerate(train) if t == train[0])]
    assert all(distance > 1 for distance in apart)  # copies are shuffled too


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
