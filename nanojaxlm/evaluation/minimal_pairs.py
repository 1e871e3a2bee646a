"""Does a model prefer the sentence that is right to one that differs in a word?

Accuracy over pairs as in BLiMP (Warstadt et al. 2020). A sentence's score is, of a decoder alone,
its log-probability after BOS, without the EOS; of a model with an encoder, its
pseudo-log-likelihood (Salazar et al. 2020): the sum, over its tokens, of the log-probability of
each where it alone is hidden, behind the mask or, with a decoder, behind a sentinel.
"""

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nanojaxlm.data.tokenizer import Tokenizer
from nanojaxlm.errors import UserError
from nanojaxlm.evaluation.questions import Asker, Question
from nanojaxlm.evaluation.scoring import Scorer
from nanojaxlm.model.config import ModelConfig

_PER_CALL = 512  # pairs whose questions exist at one time


class Pair(NamedTuple):
    good: str
    bad: str
    paradigm: str


class MinimalPairs(NamedTuple):
    """The part of the pairs where the good sentence has the higher score, of all and by paradigm;
    equal scores are none."""

    accuracy: float
    num_pairs: int
    by_paradigm: dict[str, float]


def read_pairs(path: str, limit: int | None = None) -> list[Pair]:
    """Pairs of a JSON lines file, gzipped where its name ends with .gz.

    Each line has `sentence_good`, `sentence_bad` and, if it likes, `paradigm` (BLiMP: `UID`).

    Args:
        limit: of each paradigm, the first so many.

    Raises:
        UserError: the file cannot be read, or a line lacks a sentence.
    """
    kept: list[Pair] = []
    counts: dict[str, int] = {}
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path} line {number} is no JSON ({error}); give JSON lines") from None
        fields = row if isinstance(row, dict) else {}
        good, bad = fields.get("sentence_good"), fields.get("sentence_bad")
        if not (isinstance(good, str) and isinstance(bad, str) and good and bad):
            raise UserError(
                f"{path} line {number} lacks sentence_good or sentence_bad; give BLiMP's fields"
            )
        paradigm = str(fields.get("paradigm") or fields.get("UID") or "all")
        counts[paradigm] = counts.get(paradigm, 0) + 1
        if limit is None or counts[paradigm] <= limit:
            kept.append(Pair(good, bad, paradigm))
    if not kept:
        raise UserError(f"{path} has no pairs; give a file of BLiMP's format")
    return kept


def judge(
    scorer: Scorer,
    params: Any,
    config: ModelConfig,
    tokenizer: Tokenizer,
    pairs: Sequence[Pair],
) -> MinimalPairs:
    """Scores both sentences of each pair; see the top of the file.

    Raises:
        UserError: the model cannot be asked for single tokens; see Asker.
    """
    asker = Asker(config, tokenizer)
    asker.check_hides()
    right: dict[str, list[bool]] = {}
    for start in range(0, len(pairs), _PER_CALL):
        part = pairs[start : start + _PER_CALL]
        asked = [
            _questions(config, asker, tokenizer, sentence)
            for pair in part
            for sentence in (pair.good, pair.bad)
        ]
        answers = iter(scorer.score(params, [question for group in asked for question in group]))
        scores = [
            sum(float(next(answers).log_probabilities.sum()) for _ in group) for group in asked
        ]
        for pair, good, bad in zip(part, scores[::2], scores[1::2], strict=True):
            right.setdefault(pair.paradigm, []).append(good > bad)
    total = sum(map(len, right.values()))
    return MinimalPairs(
        sum(map(sum, right.values())) / total,
        total,
        {name: sum(marks) / len(marks) for name, marks in sorted(right.items())},
    )


def _questions(
    config: ModelConfig, asker: Asker, tokenizer: Tokenizer, sentence: str
) -> list[Question]:
    ids = tokenizer.encode(sentence)
    begin = [tokenizer.bos_id] if tokenizer.bos_id != tokenizer.eos_id else []
    if config.encoder is None:
        return [asker.continuation([tokenizer.bos_id, *ids], 1)]
    whole = [*begin, *ids, tokenizer.eos_id]
    return [asker.hidden(whole, len(begin) + place) for place in range(len(ids))]


def _lines(path: str) -> Iterator[str]:
    try:
        opened: Any = gzip.open if path.endswith(".gz") else open
        with opened(Path(path), "rt", encoding="utf-8") as file:
            yield from file
    except (OSError, EOFError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read the pairs of {path}: {reason}") from None
