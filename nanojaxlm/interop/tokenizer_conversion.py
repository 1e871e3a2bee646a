"""A SentencePiece model as a tokenizer.json of the `tokenizers` library that gives the same ids.

What has no counterpart there is refused here; what differs in rare texts is found by the check
(`tokenizer_check`), which every tokenizer that is written passes.
"""

import base64
import re
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

from nanojaxlm.data.tokenizer import Tokenizer
from nanojaxlm.data.tokenizer_sentencepiece import SPACE, SentencePieceModel
from nanojaxlm.errors import UserError

UNIGRAM, BPE, CHARACTERS = 1, 2, 4  # TrainerSpec.ModelType
# Byte and control pieces are no text, but a unigram model of the library reads them in a text by
# their score: one that loses against any other way to write their name.
_NEVER = -1e6


class _Type(IntEnum):
    """SentencePiece.Type of the model proto."""

    NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


def tokenizer_json(tokenizer: Tokenizer, around: tuple[Sequence[int], Sequence[int]]) -> dict:
    """The tokenizer.json of a tokenizer whose model is SentencePiece's, as a JSON object.

    Args:
        tokenizer: its extra tokens become special tokens of the file.
        around: the ids that the file puts before and after every text unless told not to.

    Raises:
        UserError: a model of whole words, one with unused pieces or with spaces as suffixes.
    """
    base = tokenizer.base
    assert isinstance(base, SentencePieceModel)
    trainer = base.proto.trainer_spec
    where = f"tokenizer {tokenizer.fingerprint[:8]}"
    if trainer.model_type not in (UNIGRAM, BPE, CHARACTERS):
        raise UserError(f"{where} is a SentencePiece model of whole words; train a BPE or unigram")
    if trainer.treat_whitespace_as_suffix:
        raise UserError(
            f"{where} writes spaces as suffixes, which tokenizer.json cannot; train it "
            "with treat_whitespace_as_suffix=false"
        )
    if any(piece.type == _Type.UNUSED for piece in base.proto.pieces):
        raise UserError(
            f"{where} has unused pieces, which tokenizer.json cannot express; remove "
            "them from the model"
        )
    is_unigram = trainer.model_type == UNIGRAM
    added = [
        added_special_token(i, piece.piece)
        for i, piece in enumerate(base.proto.pieces)
        if piece.type in (_Type.UNKNOWN, _Type.CONTROL)
    ]
    added += [
        added_special_token(tokenizer.base_size + i, name)
        for i, name in enumerate(tokenizer.extra_tokens)
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": _sequence("normalizers", _normalizers(base.proto.normalizer_spec)),
        "pre_tokenizer": _sequence("pretokenizers", _cuts(base)),
        "post_processor": _template(tokenizer, around),
        "decoder": _sequence("decoders", _decoders(base)),
        "model": _unigram_model(base) if is_unigram else _bpe_model(base),
    }


def added_special_token(i: int, name: str) -> dict[str, Any]:
    """An entry of "added_tokens": a special token, read in a text by its exact name."""
    return {
        "id": i,
        "content": name,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }


def _bpe_model(base: SentencePieceModel) -> dict[str, Any]:
    """Merges in the order of the pieces' scores: SentencePiece joins the two symbols, wherever they
    are, that make the piece of the highest score."""
    pieces = base.proto.pieces
    ranks = {
        piece.piece: (-piece.score, i)
        for i, piece in enumerate(pieces)
        if piece.type == _Type.NORMAL
    }
    merges = []
    if base.proto.trainer_spec.model_type == BPE:
        merges = [
            (rank, cut, name[:cut], name[cut:])
            for name, rank in ranks.items()
            for cut in range(1, len(name))
            if name[:cut] in ranks and name[cut:] in ranks
        ]
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": base.names[base.proto.trainer_spec.unk_id],
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": base.proto.trainer_spec.byte_fallback,
        "ignore_merges": bool(_user_defined(base)),  # what a cut isolates is a piece at once
        "vocab": {piece.piece: i for i, piece in enumerate(pieces)},
        "merges": [[left, right] for *_, left, right in sorted(merges)],
    }


def _unigram_model(base: SentencePieceModel) -> dict[str, Any]:
    def score(piece: Any) -> float:
        if piece.type == _Type.NORMAL:
            return piece.score
        if piece.type == _Type.USER_DEFINED:  # SentencePiece's rule from 0.2.2 on
            return 0.1 * (len(piece.piece.encode()) - 1)
        return _NEVER

    pieces = base.proto.pieces
    return {
        "type": "Unigram",
        "unk_id": base.proto.trainer_spec.unk_id,
        "vocab": [[piece.piece, score(piece)] for piece in pieces],
        "byte_fallback": base.proto.trainer_spec.byte_fallback,
    }


