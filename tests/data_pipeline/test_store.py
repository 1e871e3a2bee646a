"""What is stored is what was mixed, in its order, with every document accounted for."""

import hashlib
import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sentencepiece

from data_pipeline import store
from data_pipeline.document import SCHEMA, batch_of
from data_pipeline.encoder import Encoder
from data_pipeline.engine import Tasks
from data_pipeline.mix import MixConfig, SourceWeight, mix
from data_pipeline.parts import Layer, PartFile, StoredPart, rebatch
from data_pipeline.tokenize import TokenizerConfig, train_tokenizer
from nanojaxlm.errors import UserError
from nanojaxlm.token_store import TokenStore

CONFIG = MixConfig(
    validation_rate=0.1, weights=(SourceWeight(pattern="twice/*", weight=2.0),), seed=3
)


HERE = Tasks(0)


@pytest.fixture(scope="module")
def texts(make_prose):
    lossy = [make_prose(i, 4) + "\u2581" for i in range(400, 410)]
    return [*(make_prose(i, 4) for i in range(400)), *lossy]


@pytest.fixture(scope="module")
def encoder(texts):
    return Encoder(train_tokenizer(iter(texts[:60]), TokenizerConfig(vocab_size=500)))


def noted(batch, languages):
    """The documents with what a language stage would have noted of them."""
    other = {"stage": "pii", "what": "language", "value": "no"}
    records = [
        [other] if one is None else [{"stage": "language", "what": "language", "value": one}, other]
        for one in languages
    ]
    at = SCHEMA.get_field_index("record")
    field = SCHEMA.field("record")
    return batch.set_column(at, field, pa.array(records, field.type))


def mixed_of(texts, folder, num_parts=1):
    """Every fourth document is to be stored twice; languages en, de, none."""
    folder.mkdir(parents=True)
    sources = [f"{'once' if i % 4 else 'twice'}/{i}" for i in range(len(texts))]
    batch = noted(batch_of(texts, sources), [("en", "de", None)[i % 3] for i in range(len(texts))])
    layer, parts = Layer("read", folder, True), []
    for number in range(num_parts):
        rows = batch.take(pa.array(range(number, len(texts), num_parts)))
        name = f"part-{number:05d}"
        with PartFile(folder / f"{name}.parquet", SCHEMA) as file:
            for piece in rebatch([rows]):
                file.write(piece)
        parts.append(StoredPart(name, len(rows), (layer,)))
    return mix(parts, CONFIG, folder, Tasks(0))


def stored(texts, encoder, folder, num_parts=1, tasks=HERE):
    mixed = mixed_of(texts, folder / "mix", num_parts)
    output, work = folder / "out", folder / "work"
    work.mkdir()
    return output, store.write_store(
        mixed, encoder, output, work, tasks, sources=["here"], curation={"a": 1}
    )


@pytest.fixture
def small(monkeypatch):
    """Buckets and row groups so small that there are some."""
    monkeypatch.setattr("data_pipeline.mix.BUCKET_BYTES", 40_000)
    monkeypatch.setattr("data_pipeline.parts.BATCH_BYTES", 9_000)


def documents(output, split):
    paths = sorted((output / "documents" / split).iterdir())
    assert [path.name for path in paths] == [f"part-{i:05d}.parquet" for i in range(len(paths))]
    return pa.concat_tables([pq.read_table(path) for path in paths])


def digests(output):
    found = {}
    for path in sorted(output.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            if path.name == "manifest.json":
                data = json.dumps(json.loads(data) | {"created": None}).encode()
            found[str(path.relative_to(output))] = hashlib.sha256(data).hexdigest()
    return found


def test_documents_and_tokens_are_the_same_in_the_same_order(texts, encoder, tmp_path, small):
    output, result = stored(texts, encoder, tmp_path)
    opened = TokenStore.open(str(output / "store"))
    assert opened.tokenizer == (output / "tokenizer.model").read_bytes() == encoder.model
    assert (opened.manifest.sources, opened.manifest.curation) == (("here",), {"a": 1})
    processor = sentencepiece.SentencePieceProcessor(model_proto=encoder.model)
    for split in ("train", "validation"):
        table = documents(output, split)
        assert table.schema.equals(SCHEMA)
        tokens = opened.split(split)
        ids = tokens.read(0, tokens.num_tokens)
        ends = zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True)
        for text, (start, end) in zip(table["text"].to_pylist(), ends, strict=True):
            assert ids[start:end].tolist() == [1, *processor.encode(text), 2]
        counts = result["kept"][split]
        assert counts["documents"] == tokens.num_documents == len(table)
        assert counts["tokens"] == tokens.num_tokens
        assert counts["bytes"] == tokens.num_bytes
        assert counts["bytes"] == sum(len(text.encode()) for text in table["text"].to_pylist())
        assert counts["repeats"] == len(table) - len(set(table["id"].to_pylist()))
    assert result["kept"]["train"]["repeats"] > 50
    assert result["kept"]["validation"]["repeats"] == 0


def test_every_document_is_kept_or_dropped_once(texts, encoder, tmp_path, small):
    output, result = stored(texts, encoder, tmp_path)
    kept = {i for s in ("train", "validation") for i in documents(output, s)["id"].to_pylist()}
    accounts = store.dropped_accounts(tmp_path / "work").to_pylist()
    assert {a["id"] for a in accounts} | kept == set(batch_of(texts, [
        f"{'once' if i % 4 else 'twice'}/{i}" for i in range(len(texts))])["id"].to_pylist()
    )  # fmt: skip
    assert len(accounts) == 10 and len(kept) == len(texts) - 10
    assert {a["reason"] for a in accounts} == {"not_lossless"}
    by_id = {a["id"]: a["score"] for a in accounts}
    for example in result["examples"]["not_lossless"]:
        text = next(text for text in texts if text.startswith(example["excerpt"][:100]))
        assert by_id[example["id"]] == example["score"] == text.index("\u2581")
    tally = result["tally"]
    assert tally["documents_in"] == len(texts)  # though some are stored twice
    assert tally["documents_out"] == len(kept)
    assert tally["dropped"] == {"not_lossless": 10}
    counts = result["kept"].values()
    assert sum(c["documents"] - c["repeats"] for c in counts) == tally["documents_out"]


