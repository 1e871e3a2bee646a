"""What the TPU kernels are told of the mask; and that they compile, for chips that are not here."""

import importlib.util
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nanojaxlm.model import attend as module
from nanojaxlm.model.attend import attend
from nanojaxlm.model.config import ModelConfig
from nanojaxlm.model.masks import AttentionMask, Band
from nanojaxlm.model.remat import ATTENTION_OUT
from nanojaxlm.model.row_split import places
from nanojaxlm.model.splash import BandMask, block_sizes
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.planning.topology import devices_of
from nanojaxlm.sharding import MeshConfig, make_mesh, sharding, use_mesh


@pytest.mark.parametrize("band", [Band(True, None), Band(True, 9), Band(False, 5)])
@pytest.mark.parametrize(("num", "balanced"), [(1, False), (4, True), (3, False)])
def test_a_block_of_the_mask_says_whether_it_holds_true_and_false(band, num, balanced):
    length, num_keys, size = 96, 72, 4
    mask = BandMask(band, length, num_keys, num, balanced)
    whole = band(places(length, num, balanced).reshape(-1, 1), np.arange(num_keys)[None])
    for i in range(0, length, size):
        for j in range(0, num_keys, size):
            part = mask[slice(i, i + size), slice(j, j + size)]
            block = whole[i : i + size, j : j + size]
            assert (part.any(), part.all()) == (block.any(), block.all())


@pytest.mark.parametrize("window", [None, 100, 1024, 4096])
@pytest.mark.parametrize("key_bytes", [128, 256, 1024])
@pytest.mark.parametrize(
    ("run", "num_keys"), [(128, 128), (2048, 2048), (640, 1280), (8192, 8192), (4096, 131_072)]
)
def test_blocks_cover_rows_and_fit_the_vector_memory(run, num_keys, window, key_bytes):
    sizes = block_sizes(run, num_keys, window, key_bytes)
    assert sizes.has_backward_blocks
    for size in (sizes.block_q, sizes.block_q_dkv, sizes.block_q_dq or run):
        assert run % size == 0 and size % 128 == 0
    for size in (sizes.block_kv, sizes.block_kv_dkv, sizes.block_kv_dq or num_keys):
        assert num_keys % size == 0 and size % 128 == 0
    assert max(sizes.block_kv, sizes.block_kv_dkv or 0) * key_bytes <= 2**19
    if sizes.use_fused_bwd_kernel:  # its copies of the queries' gradient
        assert sizes.block_kv_dkv is not None and num_keys // sizes.block_kv_dkv <= 4


def test_a_scanned_and_rematerialised_stack_uses_the_kernels(
    monkeypatch: pytest.MonkeyPatch, tiny_config: Callable[..., ModelConfig], packed_batch
):
    """Both make arrays of what they are given, so the rows' start must be known without them."""
    monkeypatch.setattr(module, "platform", lambda: "tpu")
    model = Transformer(tiny_config(scan=True, remat="full"))
    stream = packed_batch(2, 128, 50).decoder
    params = jax.eval_shape(model.init, jax.random.key(0), stream)
    jaxpr = str(jax.make_jaxpr(model.apply)(params, stream))
    assert "splash_mha_fwd" in jaxpr


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("libtpu"), reason="needs libtpu, the extra tpu")
@pytest.mark.parametrize(("kept", "forwards"), [((), 2), ((ATTENTION_OUT,), 1)])
def test_kernels_compile_for_a_tpu_with_rows_split_over_chips(kept: tuple[str, ...], forwards: int):
    """As layers of training: scanned and rematerialised, keys gathered, their gradients scattered,
    queries exchanged; where remat keeps the output, no forward kernel runs again."""
    config = MeshConfig(context=2)
    mesh = make_mesh(config, devices_of("v5e:2x2"))
    policy = jax.checkpoint_policies.save_only_these_names(*kept)

    def abstract(*shape: int, names: Any, dtype: Any = jnp.bfloat16) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding(mesh, names))

    x = abstract(2, 1024, 2, 128, names=("batch", "length", "act_heads", None))
    segments = abstract(2, 1024, names=("batch", "length"), dtype=jnp.int32)

    def objective(x: jax.Array, segments: jax.Array) -> jax.Array:
        def layer(x: jax.Array) -> jax.Array:
            mask = AttentionMask(segments, segments)
            options: Any = {"causal": True, "window": None, "scale": 0.1, "softcap": 30.0}
            return x + attend(jnp.sin(x), x, jnp.cos(x), mask, **options)

        def body(x: jax.Array, _: None) -> tuple[jax.Array, None]:
            return jax.checkpoint(layer, policy=policy, prevent_cse=False)(x), None

        return jax.lax.scan(body, x, None, length=3)[0].astype(jnp.float32).sum()

    with use_mesh(mesh, config):
        text = jax.jit(jax.grad(objective)).lower(x, segments).compile().as_text()
    calls = re.findall(r"%splash_mha_([a-z]+)\S* = .*custom-call\(", text)
    assert sorted(calls) == ["dkv"] + ["fwd"] * forwards
    collectives = r"(all-gather|all-reduce|reduce-scatter|collective-permute|all-to-all)"
    found = set(re.findall(rf" {collectives}(?:-start)?\(", text))
    assert {"all-gather", "collective-permute"} <= found and "all-to-all" not in found
