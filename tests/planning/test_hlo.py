"""Counts of compiled programs equal what the arithmetic of their source says."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from nanojaxlm.planning.hlo import Program, analyse

pytestmark = pytest.mark.usefixtures("quick_compile")
P = PartitionSpec


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    return jax.make_mesh((2, 4), ("fsdp", "tensor"), axis_types=(jax.sharding.AxisType.Auto,) * 2)


def compiled(f: Callable[..., Any], mesh: Mesh, *arguments: tuple[tuple[int, ...], P]) -> Program:
    """The program of f over float32 arguments of these shapes and layouts."""
    abstract = [
        jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(mesh, spec))
        for shape, spec in arguments
    ]
    return analyse(jax.jit(f).lower(*abstract).compile().as_text(), mesh)


def kinds(program: Program) -> set[tuple[str, tuple[str, ...]]]:
    return {(one.kind, one.axes) for one in program.collectives}


def test_a_product_is_two_flops_an_element_multiplied(one_device: Mesh):
    program = compiled(lambda a, b: a @ b, one_device, ((64, 32), P()), ((32, 16), P()))
    assert program.flops == 2 * 64 * 32 * 16
    assert program.bytes_moved == 4 * (64 * 32 + 32 * 16 + 64 * 16)
    assert program.collectives == []


def test_a_batched_product_counts_each_of_the_batch(one_device: Mesh):
    f = partial(jnp.einsum, "bij,bjk->bik")
    program = compiled(f, one_device, ((5, 64, 32), P()), ((5, 32, 16), P()))
    assert program.flops == 5 * 2 * 64 * 32 * 16


def test_loops_are_multiplied_out(one_device: Mesh):
    """Three scans of 7 rounds within one of 5: XLA's own analysis counts each body once."""

    def f(x: jax.Array, w: jax.Array) -> jax.Array:
        def inner(x: jax.Array, _: None) -> tuple[jax.Array, None]:
            return jnp.tanh(x @ w), None

        def outer(x: jax.Array, _: None) -> tuple[jax.Array, None]:
            return jax.lax.scan(inner, x, None, length=7)[0], None

        return jax.lax.scan(outer, x, None, length=5)[0]

    program = compiled(f, one_device, ((64, 32), P()), ((32, 32), P()))
    assert program.flops == 5 * 7 * 2 * 64 * 32 * 32
    assert program.unknown_trips == 0


def test_a_scan_costs_what_its_unrolled_form_does(one_device: Mesh):
    """Gradient of a deep net: the products, not the bytes, which fusion changes."""

    def f(w: jax.Array, x: jax.Array, unroll: bool) -> jax.Array:
        def layer(x: jax.Array, w: jax.Array) -> tuple[jax.Array, None]:
            return jnp.tanh(x @ w), None

        return jax.lax.scan(layer, x, w, unroll=unroll)[0].sum()

    arguments = ((6, 32, 32), P()), ((64, 32), P())
    scanned = compiled(jax.grad(partial(f, unroll=False)), one_device, *arguments)
    unrolled = compiled(jax.grad(partial(f, unroll=True)), one_device, *arguments)
    # forward and two products backward, of which the first layer needs one
    assert unrolled.flops == (3 * 6 - 1) * 2 * 64 * 32 * 32
    assert scanned.flops == 3 * 6 * 2 * 64 * 32 * 32


def test_the_end_of_a_loop_that_no_one_knows_is_reported(one_device: Mesh):
    def f(x: jax.Array, n: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, n[0].astype(jnp.int32), lambda _, y: y @ y, x)

    program = compiled(f, one_device, ((32, 32), P()), ((1,), P()))
    assert program.unknown_trips == 1
    assert program.flops == 2 * 32**3


def test_a_slice_of_a_large_array_moves_only_itself(one_device: Mesh):
    def f(x: jax.Array) -> jax.Array:
        def add(total: jax.Array, i: jax.Array) -> tuple[jax.Array, None]:
            return total + jax.lax.dynamic_index_in_dim(x, i, keepdims=False), None

        return jax.lax.scan(add, jnp.zeros(x.shape[1:]), jnp.arange(100))[0]

    program = compiled(f, one_device, ((100, 1024), P()))
    row = 4 * 1024
    assert 100 * 3 * row <= program.bytes_moved < 100 * 6 * row  # not 100 times the whole array


def test_collectives_are_told_by_kind_axis_bytes_and_count(mesh: Mesh):
    """5 layers, their kernels split over fsdp and tensor: gathered and reduced where they must."""

    def f(x: jax.Array, w: jax.Array, v: jax.Array) -> jax.Array:
        def layer(x: jax.Array, wv: Any) -> tuple[jax.Array, None]:
            return jnp.tanh(x @ wv[0]) @ wv[1], None

        return jax.lax.scan(layer, x, (w, v))[0]

    program = compiled(
        f,
        mesh,
        ((64, 32), P("fsdp", None)),
        ((5, 32, 128), P(None, "fsdp", "tensor")),
        ((5, 128, 32), P(None, "tensor", "fsdp")),
    )
    assert kinds(program) == {("all-gather", ("fsdp",)), ("all-reduce", ("tensor",))}
    gathers = [one for one in program.collectives if one.kind == "all-gather"]
    assert [(one.bytes, one.count, one.group_size) for one in gathers] == [
        (4 * 32 * 128 // 4, 5, 2)
    ] * 2
    (reduce,) = (one for one in program.collectives if one.kind == "all-reduce")
    assert (reduce.bytes, reduce.count, reduce.group_size) == (4 * 64 * 32 // 2, 5, 4)
    assert reduce.sent == 2 * 3 / 4 * reduce.bytes
    assert gathers[0].sent == gathers[0].bytes / 2
    assert program.flops == 5 * 2 * 2 * 64 * 32 * 128 / 8
    assert {one.kind: one.count for one in program.totals()} == {"all-gather": 10, "all-reduce": 5}


@pytest.mark.parametrize(
    ("kind", "out", "f"),
    [
        ("collective-permute", P("tensor"), lambda x: jax.lax.ppermute(x, "tensor", [(0, 1)])),
        (
            "all-to-all",
            P(None, "tensor"),
            lambda x: jax.lax.all_to_all(x, "tensor", 1, 0, tiled=True),
        ),
        (
            "reduce-scatter",
            P("tensor"),
            lambda x: jax.lax.psum_scatter(x, "tensor", tiled=True),
        ),
        ("all-reduce", P(), lambda x: jax.lax.psum(x, "tensor")),
        ("all-gather", P(), lambda x: jax.lax.all_gather(x, "tensor", tiled=True)),
    ],
)
def test_every_kind_of_collective_is_seen(mesh: Mesh, kind: str, out: P, f: Callable):
    mapped = jax.shard_map(f, mesh=mesh, in_specs=P("tensor"), out_specs=out, check_vma=False)
    program = compiled(mapped, mesh, ((16, 16), P("tensor")))
    (one,) = program.collectives
    assert (one.kind, one.axes, one.count) == (kind, ("tensor",), 1)
    assert one.bytes == 4 * 16 * 16 // (1 if kind == "all-gather" else 4)


def test_of_a_conditional_the_heaviest_branch_counts(one_device: Mesh):
    def f(x: jax.Array) -> jax.Array:
        return jax.lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x)

    assert compiled(f, one_device, ((32, 32), P())).flops == 2 * 2 * 32**3


def test_what_is_no_module_is_refused(one_device: Mesh):
    with pytest.raises(ValueError, match="ENTRY"):
        analyse("nothing", one_device)
