"""The privacy stage: finds personal data in a batch of texts and replaces it."""

import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from data_pipeline.document import Verdicts
from data_pipeline.pii.birth import births
from data_pipeline.pii.card import cards
from data_pipeline.pii.config import PiiConfig
from data_pipeline.pii.email import credentials, emails
from data_pipeline.pii.gazetteer import list_files
from data_pipeline.pii.iban import ibans
from data_pipeline.pii.ip import addresses
from data_pipeline.pii.national import national_numbers
from data_pipeline.pii.person import persons
from data_pipeline.pii.phone import phones
from data_pipeline.pii.replacement import Pseudonyms, placeholder
from data_pipeline.pii.secret import secrets
from data_pipeline.pii.spans import Span, without_overlaps
from data_pipeline.pii.street import streets
from data_pipeline.pii.text import Text
from data_pipeline.stage import Judged

_FINDERS: dict[str, Callable[[Text, PiiConfig], list[tuple[int, int]]]] = {
    "secret": lambda text, _: secrets(text),
    "credentials": lambda text, _: credentials(text),
    "email": lambda text, _: emails(text),
    "iban": lambda text, _: ibans(text),
    "card": lambda text, _: cards(text),
    "national_number": lambda text, config: national_numbers(text, config.national_numbers),
    "ip": lambda text, config: addresses(text, config.public_ips_only),
    "birth_date": lambda text, _: births(text),
    "phone": lambda text, _: phones(text),
    "street": lambda text, _: streets(text),
    "person": lambda text, _: persons(text),
}
# What is left when something was replaced may read as something else (digits beside a number), so
# texts are looked through until nothing is found any more: two rounds nearly always.
_MOST_ROUNDS = 8
_REACH = 256  # bytes; no finder looks further around
_SIGNS = re.compile(rb"\[at\]|\(at\)|::|-----BEGIN", re.I)


class Pii:
    """Replaces personal data by placeholders or pseudonyms.

    Scrubbing what was scrubbed changes nothing. No replacement depends on other documents.
    Notes: kind -> how many were replaced, for the kinds that a document has.
    """

    name = "pii"
    rewrites = True

    def __init__(self, config: PiiConfig):
        self.config = config

    @property
    def files(self) -> tuple[str, ...]:
        """The lists of names where persons are looked for, and the key of pseudonyms."""
        key = self.config.pseudonym_key_file
        names = list_files() if "person" in self.config.kinds else ()
        return names if key is None else (*names, key)

    def judge(self, batch: pa.RecordBatch) -> Judged:
        """Verdicts: too_much_pii where max_rate is given; texts: None where nothing was found."""
        config = self.config
        texts: list[bytes] = batch["text"].cast(pa.large_binary()).to_pylist()
        counts = {kind: np.zeros(len(texts), np.int64) for kind in config.kinds}
        key = config.pseudonym_key_file
        replacement = placeholder if key is None else Pseudonyms.under_key_of(key)
        with_names = "person" in config.kinds
        rows = np.arange(len(texts))
        for _ in range(_MOST_ROUNDS if key is None else 1):
            text = Text([texts[row] for row in rows])
            spans = find(text, config)
            if not spans:
                break
            unsettled = _unsettled(text, spans)
            again = []
            for place, its in _by_text(text, spans):
                row = int(rows[place])
                start = int(text.starts[place])
                for span in its:
                    counts[span.kind][row] += 1
                end = start + len(texts[row])
                texts[row] = _replaced(text.data, start, end, its, replacement)
                if with_names or unsettled[place]:
                    again.append(row)
            rows = np.array(again, np.int64)
        total = sum(counts.values(), np.zeros(len(texts), np.int64))
        if not total.any():
            return Judged(Verdicts.keep_all(len(texts)))
        return Judged(
            self._verdicts(batch, total),
            pa.array(texts, pa.large_binary()).cast(pa.large_string()),
            notes={kind: _noted(count) for kind, count in counts.items() if count.any()},
        )

    def _verdicts(self, batch: pa.RecordBatch, total: np.ndarray) -> Verdicts:
        verdicts = Verdicts.keep_all(len(total))
        if self.config.max_rate is not None:
            offsets = batch["text"].cast(pa.large_binary())
            sizes = np.array([len(value) for value in offsets.to_pylist()])
            rate = 1000 * total / np.maximum(sizes, 1)
            much = (rate > self.config.max_rate) & (total >= self.config.min_replacements)
            verdicts.drop("too_much_pii", much, rate)
        return verdicts


def find(text: Text, config: PiiConfig) -> list[Span]:
    """What the config looks for, in order of place, without overlaps (see `without_overlaps`)."""
    return without_overlaps(
        {kind: finder(text, config) for kind, finder in _FINDERS.items() if kind in config.kinds}
    )


def _by_text(text: Text, spans: Sequence[Span]) -> Iterator[tuple[int, Sequence[Span]]]:
    """(the text's place in the batch, its spans), for each text that has any."""
    places = np.fromiter((span.start for span in spans), np.int64, len(spans))
    owners = np.searchsorted(text.starts, places, side="right") - 1
    first = np.flatnonzero(np.diff(owners, prepend=-1)).tolist()
    for begin, end in zip(first, [*first[1:], len(spans)], strict=True):
        yield int(owners[begin]), spans[begin:end]


def _unsettled(text: Text, spans: Sequence[Span]) -> np.ndarray:
    """bool [N]: texts in which something is left near a finding, that may be one now."""
    starts = np.fromiter((span.start for span in spans), np.int64, len(spans))
    ends = np.fromiter((span.end for span in spans), np.int64, len(spans))
    signs = [match.start() for match in _SIGNS.finditer(text.data)]
    left = np.sort(np.concatenate((text.runs.start, text.places(b"@"), signs))).astype(np.int64)
    following = np.searchsorted(starts, left, side="right")
    end_before = np.append(ends, -_REACH)[following - 1]
    start_after = np.append(starts, len(text.data) + _REACH)[following]
    near = (left >= end_before) & ((left - end_before < _REACH) | (start_after - left < _REACH))
    unsettled = np.zeros(len(text.starts), bool)
    unsettled[np.searchsorted(text.starts, left[near], side="right") - 1] = True
    return unsettled


def _replaced(
    data: bytes,
    start: int,
    end: int,
    spans: Sequence[Span],
    replacement: Callable[[str, bytes], bytes],
) -> bytes:
    pieces = []
    for span in spans:
        pieces += (data[start : span.start], replacement(span.kind, data[span.start : span.end]))
        start = span.end
    pieces.append(data[start:end])
    return b"".join(pieces)


def _noted(counts: np.ndarray) -> np.ndarray:
    noted = counts.astype(object)
    noted[counts == 0] = None
    return noted
