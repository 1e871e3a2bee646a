"""English words as spaCy's blank English pipeline splits them, for a whole batch at once.

The published filters count these words: punctuation at the edges of a chunk of text is words of
its own, "don't" is two, "Mr." one. The rules are those of spaCy 3.8 (spacy/tokenizer.pyx,
lang/punctuation.py, lang/en; MIT licence): peel prefixes and suffixes off each chunk, split what is
left at infixes unless it is a URL, then cut and join as the exceptions say. The tests compare with
spaCy itself. Letters as in joined.py; M marks: characters that may split a word.
"""

import functools

import numpy as np

from data_pipeline.filters import exceptions
from data_pipeline.filters.characters import (
    ALPHA,
    ANYWHERE,
    CASED,
    CURRENCY,
    DIGIT,
    HYPHEN,
    LOWER,
    MARK,
    MARKS,
    PREFIX,
    PUNCTUATION,
    QUOTE,
    SPACE,
    SUFFIX,
    UPPER,
)
from data_pipeline.filters.joined import Joined

_SIGNS, _RELATIONS = np.zeros((2, 256), bool)
_SIGNS[list(b"+-*^")] = True
_RELATIONS[list(b":<>=/")] = True
_APOSTROPHE = 0x2019  # the curly one


class Words:
    """K words of a batch: starts, ends int64 [K] in bytes."""

    def __init__(self, joined: Joined):
        is_start = np.zeros(len(joined.data) + 1, bool)
        starts, _ = joined.chunks
        is_start[starts] = True
        _Marks(joined).split(is_start)
        _split_units(joined, is_start)
        self._joined = joined
        self._place(is_start)
        if self._apply_exceptions(is_start):
            self._place(is_start)

    def _place(self, is_start: np.ndarray) -> None:
        """starts and ends from where words begin: each ends where the next or a space does."""
        space = self._joined.space
        self.starts = np.flatnonzero(is_start)
        self.ends = np.flatnonzero((space[1:] | is_start[1:-1]) & ~space[:-1]) + 1

    @functools.cached_property
    def bits(self) -> np.ndarray:
        """uint8 [K]: the bits of the classes of characters; all of them, where none is ALPHA."""
        return self._joined.bits(self.starts, self.ends, ALPHA)

    @functools.cached_property
    def hashes(self) -> np.ndarray:
        """uint64 [K]."""
        return self._joined.hashes(self.starts, self.ends - self.starts)

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """int64 [K]: characters."""
        return self._joined.num_characters(self.starts, self.ends)

    @functools.cached_property
    def documents(self) -> np.ndarray:
        """int64 [K]."""
        return self._joined.documents(self.starts)

    def _apply_exceptions(self, is_start: np.ndarray) -> bool:
        """Cuts "don't" into two, joins "Mr" and "." again; whether anything changed."""
        rules, data = exceptions.tables(), self._joined.data
        sizes = self.ends - self.starts
        close = rules.beginnings.maybe(self._joined.first_bytes(self.starts, sizes))
        at, rule = rules.cuts.find(self._joined.hashes(self.starts[close], sizes[close]))
        cut = self.starts[close[at]]
        is_start[cut + rules.first_cut[rule]] = True
        is_start[cut + rules.second_cut[rule]] = True
        # What is joined holds a mark: "Mr" and ".", "'" and "em", "and" "/" "or", ")" and ":".
        at = np.flatnonzero(self._joined.classes[self.starts] & MARK)
        at = at[(at > 0) & (at < len(sizes) - 1)] if len(at) else at
        first, single = data[self.starts[at]], sizes[at] == 1
        follows = self.ends[at - 1] == self.starts[at]
        leads = self.starts[at + 1] == self.ends[at]
        # No word but a mark is one apostrophe of three bytes.
        apostrophe = ((first == ord("'")) & single) | ((first == 0xE2) & (sizes[at] == 3))
        words = at[follows & (apostrophe | ((first == ord(".")) & single))] - 1
        words = words[~_is_degree(data, self.starts[words])]
        joints = [self._join(words, 2, rules.joined)]
        joints += [self._join(at[leads & apostrophe], 2, rules.joined)]
        inside = (first == ord("/")) | (first == ord("."))  # "and/or", "Ph.D."
        within = at[follows & leads & single & inside] - 1
        within = self._join(within, 3, rules.around_mark)
        joints += [within, within + 1]
        paired = np.zeros(len(sizes), bool)
        paired[at[single & leads & (sizes[at + 1] == 1)]] = True
        paired[at[single & follows & (sizes[at - 1] == 1)] - 1] = True
        pairs = np.flatnonzero(paired)
        triples = self._join(pairs[:-1][pairs[1:] == pairs[:-1] + 1], 3, rules.triples)
        for i in range(-1, 3):
            paired[triples + i] = False
        joints += [triples, triples + 1]
        joints += [self._join(np.flatnonzero(paired), 2, rules.pairs)]
        gone = np.concatenate(joints) + 1
        is_start[self.starts[gone]] = False
        return len(cut) > 0 or len(gone) > 0

    def _join(self, first: np.ndarray, number: int, table: exceptions.Table) -> np.ndarray:
        """Those words (sorted) that with the next ones are in the table, none overlapping."""
        starts = self.starts[first]
        found, _ = table.find(self._joined.hashes(starts, self.ends[first + number - 1] - starts))
        first = first[found]
        return first[np.diff(first, prepend=-number) >= number]


