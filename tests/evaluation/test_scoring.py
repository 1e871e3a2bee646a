"""Scores of batched, padded questions against whole passes of each alone."""

import numpy as np
import pytest

from nanojaxlm.evaluation import scoring
from nanojaxlm.evaluation.questions import Asker

pytestmark = pytest.mark.usefixtures("quick_compile")
KINDS = ("decoder", "encoder", "encoder_decoder")


def texts(tokenizer, seed=0):
    rng = np.random.default_rng(seed)
    lengths = (3, 30, 17, 16, 5)
    return [rng.integers(3, tokenizer.base_size, length).tolist() for length in lengths]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_those_of_each_question_alone_in_order(subject, kind):
    s = subject(kind)
    asker = Asker(s.model.config, s.tokenizer)
    asked = [asker.hidden(text, place) for text in texts(s.tokenizer) for place in (1, 2)]
    if asker.can_continue:
        asked += [asker.continuation(text, 1 + len(text) // 3) for text in texts(s.tokenizer)]
    scored = s.scorer.score(s.params, asked)
    assert len(scored) == len(asked)
    correct = []
    for question, (logs, right) in zip(asked, scored, strict=True):
        want = s.log_probabilities(question.encoder, question.decoder)[list(question.places)]
        answers = np.array(question.answers)
        np.testing.assert_allclose(logs, want[np.arange(len(answers)), answers], rtol=1e-4)
        assert right.tolist() == (want.argmax(axis=-1) == answers).tolist()
        correct += right.tolist()
    assert len(logs) == len(answers)


@pytest.mark.slow
def test_small_batches_give_the_same_scores(subject, monkeypatch):
    s = subject("encoder_decoder")
    asker = Asker(s.model.config, s.tokenizer)
    asked = [asker.hidden(text, place) for text in texts(s.tokenizer) for place in (1, 2)]
    whole = s.scorer.score(s.params, asked)
    monkeypatch.setattr(scoring, "_TOKENS", 70)  # one or two rows a batch
    for a, b in zip(whole, s.scorer.score(s.params, asked), strict=True):
        np.testing.assert_allclose(a.log_probabilities, b.log_probabilities, rtol=1e-4)


def test_no_questions_have_no_answers(subject):
    assert subject("decoder").scorer.score(None, []) == []
