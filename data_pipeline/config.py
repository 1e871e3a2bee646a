"""The config of a whole curation: the stages' own configs, put together."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from data_pipeline.decontaminate import Decontaminate, DecontaminateConfig
from data_pipeline.dedup.exact import ExactConfig, ExactDedup
from data_pipeline.dedup.minhash import MinHashConfig, MinHashDedup
from data_pipeline.dedup.paragraphs import ParagraphConfig, ParagraphDedup
from data_pipeline.dedup.substring import SubstringConfig, SubstringDedup
from data_pipeline.extraction import Extraction, ExtractionConfig
from data_pipeline.filters.heuristic import HeuristicConfig, HeuristicFilter
from data_pipeline.filters.lines import Lines, LinesConfig
from data_pipeline.filters.perplexity import Perplexity, PerplexityConfig
from data_pipeline.filters.quality import Quality, QualityConfig
from data_pipeline.language import Language, LanguageConfig
from data_pipeline.mix import MixConfig
from data_pipeline.pii import Pii, PiiConfig
from data_pipeline.readers import ReadConfig
from data_pipeline.stage import Comparison, Stage
from data_pipeline.tokenize import TokenizerConfig

# What a stage's field of CurationConfig makes, in the default order: what is cheap and drops much
# goes before what is costly, and what compares texts sees them as they will be kept.
STAGES: dict[str, Callable[[Any], Stage | Comparison]] = {
    "extraction": Extraction,
    "exact_dedup": ExactDedup,
    "language": Language,
    "lines": Lines,
    "filter": HeuristicFilter,
    "quality": Quality,
    "perplexity": Perplexity,
    "paragraph_dedup": ParagraphDedup,
    "near_dedup": MinHashDedup,
    "substring_dedup": SubstringDedup,
    "pii": Pii,
    "decontaminate": Decontaminate,
}


@dataclass(frozen=True, kw_only=True)
class CurationConfig:
    """A stage that is None is left out; those that are there run in the given order.

    tokenizer: None = documents only, without a tokenizer and a token store.
    """

    read: ReadConfig = field(default_factory=ReadConfig)
    extraction: ExtractionConfig | None = field(default_factory=ExtractionConfig)
    exact_dedup: ExactConfig | None = field(default_factory=ExactConfig)
    language: LanguageConfig | None = None
    lines: LinesConfig | None = None
    filter: HeuristicConfig | None = field(default_factory=HeuristicConfig)
    quality: QualityConfig | None = None
    perplexity: PerplexityConfig | None = None
    paragraph_dedup: ParagraphConfig | None = None
    near_dedup: MinHashConfig | None = field(default_factory=MinHashConfig)
    substring_dedup: SubstringConfig | None = None
    pii: PiiConfig | None = None
    decontaminate: DecontaminateConfig | None = None
    order: tuple[str, ...] = tuple(STAGES)
    mix: MixConfig = field(default_factory=MixConfig)
    tokenizer: TokenizerConfig | None = field(default_factory=TokenizerConfig)

    def __post_init__(self):
        unknown = [name for name in self.order if name not in STAGES]
        if unknown or len(set(self.order)) < len(self.order):
            raise ValueError(
                f"order names each stage once, of {', '.join(STAGES)}; got {', '.join(self.order)}"
            )
        missing = [n for n in STAGES if getattr(self, n) is not None and n not in self.order]
        if missing:
            raise ValueError(f"{', '.join(missing)}: not in order; name it there or set it to None")

    def stages(self) -> list[Stage | Comparison]:
        """The stages between reading and mixing, in their order."""
        configs = ((name, getattr(self, name)) for name in self.order)
        return [STAGES[name](config) for name, config in configs if config is not None]

    def only(self, name: str) -> "CurationConfig":
        """This config with a single stage, and documents instead of a token store.

        Raises:
            ValueError: no such stage, or one that this config leaves out.
        """
        there = [stage for stage in STAGES if getattr(self, stage) is not None]
        if name not in there:
            raise ValueError(f"this config has no stage {name!r}; it has {', '.join(there)}")
        others = dict.fromkeys((other for other in STAGES if other != name), None)
        return dataclasses.replace(self, **others, order=(name,), tokenizer=None)
