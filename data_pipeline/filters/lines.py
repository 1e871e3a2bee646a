"""The stage `lines`: removes lines that are no text, and documents that consist of them."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import, so a type checker cannot see them)

import functools
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.document import CODE, Verdicts
from data_pipeline.filters.c4 import judge_c4, kept_texts
from data_pipeline.filters.features import Features
from data_pipeline.filters.refinedweb import correct_lines
from data_pipeline.filters.rules import C4Quality, RefinedWebLines
from data_pipeline.stage import Judged
from nanojaxlm.errors import UserError


@dataclass(frozen=True, kw_only=True)
class LinesConfig:
    """What is done to lines; None = that set is left out. C4's comes first.

    blocked_words: a file of UTF-8 with a word or phrase a line; documents that hold one, of any
        case, are dropped (C4 did so with a public list of offensive words, which is not shipped).
    """

    c4: C4Quality | None = field(default_factory=C4Quality)
    refinedweb: RefinedWebLines | None = None
    blocked_words: str | None = None

    def __post_init__(self):
        if self.c4 is None and self.refinedweb is None and self.blocked_words is None:
            raise ValueError(
                "c4, refinedweb and blocked_words are all None: nothing is left to do; leave the"
                " stage lines out (None) or set one of them"
            )


# C4's rules as FineWeb applied them: without the one on punctuation at the end of lines.
FINEWEB_LINES = LinesConfig(c4=C4Quality(end_punctuation=False))


class Lines:
    """Removes lines by `LinesConfig`; leaves code alone."""

    name = "lines"
    rewrites = True

    def __init__(self, config: LinesConfig):
        self.config = config
        self.files: tuple[str, ...] = (
            () if config.blocked_words is None else (config.blocked_words,)
        )

    def judge(self, batch: pa.RecordBatch) -> Judged:
        """Verdicts and texts of N documents; notes: lines_removed, and how many by each reason."""
        prose = pc.not_equal(batch["kind"], CODE).to_numpy(zero_copy_only=False)
        verdicts = Verdicts.keep_all(batch.num_rows)
        index = np.flatnonzero(prose)
        texts = batch["text"].take(pa.array(index))
        out = Verdicts.keep_all(len(index))
        counts: dict[str, np.ndarray] = {}
        new = self._correct(texts, out, counts)
        verdicts.reason[index], verdicts.score[index] = out.reason, out.score
        notes = {}
        edits = ("citations", "pattern")
        total = sum((v for k, v in counts.items() if k not in edits), np.zeros(len(index), int))
        for name, numbers in {"removed": total, **counts}.items():
            note = np.full(batch.num_rows, None, object)
            some = np.flatnonzero(numbers)
            note[index[some]] = numbers[some].tolist()
            notes[f"lines_{name}"] = note
        # What did not change keeps its bytes: other breaks than "\n", blanks at the ends of lines.
        changed = np.zeros(len(index), bool)
        for numbers in counts.values():
            changed |= numbers > 0
        changed &= out.reason == None  # noqa: E711  (elementwise)
        replaced = np.zeros(batch.num_rows, bool)
        replaced[index] = changed
        result = pc.replace_with_mask(
            batch["text"], pa.array(replaced), new.filter(pa.array(changed))
        )
        return Judged(verdicts, texts=result, notes=notes)

    def _correct(self, texts: pa.Array, out: Verdicts, counts: dict[str, np.ndarray]) -> pa.Array:
        if self.config.blocked_words is not None:
            blocked = _blocked(self.config.blocked_words)
            held = [None if (m := blocked.search(t)) is None else m for t in texts.to_pylist()]
            out.drop(
                "blocked_word",
                np.array([match is not None for match in held], bool),
                np.ones(len(held)),
            )
        if self.config.c4 is not None:
            lines = judge_c4(Features(texts), self.config.c4, out)
            texts = pc.utf8_trim_whitespace(kept_texts(lines, len(texts)))
            for name, removed in lines.removed.items():
                counts[name] = np.bincount(lines.documents[removed], minlength=len(texts))
            counts["citations"] = lines.num_citations
        if self.config.refinedweb is not None:
            corrected = correct_lines(texts, self.config.refinedweb, out)
            texts = corrected.texts
            counts.update(corrected.counts)
        return texts


@functools.cache
def _blocked(path: str) -> re.Pattern[str]:
    """Any of the words of a file, not within another word.

    Raises:
        UserError: the file is not there, is not UTF-8 or is empty.
    """
    try:
        words = [line.strip() for line in Path(path).read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"blocked_words {path}: {error}; name a file of UTF-8 text") from None
    words = sorted({word for word in words if word}, key=lambda word: (-len(word), word))
    if not words:
        raise UserError(f"blocked_words {path} is empty; give it a word a line or set it to None")
    return re.compile(rf"(?i)(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)")
