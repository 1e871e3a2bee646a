"""Runs of 50 words and more that stand in the corpus before are cut out (Lee et al. 2022).

What is cut, exactly: a run of min_tokens words is repeated where the same words, in the same order,
stand earlier, in a document of smaller id or further up in the same one. Of a repeated run all
words are cut, but those that belong to its first occurrence too, where the two overlap. So of a
stretch of text that is left no min_tokens words occur twice, each word that is cut lies in a run
that stands earlier, and the first occurrence of what nothing precedes stays.

Lee et al. sort all suffixes of the corpus. Here runs of min_tokens words are compared by hashes,
which gives the same runs, needs no more memory for more text, and takes less time than the sorting
alone (pydivsufsort 0.0.20: 4 MB/s with the array of common prefixes, and 9 bytes of memory a byte).
Most runs cannot be repeated, since the fingerprint of their region (see regions.py) occurs once:

1. Regions of equal fingerprint meet. One whose words are all those of an earlier region is repeated
   as a whole. Of the first of equal ones the runs are compared, if other regions have its
   fingerprint or it may hold equal runs; so of text that is copied without a change, no run is.
2. Runs to be compared are hashed from the documents, which are read again, and meet by hash.
3. Of both each part's cuts are made.

Runs are taken for equal by two hashes, 128 bits together; regions as well.
"""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data_pipeline.dedup import cuts, spill
from data_pipeline.dedup.paragraphs import check_kinds
from data_pipeline.dedup.ranks import Ranks
from data_pipeline.dedup.regions import Regions
from data_pipeline.dedup.repeats import NUM_EXAMPLES, Search, texts_of
from data_pipeline.dedup.spill import Route
from data_pipeline.dedup.words import Words
from data_pipeline.document import CODE, HTML, PROSE, Verdicts
from data_pipeline.engine import Tasks
from data_pipeline.stage import Judged, Part

FEW_DOCUMENTS = 20_000  # to compare so few in this process is faster than to start others
EXCERPT = 300  # characters of the runs in the details


@dataclass(frozen=True, kw_only=True)
class SubstringConfig:
    """What is repeated, and what must be left of a document.

    A token is a word between white space, as it is written, or a character of a script that is
    written without spaces (Han, kana, Thai, Lao, Burmese, Khmer).

    min_tokens: of a run that is cut.
    min_tokens_left: of a document that was cut, else it is dropped.
    kinds: of the documents that are compared and cut.
    """

    min_tokens: int = 50
    min_tokens_left: int = 50
    kinds: tuple[str, ...] = (PROSE, HTML, CODE)

    def __post_init__(self):
        if self.min_tokens < 2:
            raise ValueError(f"min_tokens must be >= 2, got {self.min_tokens}")
        if self.min_tokens_left < 0:
            raise ValueError(f"min_tokens_left must be >= 0, got {self.min_tokens_left}")
        check_kinds(self.kinds)


