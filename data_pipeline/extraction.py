"""Main text of HTML pages: what the page is about, without menus, advertisements and footers."""

import logging
from dataclasses import dataclass

from data_pipeline.document import Verdict, is_html
from data_pipeline.engine import DataFrame, DataType, Series, col, daft, lit


@dataclass(frozen=True, kw_only=True)
class ExtractionConfig:
    """trafilatura's settings (Barbaresi 2021)."""

    favor_precision: bool = False
    include_tables: bool = True
    include_comments: bool = False
    min_characters: int = 1  # of the main text; a page with less is dropped

    def __post_init__(self):
        if self.min_characters < 1:
            raise ValueError(f"min_characters must be >= 1, got {self.min_characters}")


class Extraction:
    """The stage: replaces the text of HTML documents by their main text, leaves others alone."""

    name = "extraction"

    def __init__(self, config: ExtractionConfig):
        self.config = config

    def judge(self, documents: DataFrame) -> DataFrame:
        """id, text, source -> the same and reason "no_main_text", score = its characters."""
        config = self.config
        row = DataType.struct(
            {"text": DataType.string(), "reason": DataType.string(), "score": DataType.float64()}
        )

        @daft.func.batch(return_dtype=DataType.bool(), use_process=False, batch_size=4096)
        def are_html(sources: Series) -> Series:
            return Series.from_pylist([is_html(source) for source in sources.to_pylist()])

        @daft.func.batch(return_dtype=row, use_process=True, batch_size=64)
        def extract(texts: Series) -> Series:
            rows = []
            for text in texts.to_pylist():
                main, verdict = main_text(text, config)
                if verdict.keep:
                    rows.append({"text": main, "reason": None, "score": None})
                else:
                    rows.append({"text": text, "reason": verdict.reason, "score": verdict.score})
            return Series.from_pylist(rows, dtype=row)

        marked = documents.with_column("html", are_html(col("source")))
        others = marked.where(~col("html")).select(
            "id",
            "text",
            "source",
            lit(None).cast(DataType.string()).alias("reason"),
            lit(None).cast(DataType.float64()).alias("score"),
        )
        extracted = marked.where(col("html")).with_column("main", extract(col("text")))
        return others.concat(
            extracted.select(
                "id",
                col("main").get("text").alias("text"),
                "source",
                col("main").get("reason").alias("reason"),
                col("main").get("score").alias("score"),
            )
        )


def main_text(html: str, config: ExtractionConfig) -> tuple[str, Verdict]:
    """The main text of one page ("" if there is none) and whether it is enough."""
    import trafilatura  # half a second and lxml: only where there is HTML

    # What it says of a page ("empty HTML tree") is said by our reason, in the report.
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL + 1)
    text = (
        trafilatura.extract(
            html,
            favor_precision=config.favor_precision,
            include_tables=config.include_tables,
            include_comments=config.include_comments,
        )
        or ""
    )
    enough = len(text) >= config.min_characters
    return text + "\n" if enough else "", Verdict(enough, "no_main_text", float(len(text)))
