"""Figures of a run: model FLOPs, MFU, perplexity's kin; each divided once, from sums."""

import math
import time
from dataclasses import dataclass, field

from nanojaxlm.model.config import (
    AttentionConfig,
    FeedForwardConfig,
    MixtureConfig,
    ModelConfig,
    StackConfig,
)


def train_flops_per_row(
    config: ModelConfig, encoder_length: int = 0, decoder_length: int = 0
) -> float:
    """Model FLOPs of forward and backward over one row of the streams' lengths, in tokens.

    For a decoder alone it is T times 6 N + 12 L N_heads H T, N without the input embedding
    (Chowdhery et al. 2022, PaLM, app. B): a product is 2 FLOPs a parameter, the backward pass twice
    the forward. Counts no rematerialisation, attention as if not causal (the convention of
    published MFU), and of a mixture the experts that a token goes to.
    """
    forward = 0.0
    if config.encoder is not None:
        forward += _stack(config.encoder, config.d_model, encoder_length)
    if config.decoder is not None:
        forward += _stack(config.decoder, config.d_model, decoder_length)
        if config.encoder is not None:
            a, layers = config.decoder.attention, config.decoder.num_layers
            inner = 2 * config.d_model * a.head_dim * 2
            query = inner * a.num_heads + 4 * a.num_heads * a.head_dim * encoder_length
            memory = inner * a.num_kv_heads
            forward += layers * (query * decoder_length + memory * encoder_length)
    length = decoder_length if config.decoder is not None else encoder_length
    assert config.vocab_size is not None
    head = 2 * config.d_model * config.vocab_size
    if config.head_transform is not None:
        head += 2 * config.d_model**2
    last = config.last.num_layers - 1
    future = _layer(config.last, last, config.d_model, length) + head * length
    return 3.0 * (forward + head * length + config.num_future * future)


def _stack(stack: StackConfig, d_model: int, length: int) -> float:
    return sum(_layer(stack, i, d_model, length) for i in range(stack.num_layers))


def _layer(stack: StackConfig, i: int, d_model: int, length: int) -> float:
    """Forward FLOPs of layer i over a row."""
    layer = stack.layer(i)
    a = layer.attention
    attended = min(length, a.window or length)
    products = 2 * (_attention(a, d_model) + _feed_forward(layer.feed_forward, d_model))
    return length * (products + 4.0 * a.num_heads * a.head_dim * attended)


def _attention(a: AttentionConfig, d_model: int) -> int:
    """Parameters of the four products."""
    return d_model * a.head_dim * 2 * (a.num_heads + a.num_kv_heads)


def _feed_forward(f: FeedForwardConfig | MixtureConfig, d_model: int) -> int:
    """Parameters that one token meets."""
    if isinstance(f, FeedForwardConfig):
        return d_model * f.hidden * (3 if f.gated else 2)
    shared = _feed_forward(f.shared, d_model) if f.shared is not None else 0
    gate = d_model if f.shared_gate else 0
    return f.top_k * _feed_forward(f.expert, d_model) + d_model * f.num_experts + shared + gate


def bits_per_byte(nll_nats: float, num_bytes: float) -> float:
    """Nats summed over tokens, as bits over the UTF-8 bytes those tokens stand for."""
    return nll_nats / math.log(2) / num_bytes


@dataclass
class Speedometer:
    """Tokens a second and MFU since the last reading or `restart`."""

    flops_per_token: float
    peak_flops_per_second: float | None
    _since: float = field(default_factory=time.perf_counter)
    _tokens: int = 0

    def add(self, tokens: int) -> None:
        self._tokens += tokens

    def restart(self) -> None:
        """Starts to count anew: after compiling, evaluating, saving."""
        self._since, self._tokens = time.perf_counter(), 0

    def read(self) -> dict[str, float]:
        """{"tokens_per_second", "mfu"}, where known, and starts anew."""
        seconds = time.perf_counter() - self._since
        if not self._tokens or seconds <= 0:
            return {}
        speed = self._tokens / seconds
        self.restart()
        reading = {"tokens_per_second": speed}
        if self.peak_flops_per_second:
            reading["mfu"] = speed * self.flops_per_token / self.peak_flops_per_second
        return reading