class SubstringDedup:
    """The stage: repeated runs of words are cut out but for the first.

    Drops as "duplicate_substrings" what is left with too few tokens, score = the fraction of its
    tokens that was cut. Notes "tokens_removed".
    """

    name = "substring_dedup"
    rewrites = True
    files: tuple[str, ...] = ()

    def __init__(self, config: SubstringConfig):
        self.config = config

    def keys(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """id, source, and of each region what `Regions` says of it, and its hash."""
        length = self.config.min_tokens
        regions = Regions.of(texts_of(batch, self.config.kinds), length)
        counts = np.bincount(regions.documents, minlength=len(batch))
        columns = {
            "start": regions.starts.astype(np.uint32),
            "count": regions.counts.astype(np.uint32),
            "inner": regions.inner,
            "fingerprint": regions.fingerprints,
            "hash": regions.hashes(),
        }
        lists = {name: spill.lists_of(counts, values) for name, values in columns.items()}
        return pa.RecordBatch.from_pydict({"id": batch["id"], "source": batch["source"], **lists})

    def decide(self, parts: Sequence[Part], folder: Path, tasks: Tasks) -> dict[str, Any]:
        """Finds what to cut.

        Details: documents_cut, tokens_removed; longest: [{tokens, id, excerpt}], what was cut in
        one piece; most_repeated: [{documents, id, excerpt}], regions that are in most documents,
        one a document, and the id of the first.
        """
        work = folder / "work"
        work.mkdir()
        route = Route.make(Ranks.make(parts, work))
        if len(route.ranks) <= FEW_DOCUMENTS:
            tasks = Tasks(0)
        search = Search(self.config.min_tokens, self.config.kinds, route)
        numbers = range(len(parts))
        regions = tasks.map(search.spill_regions, numbers)
        met = tasks.map(partial(search.compare_regions, regions), spill.buckets(regions))
        some, whole = [path for _, path, _ in met], [path for path, _, _ in met]
        spill.remove(regions)
        spilled = tasks.map(partial(search.spill_runs, some), numbers)
        runs = [path for paths in spilled for path in paths]
        found = tasks.map(partial(search.compare_runs, runs), spill.buckets(runs))
        spill.remove(runs)
        cut = tasks.map(partial(search.cut, folder, whole, found), numbers)
        longest = sorted((row for _, _, rows in cut for row in rows), reverse=True)[:NUM_EXAMPLES]
        details = {
            "documents_cut": sum(documents for documents, _, _ in cut),
            "tokens_removed": sum(tokens for _, tokens, _ in cut),
            "longest": _examples("tokens", route, longest),
            "most_repeated": _examples(
                "documents", route, _one_a_document(row for _, _, rows in met for row in rows)
            ),
        }
        shutil.rmtree(work)
        return details

    def judge(self, batch: pa.RecordBatch, decisions: pa.RecordBatch) -> Judged:
        """Cuts repeated runs out, and drops what is left with too few tokens."""
        verdicts = Verdicts.keep_all(len(batch))
        removed = np.full(len(batch), None, object)
        rows = list(cuts.cuts_of(decisions))
        if not rows:
            return Judged(verdicts, notes={"tokens_removed": removed})
        texts = batch["text"].to_pylist()
        words = Words.between_spaces(batch["text"].take(pa.array([row for row, _, _ in rows])))
        too_few, score = np.zeros(len(batch), bool), np.zeros(len(batch))
        for number, (row, starts, ends) in enumerate(rows):
            first, last = words.firsts[number : number + 2]
            texts[row] = _without(words, number, starts, ends)
            removed[row] = int((ends - starts).sum())
            score[row] = removed[row] / (last - first)
            too_few[row] = last - first - removed[row] < self.config.min_tokens_left
        verdicts.drop("duplicate_substrings", too_few, score)
        new = pa.array(texts, pa.large_string())
        return Judged(verdicts, texts=new, notes={"tokens_removed": removed})


def _without(words: Words, number: int, starts: np.ndarray, ends: np.ndarray) -> str:
    """A text without some spans of its words; of the two spaces around a span one is left.

    That is the one with more line breaks, or else the first; at an end of the text, none.
    """
    begin, end = words.texts[number : number + 2]
    first, last = words.firsts[number : number + 2]
    pieces, place = [], begin
    for start, stop in zip(starts + first, ends + first, strict=True):
        before = words.ends[start - 1] if start > first else begin
        after = words.starts[stop] if stop < last else end
        pieces.append(words.data[place:before].tobytes())
        if start > first and stop < last:
            spaces = [
                words.data[before : words.starts[start]].tobytes(),
                words.data[words.ends[stop - 1] : after].tobytes(),
            ]
            pieces.append(max(spaces, key=lambda space: space.count(b"\n")))
        place = after
    return b"".join([*pieces, words.data[place:end].tobytes()]).decode()


def _one_a_document(rows: Iterable[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """The most repeated regions: (documents, -place, tokens), the greatest first."""
    found: dict[int, tuple[int, int, int]] = {}
    for row in sorted(rows, reverse=True):
        found.setdefault(-row[1] >> 32, row)
    return list(found.values())[:NUM_EXAMPLES]


def _examples(
    number: str, route: Route, rows: Sequence[tuple[int, int, int]]
) -> list[dict[str, Any]]:
    """rows: (number, -place of the first word, tokens)."""
    texts = route.texts([-negative >> 32 for _, negative, _ in rows])
    examples = []
    for value, negative, tokens in rows:
        name, text = texts[-negative >> 32]
        words = Words.between_spaces(pa.array([text], pa.large_string()))
        first = -negative & 0xFFFFFFFF
        begin, end = words.starts[first], words.ends[first + tokens - 1]
        excerpt = words.data[begin:end].tobytes().decode()[:EXCERPT]
        examples.append({number: value, "id": name, "excerpt": excerpt})
    return examples
