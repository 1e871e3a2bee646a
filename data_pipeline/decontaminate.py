"""Documents that hold examples of evaluation sets are dropped, or the examples cut out of them.

As GPT-3 (Brown et al. 2020, appendix C): a document is contaminated where 13 words in a row, in
lower case and without punctuation, are those of an example; of a shorter example all words, if they
are 8 at least. A word is a run of letters, digits and underscores, so that "3+4" and "3 + 4" are
one; of a script that is written without spaces, a character.
"""

import functools
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from data_pipeline.dedup import cuts
from data_pipeline.dedup.words import Words
from data_pipeline.document import Verdicts
from data_pipeline.evaluation_sets import EvalSet, Index, lower_words
from data_pipeline.stage import Judged

DROP, CUT = "drop", "cut"
NAMED = 20  # examples in a note; of a document that holds more, those of which it holds most
MORE = "+"  # before the number of the others
NUM_EXAMPLES = 10  # examples in the details, of each set
TORN = 40  # characters that a cut is widened by at most, so as not to tear a word


@dataclass(frozen=True, kw_only=True)
class DecontaminateConfig:
    """What is looked for, and what is done with documents that hold it.

    sets: the evaluation sets.
    ngram_words: words in a row that are looked for.
    min_words: of a shorter example, that is looked for as a whole.
    min_hits: runs of words, of any examples, that make a document contaminated; 14 words in a row
        of one example are two hits.
    action: "drop" the document, or "cut" what it holds, with cut_characters to either side; of what
        is left, pieces of min_piece_characters stay, as paragraphs of one document, which is
        dropped if none stays or if it was cut at more than max_cuts places. GPT-3 cut, with the
        numbers that are the defaults here.
    """

    sets: tuple[EvalSet, ...]
    ngram_words: int = 13
    min_words: int = 8
    min_hits: int = 1
    action: str = DROP
    cut_characters: int = 200
    min_piece_characters: int = 200
    max_cuts: int = 9

    def __post_init__(self):
        if not self.sets:
            raise ValueError(
                "sets is empty; name evaluation sets, or set the field decontaminate to None"
            )
        names = [eval_set.name for eval_set in self.sets]
        if len(set(names)) < len(names):
            raise ValueError(f"sets must have different names, got {', '.join(names)}")
        if self.min_words < 2 or self.ngram_words < self.min_words:
            raise ValueError(
                "2 <= min_words <= ngram_words must hold, got "
                f"min_words {self.min_words}, ngram_words {self.ngram_words}"
            )
        if self.action not in (DROP, CUT):
            raise ValueError(f'action must be "{DROP}" or "{CUT}", got {self.action!r}')
        for name, least in (
            ("min_hits", 1),
            ("cut_characters", 0),
            ("min_piece_characters", 1),
            ("max_cuts", 1),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be >= {least}, got {getattr(self, name)}")


class Decontaminate:
    """The stage: contaminated documents are dropped, or cut.

    Drops as "contaminated", score = runs of words that examples have too. Notes "hits" of these
    documents, dropped or cut: SET:NUMBER of the examples, those of most runs first; see `hits_of`.
    Measures "contaminated_rate", the fraction of its runs of ngram_words that are an example's.
    """

    name = "decontaminate"

    def __init__(self, config: DecontaminateConfig):
        """
        Raises:
            UserError: the file of a set is not there.
        """
        self.config = config
        for eval_set in config.sets:
            eval_set.check()

    @property
    def rewrites(self) -> bool:
        return self.config.action == CUT

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(eval_set.path for eval_set in self.config.sets)

    def judge(self, batch: pa.RecordBatch) -> Judged:
        """Looks for the examples in documents of SCHEMA."""
        index = _index(self.config)
        words = lower_words(batch["text"])
        first, length, example = index.find(words)
        document = np.searchsorted(words.firsts, first, side="right") - 1
        hits = np.bincount(document, minlength=len(batch)).astype(float)
        bad = hits >= self.config.min_hits
        num_runs = np.maximum(np.diff(words.firsts) - self.config.ngram_words + 1, 1)
        rate = np.where(bad, np.minimum(hits / num_runs, 1), np.nan)
        notes, texts, cut = np.full(len(batch), None, object), None, np.zeros(len(batch), bool)
        for row in np.flatnonzero(bad).tolist():
            notes[row] = _named(index, example[document == row])
        if self.config.action == CUT and bad.any():
            texts = batch["text"].to_pylist()
            for row in np.flatnonzero(bad).tolist():
                here = document == row
                begin = first[here] - words.firsts[row]
                left = self._without(batch["text"].slice(row, 1), begin, begin + length[here])
                if left is not None:
                    texts[row], cut[row] = left, True
            texts = pa.array(texts, pa.large_string())
        verdicts = Verdicts.keep_all(len(batch))
        verdicts.drop("contaminated", bad & ~cut, hits)
        return Judged(
            verdicts, texts=texts, notes={"hits": notes}, measures={"contaminated_rate": rate}
        )

    def _without(self, text: pa.Array, starts: np.ndarray, ends: np.ndarray) -> str | None:
        """A text without some spans of its words, None where it is to be dropped."""
        config, whole = self.config, text[0].as_py()
        words = Words.of_letters(text)
        starts, ends = cuts.union(starts, ends)
        # From places in bytes to places in characters.
        leads = np.cumsum((words.data & 0xC0) != 0x80)
        begins = leads[words.starts[starts]] - 1 - config.cut_characters
        stops = leads[words.ends[ends - 1] - 1] + config.cut_characters
        begins, stops = cuts.union(np.maximum(begins, 0), np.minimum(stops, len(whole)))
        if len(begins) > config.max_cuts:
            return None
        pieces, place = [], 0
        for begin, stop in zip([*begins.tolist(), len(whole)], [*stops.tolist(), 0], strict=True):
            piece = whole[place:begin]
            if begin < len(whole):
                piece = re.sub(rf"(?<=\s)\S{{1,{TORN}}}\Z", "", piece)
            if place:
                piece = re.sub(rf"\A\S{{1,{TORN}}}(?=\s)", "", piece)
            pieces.append(piece.strip())
            place = stop
        pieces = [piece for piece in pieces if len(piece) >= config.min_piece_characters]
        return "\n\n".join(pieces) if pieces else None

    def details(self, notes: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
        """What was hit, for the report; notes: of each note its values, and how often each was.

        Of each set: examples, how many there are; too_short, those that are not looked for; hit,
        those that were found; documents, that hold any; most: [{example, documents}].
        """
        index = _index(self.config)
        totals = Counter(name.rsplit(":", 1)[0] for name in index.names)
        hits = hits_of(notes.get("hits", {}))
        details = {}
        for eval_set in self.config.sets:
            name = eval_set.name
            found = hits.get(name, {"documents": 0, "examples": {}})
            most = sorted(found["examples"].items(), key=lambda item: (-item[1], item[0]))
            details[name] = {
                "examples": totals[name],
                "too_short": int(index.too_short[name]),
                "hit": len(found["examples"]),
                "documents": found["documents"],
                "most": [{"example": n, "documents": count} for n, count in most[:NUM_EXAMPLES]],
            }
        return details


def hits_of(notes: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """{set: {"documents": that hold any, "examples": {number: documents}}}, of the note "hits"."""
    found: dict[str, dict[str, Any]] = {}
    for value, count in notes.items():
        names = [name.rsplit(":", 1) for name in value.split(" ") if not name.startswith(MORE)]
        for name in dict.fromkeys(name for name, _ in names):
            found.setdefault(name, {"documents": 0, "examples": {}})["documents"] += count
        for name, number in names:
            examples = found[name]["examples"]
            examples[int(number)] = examples.get(int(number), 0) + count
    return found


def _named(index: Index, examples: np.ndarray) -> str:
    """The note of a document that holds these examples' runs."""
    values, counts = np.unique(examples, return_counts=True)
    order = values[np.lexsort((values, -counts))].tolist()
    names = [index.names[example] for example in order[:NAMED]]
    return " ".join([*names, f"{MORE}{len(order) - NAMED}"][: len(names) + (len(order) > NAMED)])


@functools.lru_cache(2)
def _index(config: DecontaminateConfig) -> Index:
    """The index of a process, made when it is first needed."""
    return Index(config.sets, config.ngram_words, config.min_words)
