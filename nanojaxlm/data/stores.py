"""The token stores that a config names, opened; a text file's is made first."""

from collections.abc import Sequence
from pathlib import Path

import jax
from jax.experimental import multihost_utils

from nanojaxlm.data.characters import character_store
from nanojaxlm.data.input import DataConfig
from nanojaxlm.token_store import TokenStore


def open_stores(data: DataConfig, workdir: Path) -> list[TokenStore]:
    """The token stores of the config; of a text file, the store made of it in the workdir.

    Raises:
        UserError: a store is missing, damaged, or of another tokenizer than the first.
    """
    paths: Sequence[str] = data.stores
    if data.text is not None:
        path = str(workdir / "store")
        if jax.process_index() == 0:
            character_store(data.text, path, data.validation_rate)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("character store")
        paths = [path]
    first = TokenStore.open(paths[0])
    return [first, *(TokenStore.open(path, tokenizer=first.tokenizer) for path in paths[1:])]
