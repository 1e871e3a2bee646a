"""RefinedWeb's line-wise corrections (Penedo et al. 2023, appendix G.2)."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import, so a type checker cannot see them)

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.document import Verdicts
from data_pipeline.filters.c4 import join_lines, segment_texts
from data_pipeline.filters.characters import CASED, DIGIT, LETTER, UPPER
from data_pipeline.filters.features import Features
from data_pipeline.filters.rules import RefinedWebLines

_COUNTED = (
    "likes?|shares?|comments?|replies|reply|retweets?|reposts?|quotes?|bookmarks?|votes?|upvotes?|"
    "downvotes?|downloads?|views?|followers?|following|subscribers?|favou?rites?|reviews?|ratings?"
)
_COUNTER = rf"(?i)^\W*\d[\d,.]*\s*[kmb]?\s+(?:{_COUNTED})\W*$"
_COUNTER_WORDS = 4  # at most: "3 k likes »"


@dataclass(frozen=True)
class Corrected:
    """texts: large_string [N]; counts: name of the reason -> int64 [N], lines removed or edited."""

    texts: pa.Array
    counts: dict[str, np.ndarray]


def correct_lines(texts: pa.Array, rules: RefinedWebLines, out: Verdicts) -> Corrected:
    """Drops documents of which too many words are in the lines that it removes or edits."""
    f = Features(texts)
    rows, data, n = f.rows, f.joined.data, f.num_documents
    documents, words = rows.documents, rows.num_chunks
    left = words > 0
    found: dict[str, np.ndarray] = {}

    def remove(name: str, chosen: np.ndarray) -> None:
        found[name] = left & chosen
        left[found[name]] = False

    letters = _count(f, LETTER)
    if rules.max_uppercase_rate is not None:
        capitals = _count(f, UPPER) - _count(f, CASED)
        remove("uppercase", capitals > rules.max_uppercase_rate * letters)
    if rules.remove_numbers:
        remove("numbers", (letters == 0) & (_count(f, DIGIT) > 0))
    if rules.remove_counters:
        counter = np.zeros(len(words), bool)
        few = np.flatnonzero(left & (words <= _COUNTER_WORDS))
        lines = segment_texts(data, rows.starts[few], rows.ends[few])
        counter[few] = pc.match_substring_regex(lines, _COUNTER).to_numpy(zero_copy_only=False)
        remove("counter", counter)
    if rules.remove_single_words:
        remove("single_word", words == 1)
    flagged = (words > 0) & ~left
    lines = None
    if rules.patterns:
        short = np.flatnonzero(left & (words <= rules.short_line))
        some = segment_texts(data, rows.starts[short], rows.ends[short])
        edited = some
        for pattern in rules.patterns:
            edited = pc.replace_substring_regex(edited, f"(?i){pattern}", "")
        changed = pc.not_equal(some, edited).to_numpy(zero_copy_only=False)
        found["pattern"] = np.zeros(len(words), bool)
        found["pattern"][short[changed]] = True
        flagged |= found["pattern"]
        lines = pc.utf8_trim_whitespace(edited.filter(pa.array(changed)))
    total = np.bincount(documents, words, n)
    rate = np.bincount(documents, words * flagged, n) / np.maximum(total, 1)
    if rules.max_removed_word_rate is not None:
        out.drop("too_many_removed", rate > rules.max_removed_word_rate, rate)
    keep = np.flatnonzero(left | (words == 0))  # blank lines part paragraphs
    kept = segment_texts(data, rows.starts[keep], rows.ends[keep])
    if lines is not None and len(lines):
        kept = pc.replace_with_mask(kept, pa.array(found["pattern"][keep]), lines)
    texts = join_lines(kept, np.bincount(documents[keep], minlength=n))
    by_reason = {
        name: np.bincount(documents[chosen], minlength=n) for name, chosen in found.items()
    }
    return Corrected(texts, by_reason)


def _count(f: Features, bits: np.uint8) -> np.ndarray:
    """int64: characters of each row whose classes have all the bits."""
    holds = (f.joined.classes & bits) == bits
    if not f.joined.ascii:
        holds &= (f.joined.data & 0xC0) != 0x80
    before = np.concatenate([[0], np.cumsum(holds, dtype=np.int32)])
    return before[f.rows.ends] - before[f.rows.starts]
