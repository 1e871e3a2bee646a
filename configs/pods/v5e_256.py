"""Published models on a v5e pod: 256 chips, 16 x 16.

    python -m nanojaxlm.main --config=configs/pods/v5e_256.py:8b --config.data.stores=DIR \
        --workdir=out/8b --distributed
    python -m nanojaxlm.planning.compile --config=configs/pods/v5e_256.py:8b --topology=v5e:16x16

Meshes, batches and remat are what the search of planning found; figures: planning/BENCHMARKS.md.
"""

from ml_collections import config_dict

from configs.pods.recipe import Run, on_pod
from nanojaxlm.sharding import MeshConfig

TOPOLOGY = "v5e:16x16"
FSDP = MeshConfig(data=1, fsdp=256)
BOTH = MeshConfig(data=1, fsdp=128, tensor=2, sequence=True)
RUNS = {
    "1b": Run("llama:3.2-1b", FSDP, 1024, 4096, "attention"),
    "8b": Run("llama:3.1-8b", FSDP, 512, 4096, "qkv"),
    "70b": Run("llama:3.1-70b", BOTH, 128, 4096, "attention"),
}


def get_config(name: str = "8b") -> config_dict.ConfigDict:
    return on_pod(RUNS, name)
