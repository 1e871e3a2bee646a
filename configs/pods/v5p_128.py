"""Published models on a v5p-128 slice: 64 chips of two cores each, 4 x 4 x 4.

    python -m nanojaxlm.main --config=configs/pods/v5p_128.py:70b --config.data.stores=DIR \
        --workdir=out/70b --distributed
    python -m nanojaxlm.planning.compile --config=configs/pods/v5p_128.py:70b --topology=v5p:4x4x4

8x7b-expert: the experts, too, over chips, by all-to-all. 8b-131k: rows of 131,072 tokens, each
over 16 chips. Meshes, batches and remat are what the search of
planning found; figures: planning/BENCHMARKS.md.
"""

from ml_collections import config_dict

from configs.pods.recipe import Run, on_pod
from nanojaxlm.sharding import MeshConfig

TOPOLOGY = "v5p:4x4x4"
FSDP = MeshConfig(data=1, fsdp=64)
CONTEXT = MeshConfig(data=1, fsdp=4, context=16)
EXPERT = MeshConfig(data=1, fsdp=8, expert=8)
RUNS = {
    "1b": Run("llama:3.2-1b", FSDP, 256, 8192, "dots"),
    "8b": Run("llama:3.1-8b", FSDP, 128, 8192, "dots"),
    "70b": Run("llama:2-70b", FSDP, 64, 4096, "dots"),
    "8x7b": Run("mixtral:8x7b", FSDP, 128, 4096, "dots"),
    "8x7b-expert": Run("mixtral:8x7b", EXPERT, 128, 4096, "qkv", 1.25),
    "8b-131k": Run("llama:3.1-8b", CONTEXT, 4, 131_072, "dots"),
}


def get_config(name: str = "70b") -> config_dict.ConfigDict:
    return on_pod(RUNS, name)
