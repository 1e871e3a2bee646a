"""Main text of HTML pages: what the page is about, without menus, advertisements and footers.

Markup that never shows is cut before the page is parsed (`markup`), what surrounds an article is
cut from the tree (`boilerplate`), trafilatura finds the main text in what is left (`article`), and
lines that only invite, sell or repeat the headline are cut from that (`boilerplate` again).
`python -m data_pipeline.accuracy --only=extraction` measures it on pages that a person marked.
"""

import numpy as np
import pyarrow as pa

from data_pipeline.document import HTML, PROSE, Verdicts
from data_pipeline.extraction.config import ExtractionConfig
from data_pipeline.stage import Judged

__all__ = ["Extraction", "ExtractionConfig"]


class Extraction:
    """The stage: replaces the text of HTML documents by their main text, leaves others alone.

    Reasons: "no_main_text" (score: its characters), "page_too_large" (bytes, all or visible),
    "too_many_elements", "too_many_attributes" (of one tag), "nested_too_deep" (depth; 256 is the
    parser's own bound) and "extraction_failed" (characters of the page), where trafilatura raised.
    A kept page becomes prose.
    """

    name = "extraction"
    rewrites = True
    files: tuple[str, ...] = ()

    def __init__(self, config: ExtractionConfig):
        self.config = config

    def judge(self, batch: pa.RecordBatch) -> Judged:
        """Measures kept_rate: characters of the main text per character of the page."""
        kinds, texts = batch["kind"].to_pylist(), batch["text"]
        verdicts, kept_rate = Verdicts.keep_all(len(kinds)), np.full(len(kinds), np.nan)
        pages = [row for row, kind in enumerate(kinds) if kind == HTML]
        if not pages:
            return Judged(verdicts, measures={"kept_rate": kept_rate})
        from data_pipeline.extraction.article import Refused, main_text  # half a second

        found = texts.to_pylist()
        for row in pages:
            try:
                text = main_text(found[row], self.config)
            except Refused as refused:
                verdicts.reason[row], verdicts.score[row] = refused.reason, refused.score
                continue
            if len(text) < self.config.min_characters:
                verdicts.reason[row], verdicts.score[row] = "no_main_text", len(text)
                continue
            kept_rate[row] = len(text) / len(found[row])
            found[row], kinds[row] = text, PROSE
        return Judged(
            verdicts,
            texts=pa.array(found, pa.large_string()),
            kinds=pa.array(kinds, pa.string()),
            measures={"kept_rate": kept_rate},
        )
