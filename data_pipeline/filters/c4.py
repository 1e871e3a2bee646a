"""C4's rules (Raffel et al. 2020, section 2.2) on lines and documents. Decisions as datatrove's.

A line is removed for the first of these that holds: a word that is too long, no punctuation at its
end, too few words, a mention of javascript, a policy phrase. On the way "lorem ipsum" and a curly
bracket drop the document; so do too few sentences in the lines that stay.
"""

import functools
import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from data_pipeline.document import Verdicts
from data_pipeline.filters.characters import ENDS, NO_BEGINNINGS, WORDLIKE
from data_pipeline.filters.features import Features
from data_pipeline.filters.rules import C4Quality

_CITATION = re.compile(rb"\[(?:\d*|edit|citation needed)\]")
_END_PUNCTUATION = np.frombuffer(b".?!\"'", np.uint8)
_POLICIES = (
    b"terms of use",
    b"privacy policy",
    b"cookie policy",
    b"uses cookies",
    b"use of cookies",
    b"use cookies",
)


@dataclass(frozen=True)
class C4Lines:
    """What C4's rules say of the L lines of N documents.

    data: uint8, the bytes without citations; starts, ends: int64 [L], the stripped lines in it.
    documents: int64 [L].
    removed: name of the reason -> bool [L]; kept: bool [L], the others.
    num_citations: int64 [N].
    """

    data: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    documents: np.ndarray
    removed: dict[str, np.ndarray]
    kept: np.ndarray
    num_citations: np.ndarray


def judge_c4(f: Features, rules: C4Quality, out: Verdicts) -> C4Lines:
    """Drops documents; what it says of the lines."""
    joined, lines, n = f.joined, f.lines, f.num_documents
    chunk_starts, chunk_ends = joined.chunks
    inked = np.flatnonzero(lines.num_chunks)
    starts, ends = lines.starts.copy(), lines.starts.copy()
    starts[inked] = chunk_starts[lines.first[inked]]
    ends[inked] = chunk_ends[lines.last[inked] - 1]
    data, num_citations = joined.data, np.zeros(n, np.int64)
    if rules.remove_citations:
        cut, positions = _citations(data)
        num_citations = joined.counts(positions)
        if len(cut):
            data = np.delete(data, cut)
            starts, ends = (at - np.searchsorted(cut, at) for at in (starts, ends))
    left = np.ones(len(starts), bool)
    removed: dict[str, np.ndarray] = {}

    def remove(name: str, chosen: np.ndarray) -> None:
        removed[name] = left & chosen
        left[removed[name]] = False

    if rules.max_word_length is not None:
        remove("long_word", _with_long_word(f, rules.max_word_length))
    if rules.end_punctuation:
        dots = (data[ends - 1] == ord(".")) & (data[ends - 2] == ord("."))
        ended = np.isin(data[ends - 1], _END_PUNCTUATION) & (ends > starts)
        remove("no_end_punctuation", ~ended | (dots & (data[ends - 3] == ord("."))))
    if rules.min_words_per_line is not None:
        remove("too_few_words", lines.num_chunks < rules.min_words_per_line)
    lower = data.tobytes().lower()
    find = functools.partial(_lines_with, lower, starts, ends)
    nowhere = np.zeros(len(starts), bool)
    lorem = find(b"lorem ipsum") & left if rules.drop_lorem_ipsum else nowhere
    if rules.remove_javascript:
        remove("javascript", find(b"javascript") & ~lorem)
    curly = find(b"{") & left if rules.drop_curly_bracket else nowhere
    if rules.remove_policy:
        cookies = b"cookie" in lower
        asked = [phrase for phrase in _POLICIES if cookies or b"cookie" not in phrase]
        remove("policy", functools.reduce(np.logical_or, map(find, asked)))
    first_lorem = _first(lorem, lines.documents, n)
    first_curly = _first(curly, lines.documents, n)
    dropped = (first_lorem < len(starts)) & (first_lorem <= first_curly)
    out.drop("lorem_ipsum", dropped, np.ones(n))
    out.drop("curly_bracket", first_curly < len(starts), np.ones(n))
    if rules.min_sentences is not None:
        count = np.bincount(lines.documents[left & (ends > starts)], minlength=n)
        few = (count < rules.min_sentences) & (out.reason == None)  # noqa: E711  (elementwise)
        index = np.flatnonzero(few[lines.documents] & left)
        if len(index):
            texts = segment_texts(data, starts[index], ends[index])
            sentences = np.bincount(
                lines.documents[index], num_sentences(Features(texts)), minlength=n
            )
            count = np.where(few, sentences, count)
        out.drop("too_few_sentences", count < rules.min_sentences, count.astype(np.float64))
    return C4Lines(data, starts, ends, lines.documents, removed, left, num_citations)


