"""What is measured as the input grows (python -m data_pipeline.scale): the stages that look at all.

Every kind of deduplication, the filters and the scrubbing of personal data; documents only, since a
tokenizer's time does not depend on the stages.
"""

from ml_collections import config_dict

from data_pipeline.config import CurationConfig
from data_pipeline.dedup.paragraphs import ParagraphConfig
from data_pipeline.dedup.substring import SubstringConfig
from data_pipeline.filters.rules import HeuristicConfig, ProseRules
from data_pipeline.pii import PiiConfig
from nanojaxlm.typed_config import to_config_dict


def get_config() -> config_dict.ConfigDict:
    config = CurationConfig(
        filter=HeuristicConfig(prose=ProseRules(max_words=None)),
        paragraph_dedup=ParagraphConfig(),
        substring_dedup=SubstringConfig(),
        pii=PiiConfig(),
        tokenizer=None,
    )
    return to_config_dict(config)
