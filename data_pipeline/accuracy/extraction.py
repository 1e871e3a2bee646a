"""Extraction against main texts that a person marked.

DATA/html/ground_truth_shared.json: {page: {"articleBody": text}}; DATA/html/pages/PAGE.html.gz.
The measure is that of the article-extraction-benchmark (Scrapinghub, evaluate.py): shingles of four
words, a page's true and false ones counted with their repetitions, precision and recall averaged
over pages, F1 of the two averages.
"""

import gzip
import json
import re
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import trafilatura

from data_pipeline.extraction.article import Refused, main_text
from data_pipeline.extraction.config import ExtractionConfig

_WORD, _SHINGLE = re.compile(r"\w+"), 4
_ROUNDS = 3  # the best of them is the speed


def measure(data: Path) -> dict[str, float]:
    """F1, precision and recall of the stage's defaults, of halves of the pages, of trafilatura's.

    The rules were written against the pages of even place by name ("tuned"). MB/s: bytes of HTML
    per second of this process's time, one core, the best of three rounds.
    """
    folder = data / "html"
    truth = json.loads((folder / "ground_truth_shared.json").read_text(encoding="utf-8"))
    names = sorted(truth)
    pages = {
        name: gzip.decompress((folder / "pages" / f"{name}.html.gz").read_bytes()).decode(
            "utf-8", "replace"
        )
        for name in names
    }
    num_bytes = sum(len(page.encode()) for page in pages.values())
    config = ExtractionConfig()

    def ours(page: str) -> str:
        try:
            return main_text(page, config)
        except Refused:
            return ""

    def plain(page: str) -> str:
        return trafilatura.extract(page, include_comments=False) or ""

    found: dict[str, float] = {"pages": len(names)}
    for what, extract in (("", ours), ("trafilatura ", plain)):
        seconds, texts = [], dict[str, str]()
        for _ in range(_ROUNDS):
            start = time.process_time()
            texts = {name: extract(page) for name, page in pages.items()}
            seconds.append(time.process_time() - start)
        counts = {n: shingle_counts(truth[n].get("articleBody", ""), texts[n]) for n in names}
        for key, value in scores([counts[name] for name in names]).items():
            found[f"{what}{key}"] = value
        for half, chosen in (("tuned", names[0::2]), ("held out", names[1::2])):
            found[f"{what}F1 {half}"] = scores([counts[name] for name in chosen])["F1"]
        found[f"{what}MB/s"] = num_bytes / min(seconds) / 1e6
    return found


def shingle_counts(true: str, predicted: str) -> tuple[int, int, int]:
    """(in both, in the prediction only, in the truth only), shingles with their repetitions."""
    wanted, given = _shingles(true), _shingles(predicted)
    both = (wanted & given).total()
    return both, given.total() - both, wanted.total() - both


def scores(counts: Sequence[tuple[int, int, int]]) -> Mapping[str, float]:
    """F1, precision, recall from each page's `shingle_counts`.

    A page without predicted shingles has no precision, one without true ones no recall.
    """
    precision = statistics.mean(both / (both + extra) for both, extra, _ in counts if both + extra)
    recall = statistics.mean(both / (both + lost) for both, _, lost in counts if both + lost)
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {"F1": f1, "precision": precision, "recall": recall}


def _shingles(text: str) -> Counter[tuple[str, ...]]:
    """A text of fewer than four words is one shingle; an empty one has none."""
    words = _WORD.findall(text)
    count = max(1, len(words) - _SHINGLE + 1) if words else 0
    return Counter(tuple(words[i : i + _SHINGLE]) for i in range(count))
