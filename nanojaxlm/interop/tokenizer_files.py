"""The tokenizer files of a folder in the ecosystem: read as a tokenizer's bytes, and written.

A folder's tokenizer.json is kept as it is, with the files beside it that say what its ids are for
(data/tokenizer_json), so an export gives them back unchanged. A SentencePiece model is kept as the
model; a folder of an export gets the tokenizer.json that gives the same ids.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sentencepiece import sentencepiece_model_pb2

from nanojaxlm.data.tokenizer import Tokenizer, load_tokenizer
from nanojaxlm.data.tokenizer_json import (
    CONFIG_FILE,
    SPECIALS_FILE,
    TOKENIZER_FILE,
    JsonModel,
    pack_files,
)
from nanojaxlm.errors import UserError
from nanojaxlm.interop.tokenizer_check import check_tokenizer
from nanojaxlm.interop.tokenizer_conversion import added_special_token, tokenizer_json
from nanojaxlm.interop.tokenizer_vocabularies import byte_pairs, word_pieces

_proto: Any = sentencepiece_model_pb2  # its classes are made at import, unseen by type checkers
_SENTENCEPIECE_FILES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
_BESIDE = (CONFIG_FILE, SPECIALS_FILE, "chat_template.jinja")  # what says more of a tokenizer.json
_CONTROL, _USER_DEFINED = 3, 4  # ModelProto.SentencePiece.Type
_ROLES = ("bos", "eos", "unk", "pad", "mask")


def read_tokenizer(folder: Path) -> bytes:
    """The bytes that `load_tokenizer` takes, of the tokenizer in a folder.

    The first of these that is there: tokenizer.json (as it is); tokenizer.model, spiece.model or
    sentencepiece.bpe.model (with the tokens that tokenizer_config.json adds to it); vocab.txt;
    vocab.json with merges.txt.

    Raises:
        UserError: none of them, one that cannot be read, or files that contradict each other.
    """
    config_text = _text(folder, CONFIG_FILE)
    config = _object(folder / CONFIG_FILE, config_text)
    names = {name for name in (*_BESIDE, TOKENIZER_FILE) if (folder / name).is_file()}
    models = [name for name in _SENTENCEPIECE_FILES if (folder / name).is_file()]
    try:
        if TOKENIZER_FILE in names or not models:
            files = {name: _text(folder, name) for name in names}
            if TOKENIZER_FILE not in names:
                files[TOKENIZER_FILE] = _older_files(folder, config)
            data = pack_files(files)
        else:
            added = _object(folder / "added_tokens.json", _text(folder, "added_tokens.json"))
            data = _with_added_tokens(_bytes(folder / models[0]), config, added)
        load_tokenizer(data)
    except UserError as error:
        raise UserError(f"{folder}: {error}") from error
    return data


def write_tokenizer(
    folder: Path,
    tokenizer: Tokenizer,
    *,
    pad_id: int | None = None,
    mask_id: int | None = None,
    around: tuple[Sequence[int], Sequence[int]] | None = None,
    model_max_length: int | None = None,
    model_type: str | None = None,
) -> None:
    """Writes the files that `transformers.AutoTokenizer.from_pretrained(folder)` reads.

    What is written gives the tokenizer's ids and text (`check_tokenizer`); otherwise nothing is.
    An imported tokenizer.json and the files it came with are written as they were, but for extra
    tokens and for pad_id and mask_id where they name none.

    Args:
        folder: exists; files of these names in it are replaced.
        tokenizer: its extra tokens become special tokens of the files.
        pad_id, mask_id: None = the tokenizer's own; without a padding id, EOS pads. An extra token
            "<mask>" is the mask where there is no other.
        around: ids that AutoTokenizer puts before and after a text unless told not to; None = BOS
            before it, where there is one. Of an imported tokenizer.json: what that one does.
        model_max_length: tokens that the model can read, for AutoTokenizer's truncation.
        model_type: config.json's, of the model in the folder.

    Raises:
        UserError: the model cannot be expressed; see tokenizer_conversion and check_tokenizer.
    """
    if mask_id is None and tokenizer.mask_id is None and "<mask>" in tokenizer.extra_tokens:
        mask_id = tokenizer.special_id("<mask>")
    base = tokenizer.base
    given = {"pad": pad_id, "mask": mask_id}
    if isinstance(base, JsonModel):
        files = dict(base.files)
        if tokenizer.extra_tokens:
            fields = json.loads(files[TOKENIZER_FILE])
            fields["added_tokens"] += [
                added_special_token(tokenizer.base_size + i, name)
                for i, name in enumerate(tokenizer.extra_tokens)
            ]
            files[TOKENIZER_FILE] = _pretty(fields)
        config = json.loads(files.get(CONFIG_FILE, "{}"))
        if not config:
            config = _config(tokenizer, given, model_max_length)
        for role, i in given.items():
            if i is not None and _content(config.get(f"{role}_token")) != tokenizer.name(i):
                config[f"{role}_token"] = tokenizer.name(i)
        if config != json.loads(files.get(CONFIG_FILE, "{}")):
            files[CONFIG_FILE] = _pretty(config)
    else:
        if around is None:
            has_bos = tokenizer.bos_id != tokenizer.eos_id
            around = ([tokenizer.bos_id] if has_bos else [], [])
        config = _config(tokenizer, given, model_max_length)
        if model_type == "qwen2":
            # AutoTokenizer takes this model type's folders for Qwen's own byte-level BPE, whatever
            # tokenizer_class says (5.24, MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS), unless the
            # folder names code of its own; it needs none.
            config["auto_map"] = {"AutoTokenizer": [None, None]}
        files = {
            TOKENIZER_FILE: _pretty(tokenizer_json(tokenizer, around)),
            CONFIG_FILE: _pretty(config),
        }
    check_tokenizer(tokenizer, files[TOKENIZER_FILE])
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8", newline="")


def _config(
    tokenizer: Tokenizer, given: dict[str, int | None], model_max_length: int | None
) -> dict[str, Any]:
    """tokenizer_config.json: what ids are for, and the class that reads tokenizer.json as it is."""
    ids = {role: getattr(tokenizer, f"{role}_id") for role in _ROLES}
    ids |= {role: i for role, i in given.items() if i is not None}
    if ids["pad"] is None:
        ids["pad"] = ids["eos"]
    fields: dict[str, Any] = {
        f"{role}_token": tokenizer.name(i) for role, i in ids.items() if i is not None
    }
    if model_max_length is not None:
        fields["model_max_length"] = model_max_length
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
        **fields,
    }


def _older_files(folder: Path, config: dict[str, Any]) -> str:
    """The tokenizer.json of a folder without one, from its vocabulary."""
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return byte_pairs(_text(folder, "vocab.json"), _text(folder, "merges.txt"), config)
    if (folder / "vocab.txt").is_file():
        return word_pieces(_text(folder, "vocab.txt"), config)
    raise UserError(
        "no tokenizer in the folder: none of tokenizer.json, "
        f"{', '.join(_SENTENCEPIECE_FILES)}, vocab.txt, vocab.json with merges.txt; copy it there"
    )


def _with_added_tokens(model: bytes, config: dict[str, Any], added: dict[str, Any]) -> bytes:
    """A SentencePiece model with the tokens that other files put after, or in place of, its pieces:
    special ones as control pieces, others as user-defined symbols."""
    tokens: dict[int, tuple[str, bool]] = {int(i): (name, True) for name, i in added.items()}
    for i, token in config.get("added_tokens_decoder", {}).items():
        tokens[int(i)] = (token["content"], token.get("special", True))
    try:
        proto = _proto.ModelProto.FromString(model)
    except Exception as error:  # protobuf's own type
        raise UserError(f"no SentencePiece model ({error}); name one") from error
    pieces = proto.pieces
    if not tokens:  # T5's: the sentinels follow the pieces, the last one first
        size, number = len(pieces), int(config.get("extra_ids", 0))
        tokens = {size + i: (f"<extra_id_{number - 1 - i}>", True) for i in range(number)}
    for i, (name, is_special) in sorted(tokens.items()):
        if i > len(pieces):
            raise UserError(
                f"{name!r} has the id {i}, but nothing has the ids from {len(pieces)} to {i - 1}; "
                "the files are not of one model"
            )
        kind = _CONTROL if is_special else _USER_DEFINED
        if i == len(pieces):
            pieces.add(piece=name, score=0.0, type=kind)
        elif pieces[i].piece != name:
            pieces[i].piece, pieces[i].type = name, kind
    return proto.SerializeToString() if tokens else model


def _content(token: Any) -> str | None:
    """A token's name; in a config it stands as a string or as an object."""
    return token["content"] if isinstance(token, dict) else token


def _pretty(fields: dict[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False, indent=2) + "\n"


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def _text(folder: Path, name: str) -> str:
    """The file's text; that of a file that is not there is empty."""
    if not (folder / name).is_file():
        return ""
    try:
        return _bytes(folder / name).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{folder / name} is not UTF-8 at byte {error.start}") from error


def _object(path: Path, text: str) -> dict[str, Any]:
    try:
        fields = json.loads(text or "{}")
    except ValueError as error:
        raise UserError(f"{path} is no JSON: {error}") from error
    if not isinstance(fields, dict):
        raise UserError(f"{path} is no JSON object; mend it")
    return fields
