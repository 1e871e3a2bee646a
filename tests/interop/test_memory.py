"""A model comes onto the mesh shard by shard: the host never holds it beside its own arrays."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from nanojaxlm.interop.families import FAMILIES

ROOT = Path(__file__).resolve().parents[2]
MEGABYTE = 1e6
LAYERS, WIDTH, HIDDEN, ROWS = 20, 512, 2048, 8192
# What may be held besides the arrays, of a model of 352 MB. Loading: a tensor as it is read (16.8
# MB, the embeddings), the compiler's and the allocator's own; measured: 15 MB. An import that is
# being written: what is on the way to the disk, 67 MB, compressed and not; measured: 100 MB.
BOUNDS = {"one": 50 * MEGABYTE, "eight": 50 * MEGABYTE, "written": 170 * MEGABYTE}

PROGRAM = """
import json, sys
from pathlib import Path
import jax
jax.config.update("jax_num_cpu_devices", 8)
from nanojaxlm.interop.importing import import_folder, load_folder
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.sharding import MeshConfig, make_mesh
from nanojaxlm.state import abstract_params, parameter_boxes

def memory(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

small, large, how = sys.argv[1:]
devices = jax.devices()[:1] if how == "one" else jax.devices()
axes = {"one": {}, "eight": {"fsdp": 4, "tensor": 2}, "written": {"fsdp": 8}}
mesh = MeshConfig(**axes[how])

def take(folder):
    on = make_mesh(mesh, devices)
    if how == "written":
        config = import_folder(folder, folder + "-run", mesh)
        params = abstract_params(parameter_boxes(Transformer(config.model)), on)
    else:
        params = jax.block_until_ready(load_folder(folder, on).params)
    return sum(leaf.size * 4 for leaf in jax.tree.leaves(params))

take(small)  # loads all code, starts all threads
before = memory("VmRSS")
arrays = take(large)
print(json.dumps({"arrays": arrays, "before": before, "peak": memory("VmHWM")}))
"""


def write_llama(folder: Path, layers: int, width: int, hidden: int, vocabulary: int) -> None:
    """A folder of random float32 numbers, a shard for the embeddings and for each layer."""
    folder.mkdir()
    config = {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": vocabulary,
        "hidden_size": width, "intermediate_size": hidden, "num_hidden_layers": layers,
        "num_attention_heads": 8, "num_key_value_heads": 8, "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True, "hidden_act": "silu",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    (llama,) = (family for family in FAMILIES if "llama" in family.model_types)
    rng, shards = np.random.default_rng(0), {}
    for tensor in llama.tensors(llama.read_config(config)):
        words = tensor.name.split(".")
        shards.setdefault(words[2] if "layers" in words else "rest", []).append(tensor)
    weight_map = {}
    for shard, tensors in shards.items():
        file = f"model-{shard}.safetensors"
        save_file(
            {t.name: rng.standard_normal(t.shape, np.float32) for t in tensors}, folder / file
        )
        weight_map |= {tensor.name: file for tensor in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("how", BOUNDS)
def test_little_more_is_held_than_the_arrays(how, tmp_path, sentencepiece_model):
    for name, width, hidden in (("small", 64, 128), ("large", WIDTH, HIDDEN)):
        write_llama(tmp_path / name, LAYERS, width, hidden, 304 if how == "written" else ROWS)
        if how == "written":
            (tmp_path / name / "tokenizer.model").write_bytes(sentencepiece_model())
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path / "small", tmp_path / "large", how],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["arrays"] > 300 * MEGABYTE
    besides = found["peak"] - found["before"] - found["arrays"]
    assert besides < BOUNDS[how], f"{besides / MEGABYTE:.0f} MB"
    print(f"{besides / MEGABYTE:.1f} MB besides {found['arrays'] / MEGABYTE:.0f} MB of arrays")
