"""Whether a written folder is the model: other implementations read it and give their logits."""

import dataclasses
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nanojaxlm.batch import Stream
from nanojaxlm.data.tokenizer import Tokenizer
from nanojaxlm.errors import UserError
from nanojaxlm.interop import peer, reference
from nanojaxlm.interop.tokenizer_check import same_ids
from nanojaxlm.model.config import ModelConfig
from nanojaxlm.model.transformer import Transformer

TOLERANCE = 1e-4  # of the largest difference over the largest logit, both in float32
MAX_LENGTH = 128  # tokens a row
MAX_LOGITS = 2**25  # numbers of one comparison
# Scripts, code, figures, runs of spaces, a character outside the basic plane, marks that combine.
TEXTS = (
    "The quick brown fox jumps over the lazy dog, and isn't it 3.14159 times faster?",
    "def main(argv):\n    if not argv:\n\t\treturn {'a': [1, 2, 3]}  # nothing\n",
    "Größe, naïve, 東京都, Привет мир, مرحبا, नमस्ते, e\u0301 and \U0001f600.",
    "  two spaces before,   three within, one after ",
)
Logits = Callable[[Path, "Question"], np.ndarray]


class Question(NamedTuple):
    """Tokens whose logits are compared: int32 [B, T] without padding.

    decoder_tokens_BT: what the decoder reads; None where the model has one stack.
    """

    tokens_BT: np.ndarray
    decoder_tokens_BT: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """difference: the largest, over the largest logit. against: who read the folder. num_logits:
    how many were compared. num_texts: how many texts had the same ids and came back the same."""

    against: str
    difference: float
    num_logits: int
    num_texts: int = 0


def check_folder(
    folder: Path, config: ModelConfig, params: Any, tokenizer: Tokenizer | None
) -> list[Comparison]:
    """Compares with the independent reader, and with transformers where it is installed.

    Args:
        params: as Transformer(config) takes them, with the numbers that were written (rounded to
            the types of the tensors).

    Raises:
        UserError: a logit, an id or a text differs; or another implementation refuses the folder.
    """
    written = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    questions = ask(config, tokenizer, written.get("pad_token_id"))
    ours = [our_logits(config, params, question) for question in questions]
    read = [reference.logits(folder, *question) for question in questions]
    comparisons = [compare("the independent reader (nanojaxlm.interop.reference)", ours, read)]
    if transformers_is_installed():
        theirs = ask_transformers(folder, questions, TEXTS if tokenizer else ())
        comparison = compare(theirs.name, ours, theirs.logits)
        if tokenizer:
            check_texts(theirs, tokenizer)
            comparison = dataclasses.replace(comparison, num_texts=len(TEXTS))
        comparisons.append(comparison)
    return comparisons


def transformers_is_installed() -> bool:
    return all(importlib.util.find_spec(name) for name in ("torch", "transformers"))


