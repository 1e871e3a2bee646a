"""Attention by blocks: which pairs of blocks it computes, what it keeps, and its memory."""

import itertools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nanojaxlm.model.blockwise import blockwise, visible_pairs
from nanojaxlm.model.masks import AttentionMask, Band
from nanojaxlm.model.remat import ATTENTION_OUT
from nanojaxlm.model.row_split import places

BANDS = [Band(True, None), Band(True, 5), Band(False, 3), Band(False, None)]


@pytest.mark.parametrize("band", BANDS)
@pytest.mark.parametrize(("num", "balanced"), [(1, False), (2, True), (3, False), (4, True)])
def test_the_pairs_are_those_blocks_that_hold_a_visible_pair(band: Band, num: int, balanced: bool):
    length, num_keys, sizes = 48, 54, (2, 6)
    index_nT = places(length, num, balanced)
    pairs = visible_pairs(index_nT, num_keys, sizes, band)
    for index_T, pairs_P3 in zip(index_nT, pairs, strict=True):
        blocks = index_T.reshape(-1, sizes[0])
        mask = AttentionMask(np.ones((1, length), np.int32), np.ones((1, num_keys), np.int32))
        visible = np.asarray(mask.dense(band.causal, band.window))[0, 0]
        expected = [
            (i, j)
            for i, j in itertools.product(range(len(blocks)), range(num_keys // sizes[1]))
            if visible[blocks[i], j * sizes[1] : (j + 1) * sizes[1]].any()
        ]
        assert [tuple(pair[:2]) for pair in pairs_P3 if pair[2]] == expected
        if balanced and band == Band(True, None):
            assert pairs_P3[:, 2].all(), "all devices have the same number of pairs"


def causal(x: jax.Array) -> jax.Array:
    segments = jnp.ones(x.shape[:2], jnp.int32)
    options: Any = {"causal": True, "window": None, "scale": 1.0}
    return jnp.sin(blockwise(x, x, x, AttentionMask(segments, segments), **options)).sum()


@pytest.mark.parametrize(("kept", "loops"), [((), 3), ((ATTENTION_OUT,), 2)])
def test_remat_that_keeps_the_output_runs_the_forward_loop_once(kept: tuple[str, ...], loops: int):
    policy = jax.checkpoint_policies.save_only_these_names(*kept)
    x = jnp.ones((1, 4096, 1, 8), jnp.float32)
    jaxpr = str(jax.make_jaxpr(jax.grad(jax.checkpoint(causal, policy=policy)))(x))
    assert len(re.findall(r"scan\[", jaxpr)) == loops


def layers(x: jax.Array) -> jax.Array:
    """Scanned and made again for the backward pass, as model/stack.py does."""
    segments = jnp.ones(x.shape[:2], jnp.int32)
    options: Any = {"causal": True, "window": None, "scale": 1.0}

    def layer(x: jax.Array, _: None) -> tuple[jax.Array, None]:
        return x + blockwise(x, x, x, AttentionMask(segments, segments), **options), None

    return jnp.sin(jax.lax.scan(jax.checkpoint(layer), x, None, length=3)[0]).sum()


@pytest.mark.slow
@pytest.mark.parametrize("function", [causal, layers])
def test_long_rows_need_no_array_of_all_queries_by_all_keys(function, quick_compile: None):
    """16,384 tokens: all logits of the 2 heads would take 2 GiB; memory grows as the row does.
    Nor of all masks, which layers share, so that jax is tempted to make them once for all."""
    temporary = {}
    for length in (8192, 16_384):
        x = jax.ShapeDtypeStruct((1, length, 2, 16), jnp.float32)
        compiled = jax.jit(jax.grad(function)).lower(x).compile()
        shapes = re.findall(r"(?:f32|pred|bf16|s32)\[([\d,]+)\]", compiled.as_text())
        sizes = [np.prod([int(n) for n in shape.split(",")]) for shape in shapes]
        assert max(sizes) < length * length
        temporary[length] = compiled.memory_analysis().temp_size_in_bytes
    assert temporary[16_384] < 128 * 2**20
    assert temporary[16_384] < 2.2 * temporary[8192]
