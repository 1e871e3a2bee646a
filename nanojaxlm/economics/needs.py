"""Data: how much a run needs, how much a corpus gives, and how often it may be repeated."""

from dataclasses import dataclass
from pathlib import Path

from nanojaxlm.economics.constants import Assumptions
from nanojaxlm.economics.numbers import amount
from nanojaxlm.economics.scaling import Law, effective_tokens
from nanojaxlm.errors import RetryableError, UserError
from nanojaxlm.token_store import MANIFEST, TokenStore

COMPRESSED = {".gz", ".zst", ".bz2", ".xz", ".parquet"}


@dataclass(frozen=True, kw_only=True)
class Needs:
    """text_bytes: UTF-8 of `tokens` distinct tokens, after curation; raw_bytes: before it. worth:
    distinct tokens that would do as much as the repeated ones. unique_tokens None: no corpus was
    given. most_tokens: that the corpus allows."""

    tokens: float
    text_bytes: float
    raw_bytes: float
    unique_tokens: float | None
    epochs: float | None
    worth: float
    loss_of_repeating: float
    most_tokens: float | None
    words: str


def needs(
    assumptions: Assumptions, law: Law, params: float, tokens: float, unique_tokens: float | None
) -> Needs:
    a = assumptions
    text_bytes = tokens * a["token.bytes"]
    worth, epochs, most, lost = tokens, None, None, 0.0
    words = f"{amount(tokens)} tokens are needed; no corpus was given to compare with (--corpus)"
    if unique_tokens is not None:
        epochs, most = tokens / unique_tokens, unique_tokens * a["data.max_epochs"]
        worth = effective_tokens(unique_tokens, tokens)
        lost = law.loss(params, worth) - law.loss(params, tokens)
        words = (
            f"{epochs:.2g} epochs of {amount(unique_tokens)} tokens, worth {amount(worth)} that "
            f"are read once: {lost:.3f} nats a token worse than {amount(tokens)} distinct ones"
        )
        if epochs > a["data.max_epochs"]:
            words += (
                f". That is more than the {a['data.max_epochs']:g} epochs that are nearly as good "
                f"as new text: find {amount(tokens / a['data.max_epochs'] - unique_tokens)} more "
                "tokens, or train a smaller model"
            )
        elif epochs <= 1:
            words = f"the corpus has {amount(unique_tokens)} tokens, enough without repetition"
    return Needs(
        tokens=tokens,
        text_bytes=text_bytes,
        raw_bytes=text_bytes / a["data.yield"],
        unique_tokens=unique_tokens,
        epochs=epochs,
        worth=worth,
        loss_of_repeating=lost,
        most_tokens=most,
        words=words,
    )


def corpus_tokens(path: str, assumptions: Assumptions) -> float:
    """Distinct tokens of a token store, or an estimate for a file or a folder of raw text: bytes,
    times what compressed files unpack to, times what curation keeps, over bytes a token.

    Raises:
        UserError: there is nothing at the path.
    """
    place = Path(path)
    if (place / MANIFEST).is_file():
        try:
            return float(TokenStore.open(path).split("train").num_tokens)
        except RetryableError as error:
            raise UserError(f"--corpus={path}: {error}") from None
    if not place.exists():
        raise UserError(f"--corpus={path}: there is no such file or folder")
    files = [place] if place.is_file() else [file for file in place.rglob("*") if file.is_file()]
    unpacked = assumptions["data.compression"]
    size = sum(
        file.stat().st_size * (unpacked if file.suffix.lower() in COMPRESSED else 1.0)
        for file in files
    )
    if size == 0:
        raise UserError(f"--corpus={path} holds no bytes; name a token store or a folder of text")
    return size * assumptions["data.yield"] / assumptions["token.bytes"]
