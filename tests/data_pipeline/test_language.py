"""The language: what is said of known, unknown and hostile texts."""

import time
from pathlib import Path

import numpy as np
import pytest

from data_pipeline.accuracy import language as accuracy
from data_pipeline.document import batch_of
from data_pipeline.language import UNKNOWN, Language, LanguageConfig, identify, languages

DATA = Path(__file__).parents[3] / "shared" / "data"
TEXTS = {
    "en": "The committee will meet again on Thursday to discuss the new rules for the harbour.",
    "de": "Der Ausschuss trifft sich am Donnerstag wieder, um die neuen Regeln zu besprechen.",
    "fr": "Le comité se réunira de nouveau jeudi pour discuter des nouvelles règles du port.",
    "ru": "Комитет соберётся снова в четверг, чтобы обсудить новые правила для гавани.",
    "ja": "委員会は木曜日に再び集まり、港の新しい規則について話し合います。",
    "ar": "ستجتمع اللجنة مرة أخرى يوم الخميس لمناقشة القواعد الجديدة للميناء.",
    "he": "הוועדה תתכנס שוב ביום חמישי כדי לדון בכללים החדשים של הנמל.",
    "hi": "समिति बंदरगाह के नए नियमों पर चर्चा करने के लिए गुरुवार को फिर से मिलेगी।",
}


@pytest.mark.parametrize("code", TEXTS)
def test_a_sentence_is_known(code):
    found, confidence = identify(TEXTS[code])
    assert found == code and confidence > 0.5
    assert code in languages()


@pytest.mark.parametrize(
    "text",
    ["", " \n\t", "12345 67890", "... --- !!!", "\x00\x01\x02", "\ufffe\uffff", "😀😀😀", "\ud7ff"],
)
def test_a_text_without_letters_is_unknown(text):
    assert identify(text)[0] == UNKNOWN


def test_control_characters_and_latin_lookalikes_change_nothing():
    assert identify("\x01\x9f" + TEXTS["de"] + "\x00\ufdd0")[0] == "de"
    mixed = TEXTS["ru"].translate(str.maketrans("асеорху", "aceopxy"))  # noqa: RUF001
    assert mixed != TEXTS["ru"] and identify(mixed)[0] == "ru"


@pytest.mark.parametrize("letters", ["ab", "委員", "กข", "жб"])
def test_unbroken_letters_take_linear_time(letters):
    identify(letters)  # the models load
    start = time.process_time()
    identify(letters * 10_000)
    assert time.process_time() - start < 1  # 2.5 s where each letter looks at all that follow


def judge(config, texts, kinds=None):
    judged = Language(config).judge(batch_of(texts, kinds=kinds))
    return list(judged.verdicts.reason), judged


def test_languages_are_kept_by_name_and_code_is_not_looked_at():
    texts = [TEXTS["de"], TEXTS["en"], "0 1 2 3", "for i in range(3): print(i)"]
    kinds = ["prose", "prose", "html", "code"]
    reasons, judged = judge(LanguageConfig(keep=("de", "fr")), texts, kinds)
    assert reasons == [None, "other_language", "unknown_language", None]
    assert list(judged.notes["language"]) == ["de", "en", UNKNOWN, None]
    assert judged.verdicts.score[1] == pytest.approx(identify(texts[1])[1])
    assert judge(LanguageConfig(), texts, kinds)[0] == [None] * 4
    dropped, _ = judge(LanguageConfig(drop_unknown=True), texts, kinds)
    assert dropped == [None, None, "unknown_language", None]


def test_below_the_confidence_asked_for_a_language_is_unknown():
    _, judged = judge(LanguageConfig(min_confidence=1.0), [TEXTS["de"][:12] + " and the rest"])
    assert judged.notes["language"][0] == UNKNOWN
    assert np.float64(judged.notes["confidence"][0]) < 1


def test_only_the_beginning_is_looked_at():
    text = TEXTS["de"] + TEXTS["en"] * 100
    _, judged = judge(LanguageConfig(max_characters=len(TEXTS["de"])), [text])
    assert judged.notes["language"][0] == "de"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keep": ("de", "xx")}, "xx, which no model knows"),
        ({"min_confidence": 1.5}, "min_confidence"),
        ({"max_characters": 0}, "max_characters"),
    ],
)
def test_impossible_configs_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        LanguageConfig(**change)


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "langid").is_dir(), reason=f"the marked data is not in {DATA}")
def test_documents_of_known_languages_are_told_and_fast_enough():
    found = accuracy.measure(DATA)
    assert found["right of them"] >= 0.98
    assert found["right sentences, of 75 languages"] >= 0.94
    assert found["sentences a second, one core"] >= 2500
