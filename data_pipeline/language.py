"""The language of a document, by two models that lie inside their wheels.

CLD2 (Chromium's, 165 languages; Apache-2.0) looks first: it is the faster by far. Where it is not
sure, or sees several languages, py3langid (naive Bayes over byte n-grams, Lui and Baldwin 2012;
BSD-3-Clause) decides, and how far its first choice is ahead of the second, in nats a byte, says how
sure it is. Neither downloads anything.
"""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import, so a type checker cannot see them)

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.document import CODE, Verdicts
from data_pipeline.stage import Judged

UNKNOWN = "unknown"
# Of CLD2, the share of the text that it must give to one language to be believed alone.
SURE_SHARE = 0.8
# Of py3langid, the lead in nats a byte at which its confidence is one half. On the documents of
# languages that it does not know the lead was 0.00 to 0.26, 0.09 at the 75th percentile; on those
# that it knows 0.19 and more.
EVEN_LEAD = 0.15
# Old and private codes, and those of dialects, as ISO 639-1 has them where it has the language.
CODES = {
    "iw": "he", "in": "id", "jw": "jv", "ji": "yi", "mo": "ro", "no": "nb", "zh-Hant": "zh",
    "fuv": "ff", "gug": "gn", "sdh": "ku", "uzs": "uz", "wuu": "zh", "yue": "zh", "ary": "ar",
    "arz": "ar", "hbo": "he", "grc": "el", "un": UNKNOWN, "zxx": UNKNOWN,
}  # fmt: skip
# Latin letters that stand for Cyrillic ones in words that are Cyrillic otherwise: old scans and
# keyboards are full of them, and the models take such words for another language.
_LOOKALIKES = str.maketrans("ABCEHKMOPTXaceopxyijs", "АВСЕНКМОРТХасеорхуіјѕ")  # noqa: RUF001
# From a word's start and without going back: unbroken letters (base64, Chinese) take linear time.
_CYRILLIC = re.compile(r"(?<!\w)[^\W\u0400-\u04ff]*+[\u0400-\u04ff]\w*")
# What CLD2 refuses as text: it raises on these.
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]")
_LETTER = re.compile(r"[^\W\d_]")


@dataclass(frozen=True, kw_only=True)
class LanguageConfig:
    """keep: ISO 639-1 codes, or -3 where there is none, of the languages to keep; () = all.

    min_confidence: below it the language is "unknown". drop_unknown: where `keep` names languages,
    unknown ones are dropped too; this says so for keep=(). max_characters: what is looked at, from
    the beginning.
    """

    keep: tuple[str, ...] = ()
    min_confidence: float = 0.5
    drop_unknown: bool = False
    max_characters: int = 2000

    def __post_init__(self):
        if not 0 <= self.min_confidence <= 1:
            raise ValueError(f"min_confidence is from 0 to 1, got {self.min_confidence}")
        if self.max_characters < 1:
            raise ValueError(f"max_characters must be >= 1, got {self.max_characters}")
        unknown = [code for code in self.keep if code not in languages()]
        if unknown:
            raise ValueError(
                f"keep names {', '.join(unknown)}, which no model knows; the codes are "
                f"{', '.join(sorted(languages()))}"
            )


class Language:
    """The stage: notes language and confidence; source code is not looked at."""

    name, rewrites = "language", False
    files: tuple[str, ...] = ()

    def __init__(self, config: LanguageConfig):
        self.config = config

    def judge(self, batch: pa.RecordBatch) -> Judged:
        """Reasons "other_language" and "unknown_language", score = the confidence."""
        config, num = self.config, len(batch)
        codes, confidences = np.full(num, None, object), np.full(num, np.nan)
        prose = np.array([kind != CODE for kind in batch["kind"].to_pylist()], bool)
        rows = np.flatnonzero(prose)
        heads = pc.utf8_slice_codeunits(batch["text"], 0, config.max_characters)
        for row, head in zip(rows, heads.take(pa.array(rows)).to_pylist(), strict=True):
            code, confidence = identify(head)
            sure = confidence >= config.min_confidence
            codes[row], confidences[row] = code if sure else UNKNOWN, confidence
        verdicts = Verdicts.keep_all(num)
        if config.keep or config.drop_unknown:
            verdicts.drop("unknown_language", codes == UNKNOWN, confidences)
        if config.keep:
            others = prose & ~np.isin(codes.astype(str), config.keep)
            verdicts.drop("other_language", others, confidences)
        noted = np.full(num, None, object)
        noted[rows] = confidences[rows].round(2)
        return Judged(verdicts, notes={"language": codes, "confidence": noted})


def identify(text: str) -> tuple[str, float]:
    """The language of a text as ISO 639-1, or -3 where there is no code of two letters; confidence.

    Returns:
        (code, confidence in [0, 1]); ("unknown", 0.0) of a text without letters.
    """
    import pycld2

    if not _LETTER.search(text):
        return UNKNOWN, 0.0
    text = _CONTROLS.sub(" ", _CYRILLIC.sub(_all_cyrillic, text))
    try:
        reliable, _, found = pycld2.detect(text, isPlainText=True, bestEffort=True)
    except pycld2.error:
        reliable, found = False, (("Unknown", "un", 0, 0.0),)
    code, share = CODES.get(found[0][1], found[0][1]), found[0][2] / 100
    if reliable and share >= SURE_SHARE and code != UNKNOWN:
        return code, share
    return _by_bayes(text)


def _by_bayes(text: str) -> tuple[str, float]:
    from py3langid import langid

    (first, best), (_, second), *_ = langid.rank(text)
    lead = float(best - second) / len(text.encode())
    code = CODES.get(str(first), str(first))
    return (code, 0.0) if code == UNKNOWN else (code, lead / (lead + EVEN_LEAD))


def _all_cyrillic(word: re.Match[str]) -> str:
    return word.group().translate(_LOOKALIKES)


def languages() -> frozenset[str]:
    """Every code that `identify` may give."""
    import pycld2
    from py3langid import langid

    langid.classify("")  # it loads its model at the first call
    names = set(pycld2.DETECTED_LANGUAGES)
    cld2 = {code for name, code in pycld2.LANGUAGES if name in names}
    found = {CODES.get(code, code) for code in cld2 | set(map(str, langid.IDENTIFIER.labels))}
    return frozenset(found) - {UNKNOWN}
