"""Curation of a web crawl, or of any large mixed collection: what needs no model of your own.

    python -m data_pipeline.main --config=configs/curation/web.py --input=CRAWL --output=DIR
    python -m data_pipeline.main --config=configs/curation/web.py:de,fr --input=CRAWL --output=DIR

After the colon: the languages to keep, ISO 639-1; English without it. Pages become their main text,
copies go, other languages go, lines that are no prose go (C4's rules as FineWeb applied them), then
the documents that Gopher's, C4's and FineWeb's rules refuse, near duplicates (MinHash, 14 bands of
8), repeated runs of 50 words, and personal data is replaced by placeholders. For languages other
than English the rule that counts English stop words is left out.

What is not here because it needs files of yours: a quality classifier, perplexity
(data_pipeline.filters.quality and .perplexity make the models), and the evaluation sets to keep out
(decontaminate=DecontaminateConfig(…)). Copy this file and add them.
"""

from ml_collections import config_dict

from data_pipeline.config import CurationConfig
from data_pipeline.dedup.substring import SubstringConfig
from data_pipeline.filters.lines import FINEWEB_LINES
from data_pipeline.filters.rules import (
    FineWebQuality,
    GopherQuality,
    GopherRepetition,
    HeuristicConfig,
)
from data_pipeline.language import LanguageConfig
from data_pipeline.pii import PiiConfig
from data_pipeline.tokenize import TokenizerConfig
from nanojaxlm.typed_config import to_config_dict


def get_config(languages: str = "en") -> config_dict.ConfigDict:
    keep = tuple(languages.split(","))
    stop_words = 2 if keep == ("en",) else None
    config = CurationConfig(
        language=LanguageConfig(keep=keep),
        lines=FINEWEB_LINES,
        filter=HeuristicConfig(
            gopher_repetition=GopherRepetition(),
            gopher_quality=GopherQuality(min_stop_words=stop_words),
            fineweb=FineWebQuality(),
            prose=None,
        ),
        substring_dedup=SubstringConfig(),
        pii=PiiConfig(),
        tokenizer=TokenizerConfig(vocab_size=32_768, sample_megabytes=256.0),
    )
    return to_config_dict(config)
