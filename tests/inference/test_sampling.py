"""What the cuts keep, against numpy; and that draws follow what is kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nanojaxlm.inference.sampling import Sampling, choose, cut


def softmax(logits):
    p = np.exp(logits - logits.max())
    return p / p.sum()


def kept(logits, temperature, top_k, top_p, min_p):
    """The token ids that the definitions keep, one token at a time."""
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    order = order[: top_k or len(order)]

    def probabilities():
        p = softmax(np.array([logits[i] for i in order], np.float64) / temperature)
        return dict(zip(order, p, strict=True))

    if top_p is not None:
        p, total, few = probabilities(), 0.0, []
        for i in order:
            few.append(i)
            total += p[i]
            if total >= top_p:
                break
        order = few
    if min_p is not None:
        p = probabilities()
        order = [i for i in order if p[i] >= min_p * max(p.values())]
    return set(order)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
@pytest.mark.parametrize("top_k", [None, 1, 7, 100])
@pytest.mark.parametrize("top_p", [None, 0.05, 0.61, 1.0])
@pytest.mark.parametrize("min_p", [None, 0.2, 1.0])
def test_the_cuts_keep_what_their_definitions_say(temperature, top_k, top_p, min_p):
    logits = np.random.default_rng(0).normal(0, 2, (5, 40)).astype(np.float32)
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    cut_logits = np.asarray(cut(jnp.asarray(logits), sampling))
    for before, after in zip(logits, cut_logits, strict=True):
        want = kept(before, temperature, top_k, top_p, min_p)
        assert set(np.flatnonzero(np.isfinite(after))) == want
        ids = sorted(want)
        np.testing.assert_allclose(after[ids], before[ids] / np.float32(temperature), rtol=1e-6)


def test_of_equal_tokens_top_k_keeps_no_more_than_k():
    logits = jnp.asarray([[0.0, 1.0, 1.0, 1.0, 0.0]])
    after = np.asarray(cut(logits, Sampling(top_k=2)))
    assert np.flatnonzero(np.isfinite(after[0])).tolist() == [1, 2]


def test_temperature_0_is_the_argmax_whatever_the_cuts_and_the_key():
    logits = jnp.asarray(np.random.default_rng(1).normal(size=(6, 30)).astype(np.float32))
    for seed in range(3):
        for sampling in (Sampling(temperature=0), Sampling(temperature=0, top_k=5, top_p=0.9)):
            tokens = choose(logits, sampling, jax.random.key(seed))
            assert tokens.dtype == jnp.int32
            assert tokens.tolist() == np.asarray(logits).argmax(axis=1).tolist()


@pytest.mark.parametrize(
    "sampling",
    [Sampling(), Sampling(temperature=0.6, top_k=6), Sampling(temperature=1.3, top_p=0.8)],
)
def test_draws_follow_the_cut_softmax(sampling):
    logits = np.random.default_rng(2).normal(0, 1, 10).astype(np.float32)
    ids = sorted(kept(logits, sampling.temperature, sampling.top_k, sampling.top_p, None))
    num_draws = 20_000
    draws = choose(jnp.tile(jnp.asarray(logits)[None], (num_draws, 1)), sampling, jax.random.key(3))
    counts = np.bincount(np.asarray(draws), minlength=10)
    assert counts.sum() == counts[ids].sum() == num_draws
    want = softmax(logits[ids].astype(np.float64) / sampling.temperature) * num_draws
    chi_square = float(((counts[ids] - want) ** 2 / want).sum())
    freedom = len(ids) - 1
    assert chi_square < freedom + 5 * np.sqrt(2 * freedom)  # 5 standard deviations


def test_rows_are_drawn_independently_and_a_key_gives_the_same_draws():
    logits = jnp.zeros((64, 1000))
    first = np.asarray(choose(logits, Sampling(), jax.random.key(0)))
    assert len(set(first.tolist())) > 50
    assert (first == np.asarray(choose(logits, Sampling(), jax.random.key(0)))).all()
    assert (first != np.asarray(choose(logits, Sampling(), jax.random.key(1)))).any()


@pytest.mark.parametrize(
    ("field", "value"),
    [("temperature", -0.1), ("top_k", 0), ("top_p", 0.0), ("top_p", 1.1), ("min_p", -1.0)],
)
def test_impossible_numbers_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        Sampling(**{field: value})
