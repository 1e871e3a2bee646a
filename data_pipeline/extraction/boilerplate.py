"""What stands around the main text: recognised by its place in the tree, and by its words.

Written against 60 of the 120 marked pages of the article-extraction-benchmark (those of even place
by name); the other 60 judge it. No rule knows a site.
"""

# pyright: reportAttributeAccessIssue=false
# (lxml is compiled and has no stubs, so a type checker cannot see into it)

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lxml import etree
from lxml.html import HtmlElement

_NEVER = (
    "nav", "footer", "select", "button", "textarea", "input", "canvas", "object", "embed", "audio",
    "video", "map", "datalist", "dialog", "menu", "picture", "source", "link",
)  # fmt: skip
_INLINE = (  # without a meaning for the text; trafilatura strips them later, when it is slower
    "b", "i", "strong", "em", "u", "font", "img", "small", "big", "abbr", "acronym", "wbr", "ins",
    "mark", "cite", "data", "dfn", "bdi", "bdo", "nobr", "tbody", "thead", "tfoot", "hgroup",
    "center", "address", "meta",
)  # fmt: skip
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_SUBTITLE = re.compile(
    r"sub-?_?(?:head|line|title|deck)|(?:^|[\s_-])(?:dek|deck)(?:$|[\s_-])|standfirst|strapline",
    re.IGNORECASE,
)
_WRAPPERS = frozenset({"div", "p", "blockquote", "figure", "section"})
_MAX_WRAPPERS = 4  # elements around an embedded post that are its own
_LINKED = 0.85  # share of a paragraph's characters in links from which on it is a link
_MAX_PRUNED = 0.5  # share of a page's characters; a page that has more in links is a page of links
_LAYOUT_CHARACTERS = 400  # of a cell that is no cell of data
_LONG = 300  # characters of a line which is not looked at

_WORD = re.compile(r"\w+")
# Each needs more than its first word, since sentences begin so too ("Follow the river", "Published
# in 1987, the book"). No rule lets a line of many marks be tried from each of them.
_NETWORK = r"(?:@\w|twitter|facebook|instagram|youtube|linkedin|telegram|whatsapp)"
_INVITATION = re.compile(
    rf"""^(?:
    .*(?:all\ rights\ reserved|non-commercial\ use\ only).*
    |\s*+(?:©|ⓒ|\(c\)\W*\d{{4}}).*
    |.{{0,40}}contributed\ to\ this\ (?:report|story|article)\W*
    |\W*+(?:
        (?:related|recommended|read\ (?:more|also|next|this)|see\ also|also\ (?:read|see|watch)
          |(?:watch|listen)(?:\ (?:now|live|more|here|below))?
          |more\ (?:on|from|news|coverage)(?:\b[^.:]{{0,40}})?)\ ?:.*
        |(?:you\ (?:may|might)\ (?:also\ )?(?:like|enjoy)|explore\ further|advertise?ment
          |something\ to\ consider|sponsored(?:\ content)?|story\ continues(?:\ below)?.*
          |related(?:\ (?:news|stories|articles|posts|topics|content|links))?|continue\ reading.*
          |read\ more|share|comments?|tweet|print|email|loading|thank\ you|trending
          |most\ (?:popular|read)|order\ reprints|print\ article)\W*
        |also\ on\ [\w-]+\.[a-z]{{2,4}}\b.*
        |(?:please\ )?share\ (?:this|it|on)\b.{{0,60}}
        |like\ this\ (?:story|article|post|page)\b.{{0,60}}
        |follow\b.*(?:{_NETWORK}|(?:full|live|more)\ coverage).*
        |(?:like|join|find|visit|connect\ with)\ (?:us|me|our)\b.*{_NETWORK}.*
        |(?:reach|contact|e-?mail|write\ to)\b.*(?:\w@\w+\.\w|twitter\.com|on\ twitter).*
        |(?:subscribe|sign\ up|register)\b.*
          (?:newsletter|inbox|e-?mail|updates|podcast|channel|youtube|free|more).*
        |get\b.*(?:newsletter|inbox|letterbox|subscription).*
        |(?:get|download)\ (?:the|our)\b.{{0,40}}\bapp\W*
        |click\ here\b.*
        |(?:.*\b)?click\ to\ (?:tweet|share|enlarge|play|print|e-?mail|expand)\W*
        |have\ a\ (?:news\ )?tip\b.*|tell\ us\ what\b.*|leave\ a\ (?:comment|reply)\b.*
        |copyright\W+(?:\w+\W+){{0,4}}(?:©|ⓒ|\d{{4}}|\w+\.(?:com|net|org)).*|copyright\W*[©ⓒ].*
        |additional\ reporting\ by\b.*
        |an\ error\ has\ occurred,\ please\ try\ again.*
        |(?:last\ )?(?:updated|published|posted|modified)\W*(?:(?:at|on)\W)?.{{0,16}}
          (?:\d{{1,2}}[:.]\d\d|\d[./-]\d{{1,2}}[./-]\d|\d{{1,2}},?\ (?:\w{{3,9}}\.?,?\ )?\d{{4}})
          .{{0,20}}
        |more\ \w.{{0,40}}https?://.*
    ))$""",
    re.VERBOSE | re.IGNORECASE,
)
_ADDRESS = re.compile(
    r"^\W*+(?:(?:https?://|www\.)\S+|\S+@\S+\.\w+|[\w.-]+\.(?:com|org|net)/\S*)\W*$|^\s*@\w+\s*$"
)
# A date and a time, with a label before or a name behind, and no sentence.
_TIMESTAMP = re.compile(r"^(?=.*\d{4}).{0,25}\d{1,2}:\d{2}.{0,40}(?<![.!?])$")


