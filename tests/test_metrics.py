"""Figures against sums done by hand, and a model's FLOPs against those XLA counts."""

import math

import jax
import jax.numpy as jnp
import pytest

from nanojaxlm import metrics
from nanojaxlm.batch import Stream
from nanojaxlm.metrics import Speedometer, bits_per_byte, train_flops_per_row
from nanojaxlm.model.config import FeedForwardConfig, HeadTransformConfig, MixtureConfig
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.state import num_parameters, parameter_boxes


def test_a_uniform_guess_over_256_bytes_costs_eight_bits_a_byte():
    assert bits_per_byte(1000 * math.log(256), 1000) == pytest.approx(8)


def test_bits_per_byte_divides_by_bytes_not_tokens():
    """10 tokens at 2 nats that stand for 40 bytes."""
    assert bits_per_byte(10 * 2.0, 40) == pytest.approx(0.5 / math.log(2))


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(metrics.time, "perf_counter", lambda: now[0])
    return now


def test_speed_and_mfu_are_of_the_time_since_the_last_reading(clock: list[float]):
    speed = Speedometer(flops_per_token=50.0, peak_flops_per_second=1e4, _since=clock[0])
    clock[0] += 4.0
    speed.add(300)
    speed.add(100)
    assert speed.read() == {"tokens_per_second": 100.0, "mfu": pytest.approx(0.5)}
    clock[0] += 1.0
    speed.add(10)
    assert speed.read()["tokens_per_second"] == pytest.approx(10.0)


def test_restart_forgets_what_was_no_training(clock: list[float]):
    speed = Speedometer(50.0, None, _since=clock[0])
    speed.add(1000)
    clock[0] += 60.0
    speed.restart()
    assert speed.read() == {}
    speed.add(20)
    clock[0] += 2.0
    assert speed.read() == {"tokens_per_second": pytest.approx(10.0)}  # no peak, no mfu


# --- Sizes and FLOPs of models

GPT2 = {
    "d_model": 768, "num_layers": 12, "num_heads": 12, "num_kv_heads": 12, "head_dim": 64,
    "hidden": 3072, "gated": False, "activation": "gelu", "vocab_size": 50257,
}  # fmt: skip


def test_a_model_of_gpt2s_shape_has_its_known_size_and_flops(tiny_config):
    """GPT-2 small: 12 layers of 4 * 768² + 2 * 768 * 3072 parameters, 50257 * 768 tied; 6 a token
    and parameter, and 12 * 12 * 768 * 1024 a token for attention."""
    config = tiny_config(**GPT2)
    products = 84_934_656 + 38_597_376
    norms = 25 * 768
    assert num_parameters(parameter_boxes(Transformer(config))) == products + norms
    flops = train_flops_per_row(config, decoder_length=1024)
    assert flops == 1024 * (6 * products + 12 * 12 * 768 * 1024)


# d 16, 4 heads of 8, 2 of them for keys and values, feed-forward 20, 2 layers, 50 tokens
ATTENTION = 16 * 8 * (2 * 4 + 2 * 2)
LAYER = ATTENTION + 3 * 16 * 20


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({}, 50 * 16 + 2 * (LAYER + 2 * 16) + 16),
        ({"kind": "encoder"}, 50 * 16 + 2 * (LAYER + 2 * 16) + 16),
        (
            {"kind": "encoder_decoder", "share_embeddings": False, "tie_embeddings": False},
            3 * 50 * 16 + 4 * LAYER + 2 * ATTENTION + (4 + 6 + 2) * 16,
        ),
        (
            {"qk_norm": "head", "kv_shift": True, "scan": False},
            50 * 16 + 2 * (LAYER + 2 * 16 + 2 * 8 + 2 * 2) + 16,
        ),
        (
            {"qk_norm": "width", "qkv_bias": True, "out_bias": True, "bias": True},
            50 * 16 + 2 * (LAYER + 2 * 16 + 6 * 8 + 8 * 8 + 16 + 20 + 20 + 16) + 16,
        ),
        ({"num_future": 2}, 50 * 16 + 4 * (LAYER + 2 * 16) + 3 * 16),
    ],
    ids=["decoder", "encoder", "both, untied", "head norms", "biases", "two heads ahead"],
)
def test_parameters_number_what_the_closed_form_says(tiny_config, overrides, expected: int):
    assert num_parameters(parameter_boxes(Transformer(tiny_config(**overrides)))) == expected


@pytest.mark.parametrize("kind", ["decoder", "encoder", "encoder_decoder"])
def test_flops_of_a_row_are_those_of_the_compiled_forward_pass(tiny_config, kind: str):
    """Three forward passes; XLA's own count of one, which has the elementwise work in it too, is up
    to 12% above. XLA counts a scan's body once, hence unrolled. Lengths differ."""
    config = tiny_config(
        kind=kind, d_model=128, num_heads=8, num_kv_heads=4, head_dim=16, hidden=512, gated=False,
        activation="relu_squared", scan=False, head_transform=HeadTransformConfig(),
    )  # fmt: skip
    model = Transformer(config)
    params = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), parameter_boxes(model))
    lengths = {name: {"encoder": 96, "decoder": 32}[name] for name in kind.split("_")}

    def stream(length: int) -> Stream:
        return Stream(*(jax.ShapeDtypeStruct((2, length), jnp.int32) for _ in range(3)))

    forward = jax.jit(lambda params, streams: model.apply({"params": params}, **streams))
    streams = {name: stream(length) for name, length in lengths.items()}
    cost = forward.lower(params, streams).cost_analysis()
    row = train_flops_per_row(config, **{f"{name}_length": n for name, n in lengths.items()})
    assert 1.0 < cost["flops"] / (2 * row / 3) < 1.12


def test_a_decoder_that_reads_an_encoder_costs_the_encoder_and_the_attention_to_it(tiny_config):
    """Keys and values once a token of the text, queries and products once a decoder's token."""
    both = train_flops_per_row(tiny_config(kind="encoder_decoder"), 10, 6)
    decoder = train_flops_per_row(tiny_config(), decoder_length=6)
    encoder = 2 * (6 * LAYER * 10 + 12 * 4 * 8 * 10 * 10)
    width = 16 * 8
    cross = 2 * (6 * 2 * 4 * width * 6 + 6 * 2 * 2 * width * 10 + 12 * 4 * 8 * 10 * 6)
    assert both == decoder + encoder + cross


def test_a_window_saves_the_attention_beyond_it(tiny_config):
    """XLA does not know a window, so that one is checked against the formula alone."""
    whole, windowed = (
        train_flops_per_row(tiny_config(window=window), decoder_length=64) for window in (None, 8)
    )
    assert whole - windowed == 64 * 12 * 2 * 4 * 8 * (64 - 8)


def test_of_a_mixture_the_experts_that_a_token_goes_to_count(tiny_config):
    """2 of 8 experts of width 12, a router, and a shared one of width 20 with its gate."""
    mixture = MixtureConfig(
        num_experts=8, top_k=2, expert=FeedForwardConfig(hidden=12),
        shared=FeedForwardConfig(hidden=20), shared_gate=True,
    )  # fmt: skip
    config = tiny_config(feed_forward=mixture)
    met = 2 * (ATTENTION + 2 * 3 * 16 * 12 + 16 * 8 + 3 * 16 * 20 + 16) + 50 * 16
    expected = 64 * (6 * met + 12 * 2 * 4 * 8 * 64)
    assert train_flops_per_row(config, decoder_length=64) == expected
