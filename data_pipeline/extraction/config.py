"""What of a page is wanted, and how large a page may be."""

from dataclasses import dataclass

# libxml2 gives up where it would have to look further ahead than this (XML_MAX_LOOKUP_LIMIT).
PARSER_BYTES = 10_000_000


@dataclass(frozen=True, kw_only=True)
class ExtractionConfig:
    """What of a page is its main text, and which pages are too much.

    The bounds keep the worst of pages within seconds and a few hundred megabytes, and let through
    what Common Crawl holds (it cuts pages at 1 MiB, since 2025 at 5 MiB).
    """

    keep_headline: bool = False  # lines that repeat the page's title
    remove_boilerplate: bool = True  # False: trafilatura's own judgement alone
    favor_precision: bool = False  # trafilatura's: less text, surer to be the main text
    include_tables: bool = True
    include_comments: bool = False  # readers' comments on an article; a forum's posts always stay
    min_characters: int = 1  # of the main text; a page with less is dropped
    max_bytes: int = 16_000_000  # of a page
    max_visible_bytes: int = 4_000_000  # without scripts, styles, drawings and comments
    max_elements: int = 100_000
    max_nested_bytes: int = 100_000_000  # visible bytes times the depth of the deepest element

    def __post_init__(self):
        for name in ("min_characters", "max_bytes", "max_elements", "max_nested_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        if not 1 <= self.max_visible_bytes < PARSER_BYTES:
            raise ValueError(
                f"max_visible_bytes must be >= 1 and < {PARSER_BYTES}, where the parser gives up,"
                f" got {self.max_visible_bytes}"
            )
