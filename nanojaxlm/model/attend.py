"""The attention kernels: one function a backend, all of the same signature."""

import jax
import jax.numpy as jnp


def attend(
    q_BTNH: jax.Array,
    k_BSKH: jax.Array,
    v_BSKH: jax.Array,
    mask_B1TS: jax.Array,
    *,
    scale: float,
    softcap: float | None = None,
    bias_1NTS: jax.Array | None = None,
) -> jax.Array:
    """softmax(cap(scale q k^T) + bias) v under the mask, out_BTNH; grouped where K < N.

    Softmax in float32. softcap: c * tanh(x / c) over the scaled products (Gemma 2). A query that
    may attend to nothing gets the mean of all values, so that no NaN can arise; its row counts for
    nothing.
    """
    if softcap is None:
        bias = None if bias_1NTS is None else bias_1NTS.astype(q_BTNH.dtype)
        with jax.numpy_dtype_promotion("standard"):  # jax's own code promotes bfloat16 to float32
            return jax.nn.dot_product_attention(
                q_BTNH, k_BSKH, v_BSKH, bias, mask_B1TS, scale=scale
            )
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
    return jnp.einsum("BKGTS,BSKH->BTKGH", p_BKGTS, v_BSKH).reshape(b, t, n, h)
