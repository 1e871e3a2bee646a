"""The config of a whole curation: the stages' own configs, put together."""

from dataclasses import dataclass, field

from data_pipeline.dedup.exact import ExactConfig, ExactDedup
from data_pipeline.dedup.minhash import MinHashConfig, MinHashDedup
from data_pipeline.extraction import Extraction, ExtractionConfig
from data_pipeline.filters.heuristic import HeuristicConfig, HeuristicFilter
from data_pipeline.mix import MixConfig
from data_pipeline.readers import ReadConfig
from data_pipeline.stage import Stage
from data_pipeline.tokenize import TokenizerConfig


@dataclass(frozen=True, kw_only=True)
class CurationConfig:
    """A stage that is None is left out."""

    read: ReadConfig = field(default_factory=ReadConfig)
    extraction: ExtractionConfig | None = field(default_factory=ExtractionConfig)
    filter: HeuristicConfig | None = field(default_factory=HeuristicConfig)
    exact_dedup: ExactConfig | None = field(default_factory=ExactConfig)
    near_dedup: MinHashConfig | None = field(default_factory=MinHashConfig)
    mix: MixConfig = field(default_factory=MixConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)

    def stages(self) -> list[Stage]:
        """The stages between reading and mixing, in order: copies go before the costly rules."""
        stages: list[Stage] = []
        if self.extraction is not None:
            stages.append(Extraction(self.extraction))
        if self.exact_dedup is not None:
            stages.append(ExactDedup(self.exact_dedup))
        if self.filter is not None:
            stages.append(HeuristicFilter(self.filter))
        if self.near_dedup is not None:
            stages.append(MinHashDedup(self.near_dedup))
        return stages
