"""Paragraphs that stand in the corpus more than once are cut out, but for the first.

Equal are paragraphs as texts are for the exact duplicates: but for case, white space and Unicode
form, by 128 bits of hash. The first is that of the smallest id, and in a document the uppermost.
"""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import, so a type checker cannot see them)

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.dedup import cuts, spill
from data_pipeline.dedup.ranks import Ranks
from data_pipeline.dedup.spill import HALF, Route
from data_pipeline.dedup.words import text_buffer
from data_pipeline.document import CODE, HTML, PROSE, Verdicts
from data_pipeline.engine import Tasks, col, evaluate
from data_pipeline.parts import PartFile
from data_pipeline.stage import Judged, Part, decisions_path

SEEDS = (0, 1)  # of the two halves of a paragraph's hash
FEW_DOCUMENTS = 20_000  # to compare so few in this process is faster than to start others
NUM_EXAMPLES, EXCERPT = 10, 300  # paragraphs in the details; characters of each
_NEWLINE, _SPACES = ord("\n"), np.isin(np.arange(256), list(b" \t\n\r\v\f"))


@dataclass(frozen=True, kw_only=True)
class ParagraphConfig:
    """What a paragraph is, which are compared, and what must be left of a document.

    unit: "paragraph", what blank lines separate, or "line".
    min_characters: of a paragraph that is compared, without the space around it; shorter ones stay.
    min_characters_left: of a document that lost a paragraph, else it is dropped.
    kinds: of the documents that are compared and cut.
    """

    unit: str = "paragraph"
    min_characters: int = 50
    min_characters_left: int = 100
    lowercase: bool = True
    remove_punctuation: bool = False
    kinds: tuple[str, ...] = (PROSE, HTML, CODE)

    def __post_init__(self):
        if self.unit not in ("paragraph", "line"):
            raise ValueError(f'unit must be "paragraph" or "line", got {self.unit!r}')
        for name, least in (("min_characters", 1), ("min_characters_left", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be >= {least}, got {getattr(self, name)}")
        check_kinds(self.kinds)


def check_kinds(kinds: tuple[str, ...]) -> None:
    """Raises ValueError where a kind of document is none, or none is there."""
    if not kinds or not set(kinds) <= {PROSE, HTML, CODE}:
        raise ValueError(f"kinds must be some of {PROSE}, {HTML}, {CODE}, got {kinds}")


class ParagraphDedup:
    """The stage: repeated paragraphs are cut out but for the first.

    Drops as "duplicate_paragraphs" what is left with too little, score = the fraction of its bytes
    that was cut. Notes "paragraphs_removed".
    """

    name = "paragraph_dedup"
    rewrites = True
    files: tuple[str, ...] = ()

    def __init__(self, config: ParagraphConfig):
        self.config = config

    def keys(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """id, source, and of each compared paragraph its number and two halves of its hash."""
        found = Paragraphs.of(batch["text"], self.config.unit)
        kinds = pc.is_in(batch["kind"], pa.array(self.config.kinds)).to_numpy(False)
        # A character has a byte at least, so that most short ones need not be looked at.
        wanted = kinds[found.documents] & (found.sizes >= self.config.min_characters)
        texts = found.texts().filter(pa.array(wanted))
        size = pc.utf8_length(pc.utf8_trim_whitespace(texts)).to_numpy(False)
        long = size >= self.config.min_characters
        wanted = np.flatnonzero(wanted)[long]
        normal = col("text").normalize(
            remove_punct=self.config.remove_punctuation,
            lowercase=self.config.lowercase,
            nfd_unicode=True,
            white_space=True,
        )
        table = pa.table({"text": texts.filter(pa.array(long))})
        table = evaluate(table, normal.alias("text"))
        halves = [col("text").hash(seed=seed).alias(f"hash_{seed}") for seed in SEEDS]
        hashes = evaluate(table, *halves)
        counts = np.bincount(found.documents[wanted], minlength=len(batch))
        columns = {name: hashes[name].to_numpy() for name in hashes.column_names}
        columns["number"] = found.numbers[wanted].astype(np.uint32)
        lists = {name: spill.lists_of(counts, values) for name, values in columns.items()}
        return pa.RecordBatch.from_pydict({"id": batch["id"], "source": batch["source"], **lists})

    def decide(self, parts: Sequence[Part], folder: Path, tasks: Tasks) -> dict[str, Any]:
        """Finds the paragraphs to cut.

        Details: documents_cut, paragraphs_removed; most_repeated: [{documents, id, excerpt}], the
        paragraphs that are in most documents, and the id of the first.
        """
        work = folder / "work"
        work.mkdir()
        route = Route.make(Ranks.make(parts, work))
        if len(route.ranks) <= FEW_DOCUMENTS:
            tasks = Tasks(0)
        numbers = range(len(parts))
        spilled = tasks.map(partial(_spill, route), numbers)
        found = tasks.map(partial(_compare, route, spilled), spill.buckets(spilled))
        repeated = [path for path, _ in found]
        counts = tasks.map(partial(_cut, route, folder, repeated), numbers)
        most = sorted((row for _, rows in found for row in rows), reverse=True)[:NUM_EXAMPLES]
        details = {
            "documents_cut": sum(documents for documents, _ in counts),
            "paragraphs_removed": sum(removed for _, removed in counts),
            "most_repeated": self._examples(route, most),
        }
        shutil.rmtree(work)
        return details

    def _examples(self, route: Route, most: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
        places = [-negative for _, negative in most]
        texts = route.texts([place >> 32 for place in places])
        examples = []
        for (documents, _), place in zip(most, places, strict=True):
            name, text = texts[place >> 32]
            found = Paragraphs.of(pa.array([text], pa.large_string()), self.config.unit)
            excerpt = found.texts()[place & 0xFFFFFFFF].as_py().strip()[:EXCERPT]
            examples.append({"documents": documents, "id": name, "excerpt": excerpt})
        return examples

    def judge(self, batch: pa.RecordBatch, decisions: pa.RecordBatch) -> Judged:
        """Cuts the repeated paragraphs out, and drops what is left with too little."""
        verdicts = Verdicts.keep_all(len(batch))
        removed = np.full(len(batch), None, object)
        rows = list(cuts.cuts_of(decisions))
        if not rows:
            return Judged(verdicts, notes={"paragraphs_removed": removed})
        texts = batch["text"].to_pylist()
        too_short, score = np.zeros(len(batch), bool), np.zeros(len(batch))
        for row, starts, ends in rows:
            found = Paragraphs.of(batch["text"].slice(row, 1), self.config.unit)
            left = found.without(starts, ends)
            removed[row] = int((ends - starts).sum())
            too_short[row] = len(left.strip()) < self.config.min_characters_left
            score[row] = 1 - len(left.encode()) / found.bounds[-1]
            texts[row] = left
        verdicts.drop("duplicate_paragraphs", too_short, score)
        new = pa.array(texts, pa.large_string())
        return Judged(verdicts, texts=new, notes={"paragraphs_removed": removed})


@dataclass(frozen=True)
class Paragraphs:
    """The M paragraphs of N texts, each with the blank lines after it; together the texts.

    data: uint8, the texts. bounds: int64 [M + 1], where each paragraph begins, and the end.
    documents: int64 [M], the text of each. numbers: int64 [M], its number in that text.
    """

    data: np.ndarray
    bounds: np.ndarray
    documents: np.ndarray
    numbers: np.ndarray

    @classmethod
    def of(cls, texts: pa.Array, unit: str) -> "Paragraphs":
        """Of large_string [N] without nulls; a line has its line break at its end."""
        data, offsets = text_buffer(texts)
        text = data[: int(offsets[-1])]
        begins = np.zeros(len(text) + 1, bool)
        begins[1:] = text == _NEWLINE
        begins[offsets] = True
        starts = np.flatnonzero(begins[:-1])
        documents = np.searchsorted(offsets, starts, side="right") - 1
        if unit == "paragraph" and len(starts):
            ink = np.add.reduceat(~_SPACES[text], starts, dtype=np.int64) > 0
            begins = np.diff(documents, prepend=-1) != 0
            begins[1:] |= ink[1:] & ~ink[:-1]
            starts, documents = starts[begins], documents[begins]
        numbers = np.arange(len(starts)) - np.searchsorted(documents, documents)
        return cls(text, np.append(starts, len(text)), documents, numbers)

    @property
    def sizes(self) -> np.ndarray:
        """int64 [M]: bytes."""
        return np.diff(self.bounds)

    def texts(self) -> pa.Array:
        """large_string [M]."""
        buffers = [None, pa.py_buffer(self.bounds), pa.py_buffer(self.data)]
        return pa.Array.from_buffers(pa.large_string(), len(self.numbers), buffers)

    def without(self, starts: np.ndarray, ends: np.ndarray) -> str:
        """The text, if it is one, without spans of its paragraphs, ascending."""
        begins = [0, *self.bounds[ends].tolist()]
        stops = [*self.bounds[starts].tolist(), len(self.data)]
        pieces = zip(begins, stops, strict=True)
        left = b"".join(self.data[begin:stop].tobytes() for begin, stop in pieces).decode()
        return left.rstrip() if ends[-1] == len(self.numbers) else left


def _spill(route: Route, number: int) -> Path:
    """Writes a part's paragraphs: of those that a document has twice, the first."""
    found = [np.zeros((3, 0), np.uint64)]
    for _, (places, half, other) in _groups(route, number):
        first = _first(places, half, other)
        found.append(np.stack([half[first], other[first], route.places(number, places[first])]))
    path = route.ranks.folder / f"paragraphs-{number:05d}.npy"
    return spill.write_hashed(path, *np.concatenate(found, axis=1))


def _groups(route: Route, number: int) -> Iterator[tuple[int, list[np.ndarray]]]:
    names = [f"hash_{seed}" for seed in SEEDS]
    return spill.groups_of(route.ranks.parts[number], "number", *names)


def _first(places: np.ndarray, half: np.ndarray, other: np.ndarray) -> np.ndarray:
    """bool [M]: not equal to a paragraph further up in the document."""
    order, new = spill.first_of_groups(half, other, places >> HALF, places)
    first = np.empty(len(order), bool)
    first[order] = new
    return first


def _compare(
    route: Route, spilled: Sequence[Path], bucket: tuple[int, int, int]
) -> tuple[Path, list[tuple[int, int]]]:
    """Writes the places of all but the first of equal paragraphs; and what is most repeated.

    That is (documents, -the first's place), so that the greatest comes first.
    """
    number, first, last = bucket
    half, other, places = spill.read_slices(spilled, first, last)
    order, new = spill.first_of_groups(half, other, places)
    places = places[order]
    path = route.ranks.folder / f"repeated-{number:05d}.npy"
    route.write(path, places[~new])
    heads = np.flatnonzero(new)
    sizes = np.diff(heads, append=len(new))
    most = np.lexsort((places[heads], -sizes))[:NUM_EXAMPLES]
    most = most[sizes[most] > 1]
    return path, [(int(sizes[i]), -int(places[heads[i]])) for i in most]


def _cut(route: Route, folder: Path, repeated: Sequence[Path], number: int) -> tuple[int, int]:
    """Writes the decisions of a part; documents that are cut, and paragraphs cut out of them."""
    part, elsewhere = route.ranks.parts[number], route.read(repeated, number)
    row = num_cut = num_documents = 0
    with PartFile(decisions_path(folder, part), cuts.CUTS) as file:
        for size, (places, half, other) in _groups(route, number):
            (cut,) = spill.between(elsewhere, row, row + size)
            cut = np.unique(np.concatenate([cut, places[~_first(places, half, other)]]))
            table = cuts.cuts_table(row, size, *cuts.union(cut, cut + np.uint64(1)))
            file.write(table)
            row, num_cut = row + size, num_cut + len(cut)
            num_documents += len(np.unique(cut >> HALF))
    return num_documents, num_cut
