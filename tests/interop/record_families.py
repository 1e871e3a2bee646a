"""Records what transformers compute, for the tests that run without them.

    python tests/interop/record_families.py     # from the checkout, with the extra `interop`

Of each of the models of draw_families.py, whose weights need not be kept: config.json, names and
shapes as save_pretrained writes them, logits, and each gradient's norm and product with a random
direction.
"""

import json
import runpy
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

DRAW = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("draw_families.py"))))


def load(family: str, folder: Path) -> Any:
    """The model of transformers in a folder, in float32 and with plain attention."""
    import transformers

    plain = {"attn_implementation": "eager", "experts_implementation": "eager"}
    return getattr(transformers, DRAW.CLASSES[family]).from_pretrained(
        folder, dtype="float32", **plain
    )


def make_folder(family: str, seed: int, folder: Path) -> None:
    """A tiny model as save_pretrained writes it, with the drawn weights."""
    import transformers
    from safetensors.numpy import save_file

    architecture = getattr(transformers, DRAW.CLASSES[family])
    config = architecture.config_class(**DRAW.draw_config(family, seed))
    model = architecture(config)
    model.save_pretrained(folder)
    shapes = shapes_in(folder)
    if family == "t5" and not config.scale_decoder_outputs:
        # made untied, which transformers 5 no longer does by itself, but reads and writes
        shapes["lm_head.weight"] = shapes["shared.weight"]
    weights = DRAW.draw_weights(family, shapes, seed)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def shapes_in(folder: Path) -> dict[str, tuple[int, ...]]:
    """Of the tensors in a folder."""
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "numpy") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def inputs(family: str, config: Mapping[str, Any], example: Any) -> dict[str, Any]:
    """What the model of transformers is called with."""
    import torch

    def tensor(array: np.ndarray) -> Any:
        return torch.from_numpy(array.astype(np.int64))

    def named(row: Any, prefix: str) -> dict[str, Any]:
        return {
            f"{prefix}input_ids": tensor(row.tokens_BT),
            f"{prefix}attention_mask": tensor(row.mask_BT),
            f"{prefix}position_ids": tensor(row.positions_BT + DRAW.first_position(family, config)),
        }

    told: dict[str, Any] = {"use_cache": False} if family not in DRAW.ENCODERS else {}
    if example.encoder is not None:
        told |= named(example.encoder, "")
    if example.decoder is not None:
        told |= named(example.decoder, "" if example.encoder is None else "decoder_")
    if family == "t5":  # its positions are relative
        told = {name: value for name, value in told.items() if not name.endswith("position_ids")}
    return told


def logits_and_gradients(
    family: str, model: Any, example: Any
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(logits_BTV, {name in the folder: gradient of the weighted mean cross-entropy})."""
    import torch
    from safetensors.numpy import load_file

    model.zero_grad()
    logits_BTV = model(**inputs(family, model.config.to_dict(), example)).logits
    losses = torch.nn.functional.cross_entropy(
        logits_BTV.transpose(1, 2),
        torch.from_numpy(example.targets_BT.astype(np.int64)),
        reduction="none",
    )
    weights_BT = torch.from_numpy(example.weights_BT)
    ((losses * weights_BT).sum() / weights_BT.sum()).backward()
    # Saving the gradients in the weights' place gives them the names and layouts of a folder.
    kept = {name: p.detach().clone() for name, p in model.named_parameters()}
    parameters = {name for name, _ in model.named_parameters()}
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        for p in model.parameters():
            p.copy_(torch.zeros_like(p) if p.grad is None else p.grad)
        model.save_pretrained(folder)
        for name, p in model.named_parameters():
            p.copy_(kept[name])
        gradients = load_file(Path(folder) / "model.safetensors")
    buffers = {name for name, _ in model.named_buffers()} - parameters
    return logits_BTV.detach().numpy(), {n: g for n, g in gradients.items() if n not in buffers}


def main() -> None:
    import transformers

    DRAW.FOLDER.mkdir(exist_ok=True)
    for family, seeds in DRAW.RECORDED.items():
        cases, arrays = [], {}
        for seed in seeds:
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                make_folder(family, seed, folder)
                model = load(family, folder)
                config = json.loads((folder / "config.json").read_text())
                shapes = shapes_in(folder)
            module = config.get("decoder", config)
            example = DRAW.draw_example(family, module["vocab_size"], seed)
            arrays[f"logits_{seed}"], gradients = logits_and_gradients(family, model, example)
            cases.append(
                {
                    "config": config,
                    "gradients": DRAW.summaries(gradients),
                    "seed": seed,
                    "shapes": shapes,
                    "transformers": transformers.__version__,
                }
            )
        (DRAW.FOLDER / f"{family}.json").write_text(_compact(cases))
        np.savez_compressed(DRAW.FOLDER / f"{family}.npz", **arrays)
        print(family, file=sys.stderr)


def _compact(cases: list[dict[str, Any]]) -> str:
    """JSON with one line for each entry of a case, so that a change shows."""

    def lines() -> Iterator[str]:
        for i, case in enumerate(cases):
            yield "[{" if i == 0 else "{"
            last = len(case) - 1
            for j, (key, value) in enumerate(case.items()):
                comma = "," if j < last else ""
                if not isinstance(value, dict):
                    yield f' "{key}": {json.dumps(value)}{comma}'
                    continue
                yield f' "{key}": {{'
                entries = [f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items()]
                yield ",\n".join(entries)
                yield f" }}{comma}"
            yield "}]" if i == len(cases) - 1 else "},"

    return "\n".join(lines()) + "\n"


if __name__ == "__main__":
    main()
