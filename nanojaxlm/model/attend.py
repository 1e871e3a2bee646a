"""The attention kernels: one function a backend, all of the same signature."""

from typing import Protocol

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from nanojaxlm.model.blockwise import blockwise
from nanojaxlm.model.masks import AttentionMask
from nanojaxlm.model.remat import ATTENTION_OUT
from nanojaxlm.model.splash import serves, splash
from nanojaxlm.sharding import constrain, platform

# Queries * keys of a row, from which on they are not all held at once. A causal gradient of 4 heads
# of 64 takes dense 0.17, 0.73, 3.9 and blockwise 0.09, 0.31, 0.93 CPU seconds at 1,024, 2,048 and
# 4,096 tokens (2 cores of an x86 server, commit 22978fd).
MANY_LOGITS = 1024 * 1024


class Backend(Protocol):
    def __call__(
        self,
        q_BTNH: jax.Array,
        k_BSKH: jax.Array,
        v_BSKH: jax.Array,
        mask: AttentionMask,
        *,
        causal: bool,
        window: int | None,
        scale: float,
        softcap: float | None = None,
        bias_1NTS: jax.Array | None = None,
    ) -> jax.Array:
        """softmax(cap(scale q k^T) + bias) v under the mask, out_BTNH; grouped where K < N.

        Softmax in float32. causal, window: as in AttentionMask.dense. softcap: c * tanh(x / c) over
        the scaled products (Gemma 2). A query that may attend to nothing gets the mean of all
        values, so that no NaN can arise; its row counts for nothing.
        """
        ...


def attend(
    q_BTNH: jax.Array,
    k_BSKH: jax.Array,
    v_BSKH: jax.Array,
    mask: AttentionMask,
    *,
    causal: bool,
    window: int | None,
    scale: float,
    softcap: float | None = None,
    bias_1NTS: jax.Array | None = None,
) -> jax.Array:
    """As `Backend` says, by the backend that serves these arrays best on this machine."""
    backend: Backend = dense
    if platform() == "tpu" and bias_1NTS is None and serves(q_BTNH, k_BSKH, mask):
        backend = splash
    elif q_BTNH.shape[1] * k_BSKH.shape[1] >= MANY_LOGITS:
        backend = blockwise
    return backend(
        q_BTNH, k_BSKH, v_BSKH, mask,
        causal=causal, window=window, scale=scale, softcap=softcap, bias_1NTS=bias_1NTS,
    )  # fmt: skip


def dense(
    q_BTNH: jax.Array,
    k_BSKH: jax.Array,
    v_BSKH: jax.Array,
    mask: AttentionMask,
    *,
    causal: bool,
    window: int | None,
    scale: float,
    softcap: float | None = None,
    bias_1NTS: jax.Array | None = None,
) -> jax.Array:
    """All logits at once."""
    mask_B1TS = mask.dense(causal, window)
    k_BSKH = constrain(k_BSKH, "batch", "key_length", "act_kv_heads", None)
    v_BSKH = constrain(v_BSKH, "batch", "key_length", "act_kv_heads", None)
    if softcap is None:
        bias = None if bias_1NTS is None else bias_1NTS.astype(q_BTNH.dtype)
        with jax.numpy_dtype_promotion("standard"):  # jax's own code promotes bfloat16 to float32
            out_BTNH = jax.nn.dot_product_attention(
                q_BTNH, k_BSKH, v_BSKH, bias, mask_B1TS, scale=scale
            )
        return checkpoint_name(out_BTNH, ATTENTION_OUT)
    assert bias_1NTS is None, "no model has both a soft-cap and a bias"
    b, t, n, h = q_BTNH.shape
    k = k_BSKH.shape[2]
    q_BTKGH = q_BTNH.reshape(b, t, k, n // k, h)
    logits_BKGTS = jnp.einsum(
        "BTKGH,BSKH->BKGTS", q_BTKGH, k_BSKH, preferred_element_type=jnp.float32
    )
    logits_BKGTS = softcap * jnp.tanh(logits_BKGTS * (scale / softcap))
    lowest = jnp.finfo(jnp.float32).min
    logits_BKGTS = jnp.where(mask_B1TS[:, :, None], logits_BKGTS, lowest)
    p_BKGTS = jax.nn.softmax(logits_BKGTS, axis=-1).astype(v_BSKH.dtype)
    out_BTNH = jnp.einsum("BKGTS,BSKH->BTKGH", p_BKGTS, v_BSKH).reshape(b, t, n, h)
    return checkpoint_name(out_BTNH, ATTENTION_OUT)