def test_languages_add_up_to_what_is_stored(texts, encoder, tmp_path, small):
    output, result = stored(texts, encoder, tmp_path)
    assert list(result["languages"]) == ["all", "de", "en"]
    for name in ("documents", "bytes", "tokens"):
        total = sum(sums[name] for sums in result["languages"].values())
        assert total == sum(counts[name] for counts in result["kept"].values())
    tables = [documents(output, split) for split in ("train", "validation")]
    english = [
        row["text"]
        for table in tables
        for row in table.to_pylist()
        if row["record"][0] == {"stage": "language", "what": "language", "value": "en"}
    ]
    assert result["languages"]["en"]["documents"] == len(english)
    assert result["languages"]["en"]["words"] == sum(len(text.split()) for text in english)
    assert result["languages"]["en"]["characters"] == sum(map(len, english))


def test_parts_change_no_byte(texts, encoder, tmp_path, small):
    one = stored(texts, encoder, tmp_path / "a")
    three = stored(texts, encoder, tmp_path / "b", num_parts=3)
    assert digests(three[0]) == digests(one[0])
    assert len(digests(one[0])) > 15
    for result in (one[1], three[1]):
        del result["tally"]["worker_seconds"]
    assert three[1] == one[1]


@pytest.mark.slow
def test_workers_change_no_byte(texts, encoder, tmp_path, monkeypatch):
    monkeypatch.setattr("data_pipeline.mix.BUCKET_BYTES", 40_000)
    one = stored(texts, encoder, tmp_path / "a")[0]
    with Tasks(2) as tasks:
        two = stored(texts, encoder, tmp_path / "b", num_parts=2, tasks=tasks)[0]
    assert digests(two) == digests(one)


def test_what_is_encoded_is_not_encoded_again(texts, encoder, tmp_path, small, monkeypatch):
    output, result = stored(texts, encoder, tmp_path / "a")
    before = digests(output)
    mixed, work = mixed_of(texts, tmp_path / "b"), tmp_path / "a" / "work"
    last = max(work.glob("bucket-*.json"))
    last.unlink()  # as if it had been killed before the last bucket was finished
    encoded = []
    encode = Encoder.encode

    def counting(self, texts):
        encoded.append(len(texts))
        return encode(self, texts)

    monkeypatch.setattr(Encoder, "encode", counting)
    again = store.write_store(
        mixed, encoder, output, work, Tasks(0), sources=["here"], curation={"a": 1}
    )
    assert 0 < sum(encoded) < len(texts) / 4
    assert digests(output) == before
    assert again["kept"] == result["kept"]


def test_row_groups_are_of_the_same_size_whatever_the_chunks(texts, encoder, tmp_path, small):
    output, _ = stored(texts, encoder, tmp_path)
    for path in (output / "documents" / "train").iterdir():
        about = pq.read_metadata(path)
        sizes = [
            sum(map(len, pq.ParquetFile(path).read_row_group(i)["text"].to_pylist()))
            for i in range(about.num_row_groups)
        ]
        assert all(size <= 9_000 for size in sizes)
        assert all(size > 7_000 for size in sizes[:-1])


def test_documents_alone(texts, tmp_path, small, monkeypatch):
    mixed = mixed_of(texts, tmp_path / "mix")
    output = tmp_path / "out"
    kept = store.write_documents(mixed, output, tmp_path / "mix", Tasks(0))
    assert sorted(path.name for path in output.iterdir()) == ["documents"]
    found = {split: documents(output, split) for split in kept}
    assert {i for table in found.values() for i in table["text"].to_pylist()} == set(texts)
    for split, counts in kept.items():
        assert counts["documents"] == len(found[split])
        assert counts["repeats"] == len(found[split]) - len(set(found[split]["id"].to_pylist()))
    before = digests(output)
    monkeypatch.setattr("data_pipeline.mix.Mixed.read", None)
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    assert store.write_documents(mixed, output, tmp_path / "mix", Tasks(0)) == kept
    assert digests(output) == before


def test_a_model_that_changes_texts_keeps_and_counts_them(texts, encoder, tmp_path, small):
    lenient = Encoder(encoder.model, require_lossless=False)
    _, result = stored(texts, lenient, tmp_path)
    assert result["tally"]["documents_out"] == len(texts)
    assert result["tally"]["notes"] == {"text": {"changed by the tokenizer": 10}}
    assert len(store.dropped_accounts(tmp_path / "work")) == 0


def test_a_split_that_loses_all_is_told(encoder, tmp_path):
    texts = ["\u2581 one", "\u2581 two", "\u2581 three"]
    with pytest.raises(UserError, match="no document is left for train; "):
        stored(texts, encoder, tmp_path)
    assert not (tmp_path / "out" / "store" / "manifest.json").exists()


def test_languages_of_a_slice():
    batch = noted(batch_of(list("abcd")), ["en", None, "de", "fr"])
    assert store.languages_of(batch) == ["en", "all", "de", "fr"]
    assert store.languages_of(batch.slice(1, 2)) == ["all", "de"]
    assert store.languages_of(batch_of(["a", "b"])) == ["all", "all"]
    assert np.array(store.languages_of(batch.slice(0, 0))).size == 0