def _user_defined(base: SentencePieceModel) -> list[str]:
    """The symbols that a model other than unigram finds in a text before all other pieces, the
    longest first. One with a space in it is never found: a text has U+2581 there."""
    if base.proto.trainer_spec.model_type == UNIGRAM:
        return []  # it weighs them like its other pieces
    names = [piece.piece for piece in base.proto.pieces if piece.type == _Type.USER_DEFINED]
    if base.proto.normalizer_spec.escape_whitespaces:
        names = [name for name in names if " " not in name]
    return sorted(names, key=len, reverse=True)


def _cuts(base: SentencePieceModel) -> list[dict[str, Any]]:
    """Where a text is cut before the model sees it.

    Around user-defined symbols; and within what reads as the name of a byte piece ("<0x0A>"), which
    the library's model could take for that byte. This second cut is at a place that no piece goes
    across, so no segmentation changes; a model without such a place is left to the check.
    """
    symbols = _user_defined(base)
    cuts = [_split("|".join(map(re.escape, symbols)), "Isolated")] if symbols else []
    inside = "\n".join(
        piece.piece
        for piece in base.proto.pieces
        if piece.type in (_Type.NORMAL, _Type.USER_DEFINED)
    )
    places = (
        ("<0", "<(?=0x[0-9A-F]{2}>)"),
        ("0x", "(?<=<)0(?=x[0-9A-F]{2}>)"),
        ("x[0-9A-F]", "(?<=<0)x(?=[0-9A-F]{2}>)"),
        ("[0-9A-F]>", "(?<=<0x[0-9A-F])[0-9A-F](?=>)"),
    )
    free = [pattern for crossed, pattern in places if not re.search(crossed, inside)]
    if free and base.proto.trainer_spec.byte_fallback:
        cuts.append(_split(free[0], "MergedWithPrevious"))
    return cuts


def _split(pattern: str, behavior: str) -> dict[str, Any]:
    return {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": behavior,
        "invert": False,
    }


def _normalizers(spec: Any) -> list[dict[str, Any]]:
    """SentencePiece's steps in its order."""
    steps: list[dict[str, Any]] = []
    if spec.precompiled_charsmap:
        charsmap = base64.b64encode(spec.precompiled_charsmap).decode()
        steps.append({"type": "Precompiled", "precompiled_charsmap": charsmap})
    if spec.remove_extra_whitespaces:
        # A U+2581 of the text itself goes at the end, and stays at the beginning.
        steps.append(_replace({"Regex": rf"\A +|[ {SPACE}]+\z"}, ""))
        steps.append(_replace({"Regex": " {2,}"}, " "))
    if spec.add_dummy_prefix:
        steps.append({"type": "Prepend", "prepend": " "})
    if spec.escape_whitespaces:
        steps.append(_replace({"String": " "}, SPACE))
    return steps


def _decoders(base: SentencePieceModel) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = [_replace({"String": SPACE}, " ")]
    if base.proto.trainer_spec.byte_fallback:
        steps.append({"type": "ByteFallback"})
    steps.append({"type": "Fuse"})
    if base.has_dummy_prefix:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return steps


def _replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def _sequence(name: str, parts: list[dict[str, Any]]) -> dict[str, Any] | None:
    return {"type": "Sequence", name: parts} if parts else None


def _template(
    tokenizer: Tokenizer, around: tuple[Sequence[int], Sequence[int]]
) -> dict[str, Any] | None:
    """The post-processor that puts ids around a text; of a pair, around each of the two."""
    before, after = around
    if not before and not after:
        return None

    def side(sequence: str, type_id: int) -> list[dict[str, Any]]:
        def special(i: int) -> dict[str, Any]:
            return {"SpecialToken": {"id": tokenizer.name(i), "type_id": type_id}}

        text = {"Sequence": {"id": sequence, "type_id": type_id}}
        return [*map(special, before), text, *map(special, after)]

    return {
        "type": "TemplateProcessing",
        "single": side("A", 0),
        "pair": side("A", 0) + side("B", 1),
        "special_tokens": {
            tokenizer.name(i): {"id": tokenizer.name(i), "ids": [i], "tokens": [tokenizer.name(i)]}
            for i in (*before, *after)
        },
    }
