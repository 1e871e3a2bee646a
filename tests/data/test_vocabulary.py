"""What objectives know of a tokenizer."""

import numpy as np

from nanojaxlm.data.tokenizer import Tokenizer, load_tokenizer
from nanojaxlm.data.vocabulary import Vocabulary


def test_extra_tokens_are_not_of_the_vocabulary():
    plain = Tokenizer.characters("some text")
    extended = load_tokenizer(plain.model, ("<mask>", "<x>"))
    for tokenizer in (plain, extended):
        vocabulary = Vocabulary.of(tokenizer)
        assert vocabulary.size == len(vocabulary.begins_word_V) == plain.vocab_size
        assert (vocabulary.bos_id, vocabulary.eos_id, vocabulary.start_id) == (1, 2, 1)
        assert vocabulary.begins_word_V.dtype == bool


def test_a_model_may_start_its_decoder_with_another_id():
    assert Vocabulary.of(Tokenizer.characters("a"), 0).start_id == 0
    assert Vocabulary.of(Tokenizer.characters("a"), None).start_id == 1


def test_a_word_of_characters_begins_at_its_space():
    tokenizer = Tokenizer.characters("two words")
    begins = Vocabulary.of(tokenizer).begins_word_V
    ids = tokenizer.encode("two words")
    assert np.flatnonzero(begins[ids]).tolist() == [3]
