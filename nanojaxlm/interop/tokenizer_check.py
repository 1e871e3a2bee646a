"""Does a tokenizer.json give the ids and the text of the tokenizer that it was written from?"""

import random
import unicodedata
from collections.abc import Iterable, Iterator

import tokenizers

from nanojaxlm.data.tokenizer import Tokenizer
from nanojaxlm.data.tokenizer_sentencepiece import SentencePieceModel
from nanojaxlm.errors import UserError
from nanojaxlm.interop.tokenizer_conversion import UNIGRAM

_TEXTS = (
    "",
    " ",
    "\n",
    "\t",
    "a",
    " a",
    "a ",
    "Words, wORDS  and 123;\r\n\n\tdon't (stop).",
    *(space * length for space in " \n\t" for length in (2, 3, 7, 16, 17, 33)),
    "    def f(x):\n        return x  # 4, 8\n\n\n\tend \n",
    "12345678901234567890 3.14159 1,000,000 0x1F \u0663\u0664 \u00bd \u2167",
    "\U0001f642\U0001f643 \U0001f469\U0001f3fd\u200d\U0001f680 \U0001f1e9\U0001f1ea \u2764\ufe0f",
    "\u05e9\u05dc\u05d5\u05dd \u202e\u0645\u0631\u062d\u0628\u0627\u202c \u0939\u093f\u0928",
    "\u6f22\u5b57\u304b\u306a \ud55c\uad6d\uc5b4 \u1112\u1161\u11ab a\u0301\u0327 \u00e1 \u212b",
    "\ue000\U000f0000\U0010ffff\u0085\u00a0\u2003\u2028\u3000\ufeff\u200b\x01\x1f\x7f",
    "\u2581 \u2581\u2581a \u2581b\u2581",
    "<0x0A><0x41> a<0xE2><0x96><0x81> <0xZZ> <0x4>",
    "word " * 300 + "x" * 1000 + "=-" * 200,
)
_NUM_SAMPLES, _SAMPLE_LENGTH = 200, 40  # of random ids, so that rare pieces meet too


def check_tokenizer(
    tokenizer: Tokenizer, tokenizer_json: str, texts: Iterable[str] | None = None
) -> None:
    """Compares ids and text on many strings, names of special tokens read as such in them.

    Two ids apart is an error, with one exception: where a unigram model has two segmentations of
    equal score (runs of spaces, mostly), SentencePiece's float32 sums decide between them and the
    library's float64 sums may decide otherwise. The text must be the same even then. And one thing
    is left out: the library normalizes by grapheme where SentencePiece does by the longest match,
    so what a model with a table of characters makes of accents written apart is not compared.

    Args:
        tokenizer: what the ids ought to be by.
        tokenizer_json: the file's text.
        texts: strings to compare on; None = white space, digits, scripts, rare characters, names
            of tokens, and texts of random ids of the vocabulary.

    Raises:
        UserError: the file cannot be read, has another size, or differs; with the first string that
            it differs on.
    """
    try:
        library = tokenizers.Tokenizer.from_str(tokenizer_json)
    except Exception as error:  # the library raises Exception itself
        raise UserError(
            f"the tokenizer.json of tokenizer {tokenizer.fingerprint[:8]} cannot be read by "
            f"tokenizers {tokenizers.__version__}: {error}; this version cannot express the model"
        ) from error
    library.no_truncation()
    library.no_padding()
    size = max(library.get_vocab(with_added_tokens=True).values(), default=-1) + 1
    if size != tokenizer.vocab_size:
        raise UserError(
            f"the tokenizer.json of tokenizer {tokenizer.fingerprint[:8]} has {size} ids, the "
            f"tokenizer {tokenizer.vocab_size}; the file is not that tokenizer's"
        )
    for text in _texts(tokenizer) if texts is None else texts:
        ids = tokenizer.encode(text, special=True)
        theirs = library.encode(text, add_special_tokens=False).ids
        if not same_ids(tokenizer, ids, theirs):
            at = next(i for i in range(len(ids) + 1) if ids[: i + 1] != theirs[: i + 1])
            raise _difference(
                tokenizer, text, f"id {at} is {theirs[at : at + 4]}… instead of {ids[at : at + 4]}…"
            )
        if tokenizer.unk_id in ids:
            continue  # what an unknown id reads as is each program's own choice
        expected = tokenizer.decode(ids)
        if (found := library.decode(theirs, skip_special_tokens=True)) != expected:
            raise _difference(tokenizer, text, f"comes back as {found!r} instead of {expected!r}")


def _texts(tokenizer: Tokenizer) -> Iterator[str]:
    base = tokenizer.base
    normalizes = isinstance(base, SentencePieceModel) and bool(
        base.proto.normalizer_spec.precompiled_charsmap
    )
    for text in _TEXTS:
        yield unicodedata.normalize("NFC", text) if normalizes else text
    for name in (*tokenizer.base.specials, *tokenizer.extra_tokens):
        yield f"some{name} text {name}{name}\n {name}"
    rng = random.Random(0)
    for _ in range(_NUM_SAMPLES):
        yield tokenizer.decode(rng.choices(range(tokenizer.base_size), k=_SAMPLE_LENGTH))


def same_ids(tokenizer: Tokenizer, ids: list[int], others: list[int]) -> bool:
    """Whether another program's ids of a text are the tokenizer's, or as good as they: of the same
    text and, by a unigram model, of the same score; see check_tokenizer."""
    if ids == others:
        return True
    base = tokenizer.base
    if not isinstance(base, SentencePieceModel) or base.proto.trainer_spec.model_type != UNIGRAM:
        return False
    pieces = base.proto.pieces
    score, other = (sum(pieces[i].score for i in some if i < len(pieces)) for some in (ids, others))
    same_text = tokenizer.decode(ids) == tokenizer.decode(others)
    return same_text and abs(score - other) <= 1e-5 * max(1.0, abs(score))  # float32's


def _difference(tokenizer: Tokenizer, text: str, what: str) -> UserError:
    shown = repr(text if len(text) <= 80 else text[:80] + "…")
    return UserError(
        f"the tokenizer.json of tokenizer {tokenizer.fingerprint[:8]} differs from it on {shown}: "
        f"{what}; the format cannot express this model, so nothing was written"
    )
