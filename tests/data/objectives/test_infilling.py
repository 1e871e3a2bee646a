"""Infilling: the parts of a document in another order, put back by an oracle."""

import numpy as np
import pytest

from nanojaxlm.data.objectives import CausalLM, FillInTheMiddle

BOS, EOS, PREFIX, SUFFIX, MIDDLE = 1, 2, 1000, 1001, 1002


def put_back(tokens: list[int]) -> tuple[list[int], str]:
    """(the document, "PSM", "SPM" or "" where it was left), EOS at the end of a moved one."""
    if PREFIX not in tokens:
        return tokens, ""
    assert [tokens.count(i) for i in (PREFIX, SUFFIX, MIDDLE)] == [1, 1, 1]
    assert tokens[-1] == EOS
    first, second, third = (tokens.index(i) for i in (PREFIX, SUFFIX, MIDDLE))
    assert first < second < third
    bos, prefix = tokens[:first], tokens[first + 1 : second]
    suffix, middle = tokens[second + 1 : third], tokens[third + 1 : -1]
    assert bos in ([], [BOS])
    return [*bos, *prefix, *middle, *suffix, EOS], "PSM" if prefix else "SPM"


def check(objective, rows, now):
    """All documents of all rows, restored; (how each was moved, where its suffix would begin)."""
    batch = objective.batch(rows, now)
    kinds = []
    for row in range(len(rows.tokens_BS)):
        # The last target closes the row: the stream holds all tokens but that one.
        streams = batch.decoder.tokens_BT[row], batch.decoder.segments_BT[row]
        segments = rows.segments_BS[row]
        for segment in dict.fromkeys(segments[segments > 0].tolist()):
            here = streams[1] == segment
            tokens = streams[0][here].tolist()
            counted = here & (batch.targets.weights_BT[row] == 1)
            wanted = batch.targets.tokens_BT[row][counted].tolist()
            if tokens and len(wanted) == len(tokens):  # the row ends with this document
                tokens = [*tokens, wanted[-1]]
            assert wanted == tokens[1:], "loss over all"
            document = rows.tokens_BS[row][segments == segment].tolist()
            if not tokens:  # a single token, the row's last, which the next row begins with
                assert segment == segments.max() and len(document) == 1
                continue
            restored, kind = put_back(tokens)
            if kind and document[-1] != EOS:
                restored = restored[:-1]
            if kind == "SPM":  # an empty prefix is the same either way
                tail = tokens[tokens.index(MIDDLE) + 1 : -1]
                suffix = tokens[tokens.index(SUFFIX) + 1 : tokens.index(MIDDLE)]
                bos = [BOS] if document[0] == BOS else []
                restored = [*bos, *tail, *suffix, *([EOS] if document[-1] == EOS else [])]
            assert restored == document
            kinds.append(kind)
    return kinds


@pytest.mark.parametrize("mean", [1, 2, 8, 300])
@pytest.mark.parametrize("length", [5, 16, 64, 300])
@pytest.mark.parametrize("spm_rate", [0.0, 0.5, 1.0])
def test_parts_in_their_old_order_are_the_document(random_rows, setting, mean, length, spm_rate):
    objective = FillInTheMiddle(rate=1.0, spm_rate=spm_rate)
    sizes = objective.lengths(length)
    rows = random_rows(15, sizes.row + 1, mean=mean)
    kinds = check(objective, rows, setting(objective, length))
    assert any(kinds) == (rows.tokens_BS > EOS).any()


def test_rates_are_hit(random_rows, setting):
    objective = FillInTheMiddle(rate=0.6, spm_rate=0.25)
    rows = random_rows(800, objective.lengths(256).row + 1, mean=2000)
    kinds = check(objective, rows, setting(objective, 256))
    moved = [kind for kind in kinds if kind]
    assert len(moved) / len(kinds) == pytest.approx(0.6, abs=0.05)
    assert moved.count("SPM") / len(moved) == pytest.approx(0.25, abs=0.05)


def test_cuts_are_uniform(rows_of, setting):
    objective = FillInTheMiddle(rate=1.0, spm_rate=0.0)
    width = objective.lengths(20).row + 1
    tokens = np.tile(np.arange(3, 3 + width), (4000, 1))
    batch = objective.batch(rows_of(tokens, np.ones_like(tokens)), setting(objective, 20))
    whole = np.concatenate([batch.decoder.tokens_BT, batch.targets.tokens_BT[:, -1:]], axis=1)
    places = [np.argmax(whole == i, axis=1) for i in (PREFIX, SUFFIX, MIDDLE)]
    prefix, suffix = places[1] - places[0] - 1, places[2] - places[1] - 1
    cuts = [sorted((i, j)) for i in range(width + 1) for j in range(width + 1)]
    wanted = np.mean(cuts, axis=0)
    assert prefix.mean() == pytest.approx(wanted[0], rel=0.05)
    assert (width - suffix).mean() == pytest.approx(wanted[1], rel=0.05)
    for part in (prefix, suffix):
        assert part.min() == 0 and part.max() == width


def test_without_room_documents_stay_as_they_are(rows_of, setting):
    objective = FillInTheMiddle(rate=1.0)
    width = objective.lengths(64).row + 1
    tokens = np.full((400, width), 7)
    segments = np.tile(np.repeat(np.arange(1, width), 2)[:width], (400, 1))
    now = setting(objective, 64)
    batch = objective.batch(rows_of(tokens, segments), now)
    moved = batch.decoder.tokens_BT == PREFIX
    assert (moved.sum(axis=1) == 1).all()
    assert np.ptp(np.bincount(batch.decoder.segments_BT[moved], minlength=31)[1:31]) < 40
    check(objective, rows_of(tokens[:3], segments[:3]), now)


def test_what_is_not_moved_is_causal(random_rows, setting):
    objective = FillInTheMiddle(rate=1e-9)
    sizes = objective.lengths(64)
    rows = random_rows(10, sizes.row + 1, mean=20)
    here = objective.batch(rows, setting(objective, 64))
    there = CausalLM().batch(rows, setting(CausalLM(), sizes.row))
    for one, other in zip(here.targets, there.targets, strict=True):
        np.testing.assert_array_equal(one[:, : sizes.row], other)


def test_sentinels_may_be_ids_of_the_vocabulary(random_rows, setting):
    objective = FillInTheMiddle(rate=1.0, prefix_id=5, suffix_id=6, middle_id=7)
    assert objective.extra_tokens == ()
    rows = random_rows(5, objective.lengths(64).row + 1, mean=100)
    batch = objective.batch(rows, setting(objective, 64))
    assert (batch.decoder.tokens_BT < 1000).all()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"rate": 0.0}, "rate must be above 0"),
        ({"rate": 1.5}, "rate must be above 0"),
        ({"spm_rate": -0.1}, "spm_rate"),
        ({"prefix_id": 5}, "must be three ids"),
        ({"prefix_id": 5, "suffix_id": 5, "middle_id": 6}, "must be three ids"),
        ({"prefix_id": -1, "suffix_id": 5, "middle_id": 6}, "must be three ids"),
    ],
)
def test_impossible_numbers_are_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        FillInTheMiddle(**fields)


def test_a_row_without_room_for_the_sentinels_is_refused():
    with pytest.raises(ValueError, match="sequence_length=4 has no room"):
        FillInTheMiddle().lengths(4)
