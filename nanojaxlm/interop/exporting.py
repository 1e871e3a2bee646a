"""A checkpoint becomes a folder that transformers loads as it is, and that has been checked.

The folder appears whole and checked, or not at all.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nanojaxlm.checkpoint import Checkpoints, to_disk
from nanojaxlm.config import Config
from nanojaxlm.data.tokenizer import Tokenizer
from nanojaxlm.errors import UserError
from nanojaxlm.interop.arrays import check_places, leaves_by_path, places_of, rounded
from nanojaxlm.interop.card import CARD, model_card, read_evaluation
from nanojaxlm.interop.check import Comparison, check_folder
from nanojaxlm.interop.families import FAMILIES
from nanojaxlm.interop.family import Family, Tensor
from nanojaxlm.interop.folder import CONFIG, DTYPES
from nanojaxlm.interop.origin import Origin, read_origin
from nanojaxlm.interop.tokenizer_files import write_tokenizer
from nanojaxlm.interop.weights import MAX_SHARD_BYTES, Arrays, write_weights
from nanojaxlm.loading import Loaded, load
from nanojaxlm.model.config import ModelConfig
from nanojaxlm.state import abstract_params, num_parameters, parameter_boxes
from nanojaxlm.typed_config import flatten, to_plain

GENERATION_CONFIG = "generation_config.json"
FIELD = "max_position_embeddings"
NEAREST = 3  # families named where none will do
IDS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")


def export(
    checkpoint: str,
    folder: str | Path,
    *,
    dtype: str | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    model_type: str | None = None,
    families: Sequence[Family] = FAMILIES,
) -> list[Comparison]:
    """Writes the model of a checkpoint, asks other implementations about it, and only then gives
    the folder its name.

    Args:
        checkpoint: a workdir, or WORKDIR/checkpoints/STEP.
        folder: where to; there must be nothing yet.
        dtype: of all tensors, "float32", "float16" or "bfloat16". None: of an imported workdir,
            each tensor's own; else float32.
        model_type: of the family to write; None takes that of an imported workdir, else the first
            that can express the model.

    Raises:
        UserError: no family can express the model; `folder` is there or cannot be written; or what
            was written is not the model.
    """
    folder = Path(folder)
    if dtype is not None and dtype not in DTYPES.values():
        raise UserError(f"--dtype must be one of {', '.join(DTYPES.values())}, got {dtype!r}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"--folder={folder} is there already; name one that is not")
    loaded = load(checkpoint)
    model, origin = loaded.config.model, read_origin(loaded.workdir)
    wanted = model_type or (origin.model_type if origin else None)
    family, written = choose(model, families, wanted)
    written: dict[str, Any] = with_ids(written, model, loaded.tokenizer)
    written |= longest(loaded.config, written, origin)
    tensors = family.tensors(model)
    if origin and dtype is None:
        dtypes = {t.name: origin.other_dtypes.get(t.name, origin.dtype) for t in tensors}
        most = origin.dtype
    else:
        most = dtype or "float32"
        dtypes = {tensor.name: most for tensor in tensors}
    written["dtype"] = most
    part = folder.with_name(f"{folder.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)  # of an export that was killed
        part.mkdir(parents=True)
        write_configs(part, written, model)
        write_weights(part, tensors, stored_arrays(loaded, tensors), dtypes, max_shard_bytes)
        tokenizer = loaded.tokenizer
        # An encoder reads a text from its BOS to its EOS, as rows of a token store are.
        around = None if model.encoder is None else ([tokenizer.bos_id], [tokenizer.eos_id])
        write_tokenizer(
            part,
            tokenizer,
            pad_id=written["pad_token_id"],
            around=around,
            model_type=written["model_type"],
        )
        params = rounded(loaded.params, places_of(tensors), dtypes)
        comparisons = check_folder(part, model, params, tokenizer)
        card = model_card(
            folder.name,
            loaded.config,
            written,
            step=loaded.step,
            num_parameters=num_parameters(loaded.params),
            dtype=most,
            evaluation=read_evaluation(loaded.workdir, loaded.step),
            comparisons=comparisons,
        )
        (part / CARD).write_text(card, encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        part.rename(folder)
    except PermissionError as error:
        raise UserError(
            f"cannot write to --folder={folder} ({error.strerror}): name a folder that you may "
            "write to"
        ) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return comparisons


def choose(
    config: ModelConfig, families: Sequence[Family], model_type: str | None = None
) -> tuple[Family, dict[str, Any]]:
    """The family to write a model as, and its config.json.

    Raises:
        UserError: none can express the model; the nearest ones are named, each with its reason.
    """
    candidates = [f for f in families if model_type is None or model_type in f.model_types]
    if not candidates:
        known = sorted({name for family in families for name in family.model_types})
        raise UserError(f"--model_type={model_type} is not one of {', '.join(known)}")
    reasons: dict[str, str] = {}
    for family in candidates:
        try:
            return family, family.write_config(config)
        except ValueError as error:
            reasons["/".join(family.model_types)] = str(error)
    nearest = sorted(reasons, key=lambda name: _agreement(config, reasons[name]), reverse=True)
    told = "; ".join(f"{name}: {reasons[name]}" for name in nearest[:NEAREST])
    raise UserError(f"no family can hold this model without changing it; the nearest are {told}")


def _agreement(config: ModelConfig, reason: str) -> int:
    """How many fields come before the one that a family's reason names: up to there they agree. A
    reason that names none is of a family built otherwise."""
    fields = list(flatten(to_plain(config), "model"))
    return max((i for i, field in enumerate(fields) if f"{field}=" in reason), default=-1)


def longest(config: Config, written: Mapping[str, Any], origin: Origin | None) -> dict[str, int]:
    """The field for the longest row: the imported folder's, else the one trained with; none where
    the model has a table of positions, or frequencies scaled to a length, and says it itself."""
    stack = config.model.last
    ropes = (stack.attention.rope, stack.local.rope if stack.local else None)
    scaled = any(rope is not None and rope.scaling is not None for rope in ropes)
    if FIELD not in written or config.model.embed.num_positions is not None:
        return {}
    if origin is not None and origin.max_position_embeddings is not None:
        return {FIELD: origin.max_position_embeddings}
    return {} if scaled else {FIELD: config.data.sequence_length}


def with_ids(
    written: Mapping[str, Any], config: ModelConfig, tokenizer: Tokenizer
) -> dict[str, Any]:
    """config.json with the ids of special tokens, where the family has not said them itself.

    Raises:
        UserError: the family takes an id for padding that is another token here.
    """
    pad_id = written.get("pad_token_id")
    if pad_id is not None and pad_id != tokenizer.pad_id:
        used = pad_id in (tokenizer.bos_id, tokenizer.eos_id)
        if used or (pad_id < tokenizer.base_size and tokenizer.piece_bytes(pad_id)):
            raise UserError(
                f"a {written['model_type']} model of this config takes id {pad_id} for padding "
                f"wherever it stands, and for the tokenizer it is {tokenizer.name(pad_id)!r}: "
                "change model.embed.first_position, or write it as another family"
            )
    ids = {
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": tokenizer.eos_id,
        "pad_token_id": tokenizer.pad_id,
    }
    inner = {
        name: {**ids, **written[name]}
        for name in ("encoder", "decoder")
        if isinstance(written.get(name), Mapping)
    }
    if config.encoder is not None and config.decoder is not None:
        start_id = tokenizer.bos_id if config.start_id is None else config.start_id
        ids["decoder_start_token_id"] = start_id
    return {**ids, **written, **inner}


def write_configs(folder: Path, written: Mapping[str, Any], config: ModelConfig) -> None:
    """config.json, and generation_config.json where there is a decoder."""
    _write_json(folder / CONFIG, written)
    if config.decoder is not None:
        ids = {name: written[name] for name in IDS if name in written}
        _write_json(folder / GENERATION_CONFIG, ids)


def stored_arrays(loaded: Loaded, tensors: Sequence[Tensor]) -> Arrays:
    """Reads arrays of the checkpoint by path, float32, those asked for and no others."""
    mesh = loaded.mesh
    abstract = to_disk(abstract_params(parameter_boxes(loaded.model), mesh))
    check_places(places_of(tensors), abstract)
    leaves = leaves_by_path(abstract)

    def arrays(paths: Sequence[str]) -> dict[str, np.ndarray]:
        nested: dict[str, Any] = {}
        for path in paths:
            *above, last = path.split("/")
            below = nested
            for key in above:
                below = below.setdefault(key, {})
            below[last] = leaves[path]
        checkpoints = Checkpoints(loaded.workdir, read_only=True)
        try:
            restored = checkpoints.restore({"params": nested}, loaded.step)["params"]
        finally:
            checkpoints.close()
        return {path: np.asarray(leaf) for path, leaf in leaves_by_path(restored).items()}

    return arrays


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
