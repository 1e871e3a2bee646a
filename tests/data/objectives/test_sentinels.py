"""Ids and sizes of the objectives with sentinels, and the numbers that they refuse."""

import numpy as np
import pytest

from nanojaxlm.data.objectives import Denoiser, MixtureOfDenoisers, SpanCorruption


def test_sentinels_follow_the_tokenizer_or_are_those_of_a_vocabulary(setting):
    own = SpanCorruption(num_sentinels=3)
    assert own.extra_tokens == ("<extra_id_0>", "<extra_id_1>", "<extra_id_2>")
    np.testing.assert_array_equal(own.sentinel_ids(setting(own, 8)), [1000, 1001, 1002])
    t5 = SpanCorruption(num_sentinels=3, first_sentinel=32099, sentinel_step=-1)
    assert t5.extra_tokens == ()
    np.testing.assert_array_equal(t5.sentinel_ids(setting(t5, 8)), [32099, 32098, 32097])


def test_modes_follow_the_sentinels():
    assert MixtureOfDenoisers(num_sentinels=2).extra_tokens == (
        "<extra_id_0>", "<extra_id_1>", "<R>", "<S>", "<X>",
    )  # fmt: skip
    assert MixtureOfDenoisers(mode_ids=tuple(range(7)), first_sentinel=50).extra_tokens == ()


def test_sizes_are_those_of_t5():
    """512 tokens, 15 % noise, spans of 3: 77 tokens, 26 spans and EOS, then room for roundings."""
    sizes = SpanCorruption().lengths(512)
    assert (sizes.row, sizes.ahead, sizes.encoder) == (512, 0, 512)
    assert sizes.decoder is not None and 77 + 26 + 1 <= sizes.decoder <= 128
    assert sizes.decoder % 8 == 0
    assert SpanCorruption(decoder_length=150).lengths(512).decoder == 150
    assert SpanCorruption(layout="prefix").lengths(512).decoder == 512


@pytest.mark.parametrize("cls", [SpanCorruption, MixtureOfDenoisers])
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"layout": "both"}, "layout must be one of encoder, prefix"),
        ({"num_sentinels": 0}, "num_sentinels must be >= 1"),
        ({"sentinel_step": -1}, "sentinel_step"),
        ({"first_sentinel": 9, "sentinel_step": 0}, "sentinel_step"),
        ({"first_sentinel": 9, "sentinel_step": -1}, "below id 0; lower num_sentinels"),
        ({"first_sentinel": -1}, "below id 0"),
        ({"layout": "prefix", "decoder_length": 100}, "decoder_length=100"),
    ],
)
def test_impossible_sentinels_are_refused(cls, fields, words):
    with pytest.raises(ValueError, match=words):
        cls(**fields)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"density": 0.0}, "density must be between 0 and 1"),
        ({"density": 1.0}, "density must be between 0 and 1"),
        ({"density": float("nan")}, "density"),
        ({"mean_length": 0.5}, "mean_length must be >= 1"),
        ({"mean_length": float("inf")}, "mean_length"),
    ],
)
def test_impossible_noise_is_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        SpanCorruption(**fields)
    with pytest.raises(ValueError, match=words):
        Denoiser(**{"density": 0.5, "mean_length": 3.0, **fields})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"denoisers": ()}, "denoisers is empty"),
        ({"weights": (1.0,)}, "weights must be one for each of the 7"),
        ({"weights": (0.0,) * 7}, "weights must be above 0"),
        ({"mode_ids": (1, 2)}, "mode_ids must be one for each of the 7"),
        ({"mode_ids": (-1,) * 7}, "mode_ids must be >= 0"),
        (
            {"denoisers": (Denoiser(density=0.5, mean_length=3),), "mode_ids": (5,)},
            "name its mode",
        ),
    ],
)
def test_impossible_mixtures_of_denoisers_are_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        MixtureOfDenoisers(**fields)


def test_sizes_that_cannot_be_served_are_refused():
    with pytest.raises(ValueError, match="num_sentinels=10 are too few for the 26 spans"):
        SpanCorruption(num_sentinels=10).lengths(512)
    with pytest.raises(ValueError, match="decoder_length=50 is below the 104"):
        SpanCorruption(decoder_length=50).lengths(512)
    with pytest.raises(ValueError, match="sequence_length=3 has no room"):
        SpanCorruption(layout="prefix").lengths(3)
