"""The attention kernels: one function a backend, all of the same signature."""

import jax

from nanojaxlm.model.masks import AttentionMask


def attend(
    q_BTNH: jax.Array, k_BSKH: jax.Array, v_BSKH: jax.Array, mask: AttentionMask
) -> jax.Array:
    """softmax(q k^T / sqrt(H)) v under the mask, out_BTNH; grouped where K < N, softmax in float32.

    Padding queries (segment 0) attend to padding keys, so no row is empty and no NaN can arise.
    """
    with jax.numpy_dtype_promotion("standard"):  # jax's own code promotes bfloat16 to float32
        return jax.nn.dot_product_attention(q_BTNH, k_BSKH, v_BSKH, mask=mask.dense())
