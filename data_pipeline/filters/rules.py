"""The bounds of the heuristic rules, each with its source; None leaves a rule out.

"datatrove" is release 0.10.1, whose defaults the published sets have; a test compares decisions. No
installed code confirms the numbers of RefinedWeb and of StarCoder2: they are as the papers give
them.
"""

from dataclasses import dataclass, field

# Gopher, A1.1: English; at least two of them, else the text is a list, a table or not English.
STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")


def _check(rules: object) -> None:
    for name, value in vars(rules).items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        if name.endswith("_rate") and not 0 <= value <= 1:
            raise ValueError(f"{name} is a fraction from 0 to 1, got {value}")
        if value < 0:
            raise ValueError(f"{name} must be >= 0, got {value}; None leaves the rule out")


@dataclass(frozen=True, kw_only=True)
class GopherQuality:
    """Rae et al. 2021 (Gopher), appendix A1.1, as datatrove's GopherQualityFilter.

    Words are spaCy's English ones: punctuation is words too, which count for the ratios but not
    for the number of words and their mean length.

    stop_words: of the language of the documents; the paper's are English.
    """

    min_words: int | None = 50
    max_words: int | None = 100_000
    min_mean_word_length: float | None = 3.0
    max_mean_word_length: float | None = 10.0
    max_symbol_word_ratio: float | None = 0.1  # "#" a word; likewise ellipses
    max_bullet_line_rate: float | None = 0.9  # lines that begin with "•" or "-"
    max_ellipsis_line_rate: float | None = 0.3
    min_alphabetic_word_rate: float | None = 0.8
    min_stop_words: int | None = 2  # different ones
    stop_words: tuple[str, ...] = STOP_WORDS

    def __post_init__(self):
        _check(self)
        if self.min_stop_words is not None and self.min_stop_words > len(set(self.stop_words)):
            raise ValueError(
                f"min_stop_words is {self.min_stop_words} but stop_words names"
                f" {len(set(self.stop_words))}; name more or set min_stop_words to None"
            )


@dataclass(frozen=True, kw_only=True)
class GopherRepetition:
    """Rae et al. 2021 (Gopher), table A1, as datatrove's GopherRepetitionFilter.

    Rates are of all characters, spaces included, but for those of lines and of paragraphs.
    """

    max_repeated_paragraph_rate: float | None = 0.30
    max_repeated_paragraph_character_rate: float | None = 0.20
    max_repeated_line_rate: float | None = 0.30
    max_repeated_line_character_rate: float | None = 0.20
    max_top_2_gram_rate: float | None = 0.20
    max_top_3_gram_rate: float | None = 0.18
    max_top_4_gram_rate: float | None = 0.16
    max_repeated_5_gram_rate: float | None = 0.15
    max_repeated_6_gram_rate: float | None = 0.14
    max_repeated_7_gram_rate: float | None = 0.13
    max_repeated_8_gram_rate: float | None = 0.12
    max_repeated_9_gram_rate: float | None = 0.11
    max_repeated_10_gram_rate: float | None = 0.10

    def __post_init__(self):
        _check(self)

    @property
    def max_top_ngram_rates(self) -> dict[int, float]:
        """n -> bound of the rules that are on."""
        bounds = {n: getattr(self, f"max_top_{n}_gram_rate") for n in range(2, 5)}
        return {n: bound for n, bound in bounds.items() if bound is not None}

    @property
    def max_repeated_ngram_rates(self) -> dict[int, float]:
        """n -> bound of the rules that are on."""
        bounds = {n: getattr(self, f"max_repeated_{n}_gram_rate") for n in range(5, 11)}
        return {n: bound for n, bound in bounds.items() if bound is not None}


@dataclass(frozen=True, kw_only=True)
class FineWebQuality:
    """Penedo et al. 2024 (FineWeb), section 3.6, as datatrove's FineWebQualityFilter."""

    min_ended_line_rate: float | None = 0.12  # lines that end with what ends a sentence
    max_short_line_rate: float | None = 0.67
    short_line: int = 30  # characters; a line of just as many is short
    max_repeated_line_character_rate: float | None = 0.01
    max_newline_word_ratio: float | None = 0.3  # in datatrove, not in the paper

    def __post_init__(self):
        _check(self)


@dataclass(frozen=True, kw_only=True)
class C4Quality:
    """Raffel et al. 2020 (C4), section 2.2, as datatrove's C4QualityFilter.

    In the stage `filter` it judges the document and leaves the text; the stage `lines` also
    removes the lines that it refuses.

    end_punctuation: lines must end in . ? ! " or ' and not in "...". FineWeb leaves this out.
    """

    remove_citations: bool = True  # [1], [edit], [citation needed]
    end_punctuation: bool = True
    min_words_per_line: int | None = 3
    max_word_length: int | None = 1000  # characters; a line with a longer word is removed
    drop_lorem_ipsum: bool = True
    remove_javascript: bool = True  # lines that mention it
    drop_curly_bracket: bool = True
    remove_policy: bool = True  # lines on cookies, privacy, terms of use
    min_sentences: int | None = 5  # in the lines that stay

    def __post_init__(self):
        _check(self)


