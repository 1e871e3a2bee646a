"""What the exporter asks, and when it takes the answers for the same."""

import dataclasses

import numpy as np
import pytest

from nanojaxlm.data.tokenizer import load_tokenizer
from nanojaxlm.errors import UserError
from nanojaxlm.interop import check
from nanojaxlm.interop.check import Answer, Question, ask, check_texts, compare, our_logits
from nanojaxlm.model.config import EmbedConfig
from nanojaxlm.model.transformer import Transformer


def test_differences_are_of_the_largest_logit():
    theirs = np.array([[[1.0, -200.0]]], np.float32)
    one = compare("it", [theirs, theirs], [theirs, theirs + np.float32(0.01)])
    assert one.against == "it"
    assert one.difference == pytest.approx(0.01 / 199.99, rel=1e-3)
    assert one.num_logits == 4


@pytest.mark.parametrize(
    ("ours", "said"),
    [(200.1, "logits differ by 5"), (np.nan, "logits differ by nan"), (np.inf, "differ by inf")],
)
def test_a_difference_beyond_the_tolerance_is_refused_with_its_place(ours, said):
    theirs = np.zeros((2, 3, 4), np.float32)
    theirs[0, 0, 0] = 200.0
    mine = theirs.copy()
    mine[0, 0, 0] = ours
    with pytest.raises(UserError, match=said) as caught:
        compare("it", [mine], [theirs])
    assert "by it" in str(caught.value)
    assert "row 0, token 0, id 0" in str(caught.value)


def test_logits_of_another_shape_are_refused():
    with pytest.raises(UserError, match=r"\(1, 2, 3\), not \(1, 2, 4\)"):
        compare("it", [np.zeros((1, 2, 4))], [np.zeros((1, 2, 3))])


def test_numbers_that_are_none_on_both_sides_are_refused():
    nothing = np.full((1, 2, 3), np.nan, np.float32)
    with pytest.raises(UserError, match="differ"):
        compare("it", [nothing], [nothing])


def test_random_tokens_reach_all_ids_but_the_padding(tiny_config):
    (question,) = ask(tiny_config(vocab_size=20), None, pad_id=7)
    assert question.tokens_BT.dtype == np.int32
    assert set(question.tokens_BT.flat) == set(range(20)) - {7}
    assert question.decoder_tokens_BT is None


def test_rows_fit_the_table_of_positions(tiny_config):
    embed = EmbedConfig(num_positions=11, first_position=2)
    (question,) = ask(tiny_config(embed=embed), None)
    assert question.tokens_BT.shape == (2, 9)


def test_real_texts_are_asked_about_where_there_is_a_tokenizer(tiny_config, sentencepiece_model):
    tokenizer = load_tokenizer(sentencepiece_model())
    _, texts = ask(tiny_config(vocab_size=303), tokenizer)
    start = tokenizer.encode(check.TEXTS[0])
    assert texts.tokens_BT[0, : len(start)].tolist() == start


def test_two_stacks_read_rows_of_two_lengths(tiny_config):
    config = tiny_config()
    config = dataclasses.replace(config, encoder=config.decoder)
    (question,) = ask(config, None)
    assert question.decoder_tokens_BT is not None
    assert 0 < question.decoder_tokens_BT.shape[1] < question.tokens_BT.shape[1]


def test_our_logits_are_of_float32_whatever_the_model_runs_in(
    tiny_config, random_params, quick_compile
):
    config = tiny_config(num_layers=1)
    params = random_params(Transformer(config))
    question = Question(np.arange(6, dtype=np.int32)[None])
    wide = our_logits(config, params, question)
    narrow = our_logits(dataclasses.replace(config, dtype="bfloat16"), params, question)
    np.testing.assert_array_equal(wide, narrow)
    assert wide.shape == (1, 6, 50)


@pytest.fixture
def tokenizer(sentencepiece_model):
    return load_tokenizer(sentencepiece_model())


def answers(tokenizer) -> Answer:
    ids = [tokenizer.encode(text) for text in check.TEXTS]
    return Answer("it 1.0", [], ids, [tokenizer.decode(one) for one in ids])


def test_the_same_ids_and_texts_are_taken(tokenizer):
    check_texts(answers(tokenizer), tokenizer)


def test_other_ids_are_refused(tokenizer):
    given = answers(tokenizer)
    given.ids[2].append(5)
    with pytest.raises(UserError, match=r"it 1\.0 makes"):
        check_texts(given, tokenizer)


def test_another_text_is_refused(tokenizer):
    given = answers(tokenizer)
    given.decoded[3] = given.decoded[3].strip()
    with pytest.raises(UserError, match=r"it 1\.0 reads the ids"):
        check_texts(given, tokenizer)


@pytest.mark.slow
@pytest.mark.interop
def test_what_transformers_cannot_load_is_told_in_one_line(family_folder, tmp_path):
    theirs = family_folder("llama")
    (theirs.path / "model.safetensors").unlink()
    question = Question(np.ones((1, 3), np.int32))
    with pytest.raises(UserError, match="cannot be read by transformers") as caught:
        check.ask_transformers(theirs.path, [question], ())
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.interop
def test_a_tensor_that_transformers_misses_is_no_answer(family_folder):
    from safetensors.numpy import load_file, save_file

    theirs = family_folder("llama")
    file = theirs.path / "model.safetensors"
    values = load_file(file)
    values.pop("model.norm.weight")
    save_file(values, file, {"format": "pt"})
    question = Question(np.ones((1, 3), np.int32))
    with pytest.raises(UserError, match=r"missing_keys.*model\.norm\.weight"):
        check.ask_transformers(theirs.path, [question], ())
