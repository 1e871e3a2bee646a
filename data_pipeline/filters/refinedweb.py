"""RefinedWeb's line-wise corrections (Penedo et al. 2023, appendix G.2)."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import, so a type checker cannot see them)

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.document import Verdicts
from data_pipeline.filters.c4 import join_lines
from data_pipeline.filters.rules import RefinedWebLines

_COUNTED = (
    "likes?|shares?|comments?|replies|reply|retweets?|reposts?|quotes?|bookmarks?|votes?|upvotes?|"
    "downvotes?|downloads?|views?|followers?|following|subscribers?|favou?rites?|reviews?|ratings?"
)
_COUNTER = rf"(?i)^\W*\d[\d,.]*\s*[kmb]?\s+(?:{_COUNTED})\W*$"
_WORD = r"\S+"


@dataclass(frozen=True)
class Corrected:
    """texts: large_string [N]; counts: name of the reason -> int64 [N], lines removed or edited."""

    texts: pa.Array
    counts: dict[str, np.ndarray]


def correct_lines(texts: pa.Array, rules: RefinedWebLines, out: Verdicts) -> Corrected:
    """Drops documents of which too many words are in the lines that it removes or edits."""
    n = len(texts)
    by_document = pc.split_pattern(texts, "\n")
    if len(by_document) and not pa.types.is_large_list(by_document.type):
        by_document = by_document.cast(pa.large_list(pa.large_string()))
    lines = by_document.flatten().cast(pa.large_string())
    counts = pc.list_value_length(by_document).to_numpy(zero_copy_only=False).astype(np.int64)
    documents = np.repeat(np.arange(n), counts)
    words = _numbers(pc.count_substring_regex(lines, _WORD))
    letters = _numbers(pc.count_substring_regex(lines, r"\pL"))
    left = words > 0
    found: dict[str, np.ndarray] = {}

    def remove(name: str, chosen: np.ndarray) -> None:
        found[name] = left & chosen
        left[found[name]] = False

    if rules.max_uppercase_rate is not None:
        capitals = _numbers(pc.count_substring_regex(lines, r"\p{Lu}"))
        remove("uppercase", capitals > rules.max_uppercase_rate * letters)
    if rules.remove_numbers:
        digits = pc.match_substring_regex(lines, r"\pN").to_numpy(zero_copy_only=False)
        remove("numbers", digits & (letters == 0))
    if rules.remove_counters:
        counter = pc.match_substring_regex(lines, _COUNTER)
        remove("counter", counter.to_numpy(zero_copy_only=False))
    if rules.remove_single_words:
        remove("single_word", words == 1)
    flagged = (words > 0) & ~left
    if rules.patterns:
        short = np.flatnonzero(left & (words <= rules.short_line))
        some = lines.take(pa.array(short))
        edited = some
        for pattern in rules.patterns:
            edited = pc.replace_substring_regex(edited, f"(?i){pattern}", "")
        changed = pc.not_equal(some, edited).to_numpy(zero_copy_only=False)
        found["pattern"] = np.zeros(len(words), bool)
        found["pattern"][short[changed]] = True
        flagged |= found["pattern"]
        if changed.any():
            edited = pc.utf8_trim_whitespace(edited)
            lines = pc.replace_with_mask(
                lines, pa.array(found["pattern"]), edited.filter(pa.array(changed))
            )
    total = np.bincount(documents, words, n)
    rate = np.bincount(documents, words * flagged, n) / np.maximum(total, 1)
    if rules.max_removed_word_rate is not None:
        out.drop("too_many_removed", rate > rules.max_removed_word_rate, rate)
    keep = left | (words == 0)  # blank lines part paragraphs
    kept = lines.filter(pa.array(keep))
    texts = join_lines(kept, np.bincount(documents[keep], minlength=n))
    by_reason = {
        name: np.bincount(documents[chosen], minlength=n) for name, chosen in found.items()
    }
    return Corrected(texts, by_reason)


def _numbers(values: pa.Array) -> np.ndarray:
    return values.to_numpy(zero_copy_only=False).astype(np.int64)
