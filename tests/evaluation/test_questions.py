"""What each kind of model reads when it is asked for a token, spelled out."""

import pytest

from nanojaxlm.data.tokenizer import Tokenizer
from nanojaxlm.errors import UserError
from nanojaxlm.evaluation.questions import Asker, Question

TEXT = (1, 7, 8, 9, 2)  # BOS and EOS around three tokens


@pytest.fixture
def ask(tiny_config):
    def make(kind, extra=("<mask>", "<extra_id_0>"), **fields):
        tokenizer = Tokenizer(Tokenizer.characters("abcdefgh").model, extra)
        assert tokenizer.base_size == 11 and tokenizer.bos_id == 1
        return Asker(tiny_config(kind, **fields), tokenizer)

    return make


MASK, SENTINEL = 11, 12


def test_a_hidden_token_leaves_an_encoder_both_sides_and_a_decoder_the_left(ask):
    assert ask("encoder").hidden(TEXT, 2) == Question((1, 7, MASK, 9, 2), None, (2,), (8,))
    assert ask("decoder").hidden(TEXT, 2) == Question(None, (1, 7), (1,), (8,))
    assert ask("encoder_decoder").hidden(TEXT, 2) == Question(
        (1, 7, SENTINEL, 9, 2), (1, SENTINEL), (1,), (8,)
    )


def test_a_continuation_is_asked_token_by_token_right_before_given(ask):
    assert ask("decoder").continuation(TEXT, 2) == Question(
        None, (1, 7, 8, 9), (1, 2, 3), (8, 9, 2)
    )
    assert ask("encoder_decoder").continuation(TEXT, 2) == Question(
        (1, 7, SENTINEL), (1, SENTINEL, 8, 9), (1, 2, 3), (8, 9, 2)
    )


def test_a_prefix_lm_without_sentinels_goes_on_and_hides_nothing(ask):
    asker = ask("encoder_decoder", extra=())
    assert asker.continuation(TEXT, 2) == Question((1, 7), (1, 8, 9), (0, 1, 2), (8, 9, 2))
    with pytest.raises(UserError, match="no <extra_id_0>"):
        asker.check_hides()


def test_the_decoder_begins_with_the_models_start_id(ask):
    assert ask("encoder_decoder", start_id=0).hidden(TEXT, 1).decoder == (0, SENTINEL)


def test_an_encoder_without_a_mask_is_refused(ask):
    with pytest.raises(UserError, match="no special token '<mask>'"):
        ask("encoder", extra=())


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_only_a_decoder_continues_and_both_hide(ask, kind):
    asker = ask(kind)
    asker.check_hides()
    assert asker.can_continue == (kind == "decoder")
