"""The search for runs of words that stand in the corpus before; see substring.py."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import, so a type checker cannot see them)

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.dedup import cuts, spill
from data_pipeline.dedup.regions import Regions, expanded
from data_pipeline.dedup.spill import HALF, LOW, Route
from data_pipeline.parts import PartFile
from data_pipeline.stage import decisions_path

NUM_EXAMPLES = 10  # runs in the details, of each sort
RUNS_AT_ONCE = 2**18  # looked into in one go
EARLIER_DOCUMENT = LOW  # instead of a place in the same document


def texts_of(batch: pa.RecordBatch, kinds: tuple[str, ...]) -> pa.Array:
    """The texts of some kinds; of the others nothing."""
    wanted = pc.is_in(batch["kind"], pa.array(kinds))
    if pc.all(wanted).as_py():
        return batch["text"]
    return pc.if_else(wanted, batch["text"], pa.scalar("", pa.large_string()))


@dataclass(frozen=True)
class Search:
    """The search for repeated runs, a step after the other; can be pickled.

    length: words of a run. kinds: of the documents that are searched.
    """

    length: int
    kinds: tuple[str, ...]
    route: Route

    def _path(self, what: str, number: int) -> Path:
        return self.route.ranks.folder / f"{what}-{number:05d}.npy"

    def spill_regions(self, number: int) -> Path:
        """Writes a part's regions: fingerprint, hash, place, 2 * words + inner.

        Of regions that a document has twice, the first.
        """
        found = [np.zeros((4, 0), np.uint64)]
        for _, rows in Rows.groups(self.route, number):
            first = rows.first == np.arange(len(rows.first))
            columns = rows.fingerprints, rows.hashes, self.route.places(number, rows.places)
            words = (rows.counts + np.uint64(self.length - 1)) * np.uint64(2) + rows.inner
            found.append(np.stack([column[first] for column in (*columns, words)]))
        return spill.write_hashed(self._path("regions", number), *np.concatenate(found, axis=1))

    def compare_regions(
        self, spilled: Sequence[Path], bucket: tuple[int, int, int]
    ) -> tuple[Path, Path, list[tuple[int, int, int]]]:
        """Writes the places of regions that are repeated whole, and of those to be looked into.

        Also the most repeated ones: (documents, -place of the first, words).
        """
        number, first, last = bucket
        fingerprints, hashes, places, words = spill.read_slices(spilled, first, last)
        order, new = spill.first_of_groups(fingerprints, hashes, places)
        fingerprints, places, words = fingerprints[order], places[order], words[order]
        heads = np.flatnonzero(new)
        alike = fingerprints[heads[1:]] == fingerprints[heads[:-1]]
        looked = (words[heads] & np.uint64(1)) == 1
        looked[1:] |= alike
        looked[:-1] |= alike
        whole = self.route.write(self._path("whole", number), places[~new])
        some = self.route.write(self._path("some", number), places[heads[looked]])
        copies = np.diff(heads, append=len(new))
        most = np.lexsort((places[heads], -copies))[: NUM_EXAMPLES**2]
        most = most[copies[most] > 1]
        words = words[heads[most]] >> np.uint64(1)
        columns = copies[most], -places[heads[most]].astype(np.int64), words
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return whole, some, list(rows)

    def spill_runs(self, some: Sequence[Path], number: int) -> list[Path]:
        """Writes the runs of a part's regions to be looked into: hash, fingerprint, place."""
        wanted, length = self.route.read(some, number), self.length
        paths: list[Path] = []
        found, num_found, row = [np.zeros((3, 0), np.uint64)], 0, 0

        def write() -> None:
            path = self._path(f"runs-{len(paths):03d}", number)
            paths.append(spill.write_hashed(path, *np.concatenate(found, axis=1)))

        for batch in self.route.ranks.parts[number].batches() if wanted.size else ():
            (places,) = spill.between(wanted, row, row + len(batch))
            if len(places):
                rows = np.unique((places >> HALF).astype(np.int64) - row)
                texts = texts_of(batch.take(pa.array(rows)), self.kinds)
                regions = Regions.of(texts, length)
                begins = (rows[regions.documents] + row).astype(np.uint64) << HALF
                begins |= regions.starts.astype(np.uint64)
                chosen = np.flatnonzero(np.isin(begins, places))
                each, within = expanded(regions.counts[chosen])
                each = chosen[each]
                hashes = regions.runs[regions.firsts[each] + within]
                run = self.route.places(number, begins[each] + within.astype(np.uint64))
                found.append(np.stack([hashes, regions.fingerprints[each], run]))
                num_found += len(run)
            row += len(batch)
            if num_found > spill.ROWS_A_BUCKET:
                write()
                found, num_found = found[:1], 0
        write()
        return paths

    def compare_runs(self, spilled: Sequence[Path], bucket: tuple[int, int, int]) -> Path:
        """Writes the places of all but the first of equal runs, and where the first begins.

        That is EARLIER_DOCUMENT if it is in another document.
        """
        number, first, last = bucket
        hashes, fingerprints, places = spill.read_slices(spilled, first, last)
        order, new = spill.first_of_groups(hashes, fingerprints, places)
        places = places[order]
        heads = places[np.flatnonzero(new)[np.cumsum(new) - 1]]
        same = (heads >> HALF) == (places >> HALF)
        origins = np.where(same, heads & LOW, EARLIER_DOCUMENT)
        return self.route.write(self._path("found", number), places[~new], origins[~new])

    def cut(
        self, folder: Path, whole: Sequence[Path], found: Sequence[Path], number: int
    ) -> tuple[int, int, list[tuple[int, int, int]]]:
        """Writes a part's decisions; documents cut, tokens cut, and the longest pieces cut.

        Those are (tokens, -place, tokens).
        """
        part, longest = self.route.ranks.parts[number], []
        whole_rows, found_rows = self.route.read(whole, number), self.route.read(found, number)
        row = num_documents = num_tokens = 0
        with PartFile(decisions_path(folder, part), cuts.CUTS) as file:
            for num, rows in Rows.groups(self.route, number):
                near = (spill.between(some, row, row + num) for some in (whole_rows, found_rows))
                start, end = rows.repeated(self.length, *near)
                file.write(cuts.cuts_table(row, num, start, end))
                row += num
                sizes = (end - start).astype(np.int64)
                num_documents += len(np.unique(start >> HALF))
                num_tokens += int(sizes.sum())
                places = self.route.places(number, start)
                some = np.lexsort((places, -sizes))[:NUM_EXAMPLES]
                longest += [(int(sizes[i]), -int(places[i]), int(sizes[i])) for i in some]
                longest = sorted(longest, reverse=True)[:NUM_EXAMPLES]
        return num_documents, num_tokens, longest


