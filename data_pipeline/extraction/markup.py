"""From the bytes of a page to its tree, within bounds: whatever the page holds, it is soon done."""

# pyright: reportAttributeAccessIssue=false
# (lxml is compiled and has no stubs, so a type checker cannot see into it)

import re

from lxml import etree
from lxml.html import HtmlElement

from data_pipeline.extraction.config import ExtractionConfig

_HIDDEN = re.compile(rb"<(?:!--|(?:script|style|svg|noscript|iframe)\b)")
# What follows it up to the end of the page is its own where it is never closed; the tag of any
# other is ignored then.
_TO_THE_END = frozenset({b"script", b"style", b"iframe"})
# Of JSON-LD: trafilatura reads articles and forums from it, with patterns that are not linear.
_MAX_DATA_BYTES, _MAX_ALL_DATA_BYTES = 64_000, 256_000
_CONTROL = bytes(range(9)) + b"\x0b\x0c" + bytes(range(14, 32))
_CONTROL_ENTITY = re.compile(
    rb"&#(?:0*(?:[0-8]|11|12|1[4-9]|2\d|3[01])(?!\d)"
    rb"|[xX]0*(?:[0-8bcefBCEF]|1[0-9a-fA-F])(?![0-9a-fA-F]));?"
)
_TAG = re.compile(rb"<[a-zA-Z][^=>]*+(?:=\s*+(?:\"[^\"]*+(?:\"|\Z)|'[^']*+(?:'|\Z))?+[^=>]*+)*+")
_QUOTED = re.compile(rb"\"[^\"]*\"|'[^']*'")
# Of one tag: libxml2's time grows with their square, 10,000 take 0.2 s and 60,000 take 31 s.
_LONG_TAG, _MAX_ATTRIBUTES = 20_000, 2_000
_CLOSED_ROOT = re.compile(rb"(<html\b[^<>]{0,2000})/>", re.IGNORECASE)


class Refused(Exception):
    """A page that will not be read.

    Attributes:
        reason: the verdict's.
        score: what was held against the bound.
    """

    def __init__(self, reason: str, score: float):
        super().__init__(reason, score)
        self.reason, self.score = reason, float(score)


def visible(page: bytes, config: ExtractionConfig) -> bytes:
    """The page without scripts, styles, drawings, frames, comments and control characters.

    JSON-LD stays, up to 256 kB of it. One pass: linear in the page.

    Raises:
        Refused: "page_too_large".
    """
    if len(page) > config.max_bytes:
        raise Refused("page_too_large", len(page))
    page = page.translate(None, _CONTROL)
    lower, parts, data_bytes = page.lower(), [], 0
    unclosed: set[bytes] = set()
    at, end = 0, len(page)
    position = 0  # from here on the next hidden part is looked for; at <= position
    while found := _HIDDEN.search(lower, position):
        start, name = found.start(), lower[found.start() + 1 : found.end()]
        if name == b"!--":
            close = lower.find(b"-->", start + 2)
            stop = end if close < 0 else close + 3
        else:
            tag_end = lower.find(b">", start) + 1 or end
            close = -1 if name in unclosed else lower.find(b"</" + name, tag_end)
            if name == b"svg" and lower[tag_end - 2 : tag_end] == b"/>":
                stop = tag_end
            elif close < 0:
                unclosed.add(name)
                stop = end if name in _TO_THE_END else tag_end
            else:
                stop = lower.find(b">", close) + 1 or end
            if name == b"script" and b"ld+json" in lower[start:tag_end]:
                data_bytes += stop - start
                if stop - start <= _MAX_DATA_BYTES and data_bytes <= _MAX_ALL_DATA_BYTES:
                    position = stop
                    continue
        parts.append(page[at:start])
        at = position = stop
    parts.append(page[at:])
    shown = b"".join(parts).replace(b"\xef\xbf\xbe", b"").replace(b"\xef\xbf\xbf", b"")
    if b"&#" in shown:
        shown = _CONTROL_ENTITY.sub(b"", shown)
    if len(shown) > config.max_visible_bytes:
        raise Refused("page_too_large", len(shown))
    return shown


def parse(shown: bytes, config: ExtractionConfig) -> HtmlElement | None:
    """The tree of what `visible` left (UTF-8, whatever the page says); None = it holds nothing.

    Raises:
        Refused: "nested_too_deep", "too_many_elements", "too_many_attributes".
    """
    for tag in _TAG.finditer(shown) if len(shown) > 2 * _LONG_TAG else ():
        if tag.end() - tag.start() > _LONG_TAG:
            num_attributes = len(_QUOTED.sub(b"", tag.group()).split())
            if num_attributes > _MAX_ATTRIBUTES:
                raise Refused("too_many_attributes", num_attributes)
    head = _CLOSED_ROOT.sub(rb"\1>", shown[:4096], count=1)
    parser = _parser()
    try:
        root = etree.fromstring(head + shown[4096:], parser)
    except etree.XMLSyntaxError:
        root = None
    if any(error.type == etree.ErrorTypes.ERR_RESOURCE_LIMIT for error in parser.error_log):
        raise Refused("nested_too_deep", 256)
    if root is None:
        return None
    num_elements = root.xpath("count(//*)")
    if num_elements > config.max_elements:
        raise Refused("too_many_elements", num_elements)
    if len(shown) * 256 > config.max_nested_bytes:
        depth = _depth(root)
        if len(shown) * depth > config.max_nested_bytes:
            raise Refused("nested_too_deep", depth)
    return root


def _parser() -> etree.HTMLParser:
    parser = etree.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True)
    # lxml.html's own parser asks a Python function for the class of every element.
    parser.set_element_class_lookup(etree.ElementDefaultClassLookup(element=HtmlElement))
    return parser


def _depth(root: HtmlElement) -> int:
    depth = deepest = 0
    for event, _ in etree.iterwalk(root, events=("start", "end")):
        depth += 1 if event == "start" else -1
        deepest = max(deepest, depth)
    return deepest
