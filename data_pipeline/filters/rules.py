"""The bounds of the heuristic rules, each with its source; None leaves a rule out."""

from dataclasses import dataclass, field


def _check_rates(rules: object) -> None:
    for name, value in vars(rules).items():
        if name.endswith("_rate") and value is not None and not 0 <= value <= 1:
            raise ValueError(f"{name} is a fraction from 0 to 1, got {value}")
        if isinstance(value, (int, float)) and value < 0:
            raise ValueError(f"{name} must be >= 0, got {value}")


@dataclass(frozen=True, kw_only=True)
class ProseRules:
    """Bounds for prose; rates are fractions of non-space characters, lines or words."""

    min_words: int | None = 50
    max_words: int | None = 100_000
    min_mean_word_length: float | None = 3.0
    max_mean_word_length: float | None = 10.0
    max_symbol_word_ratio: float | None = 0.1  # "#" or "..." a word
    max_bullet_line_rate: float | None = 0.9
    max_ellipsis_line_rate: float | None = 0.3
    min_alphabetic_word_rate: float | None = 0.8
    min_stop_words: int | None = 2
    max_short_line_rate: float | None = 0.67  # FineWeb; lines below 30 characters: a word list
    max_repeated_line_rate: float | None = 0.30
    max_repeated_paragraph_rate: float | None = 0.30
    max_repeated_line_character_rate: float | None = 0.20
    max_repeated_paragraph_character_rate: float | None = 0.20
    max_top_2_gram_rate: float | None = 0.20
    max_top_3_gram_rate: float | None = 0.18
    max_top_4_gram_rate: float | None = 0.16
    # 5- to 10-grams: 0.15, 0.14, … 0.10, as in table A1; a factor scales all six.
    repeated_ngram_factor: float | None = 1.0

    def __post_init__(self):
        _check_rates(self)


@dataclass(frozen=True, kw_only=True)
class CodeRules:
    """Bounds for source code."""

    min_words: int | None = 20
    max_mean_line_length: float | None = 100.0  # StarCoder2
    max_line_length: int | None = 1000  # StarCoder2
    min_alphabetic_rate: float | None = 0.25  # StarCoder2; letters of all characters
    drop_generated: bool = True
    max_literal_line_rate: float | None = 0.5  # ours; lines that start with a digit or a quote
    # Gopher's bounds for repetition, as for prose.
    max_repeated_line_character_rate: float | None = 0.20
    max_top_4_gram_rate: float | None = 0.16
    repeated_ngram_factor: float | None = 1.0

    def __post_init__(self):
        _check_rates(self)


@dataclass(frozen=True, kw_only=True)
class HeuristicConfig:
    """The rules by kind of document; None = documents of that kind are not judged."""

    prose: ProseRules | None = field(default_factory=ProseRules)
    code: CodeRules | None = field(default_factory=CodeRules)
    max_digit_rate: float | None = 0.15  # digits of the non-space characters: a table of numbers
    max_encoded_rate: float | None = 0.30  # characters in base64, hex or escapes

    def __post_init__(self):
        _check_rates(self)
