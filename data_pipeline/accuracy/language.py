"""How often the language is right: on documents, and on single sentences.

Expects langid/udhr.jsonl.gz, {"language": an English name, "text"}, the Declaration of Human Rights
as nltk has it, and langid/lingua_dev.jsonl.gz, {"language": ISO 639-1, "text"}, sentences of the
lingua project's test data.

The constants of data_pipeline.language were chosen with these documents in view: the share that is
right of them is no estimate for other documents. The sentences say more of those.
"""

import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_pipeline.language import UNKNOWN, LanguageConfig, identify

# The declarations in languages that the models know, in a script in which they know them.
KNOWN = {
    "Belorus_Belaruski": "be", "Bengali": "bn", "Bulgarian_Balgarski": "bg", "Czech": "cs",
    "Akuapem_Twi": "ak", "Asante": "ak", "Fante": "ak", "Abkhaz": "ab", "Esperanto": "eo",
    "Farsi_Persian": "fa", "Farsi_Persian-v2": "fa", "Greek_Ellinika": "el", "Hawaiian": "haw",
    "Hebrew_Ivrit": "he", "Hindi": "hi", "Hindi_web": "hi", "Hungarian_Magyar": "hu", "Igbo": "ig",
    "Japanese_Nihongo": "ja", "Kannada": "kn", "Korean_Hankuko": "ko", "Kurdish": "ku",
    "Macedonian": "mk", "Maltese": "mt", "Mongolian_Khalkha": "mn", "Nepali": "ne", "Peuhl": "ff",
    "Pulaar": "ff", "Russian": "ru", "Russian_Russky": "ru", "Sami_Lappish": "se",
    "Sanskrit": "sa", "Serbian_Srpski": "sr", "Sinhala": "si", "Turkish_Turkce": "tr",
    "Ukrainian": "uk", "Vietnamese": "vi", "Vietnamese-ALRN": "vi", "Yoruba": "yo",
}  # fmt: skip
# Languages that the models know, but not in the script of these: Bosnian in Cyrillic letters,
# Panjabi in Arabic ones, Uighur in Latin ones.
OTHER_SCRIPT = {"Bosnian_Bosanski": "bs", "Punjabi_Panjabi": "pa", "Uighur_Uyghur": "ug"}


def measure(data: Path) -> dict[str, float]:
    """Shares that are right, and sentences a second of one core."""
    config = LanguageConfig()

    def answer(text: str) -> str:
        code, confidence = identify(text[: config.max_characters])
        return code if confidence >= config.min_confidence else UNKNOWN

    documents = [(row["language"], answer(row["text"])) for row in _rows(data, "udhr")]
    known = [KNOWN[name] == code for name, code in documents if name in KNOWN]
    others = [OTHER_SCRIPT[name] == code for name, code in documents if name in OTHER_SCRIPT]
    strange = [
        code == UNKNOWN
        for name, code in documents
        if name not in KNOWN and name not in OTHER_SCRIPT
    ]
    sentences = list(_rows(data, "lingua_dev"))
    start = time.process_time()
    right = sum(identify(row["text"])[0] == row["language"] for row in sentences)
    seconds = time.process_time() - start
    return {
        "documents in a known language and script": len(known),
        "right of them": sum(known) / len(known),
        "right, those in another script counted too": sum(known + others) / len(known + others),
        "documents in languages that no model knows": len(strange),
        "unknown of them": sum(strange) / len(strange),
        "sentences": len(sentences),
        "right sentences, of 75 languages": right / len(sentences),
        "sentences a second, one core": len(sentences) / seconds,
    }


def _rows(data: Path, name: str) -> Iterator[dict[str, Any]]:
    with gzip.open(data / "langid" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)
