"""Figures of a run: model FLOPs, MFU, perplexity's kin; each divided once, from sums."""

import math
import time
from dataclasses import dataclass, field

from nanojaxlm.model.config import ModelConfig


def matmul_parameters(config: ModelConfig) -> int:
    """Parameters that take part in a product for every token: all but the input embedding."""
    assert config.vocab_size is not None
    a, f = config.decoder.attention, config.decoder.feed_forward
    attention = config.d_model * a.head_dim * 2 * (a.num_heads + a.num_kv_heads)
    feed_forward = config.d_model * f.hidden * (3 if f.gated else 2)
    layers = config.decoder.num_layers * (attention + feed_forward)
    return layers + config.d_model * config.vocab_size


def train_flops_per_token(config: ModelConfig, sequence_length: int) -> float:
    """6 N + 12 L N_heads H T, N without the input embedding (Chowdhery et al. 2022, PaLM, app. B).

    Counts no rematerialisation, and attention as if not causal: the convention of published MFU.
    """
    a = config.decoder.attention
    attended = min(sequence_length, a.window or sequence_length)
    attention = 12 * config.decoder.num_layers * a.num_heads * a.head_dim * attended
    return 6.0 * matmul_parameters(config) + attention


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