@dataclass(frozen=True)
class Rows:
    """R regions of some documents of a part.

    places: uint64 [R], in the part, ascending. counts, fingerprints, hashes: uint64 [R].
    inner: bool [R].
    first: int64 [R], the first of the regions of the same document that have the same words.
    """

    places: np.ndarray
    counts: np.ndarray
    inner: np.ndarray
    fingerprints: np.ndarray
    hashes: np.ndarray
    first: np.ndarray

    @classmethod
    def groups(cls, route: Route, number: int) -> Iterator[tuple[int, "Rows"]]:
        """The number of documents and their regions, some documents of a part at a time."""
        part = route.ranks.parts[number]
        names = "start", "count", "inner", "fingerprint", "hash"
        for num, columns in spill.groups_of(part, *names):
            places, counts, inner, fingerprints, hashes = columns
            group, new = spill.first_of_groups(hashes, fingerprints, places >> HALF, places)
            first = np.empty(len(group), np.int64)
            first[group] = group[np.flatnonzero(new)[np.cumsum(new) - 1]]
            yield num, cls(places, counts.astype(np.uint64), inner, fingerprints, hashes, first)

    def repeated(
        self, length: int, whole: np.ndarray, found: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """What is repeated of the documents: spans by place, apart and ascending.

        Args:
            length: words of a run.
            whole: uint64 [1, K], the places of regions that are repeated whole.
            found: uint64 [2, K], the places of repeated runs, and where their first begins.
        """
        is_whole = np.isin(self.places, whole[0])[self.first]
        starts = [self.places[is_whole]]
        ends = [starts[0] + self.counts[is_whole] + np.uint64(length - 1)]
        # Of the other regions, the runs of those with repeated ones, and of copies in a document.
        some = self.first != np.arange(len(self.first))
        some[np.searchsorted(self.places, found[0], side="right") - 1] = True
        others = np.flatnonzero(some & ~is_whole)
        at_once = np.cumsum(self.counts[others].astype(np.int64)) // RUNS_AT_ONCE
        for block in np.split(others, np.flatnonzero(np.diff(at_once)) + 1):
            start, end = self._repeated_runs(block, length, found)
            starts.append(start)
            ends.append(end)
        return cuts.union(np.concatenate(starts), np.concatenate(ends))

    def _repeated_runs(
        self, regions: np.ndarray, length: int, found: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `repeated`, of some regions that are not repeated whole: int64."""
        each, within = expanded(self.counts[regions])
        each, within = regions[each], within.astype(np.uint64)
        run, first = self.places[each] + within, self.places[self.first[each]] + within
        origin = first & LOW
        if found.size:
            at = np.minimum(np.searchsorted(found[0], first), found.shape[1] - 1)
            hit = found[0][at] == first
            origin[hit] = found[1][at[hit]]
        again = origin != (run & LOW)
        run, origin = run[again], origin[again]
        kept = np.where(origin == EARLIER_DOCUMENT, np.uint64(0), origin + np.uint64(length))
        return cuts.union((run & ~LOW) | np.maximum(run & LOW, kept), run + np.uint64(length))
