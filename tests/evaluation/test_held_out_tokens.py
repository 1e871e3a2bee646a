"""Hidden tokens and second halves: which are asked for, and the figures by whole passes."""

import math

import numpy as np
import pytest

from nanojaxlm.data.tokenizer import Tokenizer
from nanojaxlm.errors import UserError
from nanojaxlm.evaluation.held_out_tokens import continuations, hidden_tokens, windows
from nanojaxlm.evaluation.scoring import Answers
from nanojaxlm.token_store import StoreWriter, TokenStore

pytestmark = pytest.mark.usefixtures("quick_compile")
KINDS = ("decoder", "encoder", "encoder_decoder")


@pytest.fixture
def store(tmp_path):
    """Documents of 22, 3, 9 and 2 tokens, BOS and EOS included, counted up from 3."""
    tokenizer = Tokenizer.characters("".join(map(chr, range(97, 123))))
    documents = [[1, *range(3, 3 + n - 2), 2] for n in (22, 3, 9, 2)]
    with StoreWriter(
        str(tmp_path / "store"), tokenizer=tokenizer.model, sources=["test"], curation={}
    ) as writer:
        tokens = np.concatenate(documents)
        writer.write("validation", tokens, np.array([len(d) for d in documents]), 28)
        writer.finish()
    return TokenStore.open(str(tmp_path / "store"))


def test_windows_are_runs_within_a_document(store):
    first = [1, *range(3, 23), 2]
    last = [1, *range(3, 10), 2]
    assert windows([store], "validation", 8, 99) == [first[:8], first[8:16], last[:8]]
    assert windows([store], "validation", 30, 99) == [first, last]
    assert windows([store], "validation", 8, 2) == [first[:8], last[:8]]


def test_a_split_without_text_is_refused(store):
    with pytest.raises(UserError, match="has no document of 4 tokens"):
        windows([store], "validation", 3, 9)


TEXTS = [[1, *range(3, 14)], [5, 4, 3, 9, 2], [7, 7, 7, 7]]
ASKED = {(i, p) for i, text in enumerate(TEXTS) for p in range(1, len(text)) if text[p] != 2}


def by_definition(s, kind, text, place):
    """log-probabilities[V] at the hidden place."""
    t = s.tokenizer
    if kind == "decoder":
        return s.log_probabilities(None, text[:place])[place - 1]
    hole = t.special_id("<mask>" if kind == "encoder" else "<extra_id_0>")
    read = [*text[:place], hole, *text[place + 1 :]]
    if kind == "encoder":
        return s.log_probabilities(read, None)[place]
    return s.log_probabilities(read, [t.bos_id, hole])[1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_accuracy_and_loss_of_all_hidden_tokens(subject, kind):
    s = subject(kind)
    found = hidden_tokens(s.scorer, s.params, s.model.config, s.tokenizer, TEXTS, 10_000)
    tables = {(i, p): by_definition(s, kind, TEXTS[i], p) for i, p in ASKED}
    right = [tables[i, p].argmax() == TEXTS[i][p] for i, p in ASKED]
    nats = [-tables[i, p][TEXTS[i][p]] for i, p in ASKED]
    assert found.num_tokens == len(ASKED)
    assert found.accuracy == pytest.approx(np.mean(right))
    assert found.loss == pytest.approx(np.mean(nats), rel=1e-4)


class Recorder:
    """A scorer that keeps what it is asked and knows nothing."""

    def __init__(self):
        self.asked = []

    def score(self, params, questions):
        self.asked += questions
        return [Answers(np.zeros(1), np.zeros(1, bool)) for _ in questions]


def test_the_same_tokens_are_asked_of_every_kind(subject):
    answers = []
    for kind in KINDS:
        s, recorder = subject(kind), Recorder()
        hidden_tokens(recorder, None, s.model.config, s.tokenizer, TEXTS, 7)
        answers.append([question.answers for question in recorder.asked])
    assert answers[0] == answers[1] == answers[2] and len(answers[0]) == 7


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["decoder", "encoder_decoder"])
def test_bits_per_byte_of_second_halves(subject, kind):
    """é has two bytes, the other characters one, EOS none."""
    s = subject(kind)
    found = continuations(s.scorer, s.params, s.model.config, s.tokenizer, TEXTS)
    nats, num_bytes = 0.0, 0
    for text in TEXTS:
        half = len(text) // 2
        first, second = text[:half], text[half:]
        if kind == "decoder":
            table = s.log_probabilities(None, text[:-1])[half - 1 :]
        else:
            mark = s.tokenizer.special_id("<extra_id_0>")
            table = s.log_probabilities([*first, mark], [s.tokenizer.bos_id, mark, *second[:-1]])[
                1:
            ]
        nats -= sum(table[i, token] for i, token in enumerate(second))
        num_bytes += len(s.tokenizer.decode(second).encode())
    assert (found.num_windows, found.num_bytes) == (3, num_bytes)
    assert found.bits_per_byte == pytest.approx(nats / math.log(2) / num_bytes, rel=1e-4)


def test_an_encoder_alone_has_no_continuations(subject):
    s = subject("encoder")
    assert continuations(s.scorer, s.params, s.model.config, s.tokenizer, TEXTS) is None