class Line(NamedTuple):
    """A line of the main text; quoted: of code or of a quotation, which no rule touches."""

    text: str
    quoted: bool


def headlines(root: HtmlElement) -> frozenset[str]:
    """The words of the page's headline, as its <title>, og:title and <h1> have it."""
    titles = [title.text or "" for title in root.iter("title")][:1]
    titles += [e.get("content") or "" for e in root.iterfind('.//meta[@property="og:title"]')][:1]
    titles = [words for title in titles if (words := _words(title))]
    heads = [_words(head.text_content()) for head in root.iter("h1")]
    for head in heads:
        if head and (len(heads) == 1 or any(head in title or title in head for title in titles)):
            return frozenset([head, *titles])
    return frozenset(titles)


def prune(root: HtmlElement) -> None:
    """Cuts controls, subtitles, and paragraphs and cards that are links; frees posts and layouts.

    Posts embedded from elsewhere lose the class by which trafilatura would drop them; tables that
    lay out a page become divisions. Links stay where they are more than half of the page's text.
    """
    etree.strip_elements(root, *_NEVER, with_tail=False)
    etree.strip_tags(root, *_INLINE)
    for element in [*root.iter("h2", "h3")]:
        if _SUBTITLE.search(f"{element.get('class') or ''} {element.get('id') or ''}"):
            _drop(element)
    links = dict.fromkeys([*_linked_paragraphs(root), *_cards(root)])
    num_linked = sum(len(element.text_content()) for element in links)
    data = sum(len(script.text or "") for script in root.iter("script"))
    if num_linked <= _MAX_PRUNED * (len(root.text_content()) - data):
        for element in links:
            _drop(element)
    for quote in root.iter("blockquote"):
        if "twitter-" in (quote.get("class") or ""):
            _free(quote)
    for table in [*root.iter("table")]:
        if _lays_out(table):
            for element in (table, *table.iter("tr", "td", "th")):
                element.tag = "div"


def without(lines: Iterable[Line], repeated: frozenset[str]) -> list[Line]:
    """The lines that are none of: the headline (`headlines`), an invitation, an address, a date.

    Rows of tables, items of lists, code and quotations stay whatever they say.
    """
    return [line for line in lines if line.quoted or not _is_boilerplate(line.text, repeated)]


def _is_boilerplate(line: str, repeated: frozenset[str]) -> bool:
    if len(line) > _LONG or not line or line.startswith(("|", "- ")):
        return False  # rows and items: addresses and bare words are content there
    if repeated and _words(line) in repeated:
        return True
    if len(line) < 90 and _TIMESTAMP.match(line):
        return True
    return bool(_INVITATION.match(line) or _ADDRESS.match(line))


def _words(text: str) -> str:
    return " ".join(_WORD.findall(text)).casefold()


def _drop(element: HtmlElement) -> None:
    if element.getparent() is not None:
        element.drop_tree()


def _is_link(element: HtmlElement) -> bool:
    length = len(element.text_content().strip())
    linked = sum(len(link.text_content().strip()) for link in element.iter("a"))
    return linked > 0 and linked >= _LINKED * length


def _linked_paragraphs(root: HtmlElement) -> Iterator[HtmlElement]:
    return (element for element in root.iter("p") if _is_link(element))


def _cards(root: HtmlElement) -> Iterator[HtmlElement]:
    """Links around a heading or a paragraph; list items whose heading is a link."""
    for link in root.iter("a"):
        if any(child.tag == "p" or child.tag in _HEADINGS for child in link):
            yield link
    for heading in root.iter("h2", "h3", "h4"):
        if heading.find(".//a") is not None and _is_link(heading):
            item = next(heading.iterancestors("li"), None)
            if item is not None:
                yield item


def _free(quote: HtmlElement) -> None:
    """Takes the attributes off a quotation and off what wraps it and nothing else."""
    length = len(quote.text_content())
    quote.attrib.clear()
    for wrapper in [*quote.iterancestors()][:_MAX_WRAPPERS]:
        if wrapper.tag not in _WRAPPERS or len(wrapper.text_content()) > 1.2 * length + 20:
            return
        wrapper.attrib.clear()
        if wrapper.tag == "figure":
            wrapper.tag = "div"


def _lays_out(table: HtmlElement) -> bool:
    """Whether a table holds paragraphs, not data."""
    for cell in table.xpath("tr/td|tr/th"):
        if len(cell.text_content()) > _LAYOUT_CHARACTERS and any(
            cell.find(f".//{tag}") is not None for tag in ("p", "br", "div", "table")
        ):
            return True
    return False
