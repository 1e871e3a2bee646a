"""Batched, streaming generation with a KV cache."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nanojaxlm.batch import Stream
from nanojaxlm.data.tokenizer import StreamDecoder, Tokenizer
from nanojaxlm.errors import UserError
from nanojaxlm.inference.sampling import Sampling, choose
from nanojaxlm.model.cache import Cache, empty_cache
from nanojaxlm.model.transformer import Transformer


class Piece(NamedTuple):
    """A bit of text of one of the prompts; `end` says why it is the last: eos, stop or length."""

    row: int
    text: str
    end: str | None


class Generator:
    """Continues prompts. Compiles once for each (number of prompts, length rounded up)."""

    def __init__(self, model: Transformer, tokenizer: Tokenizer):
        self._model, self._tokenizer = model, tokenizer

        @partial(jax.jit, static_argnames="sampling", donate_argnums=2)
        def advance(
            params: Any, stream: Stream, cache: Cache, key: jax.Array, sampling: Sampling
        ) -> tuple[jax.Array, Cache]:
            apply: Any = partial(model.apply, {"params": params})
            x_BTD, cache = apply(stream, cache, method="hidden")
            logits_BTV = apply(x_BTD[:, -1:], method="logits")
            return choose(logits_BTV[:, 0], sampling, key), cache

        self._advance = advance

    def token_stream(
        self,
        params: Any,
        prompts: Sequence[Sequence[int]],
        max_tokens: int,
        sampling: Sampling,
        seed: int = 0,
    ) -> Iterator[np.ndarray]:
        """Yields int32 tokens_B, one for each prompt, up to max_tokens times.

        Shorter prompts are padded on the left with segment 0, which nothing attends to.

        Raises:
            UserError: an empty prompt.
        """
        if not prompts or any(len(prompt) == 0 for prompt in prompts):
            raise UserError("a prompt has no tokens; begin it with the tokenizer's BOS")
        lengths = np.array([len(prompt) for prompt in prompts], np.int32)
        width = _round_up(int(lengths.max()))
        tokens = np.zeros((len(prompts), width), np.int32)
        for row, prompt in enumerate(prompts):
            tokens[row, width - len(prompt) :] = prompt
        offset = np.arange(width, dtype=np.int32)[None] - (width - lengths)[:, None]
        segments = (offset >= 0).astype(np.int32)
        stream = Stream(tokens, np.maximum(offset, 0), segments)
        cache = empty_cache(self._model.config, len(prompts), _round_up(width + max_tokens))
        key = jax.random.key(seed)
        ones = np.ones((len(prompts), 1), np.int32)
        for i in range(max_tokens):
            step_key = jax.random.fold_in(key, i)
            chosen, cache = self._advance(params, stream, cache, step_key, sampling=sampling)
            yield np.asarray(chosen)
            stream = Stream(jnp.asarray(chosen)[:, None], (lengths + i)[:, None], ones)

    def stream(
        self,
        params: Any,
        prompts: Sequence[str],
        max_tokens: int,
        sampling: Sampling,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> Iterator[Piece]:
        """Yields text as it arrives, never half a character and never a part of a stop string."""
        tokenizer = self._tokenizer
        ids = [[tokenizer.bos_id, *tokenizer.encode(prompt)] for prompt in prompts]
        rows = [_Row(StreamDecoder(tokenizer), tuple(stop)) for _ in prompts]
        for step, tokens in enumerate(self.token_stream(params, ids, max_tokens, sampling, seed)):
            for i, row in enumerate(rows):
                if row.end is not None:
                    continue
                token = int(tokens[i])
                text = row.finish("eos") if token == tokenizer.eos_id else row.add(token)
                if row.end is None and step + 1 == max_tokens:
                    text += row.finish("length")
                if text or row.end is not None:
                    yield Piece(i, text, row.end)
            if all(row.end is not None for row in rows):
                return

    def generate(
        self,
        params: Any,
        prompts: Sequence[str],
        max_tokens: int,
        sampling: Sampling,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> list[str]:
        """The continuations, whole, without their prompts."""
        texts = [""] * len(prompts)
        for piece in self.stream(params, prompts, max_tokens, sampling, stop, seed):
            texts[piece.row] += piece.text
        return texts


class _Row:
    """One prompt's text so far, with what may yet become a stop string held back."""

    def __init__(self, decoder: StreamDecoder, stop: tuple[str, ...]):
        self._decoder, self._stop = decoder, stop
        self._held = ""
        self.end: str | None = None

    def add(self, token: int) -> str:
        """The text that is certain now."""
        self._held += self._decoder.push([token])
        found = [at for s in self._stop if (at := self._held.find(s)) >= 0]
        if found:
            self.end = "stop"
            return self._held[: min(found)]
        keep = max((_overlap(self._held, s) for s in self._stop), default=0)
        text, self._held = (
            self._held[: len(self._held) - keep],
            self._held[len(self._held) - keep :],
        )
        return text

    def finish(self, end: str) -> str:
        self.end = end
        return self._held + self._decoder.finish()


def _overlap(text: str, stop: str) -> int:
    """How many of the last characters of `text` are the first of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)


def _round_up(length: int, multiple: int = 64) -> int:
    return -(-length // multiple) * multiple
