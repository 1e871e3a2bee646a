"""Masked tokens: rates, whole words, and what is never masked."""

import numpy as np
import pytest

from nanojaxlm.data.objectives import MaskedLM

BOS, EOS, MASK, SIZE = 1, 2, 1000, 1000


def masked(objective, rows, setting):
    """(what the encoder reads, selected: bool [B, T])."""
    batch = objective.batch(rows, setting(objective, rows.tokens_BS.shape[1]))
    np.testing.assert_array_equal(batch.targets.tokens_BT, rows.tokens_BS)
    np.testing.assert_array_equal(batch.encoder.segments_BT, rows.segments_BS)
    return batch.encoder.tokens_BT, batch.targets.weights_BT == 1


@pytest.mark.parametrize("mean", [1, 4, 100])
@pytest.mark.parametrize("whole_words", [False, True])
def test_inputs_and_targets_together_are_the_tokens(random_rows, setting, mean, whole_words):
    rows = random_rows(40, 60, mean=mean)
    for rate in (0.01, 0.15, 0.99):
        seen, selected = masked(MaskedLM(rate=rate, whole_words=whole_words), rows, setting)
        np.testing.assert_array_equal(np.where(selected, rows.tokens_BS, seen), rows.tokens_BS)
        assert not selected[np.isin(rows.tokens_BS, [BOS, EOS]) | (rows.segments_BS == 0)].any()


@pytest.mark.parametrize(("keep", "random"), [(0.1, 0.1), (0.0, 0.0), (0.0, 1.0), (0.3, 0.2)])
@pytest.mark.parametrize("whole_words", [False, True])
def test_rates_are_hit(random_rows, setting, keep, random, whole_words):
    rows = random_rows(300, 256, mean=80)
    objective = MaskedLM(rate=0.15, keep=keep, random=random, whole_words=whole_words)
    seen, selected = masked(objective, rows, setting)
    candidates = ~np.isin(rows.tokens_BS, [BOS, EOS]) & (rows.segments_BS > 0)
    assert selected.sum() / candidates.sum() == pytest.approx(0.15, abs=0.006)
    is_mask, same = seen[selected] == MASK, (seen == rows.tokens_BS)[selected]
    assert is_mask.mean() == pytest.approx(1 - keep - random, abs=0.012)
    assert same.mean() == pytest.approx(keep, abs=0.012)
    others = seen[selected][~is_mask & ~same]
    if random:
        assert others.min() < 30 and others.max() > SIZE - 30  # of the whole vocabulary
        assert not np.isin(others, [BOS, EOS]).any() and others.max() < SIZE
        assert np.bincount(others, minlength=SIZE).max() < 8 * len(others) / SIZE + 8
    else:
        assert not len(others)


def test_words_are_masked_as_a_whole(random_rows, setting):
    """A word: from a token that begins one up to the next, within its document."""
    rows = random_rows(60, 200, mean=30)
    objective = MaskedLM(rate=0.3, whole_words=True)
    _, selected = masked(objective, rows, setting)
    begins = setting(objective, 200).vocabulary.begins_word_V
    words, partial = 0, 0
    for tokens, segments, chosen in zip(rows.tokens_BS, rows.segments_BS, selected, strict=True):
        word: list[bool] = []
        for t in range(200):
            special = tokens[t] in (BOS, EOS) or not segments[t]
            new = t == 0 or segments[t] != segments[t - 1] or special or begins[tokens[t]]
            if new or tokens[t - 1] in (BOS, EOS):
                words, partial = words + bool(word), partial + (0 < sum(word) < len(word))
                word = []
            if not special:
                word.append(bool(chosen[t]))
    assert words and not partial


def test_words_of_two_documents_are_masked_apart(rows_of, setting):
    """Even where no token begins a word, as for two pieces without BOS and EOS."""
    begins = setting(MaskedLM(), 8).vocabulary.begins_word_V
    token = int(np.flatnonzero(~begins)[-1])
    rows = rows_of(np.full((400, 8), token), np.tile([1] * 4 + [2] * 4, (400, 1)))
    _, selected = masked(MaskedLM(rate=0.5, whole_words=True), rows, setting)
    first, second = selected[:, :4], selected[:, 4:]
    assert (first == first[:, :1]).all() and (second == second[:, :1]).all()
    assert (first[:, 0] != second[:, 0]).mean() == pytest.approx(0.5, abs=0.1)


def test_the_mask_may_be_an_id_of_the_vocabulary(random_rows, setting):
    objective = MaskedLM(mask_id=4, keep=0.0, random=0.0)
    assert objective.extra_tokens == () and MaskedLM().extra_tokens == ("<mask>",)
    rows = random_rows(20, 60, mean=30)
    seen, selected = masked(objective, rows, setting)
    assert (seen[selected] == 4).all()


def test_a_mask_does_not_depend_on_the_mask_beside_it(random_rows, setting):
    rows = random_rows(400, 128, mean=1000)
    _, selected = masked(MaskedLM(rate=0.3), rows, setting)
    candidates = ~np.isin(rows.tokens_BS, [BOS, EOS]) & (rows.segments_BS > 0)
    beside = candidates[:, 1:] & candidates[:, :-1]
    both = (selected[:, 1:] & selected[:, :-1])[beside].mean()
    assert both == pytest.approx(0.3**2, rel=0.05)
    below = candidates[1:] & candidates[:-1]
    both = (selected[1:] & selected[:-1])[below].mean()
    assert both == pytest.approx(0.3**2, rel=0.05)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"rate": 0.0}, "rate must be between 0 and 1"),
        ({"rate": 1.0}, "rate must be between 0 and 1"),
        ({"keep": -0.1}, "keep=-0.1"),
        ({"keep": 0.6, "random": 0.6}, "sum to at most 1"),
        ({"random": float("nan")}, "random=nan"),
        ({"mask_id": -1}, "mask_id must be >= 0"),
    ],
)
def test_impossible_numbers_are_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        MaskedLM(**fields)
