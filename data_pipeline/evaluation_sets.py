"""Evaluation sets: their examples, and the runs of words by which these are found in documents."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import, so a type checker cannot see them)

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_pipeline.dedup.words import Words, run_hashes, runs_of_lengths
from data_pipeline.document import COMPRESSIONS, suffix_of
from nanojaxlm.errors import UserError

LINES, RECORDS, TABLE = (".txt",), (".jsonl", ".ndjson", ".json"), (".parquet",)
_FILTER_BITS = 20


@dataclass(frozen=True, kw_only=True)
class EvalSet:
    """An evaluation set.

    path: .txt, a line an example; .jsonl (or .json, a list) or .parquet, a record an example. All
        but .parquet may be compressed (.gz, .bz2, .zst).
    fields: of a record, what of it must not be in the training data, such as question and answer;
        their texts are joined in this order. Of lists and objects in them, all strings.
    """

    name: str
    path: str
    fields: tuple[str, ...] = ()

    def __post_init__(self):
        if not self.name or any(c in self.name for c in ": \n"):
            raise ValueError(f"name must be a word without a colon, got {self.name!r}")
        suffix = suffix_of(self.path)
        if suffix not in (*LINES, *RECORDS, *TABLE):
            known = ", ".join((*LINES, *RECORDS, *TABLE))
            raise ValueError(f"path of {self.name} must end with one of {known}, got {self.path!r}")
        if suffix in LINES and self.fields:
            raise ValueError(f"fields of {self.name}: a line of {self.path} has none; leave it out")
        if suffix not in LINES and not self.fields:
            raise ValueError(
                f"fields of {self.name} must name what of a record in {self.path} is the example, "
                "such as ('question', 'answer')"
            )

    def check(self) -> None:
        """Raises UserError where the file is not there."""
        if not os.path.isfile(self.path):
            raise UserError(
                f"decontaminate.sets, {self.name}: path {self.path!r} is no file; give the path of "
                "the evaluation set, or leave it out of sets"
            )

    def texts(self) -> list[str]:
        """The text of each example.

        Raises:
            UserError: no such file, it cannot be read, or a record lacks a field.
        """
        self.check()
        try:
            if suffix_of(self.path) in LINES:
                return [line.strip() for line in self._read().splitlines() if line.strip()]
            return [self._text(number, record) for number, record in enumerate(self._records())]
        except (OSError, pa.ArrowInvalid, UnicodeDecodeError) as error:
            raise UserError(
                f"decontaminate.sets, {self.name}: {self.path} cannot be read: {error}"
            ) from None

    def _read(self) -> str:
        kind = COMPRESSIONS.get(os.path.splitext(self.path.lower())[1])
        with pa.input_stream(self.path, compression=kind) as file:
            return file.read().decode("utf-8-sig")

    def _records(self) -> Iterator[Any]:
        if suffix_of(self.path) in TABLE:
            known = pq.read_schema(self.path).names
            found = [field for field in self.fields if field in known]
            missing = next((field for field in self.fields if field not in known), None)
            if missing is not None:
                raise self._no_field(missing, 0, known)
            yield from pq.read_table(self.path, columns=found).to_pylist()
            return
        text = self._read()
        if text.lstrip().startswith("["):
            yield from self._parsed(text, 1)
            return
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield self._parsed(line, number)

    def _parsed(self, text: str, line: int) -> Any:
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            line += error.lineno - 1
            raise UserError(
                f"decontaminate.sets, {self.name}: {self.path}:{line} is not JSON: {error.msg}"
            ) from None

    def _text(self, number: int, record: Any) -> str:
        known = sorted(record) if isinstance(record, Mapping) else []
        for field in self.fields:
            if field not in known:
                raise self._no_field(field, number, known)
        return " ".join(text for field in self.fields for text in _strings(record[field]))

    def _no_field(self, field: str, number: int, known: Sequence[str]) -> UserError:
        return UserError(
            f"decontaminate.sets, {self.name}: example {number} of {self.path} has no field "
            f"{field!r}; it has {', '.join(known) or 'none'}"
        )


def _strings(value: Any) -> Iterator[str]:
    """All strings, numbers as strings too, in a JSON value."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, (str, int, float)) and not isinstance(value, bool):
        yield str(value)


def lower_words(texts: pa.Array) -> Words:
    """The words of large_string [N] in lower case: runs of letters, digits and underscores."""
    lower = pc.utf8_lower(texts) if pc.any(pc.invert(pc.string_is_ascii(texts))).as_py() else None
    return Words.of_letters(pc.ascii_lower(texts) if lower is None else lower)


class Index:
    """What examples are found by: their runs of so many words.

    Of an example that has fewer words, all of them are one run; with less than the fewest words it
    is not looked for. A run that several examples have stands for the first of them.

    names: of each example, SET:NUMBER; numbers count from 0, the blank lines of a .txt left out.
    too_short: of each set, the examples that are not looked for.
    """

    def __init__(self, sets: Sequence[EvalSet], ngram_words: int, min_words: int):
        self.names: list[str] = []
        self.too_short: dict[str, int] = {}
        texts: list[str] = []
        for eval_set in sets:
            found = eval_set.texts()
            texts += found
            self.names += [f"{eval_set.name}:{number}" for number in range(len(found))]
        words = lower_words(pa.array(texts, pa.large_string()))
        sizes = np.diff(words.firsts)
        self.tables: dict[int, _Table] = {}
        for length in range(min_words, ngram_words + 1):
            some = sizes >= ngram_words if length == ngram_words else sizes == length
            if some.any():
                hashes = run_hashes(words.hashes, length)
                examples = words.documents[: len(hashes)]
                inside = np.arange(len(hashes)) + length <= words.firsts[1:][examples]
                inside &= some[examples]
                self.tables[length] = _Table(hashes[inside], examples[inside])
        for eval_set in sets:
            self.too_short[eval_set.name] = 0
        for name, size in zip(self.names, sizes.tolist(), strict=True):
            self.too_short[name.rsplit(":", 1)[0]] += size < min_words

    def find(self, words: Words) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The runs of words of documents that examples have.

        Returns:
            int64 [K] each: the first word of a run, how many words it has, and the example.
        """
        found = [np.zeros((3, 0), np.int64)]
        for first, length, hashes in runs_of_lengths(words.hashes, list(self.tables)):
            at, example = self.tables[length].find(hashes)
            if len(at):
                found.append(np.stack([first + at, np.full(len(at), length), example]))
        first, length, example = np.concatenate(found, axis=1)
        document = np.searchsorted(words.firsts, first, side="right") - 1
        inside = first + length <= words.firsts[document + 1]
        return first[inside], length[inside], example[inside]


class _Table:
    """Hashes and their examples; most others are told apart by a bit of their own alone."""

    def __init__(self, hashes: np.ndarray, examples: np.ndarray):
        self._hashes, place = np.unique(hashes, return_index=True)
        self._examples = examples[place]
        bits = max(_FILTER_BITS, len(hashes).bit_length() + 4)
        self._shift = np.uint64(64 - bits)
        self._filter = np.zeros(1 << bits, bool)
        self._filter[(self._hashes >> self._shift).astype(np.int64)] = True

    def find(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """int64: where a known hash stands, and the example that has it."""
        at = np.flatnonzero(self._filter[(hashes >> self._shift).view(np.int64)])
        place = np.minimum(np.searchsorted(self._hashes, hashes[at]), len(self._hashes) - 1)
        known = self._hashes[place] == hashes[at]
        return at[known], self._examples[place[known]]