class _Marks:
    """The M characters that may split a word, and which of them do."""

    def __init__(self, joined: Joined):
        self._joined = joined
        data, classes = joined.data, joined.classes
        at = np.flatnonzero(classes & MARK)
        code = joined.codes_at(at)
        size = 1 + (code >= 0x80) + (code >= 0x800) + (code >= 0x10000)
        # Runs of dots and of hyphens are one mark.
        joins = np.zeros(len(at), bool)
        joins[1:] = (at[1:] == at[:-1] + 1) & (code[1:] == code[:-1])
        joins &= (code == ord(".")) | (code == ord("-"))
        heads = np.flatnonzero(~joins)
        run = np.diff(np.append(heads, len(at)))
        self.at, self.code = at[heads], code[heads]
        self.size = np.where(run > 1, run, size[heads])
        self.bits = MARKS.of(self.code)
        dots = (self.code == ord(".")) & (self.size > 1)
        self.bits[dots] |= PREFIX | SUFFIX | ANYWHERE
        # Of hyphens behind a digit, only the first is split off.
        lone = (self.code == ord("-")) & ((classes[self.at - 1] & DIGIT) != 0)
        self.size[lone] = 1
        self.single_dot = (self.code == ord(".")) & (self.size == 1)
        self.before = classes[self.at - 1]
        # An apostrophe takes an s behind it with it where a word or a suffix ends there.
        end = self.at + self.size
        with_s = (self.code == ord("'")) | (self.code == _APOSTROPHE)
        behind = end[with_s]
        with_s[with_s] = (data[behind] | 0x20 == ord("s")) & (
            (classes[np.minimum(behind + 1, len(data) - 1)] & (SPACE | MARK)) != 0
        )
        self.ends = end + with_s
        self.after = classes[np.minimum(end, len(data) - 1)]
        self.after_ends = classes[np.minimum(self.ends, len(data) - 1)]
        self.touches_next = np.zeros(len(self.at), bool)
        self.touches_next[:-1] = self.ends[:-1] == self.at[1:]

    def split(self, is_start: np.ndarray) -> None:
        """Marks where words begin: bool [B + 1]."""
        prefix, suffix = self._prefixes(), self._suffixes()
        self._spread(is_start, self.at[prefix], (self.at + self.size)[prefix])
        self._spread(is_start, self.at[suffix], self.ends[suffix])
        infix = self._infixes(prefix, suffix) & ~prefix & ~suffix
        infix &= (self.before & SPACE) == 0
        infix[self._in_urls(infix, prefix, suffix)] = False
        self._spread(is_start, self.at[infix], (self.at + self.size)[infix])

    def _spread(self, is_start: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> None:
        is_start[starts] = True
        is_start[ends[(self._joined.classes[ends] & SPACE) == 0]] = True

    def _bits_before(self, peeled: np.ndarray | None = None) -> np.ndarray:
        """Bits of the mark that stands right before each and is not peeled, else 0."""
        bits = np.zeros_like(self.bits)
        touching = np.flatnonzero(self.touches_next[:-1])
        bits[touching + 1] = self.bits[touching]
        if peeled is not None:
            bits[1:][peeled[:-1]] = 0
        return bits

    def _bits_after(self, peeled: np.ndarray) -> np.ndarray:
        """As `_bits_before`, of the mark right behind."""
        bits = np.zeros_like(self.bits)
        touching = np.flatnonzero(self.touches_next[:-1] & ~peeled[1:])
        bits[touching] = self.bits[touching + 1]
        return bits

    def _prefixes(self) -> np.ndarray:
        """bool [M]: peeled off the front of a chunk."""
        may = (self.bits & PREFIX) != 0
        may &= ~((self.code == ord("+")) & ((self.after & DIGIT) != 0))
        first = np.ones(len(may), bool)
        first[1:] = ~self.touches_next[:-1]
        return _reached(may, first, (self.before & SPACE) != 0)

    def _suffixes(self) -> np.ndarray:
        """bool [M]: peeled off the end of a chunk."""
        may = (self.bits & SUFFIX) != 0
        digit = (self.before & DIGIT) != 0
        after_digit = ((self.bits & CURRENCY) != 0) | (self.code == ord("+"))
        may |= digit & (after_digit | (self.code == ord("%")))
        # Of dots, those behind a digit, a lower-case letter, two capitals, "°C", "²" or a mark.
        dots = np.flatnonzero(self.single_dot)
        data, at, before = self._joined.data, self.at[dots], self.before[dots]
        byte = data[at - 1]
        start = at - 1
        for _ in range(3):
            start = start - ((data[start] & 0xC0) == 0x80)
        split = (before & (DIGIT | LOWER)) != 0
        split |= (before & self._joined.classes[start - 1] & UPPER) != 0
        split |= _is_degree(data, at - 1) & np.isin(byte, np.frombuffer(b"FfCcKk", np.uint8))
        split |= (byte == 0xB2) & (data[at - 2] == 0xC2)
        split |= (self._bits_before()[dots] & (PUNCTUATION | QUOTE)) != 0
        split |= np.isin(byte, np.frombuffer(b"%-+|", np.uint8))
        may[dots[split]] = True
        last = ~self.touches_next
        at_end = (self.after_ends & SPACE) != 0
        return _reached(may[::-1], last[::-1], at_end[::-1])[::-1]

    def _infixes(self, prefix: np.ndarray, suffix: np.ndarray) -> np.ndarray:
        """bool [M]: splits a word within; it does not look at what was peeled off."""
        before, after, code = self.before, self.after, self.code
        letter, to_letter = (before & CASED) != 0, (after & CASED) != 0
        digit = (before & DIGIT) != 0
        letter_or_digit = letter | digit
        split = (self.bits & ANYWHERE) != 0
        split |= ((self.bits & HYPHEN) != 0) & (self.size <= 3) & letter_or_digit & to_letter
        sign = _SIGNS[np.minimum(code, 255)] & (self.size == 1)
        byte_after = self._joined.data[np.minimum(self.at + 1, len(self._joined.data) - 1)]
        split |= sign & digit & (((after & DIGIT) != 0) | (byte_after == ord("-")))
        low = ((before & LOWER) != 0) | ((self._bits_before(prefix) & QUOTE) != 0)
        high = ((after & UPPER) != 0) | ((self._bits_after(suffix) & QUOTE) != 0)
        split |= self.single_dot & low & high
        split |= (code == ord(",")) & letter & to_letter
        relation = _RELATIONS[np.minimum(code, 255)]
        return split | (relation & letter_or_digit & to_letter)

    def _in_urls(self, infix: np.ndarray, prefix: np.ndarray, suffix: np.ndarray) -> np.ndarray:
        """int64: infixes in chunks that are URLs once their edges are peeled."""
        chunk_starts, chunk_ends = self._joined.chunks
        domain = self.single_dot & ((self.after & LOWER) != 0) & ((self.before & SPACE) == 0)
        if not domain.any() or not infix.any():
            return np.zeros(0, np.int64)
        index = np.flatnonzero(infix)
        chunk = np.searchsorted(chunk_starts, self.at[index], side="right") - 1
        named = np.unique(np.searchsorted(chunk_starts, self.at[domain], side="right") - 1)
        near = np.isin(chunk, named)
        index, chunk = index[near], chunk[near]
        urls, known = [], {}
        data = self._joined.data
        for c in np.unique(chunk).tolist():
            start, end = int(chunk_starts[c]), int(chunk_ends[c])
            inside = slice(*np.searchsorted(self.at, (start, end)))
            peeled = self.at[inside][prefix[inside]]
            if len(peeled):
                start = int((self.at + self.size)[inside][prefix[inside]][-1])
            peeled = self.at[inside][suffix[inside]]
            if len(peeled):
                end = int(peeled[0])
            core = data[start:end].tobytes()
            if core not in known:
                known[core] = exceptions.is_url(core.decode("utf-8", "replace"))
            if known[core]:
                urls.append(c)
        return index[np.isin(chunk, urls)]


def _is_degree(data: np.ndarray, at: np.ndarray) -> np.ndarray:
    """bool: "°" stands right before each position."""
    return (data[at - 1] == 0xB0) & (data[at - 2] == 0xC2)


def _reached(may: np.ndarray, first: np.ndarray, opens: np.ndarray) -> np.ndarray:
    """bool [M]: `may` holds for it and all before it in its run, whose first one `opens`."""
    if not len(may):
        return may
    index = np.maximum.accumulate(np.where(first, np.arange(len(may)), 0))
    refused = np.cumsum(~may)
    return opens[index] & (refused - refused[index] + ~may[index] == 0)


def _split_units(joined: Joined, is_start: np.ndarray) -> None:
    """ "10km" is two words where the chunk or its core ends with the unit."""
    classes = joined.classes
    cased = (classes & CASED) != 0
    at = np.flatnonzero(cased[1:] & ((classes[:-1] & DIGIT) != 0)) + 1
    if not len(at):
        return
    ends = np.zeros(len(at), bool)
    for size, units in exceptions.units().items():
        end = np.minimum(at + size, len(classes) - 1)
        here = is_start[end] | ((classes[end] & SPACE) != 0)
        value = joined.first_bytes(at, np.full(len(at), size, np.int64))
        ends |= here & np.isin(value, units)
    is_start[at[ends]] = True
