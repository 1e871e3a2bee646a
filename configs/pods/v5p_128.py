"""Published models on a v5p-128 slice: 64 chips of two cores each, 4 x 4 x 4.

    python -m nanojaxlm.main --config=configs/pods/v5p_128.py:70b --config.data.stores=DIR \
        --workdir=out/70b --distributed
    python -m nanojaxlm.planning.compile --config=configs/pods/v5p_128.py:70b --topology=v5p:4x4x4

8b-131k: rows of 131,072 tokens, each over 8 chips. Meshes, batches and remat are what the search of
planning found; figures: planning/BENCHMARKS.md.
"""

from ml_collections import config_dict

from configs.pods.recipe import Run, on_pod
from nanojaxlm.sharding import MeshConfig

TOPOLOGY = "v5p:4x4x4"
FSDP = MeshConfig(data=1, fsdp=64)
RUNS = {
    "1b": Run("llama:3.2-1b", FSDP, 256, 8192, "dots"),
    "8b": Run("llama:3.1-8b", FSDP, 128, 8192, "dots"),
    "70b": Run("llama:2-70b", FSDP, 64, 4096, "dots"),
    "8x7b": Run("mixtral:8x7b", MeshConfig(data=1, fsdp=8, expert=8), 128, 4096, "attention", 1.25),
    "8b-131k": Run("llama:3.1-8b", MeshConfig(data=1, fsdp=8, context=8), 8, 131_072, "full"),
}


def get_config(name: str = "70b") -> config_dict.ConfigDict:
    return on_pod(RUNS, name)