def kept_texts(lines: C4Lines, num_documents: int) -> pa.Array:
    """large_string [N]: the kept lines of each document, a newline between them."""
    index = np.flatnonzero(lines.kept)
    texts = segment_texts(lines.data, lines.starts[index], lines.ends[index])
    counts = np.bincount(lines.documents[index], minlength=num_documents)
    return join_lines(texts, counts)


def join_lines(lines: pa.Array, counts: np.ndarray) -> pa.Array:
    """large_string [N]: counts[i] lines each, a newline between them."""
    bounds = np.concatenate([[0], np.cumsum(counts)])
    offsets = np.frombuffer(lines.buffers()[1], np.int64)[lines.offset :][: len(lines) + 1]
    size = int(offsets[-1] - offsets[0])
    data = np.full(size + len(lines), ord("\n"), np.uint8)
    source = lines.buffers()[2]
    if size:
        raw = np.frombuffer(source, np.uint8)[offsets[0] : offsets[-1]]
        place = np.ones(len(data), bool)
        place[offsets[1:] - offsets[0] + np.arange(len(lines))] = False
        data[place] = raw
    # A newline stands behind every line: a text goes on to the one before its last newline.
    ends = (offsets - offsets[0] + np.arange(len(lines) + 1))[bounds]
    texts = []
    for start, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        texts.append(data[start : max(end - 1, start)].tobytes())
    return pa.array(texts, pa.large_binary()).cast(pa.large_string())


def segment_texts(data: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> pa.Array:
    """large_string [K] of segments in text order."""
    sizes = ends - starts
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    index = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], sizes)
    return pa.Array.from_buffers(
        pa.large_string(),
        len(starts),
        [None, pa.py_buffer(offsets.astype(np.int64)), pa.py_buffer(data[index])],
    )


def num_sentences(f: Features) -> np.ndarray:
    """int64 [N]: sentences of texts of one line, as spaCy's sentencizer splits them.

    One ends with a word that is a full stop, a question mark, … and goes on to the next word that
    is no punctuation.
    """
    words, joined = f.words, f.joined
    code = joined.codes_at(words.starts)
    size = 1 + (code >= 0x80) + (code >= 0x800) + (code >= 0x10000)
    ends = (words.ends - words.starts == size) & (ENDS.of(code) > 0)
    punctuation = ((words.bits & WORDLIKE) == 0) & (NO_BEGINNINGS.of(code) > 0)
    ended = np.concatenate([[0], np.cumsum(ends)])
    others = np.flatnonzero(~punctuation & ~ends)
    documents = words.documents[others]
    bounds = np.concatenate([[0], np.cumsum(f.word_counts)])
    before = np.concatenate([[0], ended[others][:-1]])
    first = np.diff(documents, prepend=-1) != 0
    before = np.where(first, ended[bounds[documents]], before)
    starts = np.bincount(documents[ended[others] > before], minlength=f.num_documents)
    return starts + (f.word_counts > 0)


def _citations(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of all bytes of citations, and of their first bytes."""
    if not (data == ord("[")).any():
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    spans = [match.span() for match in _CITATION.finditer(data.tobytes())]
    if not spans:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    starts, ends = np.array(spans).T
    sizes = ends - starts
    offsets = np.cumsum(sizes) - sizes
    return np.arange(sizes.sum()) + np.repeat(starts - offsets, sizes), starts


def _with_long_word(f: Features, most: int) -> np.ndarray:
    """bool [L]: lines with a chunk of more characters."""
    starts, ends = f.joined.chunks
    long = np.flatnonzero(ends - starts > most)
    long = long[f.joined.num_characters(starts[long], ends[long]) > most]
    found = np.zeros(len(f.lines.starts), bool)
    found[np.searchsorted(f.lines.last, long, side="right")] = True
    return found


def _lines_with(lower: bytes, starts: np.ndarray, ends: np.ndarray, phrase: bytes) -> np.ndarray:
    """bool [L]: lines that hold the phrase."""
    positions, at = [], lower.find(phrase)
    if len(phrase) == 1 and at >= 0:
        positions, at = np.flatnonzero(np.frombuffer(lower, np.uint8) == phrase[0]).tolist(), -1
    while at >= 0:
        positions.append(at)
        at = lower.find(phrase, at + 1)
    found = np.zeros(len(starts), bool)
    if positions:
        place = np.array(positions)
        line = np.searchsorted(starts, place, side="right") - 1
        found[line[(line >= 0) & (place < ends[line])]] = True
    return found


def _first(chosen: np.ndarray, documents: np.ndarray, num_documents: int) -> np.ndarray:
    """int64 [N]: the first chosen line of each document; the number of lines = there is none."""
    first = np.full(num_documents, len(chosen))
    index = np.flatnonzero(chosen)[::-1]
    first[documents[index]] = index
    return first