def ask(
    config: ModelConfig, tokenizer: Tokenizer | None, pad_id: int | None = None, seed: int = 0
) -> list[Question]:
    """Random tokens, and where there is a tokenizer, those of TEXTS; none is `pad_id`, which some
    models take for padding wherever it stands."""
    assert config.vocab_size is not None
    ids = np.array([i for i in range(config.vocab_size) if i != pad_id], np.int32)
    positions = config.embed.num_positions
    usable = MAX_LENGTH if positions is None else positions - config.embed.first_position
    length = min(MAX_LENGTH, usable)
    length = max(1, min(length, MAX_LOGITS // (2 * config.vocab_size)))
    rng = np.random.default_rng(seed)
    rows = [ids[rng.integers(len(ids), size=(2, length))]]
    if tokenizer is not None:
        text = np.array([i for text in TEXTS for i in tokenizer.encode(text) if i != pad_id])
        rows.append(np.resize(text, (1, length)).astype(np.int32))
    if config.encoder is None or config.decoder is None:
        return [Question(row) for row in rows]
    half = max(1, length // 2)  # the streams have two lengths, as in use
    return [Question(row, row[:, ::-1][:, :half].copy()) for row in rows]


def our_logits(config: ModelConfig, params: Any, question: Question) -> np.ndarray:
    """float32 [B, T, V], of all products in float32."""
    model = Transformer(dataclasses.replace(config, dtype="float32"))
    first, second = question
    encoder = None if config.encoder is None else stream(first)
    decoder = None if config.decoder is None else stream(first if second is None else second)
    with jax.default_matmul_precision("highest"):
        return np.asarray(model.apply({"params": params}, decoder=decoder, encoder=encoder))


def stream(tokens_BT: np.ndarray) -> Stream:
    """One document a row, without padding."""
    positions_BT = jnp.broadcast_to(jnp.arange(tokens_BT.shape[1]), tokens_BT.shape)
    return Stream(jnp.asarray(tokens_BT), positions_BT, jnp.ones(tokens_BT.shape, jnp.int32))


def compare(against: str, ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> Comparison:
    """Raises UserError where the logits differ by more than TOLERANCE, or are no numbers."""
    worst = 0.0
    for mine, other in zip(ours, theirs, strict=True):
        if mine.shape != other.shape:
            raise UserError(
                f"the written model is not the trained one: {against} gives logits of shape "
                f"{other.shape}, not {mine.shape}; nothing was exported"
            )
        apart = np.abs(mine - other)
        difference = float(apart.max()) / max(float(np.abs(other).max()), 1e-30)
        if not difference <= TOLERANCE:  # a NaN is not
            worst_at = np.argmax(np.nan_to_num(apart, nan=np.inf))
            b, t, v = np.unravel_index(worst_at, mine.shape)
            raise UserError(
                f"the written model is not the trained one: by {against}, logits differ by "
                f"{difference:.2e} of the largest one, more than {TOLERANCE:.0e} (row {b}, token "
                f"{t}, id {v}: {mine[b, t, v]:.6g} here, {other[b, t, v]:.6g} there); nothing was "
                "exported"
            )
        worst = max(worst, difference)
    return Comparison(against=against, difference=worst, num_logits=sum(mine.size for mine in ours))


class Answer(NamedTuple):
    """What transformers gave: its name and versions, logits a question, ids and text a text."""

    name: str
    logits: list[np.ndarray]
    ids: list[list[int]]
    decoded: list[str]


def ask_transformers(folder: Path, questions: Sequence[Question], texts: Sequence[str]) -> Answer:
    """Runs transformers in a process of its own, so that its memory is given back.

    Raises:
        UserError: it refuses the folder.
    """
    with tempfile.TemporaryDirectory() as scratch:
        asked, answered = Path(scratch) / "questions.npz", Path(scratch) / "answers.npz"
        arrays: dict[str, Any] = {f"tokens_{i}": q.tokens_BT for i, q in enumerate(questions)}
        arrays |= {
            f"decoder_tokens_{i}": q.decoder_tokens_BT
            for i, q in enumerate(questions)
            if q.decoder_tokens_BT is not None
        }
        np.savez(asked, texts=np.array(json.dumps(texts)), **arrays)
        # -P: the files beside peer.py are no modules of its
        command = [sys.executable, "-P", peer.__file__, str(folder), str(asked), str(answered)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise UserError(
                f"the written folder cannot be read by transformers: {said[:500]}; nothing was "
                "exported"
            )
        got: Mapping[str, np.ndarray] = dict(np.load(answered))
    versions = json.loads(str(got["versions"]))
    return Answer(
        ", ".join(f"{name} {version}" for name, version in versions.items()),
        [got[f"logits_{i}"] for i in range(len(questions))],
        json.loads(str(got.get("ids", "[]"))),
        json.loads(str(got.get("decoded", "[]"))),
    )


def check_texts(theirs: Answer, tokenizer: Tokenizer) -> None:
    """Raises UserError where AutoTokenizer gives other ids or another text than ours.

    What a text with characters unknown to the tokenizer is decoded to is not compared.
    """
    for text, ids, decoded in zip(TEXTS, theirs.ids, theirs.decoded, strict=True):
        ours = tokenizer.encode(text)
        if not same_ids(tokenizer, ours, ids):
            raise UserError(
                f"the written tokenizer is not the model's: of {text!r}, {theirs.name} makes "
                f"{ids}, not {ours}; nothing was exported"
            )
        if tokenizer.unk_id not in ids and decoded != tokenizer.decode(ids):
            raise UserError(
                f"the written tokenizer is not the model's: {theirs.name} reads the ids of "
                f"{text!r} as {decoded!r}, not {tokenizer.decode(ids)!r}; nothing was exported"
            )
