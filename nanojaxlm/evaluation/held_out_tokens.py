"""The same held-out tokens asked of any kind of model, each hidden by itself, and the second halves
of the same held-out texts."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nanojaxlm.data.tokenizer import Tokenizer
from nanojaxlm.errors import UserError
from nanojaxlm.evaluation.questions import Asker
from nanojaxlm.evaluation.scoring import Scorer
from nanojaxlm.metrics import bits_per_byte
from nanojaxlm.model.config import ModelConfig
from nanojaxlm.token_store import TokenStore

_SEED = 20190524  # of the choice of tokens; any, but always the same
_PER_CALL = 4096  # questions that exist at one time


class HiddenTokens(NamedTuple):
    """accuracy: the part of num_tokens that is the model's likeliest token at its place. loss: nats
    a token."""

    accuracy: float
    loss: float
    num_tokens: int


class Continuations(NamedTuple):
    """Bits per byte of the second halves of num_windows texts, given the first."""

    bits_per_byte: float
    num_windows: int
    num_bytes: int


def windows(stores: Sequence[TokenStore], split: str, length: int, most: int) -> list[list[int]]:
    """Up to `most` runs of `length` tokens, evenly spread over the split, each of one document; of
    a document shorter than that the whole, where it has at least 4 tokens.

    Raises:
        UserError: the split has none.
    """
    spans = []
    for store in stores:
        held = store.split(split)
        for begin, end in zip(held.offsets[:-1].tolist(), held.offsets[1:].tolist(), strict=True):
            starts = range(begin, max(end - length, begin) + 1, length)
            spans += [(held, start, min(start + length, end)) for start in starts]
    spans = [span for span in spans if span[2] - span[1] >= 4]
    if not spans:
        raise UserError(f"the split {split!r} has no document of 4 tokens; hold out more text")
    chosen = np.linspace(0, len(spans) - 1, min(most, len(spans))).round().astype(int)
    return [spans[i][0].read(*spans[i][1:]).tolist() for i in chosen]


def hidden_tokens(
    scorer: Scorer,
    params: Any,
    config: ModelConfig,
    tokenizer: Tokenizer,
    texts: Sequence[Sequence[int]],
    num_tokens: int,
) -> HiddenTokens:
    """Asks for num_tokens tokens of the texts, drawn without regard to the model, one at a time.

    An encoder sees both sides of a hidden token, with or without a decoder; a decoder alone sees
    what is to the left. BOS and EOS are never asked for, nor a text's first token.

    Raises:
        UserError: the model has an encoder and a decoder, but no sentinels.
    """
    asker = Asker(config, tokenizer)
    asker.check_hides()
    ends = (tokenizer.bos_id, tokenizer.eos_id)
    places = [
        (i, place)
        for i, text in enumerate(texts)
        for place in range(1, len(text))
        if text[place] not in ends
    ]
    rng = np.random.default_rng(_SEED)
    drawn = rng.permutation(len(places))[:num_tokens]
    logs, correct = [], []
    for begin in range(0, len(drawn), _PER_CALL):
        asked = [places[i] for i in drawn[begin : begin + _PER_CALL]]
        questions = [asker.hidden(texts[i], place) for i, place in asked]
        for answers in scorer.score(params, questions):
            logs.append(float(answers.log_probabilities[0]))
            correct.append(bool(answers.correct[0]))
    return HiddenTokens(sum(correct) / len(correct), -sum(logs) / len(logs), len(correct))


def continuations(
    scorer: Scorer,
    params: Any,
    config: ModelConfig,
    tokenizer: Tokenizer,
    texts: Sequence[Sequence[int]],
) -> Continuations | None:
    """The second half of each text, all tokens right before one given; None of an encoder alone."""
    asker = Asker(config, tokenizer)
    if not asker.can_continue:
        return None
    answers = scorer.score(params, [asker.continuation(t, len(t) // 2) for t in texts])
    nats = -sum(float(answer.log_probabilities.sum(dtype=np.float64)) for answer in answers)
    sizes = tokenizer.bytes_per_token()
    num_bytes = int(sum(sizes[text[len(text) // 2 :]].sum() for text in texts))
    return Continuations(bits_per_byte(nats, num_bytes), len(texts), num_bytes)
