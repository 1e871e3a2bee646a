"""Takes models from the folders of Hugging Face's libraries, and gives them back.

    python -m nanojaxlm.interop import --folder=HF_FOLDER --workdir=out/imported
    python -m nanojaxlm.interop import --folder=HF_FOLDER --workdir=out/imported --mesh.fsdp=8
    python -m nanojaxlm.interop export --checkpoint=out/run --folder=HF_FOLDER --dtype=bfloat16

A folder holds config.json, *.safetensors and tokenizer files; no pickle is ever read. An imported
workdir generates and evaluates, and training goes on from it with
--config=configs/saved.py:out/imported/config.json --config.training.start_from=out/imported. An
export reads its own folder again with other implementations, and leaves nothing where their logits
differ. Exit codes as of nanojaxlm.main.
"""

from collections.abc import Sequence

from absl import flags
from rich.console import Console

from nanojaxlm.compilation_cache import use_compilation_cache
from nanojaxlm.errors import UserError, run
from nanojaxlm.interop.exporting import export
from nanojaxlm.interop.importing import import_folder
from nanojaxlm.interop.weights import MAX_SHARD_BYTES
from nanojaxlm.sharding import MESH_AXES, MeshConfig
from nanojaxlm.typed_config import from_config_dict, parse_command_line

FOLDER = flags.DEFINE_string("folder", None, "The folder to import, or to export into.")
WORKDIR = flags.DEFINE_string("workdir", None, "import: the workdir to make.")
MESH = {
    name: flags.DEFINE_integer(f"mesh.{name}", size, f"import: devices along the axis {name}.")
    for name, size in zip(MESH_AXES, MeshConfig().sizes, strict=True)
}
CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "export: a workdir, or WORKDIR/checkpoints/STEP."
)
DTYPE = flags.DEFINE_string(
    "dtype", None, "export: float32, float16 or bfloat16; by default as imported, else float32."
)
MODEL_TYPE = flags.DEFINE_string(
    "model_type", None, "export: the family to write, such as llama; by default the first that can."
)
MAX_SHARD = flags.DEFINE_integer(
    "max_shard_bytes", MAX_SHARD_BYTES, "export: of one file.", lower_bound=1
)
NEEDED = {
    "import": {"folder": FOLDER, "workdir": WORKDIR},
    "export": {"folder": FOLDER, "checkpoint": CHECKPOINT},
}


def main(argv: Sequence[str]) -> None:
    program, *rest = argv
    verb = rest.pop(0) if rest and rest[0] in NEEDED else None
    parse_command_line([program, *rest])
    if verb is None:
        raise UserError("say import or export first: python -m nanojaxlm.interop import --folder=…")
    for name, flag in NEEDED[verb].items():
        if not flag.value:
            raise UserError(f"{verb} needs --{name}; see --help")
    use_compilation_cache()
    folder = FOLDER.value or ""
    console = Console(highlight=False, soft_wrap=True)
    if verb == "import":
        workdir = WORKDIR.value or ""
        sizes = {name: flag.value for name, flag in MESH.items()}
        import_folder(folder, workdir, from_config_dict(MeshConfig, sizes, "--mesh"))
        console.print(f"{workdir}: the model of {folder}, at step 0")
        return
    comparisons = export(
        CHECKPOINT.value or "",
        folder,
        dtype=DTYPE.value,
        max_shard_bytes=MAX_SHARD.value,
        model_type=MODEL_TYPE.value,
    )
    for one in comparisons:
        console.print(f"{folder}: {one.against}: logits within {one.difference:.2e}")


if __name__ == "__main__":
    run(main)
