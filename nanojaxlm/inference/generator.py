"""Batched, streaming generation with a KV cache."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nanojaxlm.batch import Stream
from nanojaxlm.data.padding import pad_rows, round_up
from nanojaxlm.data.tokenizer import StreamDecoder, Tokenizer
from nanojaxlm.errors import UserError
from nanojaxlm.inference.prompts import begun_text, check_positions, check_prompts, whole_text
from nanojaxlm.inference.sampling import Sampling, choose
from nanojaxlm.model.cache import Cache, empty_cache
from nanojaxlm.model.transformer import Transformer


class Piece(NamedTuple):
    """A bit of text of one of the prompts; `end` says why it is the last: eos, stop or length."""

    row: int
    text: str
    end: str | None


class Generator:
    """Continues prompts; where the model has an encoder, it reads the prompt, and the decoder
    writes from its start id on.

    Compiles once for each (number of prompts, length rounded up).
    """

    def __init__(self, model: Transformer, tokenizer: Tokenizer):
        if model.config.decoder is None:
            raise UserError(
                "the model is an encoder alone, which cannot continue a text; it fills in <mask>"
            )
        self._model, self._tokenizer = model, tokenizer
        num_ids = tokenizer.vocab_size  # rows of the vocabulary beyond them stand for no token

        @partial(jax.jit, static_argnames="sampling", donate_argnums=3)
        def advance(
            params: Any,
            decoder: Stream,
            encoder: Stream | None,
            cache: Cache,
            key: jax.Array,
            sampling: Sampling,
        ) -> tuple[jax.Array, Cache]:
            apply: Any = partial(model.apply, {"params": params})
            x_BTD, cache = apply(decoder, encoder, cache, method="hidden")
            logits_BTV = apply(x_BTD[:, -1:], method="logits")
            return choose(logits_BTV[:, 0, :num_ids], sampling, key), cache

        self._advance = advance

    def token_stream(
        self,
        params: Any,
        prompts: Sequence[Sequence[int]],
        max_tokens: int,
        sampling: Sampling,
        seed: int = 0,
        prefix: bool = False,
    ) -> Iterator[np.ndarray]:
        """Yields int32 tokens_B, one for each prompt, up to max_tokens times.

        Shorter prompts are padded on the left with segment 0, which nothing attends to.

        Args:
            prefix: each token of a decoder's prompt sees all of it, as a prefix-LM's do.

        Raises:
            UserError: an empty prompt, or one beyond the model's learned positions.
        """
        check_prompts(prompts)
        config, num_rows = self._model.config, len(prompts)
        lengths = np.array([len(prompt) for prompt in prompts], np.int32)
        stream = pad_rows(prompts, left=True)
        if config.encoder is None:
            check_positions(config, int(lengths.max()) + max_tokens - 1)
            segments_BT = stream.segments_BT
            decoder = stream._replace(prefix_BT=segments_BT) if prefix else stream
            encoder, memory_size = None, 0
        else:
            check_positions(config, max(int(lengths.max()), max_tokens))
            encoder, memory_size = stream, stream.tokens_BT.shape[1]
            start_id = self._tokenizer.bos_id if config.start_id is None else config.start_id
            decoder, lengths = (
                pad_rows([[start_id]] * num_rows, multiple=1),
                np.ones(num_rows, np.int32),
            )
        size = round_up(decoder.tokens_BT.shape[1] + max_tokens)
        cache = empty_cache(config, num_rows, size, memory_size)
        key = jax.random.key(seed)
        ones = np.ones((num_rows, 1), np.int32)
        for i in range(max_tokens):
            step_key = jax.random.fold_in(key, i)
            chosen, cache = self._advance(
                params, decoder, encoder, cache, step_key, sampling=sampling
            )
            yield np.asarray(chosen)
            decoder = Stream(jnp.asarray(chosen)[:, None], (lengths + i)[:, None], ones)
            encoder = None

    def stream(
        self,
        params: Any,
        prompts: Sequence[str | Sequence[int]],
        max_tokens: int,
        sampling: Sampling,
        stop: Sequence[str] = (),
        seed: int = 0,
        *,
        prefix: bool = False,
        special: bool = False,
    ) -> Iterator[Piece]:
        """Yields text as it arrives, never half a character and never a part of a stop string.

        Args:
            prompts: texts, or token ids as the model reads them.
            prefix: as in token_stream.
            special: special tokens other than EOS are written as their names, and names of special
                tokens in a decoder's prompt are read as those; an encoder always reads them so.
        """
        tokenizer = self._tokenizer
        ids = [self._ids(prompt, special) for prompt in prompts]
        continues = self._model.config.encoder is None
        rows = [
            _Row(tokenizer, StreamDecoder(tokenizer, continues=continues), tuple(stop), special)
            for _ in prompts
        ]
        steps = self.token_stream(params, ids, max_tokens, sampling, seed, prefix)
        for step, tokens in enumerate(steps):
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
        prompts: Sequence[str | Sequence[int]],
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

    def _ids(self, prompt: str | Sequence[int], special: bool) -> Sequence[int]:
        if not isinstance(prompt, str):
            return prompt
        if self._model.config.encoder is not None:
            return whole_text(self._tokenizer, prompt)
        return begun_text(self._tokenizer, prompt, special=special)


class _Row:
    """One prompt's text so far, with what may yet become a stop string held back."""

    def __init__(
        self, tokenizer: Tokenizer, decoder: StreamDecoder, stop: tuple[str, ...], special: bool
    ):
        self._tokenizer, self._decoder, self._stop = tokenizer, decoder, stop
        self._special = special
        self._held = ""
        self.end: str | None = None

    def add(self, token: int) -> str:
        """The text that is certain now."""
        if self._special and not self._tokenizer.piece_bytes(token):
            self._held += self._decoder.finish() + self._tokenizer.name(token)
        else:
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
