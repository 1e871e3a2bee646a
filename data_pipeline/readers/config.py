"""How inputs are read, and how much of a hostile one is borne."""

from dataclasses import dataclass

DROP, STRIP, KEEP = "drop", "strip", "keep"


@dataclass(frozen=True, kw_only=True)
class ReadConfig:
    """How inputs are read.

    text_column: field of .jsonl and column of .parquet that holds the text.
    max_document_bytes: of one text, line, page or record; what is larger fails, and is never held
        in memory as a whole.
    max_expanded_bytes: what one compressed file may give in all.
    max_expansion: decompressed bytes a compressed byte, looked at once 64 MiB have come out. Text
        has 3 to 10, logs 100; gzip itself ends at 1,032.
    max_metadata_bytes: a longer metadata is left out of its document.
    bidi_overrides: of a text with U+202D or U+202E, which make letters show in another order than
        they stand: "drop" the document, "strip" the two characters, or "keep" them. The embeddings
        and isolates U+202A-C and U+2066-9 are ordinary in Arabic and Hebrew and always stay.
    """

    text_column: str = "text"
    max_document_bytes: int = 32 * 2**20
    max_expanded_bytes: int = 2**37
    max_expansion: int = 250
    max_metadata_bytes: int = 2**14
    bidi_overrides: str = DROP

    def __post_init__(self):
        if not self.text_column:
            raise ValueError("text_column must name the field that holds the text, such as 'text'")
        for name in ("max_document_bytes", "max_expanded_bytes", "max_expansion"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        if self.max_document_bytes > 2**30:
            raise ValueError(
                f"max_document_bytes must be <= {2**30}, for a document is held in memory; "
                f"got {self.max_document_bytes}; split such documents"
            )
        if self.max_metadata_bytes < 0:
            raise ValueError(f"max_metadata_bytes must be >= 0, got {self.max_metadata_bytes}")
        if self.bidi_overrides not in (DROP, STRIP, KEEP):
            raise ValueError(
                f"bidi_overrides must be drop, strip or keep, got {self.bidi_overrides!r}"
            )
