"""The stage: what it changes, what it may not depend on; scrubbing twice is scrubbing once."""

import pickle
import random

import numpy as np
import pytest

from data_pipeline.document import batch_of, text_bytes
from data_pipeline.pii import KINDS, Pii, PiiConfig
from data_pipeline.pii.spans import Span, without_overlaps
from data_pipeline.stage import Stage

PIECES = """
    jane.doe@mail.com|+49 30 901820|(212) 736-5000|4111 1111 1111 1111|DE89370400440532013000
    151.101.1.69|2607:f8b0:4005:805::200e|078-05-1120|born 2/8/1935|221 Baker Street|Lindenstraße 5
    ftp://joe:hunter2@host.org|AKIAIOSFODNN7EXAMPLE|phone 780 6326|54362315K|a@b.de@c.de|@|@@
    5551234|12|1234567890123456|0|-|.|:|::|/|(|)|+|<|>|x|card|call|at|,|é|“|”|用|א|\u00a0|\u2011|\u202e
    Apt. 3|P.O. Box 12|Rue de Rivoli|Drive|api_key=|password: |'|"|=|e29b|-----BEGIN |\x00
"""
PIECES = [piece for line in PIECES.strip().split("\n") for piece in line.strip(" ").split("|")]


def random_text(rng: random.Random) -> str:
    return "".join(
        rng.choice(PIECES) + rng.choice(("", " ", " ", "\n", ", "))
        for _ in range(rng.randint(1, 25))
    )


def scrubbed_texts(texts: list[str], **config) -> list[str]:
    judged = Pii(PiiConfig(**config)).judge(batch_of(texts))
    return texts if judged.texts is None else judged.texts.to_pylist()


def test_is_a_stage_that_travels():
    stage = Pii(PiiConfig())
    assert isinstance(stage, Stage)
    assert stage.rewrites
    assert pickle.loads(pickle.dumps(stage)).config == stage.config


def test_notes_count_what_was_replaced():
    judged = Pii(PiiConfig()).judge(
        batch_of(["a@b.de and c@d.de, +49 30 901820", "nothing", "151.101.1.69"])
    )
    assert {kind: list(note) for kind, note in judged.notes.items()} == {
        "email": [2, None, None],
        "phone": [1, None, None],
        "ip": [None, None, 1],
    }
    assert judged.texts is not None
    assert judged.texts.to_pylist() == ["<EMAIL> and <EMAIL>, <PHONE>", "nothing", "<IP>"]
    assert all(reason is None for reason in judged.verdicts.reason)


def test_a_batch_without_any_is_not_rewritten():
    for texts in (["nothing", ""], []):
        judged = Pii(PiiConfig()).judge(batch_of(texts))
        assert judged.texts is None
        assert not judged.notes


def test_too_much_is_dropped_if_wanted():
    dense, sparse = "a@b.de " * 20, "a@b.de " + "word " * 500
    short = "a@b.de"
    judged = Pii(PiiConfig(max_rate=50.0)).judge(batch_of([dense, sparse, short]))
    assert list(judged.verdicts.reason) == ["too_much_pii", None, None]
    assert judged.verdicts.score[0] == pytest.approx(1000 / 7)
    assert np.isnan(judged.verdicts.score[1])


def test_nothing_crosses_a_border_of_documents():
    texts = ["call 030 90", "18 20 now", "jane", "@mail.org", "4111 1111", " 1111 1111", "phone"]
    texts += ["780 6326", "born", "2/8/1935", "221 Baker", " Street", "address is", "Brisas 68"]
    assert scrubbed_texts(texts) == texts


def test_a_document_does_not_depend_on_its_neighbours():
    rng = random.Random(1)
    texts = [random_text(rng) for _ in range(300)]
    together = scrubbed_texts(texts)
    assert together == [scrubbed_texts([text])[0] for text in texts]
    order = rng.sample(range(len(texts)), len(texts))
    assert scrubbed_texts([texts[i] for i in order]) == [together[i] for i in order]


@pytest.mark.parametrize("seed", range(4))
def test_scrubbing_twice_is_scrubbing_once(seed: int):
    rng = random.Random(seed)
    texts = [random_text(rng) for _ in range(500)]
    once = scrubbed_texts(texts)
    assert sum(a != b for a, b in zip(texts, once, strict=True)) > 300
    assert scrubbed_texts(once) == once


def test_nothing_outside_the_findings_changes():
    """What is left between the placeholders stands in the text, in that order."""
    rng = random.Random(7)
    texts = [random_text(rng) for _ in range(500)]
    for text, scrubbed in zip(texts, scrubbed_texts(texts), strict=True):
        for kind in KINDS:
            scrubbed = scrubbed.replace(f"<{kind.upper()}>", "\ufffe")
        place = 0
        for piece in scrubbed.split("\ufffe"):
            found = text.find(piece, place)
            assert found >= 0
            place = found + len(piece)


def test_big_documents_among_small_ones():
    texts = ["word " * 200_000 + "a@b.de", "", "c@d.de"]
    assert text_bytes(batch_of(texts)) > 1_000_000
    assert scrubbed_texts(texts) == [texts[0][:-6] + "<EMAIL>", "", "<EMAIL>"]


def test_overlaps():
    found = {"a": [(0, 5), (20, 30)], "b": [(3, 12), (20, 30)], "c": [(11, 14), (31, 32)]}
    # the longer first, then what does not touch it; of equal ones the earlier kind
    assert without_overlaps(found) == [Span(3, 12, "b"), Span(20, 30, "a"), Span(31, 32, "c")]
    assert without_overlaps({}) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": ("email", "mail")}, "kinds"),
        ({"kinds": ("email", "email")}, "kinds"),
        ({"kinds": ()}, "leave the stage out"),
        ({"national_numbers": ("us",)}, "national_numbers"),
        ({"pseudonym_key_file": ""}, "secret key"),
        ({"max_rate": 0.0}, "max_rate"),
        ({"min_replacements": 0}, "min_replacements"),
    ],
)
def test_impossible_configs_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PiiConfig(**options)
