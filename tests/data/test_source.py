"""Packing: every token once, every document apart, seen by an oracle that walks the documents."""

import numpy as np
import pytest

from nanojaxlm.data.characters import character_store
from nanojaxlm.data.input import DataConfig
from nanojaxlm.data.objectives.fragments import next_token_batch
from nanojaxlm.data.schedule import BatchSizes
from nanojaxlm.data.source import BatchSource, RowSource
from nanojaxlm.data.stores import open_stores
from nanojaxlm.errors import UserError
from nanojaxlm.token_store import TokenStore

LENGTHS = [2, 30, 3, 2, 2, 17, 8, 64, 9, 2, 41]


def oracle_rows(
    documents: list[np.ndarray], length: int, ahead: int = 1
) -> list[list[tuple[int, int]]]:
    """Rows of (token, document) pairs, the last one short; no arithmetic on arrays."""
    stream = [(int(token), i) for i, document in enumerate(documents) for token in document]
    rows = []
    while len(stream) > min(ahead, 1):
        rows.append(stream[: length + ahead])
        stream = stream[length:]
    return rows


@pytest.mark.parametrize("length", [1, 2, 7, 16, 179, 180, 1000])
@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_rows_are_the_stream_cut_with_an_overlap(make_store, length, ahead):
    known = make_store("s", train=LENGTHS)
    source = RowSource(known.store.split("train"), length, ahead)
    wanted = oracle_rows(known.documents["train"], length, ahead)
    assert len(source) == len(wanted)
    tokens, segments = source.read(np.arange(len(source)))
    for i, row in enumerate(wanted):
        assert tokens[i, : len(row)].tolist() == [token for token, _ in row]
        assert segments[i, : len(row)].tolist() == [1 + doc - row[0][1] for _, doc in row]
        assert not tokens[i, len(row) :].any()
        assert not segments[i, len(row) :].any()
        for one, other in zip(source[i], (tokens[i], segments[i]), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("length", [1, 7, 64])
def test_every_token_is_a_target_once_an_epoch_and_counts_unless_it_begins_a_document(
    make_store, length
):
    known = make_store("s", train=LENGTHS)
    source = RowSource(known.store.split("train"), length)
    batch = next_token_batch(*source.read(np.arange(len(source))))
    stream = np.concatenate(known.documents["train"])
    targets = np.asarray(batch.targets.tokens_BT).reshape(-1)
    assert (targets[: len(stream) - 1] == stream[1:]).all()
    assert not targets[len(stream) - 1 :].any()
    counted = targets[np.asarray(batch.targets.weights_BT).reshape(-1) == 1]
    np.testing.assert_array_equal(
        counted, np.concatenate([document[1:] for document in known.documents["train"]])
    )


def test_a_packed_document_reads_like_one_alone(make_store):
    """Its tokens, positions, targets and weights, within its segment, are those unpacked."""
    known = make_store("s", train=LENGTHS)
    packed = next_token_batch(*RowSource(known.store.split("train"), 500).read(np.array([0])))
    for i, document in enumerate(known.documents["train"]):
        alone = next_token_batch(document[None], np.ones((1, len(document)), np.int32))
        here = packed.decoder.segments_BT[0] == i + 1
        inside = np.flatnonzero(here)[:-1]  # its last token has no target of its own
        for name in ("tokens_BT", "positions_BT"):
            np.testing.assert_array_equal(
                getattr(packed.decoder, name)[0, inside], getattr(alone.decoder, name)[0]
            )
        np.testing.assert_array_equal(
            packed.targets.tokens_BT[0, inside], alone.targets.tokens_BT[0]
        )
        np.testing.assert_array_equal(
            packed.targets.weights_BT[0, inside], alone.targets.weights_BT[0]
        )


@pytest.mark.parametrize("lengths", [[], [2], [2, 2]])
def test_a_split_of_few_or_no_tokens_has_as_few_rows(make_store, lengths):
    source = RowSource(make_store("s", train=lengths).store.split("train"), 3)
    assert len(source) == {0: 0, 2: 1, 4: 1}[sum(lengths)]


def test_without_a_schedule_all_rows_come_in_order_and_then_padding(make_store):
    stores = [make_store(name, train=LENGTHS[:n]).store for name, n in (("a", 4), ("bb", 9))]
    sources = [RowSource(store.split("train"), 8) for store in stores]
    batches = BatchSource([sources], None, BatchSizes(final=4), {4: np.arange(4)})
    rows = [source[i] for source in sources for i in range(len(source))]
    assert len(batches) == -(-len(rows) // 4)
    got = [
        np.concatenate(part)
        for part in zip(*(batches[i] for i in range(len(batches))), strict=True)
    ]
    for i, (tokens, segments, place) in enumerate(zip(*got, strict=True)):
        assert place == i
        wanted = rows[i] if i < len(rows) else (np.zeros(9), np.zeros(9))
        np.testing.assert_array_equal(tokens, wanted[0])
        np.testing.assert_array_equal(segments, wanted[1])


def test_stores_must_exist_and_share_a_tokenizer(make_store, tmp_path):
    make_store("one", train=[5])
    (tmp_path / "text").write_text("some text")
    other = character_store(str(tmp_path / "text"), str(tmp_path / "two"), 0.5)
    with pytest.raises(UserError, match="was packed with tokenizer"):
        open_stores(DataConfig(stores=(str(tmp_path / "one"), other)), tmp_path)
    with pytest.raises(UserError, match="was packed with tokenizer"):
        TokenStore.open(str(tmp_path / "one"), tokenizer=TokenStore.open(other).tokenizer)
