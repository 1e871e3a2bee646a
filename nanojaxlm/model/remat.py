"""What the layers of a stack keep for the backward pass, by name; the rest is computed again.

Values are known by name (`jax.ad_checkpoint.checkpoint_name`) rather than by kind of operation:
within a pipeline every product has a batch dimension, and only names can go to the host.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

RESIDUAL = "residual"  # what enters a layer, x_BTD
STAGE_INPUT = "stage_input"  # what enters a stage of a pipeline
ATTENTION_OUT = "attention_out"  # what attention gives before its projection, out_BTNH
QKV = ("q", "k", "v")
PRODUCTS = (*QKV, "out", "up", "gate", "down")  # with a kernel; an Einsum's is named as it is

Policy = Callable[..., Any]


class Remat(NamedTuple):
    """policy: of `jax.checkpoint` around each layer; None = everything is kept.
    keeps: what, in words, and what for. stage: of another one around a pipeline's stages, whose
    layers then keep what they do under "full"; None = there is none."""

    policy: Policy | None
    keeps: str
    stage: Policy | None = None


def _keep(*names: str) -> Policy:
    return jax.checkpoint_policies.save_only_these_names(*names)


def _offload(*names: str) -> Policy:
    """Copies to the host after the forward pass, and back before its turn in the backward."""
    return jax.checkpoint_policies.save_and_offload_only_these_names(
        names_which_can_be_saved=[],
        names_which_can_be_offloaded=list(names),
        offload_src="device",
        offload_dst="pinned_host",
    )


# From the most memory to the least; the offloading ones last. D is d_model, N heads, K kv heads,
# H head_dim, F hidden; numbers a token and layer.
REMAT_POLICIES: dict[str, Remat] = {
    "none": Remat(None, "everything: the fastest where it fits"),
    "dots": Remat(
        _keep(*PRODUCTS, ATTENTION_OUT),
        "layer inputs, products with kernels, attention outputs: 3D + 2(N + K)H + 2F; activations, "
        "norms and rotations are made again",
    ),
    "qkv": Remat(
        _keep(*QKV, ATTENTION_OUT),
        "layer inputs, queries, keys, values, attention outputs: D + 2(N + K)H; of attention only "
        "rotations are made again",
    ),
    "attention": Remat(
        _keep(ATTENTION_OUT),
        "layer inputs and attention outputs: D + NH; what costs T² is not made again where a "
        "kernel computes attention",
    ),
    "full": Remat(
        jax.checkpoint_policies.nothing_saveable,
        "layer inputs: D; the forward pass is run again, a third more work",
    ),
    "stage": Remat(
        jax.checkpoint_policies.nothing_saveable,
        "what enters a stage of the pipeline; as a stage is run again, its layer inputs: D a "
        "stage; the forward pass is run twice again. Without a pipeline: as full",
        jax.checkpoint_policies.nothing_saveable,
    ),
    "dots_offload": Remat(
        _offload(*PRODUCTS, ATTENTION_OUT),
        "as dots, but in the host's memory; only layer inputs stay on the device. Not in a "
        "pipeline, whose outer loop brings all back to the device",
    ),
    "residual_offload": Remat(
        _offload(RESIDUAL),
        "as full, but in the host's memory: nothing of a layer stays on the device. In a pipeline "
        "as stage, with what enters a stage in the host's memory",
        _offload(STAGE_INPUT),
    ),
}