@dataclass(frozen=True, kw_only=True)
class RefinedWebLines:
    """Penedo et al. 2023 (RefinedWeb), appendix G.2, "line-wise corrections".

    The paper names the kinds of lines and the 5 %; the rest, where it says "mainly" or gives an
    example, is ours. English; other languages need patterns of their own, as the paper says.

    patterns: regular expressions of RE2 without case, cut out of lines of at most short_line
        words; they should be anchored (^ a line's start, $ its end) where they can be.
    """

    max_uppercase_rate: float | None = 0.5  # ours: capitals of the letters, in "mainly uppercase"
    remove_numbers: bool = True  # lines without a letter that hold a digit
    remove_counters: bool = True  # "3 likes"
    remove_single_words: bool = True
    short_line: int = 10  # words
    patterns: tuple[str, ...] = (
        r"^\s*(?:sign[- ]?in|log[- ]?in|sign[- ]?up|subscribe)\b",
        r"\b(?:read more|continue reading|learn more|see more|click here)\s*(?:\.\.\.|…|»|>)?\s*$",
        r"\bitems? in (?:your )?cart\b",
    )
    max_removed_word_rate: float | None = 0.05  # beyond, the document is dropped

    def __post_init__(self):
        _check(self)


@dataclass(frozen=True, kw_only=True)
class ProseRules:
    """Our bounds for prose, after Gopher and FineWeb but on words as spaces part them.

    Rates are fractions of the characters that are no space, of lines or of words.
    """

    min_words: int | None = 50  # Gopher, and so on to min_stop_words
    max_words: int | None = 100_000
    min_mean_word_length: float | None = 3.0
    max_mean_word_length: float | None = 10.0
    max_symbol_word_ratio: float | None = 0.1  # "#" and ellipses together, a word
    max_bullet_line_rate: float | None = 0.9
    max_ellipsis_line_rate: float | None = 0.3
    min_alphabetic_word_rate: float | None = 0.8
    min_stop_words: int | None = 2
    # FineWeb's rate; its lines of just 30 characters are short, ours have to be below: a word list.
    max_short_line_rate: float | None = 0.67
    max_repeated_line_rate: float | None = 0.30  # Gopher, table A1, as all that follow
    max_repeated_paragraph_rate: float | None = 0.30
    max_repeated_line_character_rate: float | None = 0.20
    max_repeated_paragraph_character_rate: float | None = 0.20
    max_top_2_gram_rate: float | None = 0.20
    max_top_3_gram_rate: float | None = 0.18
    max_top_4_gram_rate: float | None = 0.16
    # 5- to 10-grams: 0.15, 0.14, … 0.10, as in table A1; a factor scales all six.
    repeated_ngram_factor: float | None = 1.0

    def __post_init__(self):
        _check(self)


@dataclass(frozen=True, kw_only=True)
class CodeRules:
    """Bounds for source code."""

    min_words: int | None = 20  # ours
    max_mean_line_length: float | None = 100.0  # StarCoder2
    max_line_length: int | None = 1000  # StarCoder2
    min_alphabetic_rate: float | None = 0.25  # StarCoder2; letters of all characters
    drop_generated: bool = True  # StarCoder2
    max_literal_line_rate: float | None = 0.5  # ours; lines that start with a digit or a quote
    # Gopher's bounds for repetition, as for prose.
    max_repeated_line_character_rate: float | None = 0.20
    max_top_4_gram_rate: float | None = 0.16
    repeated_ngram_factor: float | None = 1.0

    def __post_init__(self):
        _check(self)


@dataclass(frozen=True, kw_only=True)
class HeuristicConfig:
    """The rules by kind of document; None = that set is left out.

    For prose the sets are asked in the order of the fields, published ones first, in FineWeb's
    order; the first rule that drops a document names the reason, that of a published set with the
    set before it: gopher_, c4_ or fineweb_.
    """

    gopher_repetition: GopherRepetition | None = None
    gopher_quality: GopherQuality | None = None
    c4: C4Quality | None = None
    fineweb: FineWebQuality | None = None
    prose: ProseRules | None = field(default_factory=ProseRules)
    code: CodeRules | None = field(default_factory=CodeRules)
    # Of prose where its own set is on, and of code: digits of the characters that are no space.
    max_digit_rate: float | None = 0.15  # ours: a table of numbers
    # Characters in base64, hex or escapes: StarCoder2's patterns, but the bound is ours.
    max_encoded_rate: float | None = 0.30

    def __post_init__(self):
        _check(self)
