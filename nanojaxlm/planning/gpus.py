"""NVIDIA GPUs that are not here, as XLA's compiler has to be told of them.

XLA generates code for a GPU from a description of it (a text of its message GpuTargetConfigProto),
which it otherwise reads off the device: how many multiprocessors, what a block of threads may use,
how much memory its scheduler has to stay within.
"""

from typing import NamedTuple

from nanojaxlm.accelerators import Chip


class Design(NamedTuple):
    """Of a generation's full-size part. From NVIDIA's CUDA programming guide (compute capabilities)
    and architecture white papers; XLA keeps the same in xla/backends/gpu/target_config/specs."""

    compute_capability: tuple[int, int]
    multiprocessors: int
    float32_units: int  # of a multiprocessor
    clock_ghz: float
    cache_bytes: int  # L2
    shared_bytes: int  # of a multiprocessor
    block_shared_bytes: int  # of it, what one block of threads may have

    @property
    def features(self) -> str:
        """sm_90a and sm_100a: instructions that only this generation has."""
        return "ACCELERATED_FEATURES" if self.compute_capability[0] >= 9 else "NONE"


_A100 = Design((8, 0), 108, 64, 1.41, 40 * 2**20, 164 * 2**10, 163 * 2**10)
_H100 = Design((9, 0), 132, 128, 1.98, 50 * 2**20, 228 * 2**10, 227 * 2**10)
_B200 = Design((10, 0), 148, 128, 1.965, 126 * 2**20, 228 * 2**10, 227 * 2**10)
DESIGNS = {
    "a100-40gb": _A100,
    "a100-80gb": _A100,
    "h100": _H100,
    "h200": _H100,
    "h800": _H100,
    "b200": _B200,
}
_CUDA, _CUDNN = "12.8.0", (9, 10, 0)  # that the code is for


def description(chip: Chip) -> str:
    """Of a chip in DESIGNS, as GpuTargetConfigProto's text."""
    design = DESIGNS[chip.name]
    major, minor = design.compute_capability
    cudnn = ".".join(map(str, _CUDNN))
    return f"""
gpu_device_info {{
  cuda_compute_capability {{ major: {major} minor: {minor} feature_extension: {design.features} }}
  core_count: {design.multiprocessors}
  fpus_per_core: {design.float32_units}
  clock_rate_ghz: {design.clock_ghz}
  device_memory_size: {chip.memory_bytes}
  memory_bandwidth: {chip.memory_bytes_per_second:.0f}
  l2_cache_size: {design.cache_bytes}
  shared_memory_per_core: {design.shared_bytes}
  shared_memory_per_block: {48 * 2**10}
  shared_memory_per_block_optin: {design.block_shared_bytes}
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  threads_per_core_limit: 2048
  threads_per_block_limit: 1024
  threads_per_warp: 32
  thread_dim_limit_x: 1024
  thread_dim_limit_y: 1024
  thread_dim_limit_z: 64
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  driver_version: "{_CUDA}"
  runtime_version: "{_CUDA}"
  compile_time_toolkit_version: "{_CUDA}"
  dnn_version: "{cudnn}"
}}
platform_name: "CUDA"
dnn_version_info {{ major: {_CUDNN[0]} minor: {_CUDNN[1]} patch: {_CUDNN[2]} }}
device_description_str: "{chip.device_kinds[0]}"
"""
