"""The main text of one page, by trafilatura (Barbaresi 2021, ACL demo track).

Faster than its `extract` since the tree comes without what is never shown, and with its checks of
readability and justext left out (`fast`): on the marked pages they cost more than they gain.
"""

import logging
import unicodedata
from functools import lru_cache

import trafilatura
from lxml.html import HtmlElement
from trafilatura.meta import reset_caches
from trafilatura.settings import Extractor
from trafilatura.xml import xmltotxt

from data_pipeline.extraction import boilerplate, markup
from data_pipeline.extraction.boilerplate import Line
from data_pipeline.extraction.config import ExtractionConfig
from data_pipeline.extraction.markup import Refused

__all__ = ["Refused", "main_text"]

# What it says of a page ("discarding data") is said by our reason, in the report.
logging.getLogger("trafilatura").setLevel(logging.CRITICAL + 1)

SHORT = 250  # characters: trafilatura's own MIN_EXTRACTED_SIZE, below which it tries otherwise
_CACHED_BYTES = 16_000_000  # of pages; its caches hold the last 1024 texts, however long
_since_reset = 0
_MAX_CELLS = 1000  # of a row; trafilatura's time grows with their square, 90,000 take 40 s
_BLANK = "\u2424"  # trafilatura's mark of a line that stays though it is empty


def main_text(html: str, config: ExtractionConfig) -> str:
    """The main text of a page, "" if there is none.

    A line is a paragraph, a heading, an item of a list ("- …") or a row of a table ("| … |"). Code
    keeps its lines and their indentation. Unicode NFC.

    Raises:
        Refused: the page is beyond the bounds of the config, or could not be read.
    """
    shown = markup.visible(html.encode("utf-8", "replace"), config)
    tree = markup.parse(shown, config)
    if tree is None:
        return ""
    _bound_caches(len(shown))
    try:
        if not config.remove_boilerplate:
            return _joined(_lines(tree, config))
        repeated = frozenset() if config.keep_headline else boilerplate.headlines(tree)
        boilerplate.prune(tree)
        text = _joined(boilerplate.without(_lines(tree, config), repeated))
        if len(text) < SHORT and (whole := markup.parse(shown, config)) is not None:
            # A page of links, cards or notices: there they are the text.
            text = max(text, _joined(_lines(whole, config)), key=len)
        return text
    except Exception as error:  # whatever a page can make lxml or trafilatura raise
        raise Refused("extraction_failed", len(html)) from error


def _lines(tree: HtmlElement, config: ExtractionConfig) -> list[Line]:
    """trafilatura's text of a page; the tree is used up."""
    for row in tree.iter("tr"):
        if len(row) > _MAX_CELLS:
            for element in (row, *row):
                element.tag = "div"
    document = trafilatura.bare_extraction(tree, options=_options(config))
    if document is None or isinstance(document, dict) or document.body is None:
        return []
    quoted: set[str] = set()
    for element in document.body.iter("code", "quote"):
        lines = (element.text or "").rstrip().split("\n")
        if element.tag == "code" and len(element) == 0 and len(lines) > 1:
            element.text = "".join(f"{line if line.strip() else _BLANK}\n" for line in lines)
        quoted.update("".join(element.itertext()).split("\n"))
    quoted = {line.strip() for line in quoted}
    text = unicodedata.normalize("NFC", xmltotxt(document.body, False))
    return [Line(line, line.strip() in quoted) for line in text.split("\n")]


@lru_cache(maxsize=4)
def _options(config: ExtractionConfig) -> Extractor:
    return Extractor(
        fast=True,
        precision=config.favor_precision,
        tables=config.include_tables,
        comments=config.include_comments,
    )


def _joined(lines: list[Line]) -> str:
    return "\n".join(line.text.rstrip() for line in lines).strip("\n")


def _bound_caches(num_bytes: int) -> None:
    global _since_reset
    _since_reset += num_bytes
    if _since_reset > _CACHED_BYTES:
        reset_caches()
        _since_reset = 0
