"""A plain text file as a token store of characters, one id each."""

import hashlib
from pathlib import Path

import numpy as np

from nanojaxlm.data.tokenizer import Tokenizer
from nanojaxlm.errors import UserError
from nanojaxlm.token_store import StoreWriter, TokenStore

_PART = 2**20  # characters tokenized at a time


def character_store(text_path: str, output_path: str, validation_rate: float) -> str:
    """Writes the store, the end of the text as its validation split, and returns `output_path`.

    Each split is one document. A store made of the same text before is used again; one of another
    text is replaced. Of several processes that share `output_path`, one may write, the others wait.

    Args:
        text_path: a UTF-8 file.
        output_path: where the store goes; see token_store.
        validation_rate: the part of the characters, 0 < rate < 1, that is held out.

    Raises:
        UserError: no such file, not UTF-8, too short to split; another kind of store is there.
    """
    if not 0 < validation_rate < 1:
        raise ValueError(f"validation_rate must be between 0 and 1, got {validation_rate}")
    try:
        data = Path(text_path).read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read the text file {text_path}: {error.strerror}; name a UTF-8 text file"
        ) from error
    origin = {"text_sha256": hashlib.sha256(data).hexdigest(), "validation_rate": validation_rate}
    try:
        found = TokenStore.open(output_path).manifest.curation
    except UserError:
        found = {}
    if found == origin:
        return output_path
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{text_path} is not UTF-8: byte {error.start} is 0x{data[error.start]:02x}; convert "
            "it with iconv -f OLD_ENCODING -t UTF-8"
        ) from error
    boundary = int(len(text) * (1 - validation_rate))
    if not 0 < boundary < len(text):
        raise UserError(
            f"{text_path} has {len(text)} characters, too few to hold out {validation_rate:g} of "
            "them; name a longer text"
        )
    tokenizer = Tokenizer.characters(text)
    with StoreWriter(
        output_path,
        tokenizer=tokenizer.model,
        sources=[str(text_path)],
        curation=origin,
        overwrite="text_sha256" in found,
    ) as writer:
        for split, part in (("train", text[:boundary]), ("validation", text[boundary:])):
            ids = [np.array([tokenizer.bos_id])]
            ids += [
                np.array(tokenizer.encode(part[i : i + _PART])) for i in range(0, len(part), _PART)
            ]
            tokens = np.concatenate([*ids, np.array([tokenizer.eos_id])])
            writer.write(split, tokens, np.array([len(tokens)]), len(part.encode()))
        writer.finish()
    return output_path
