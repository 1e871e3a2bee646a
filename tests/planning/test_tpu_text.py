"""What only TPU programs have: products as convolutions, collectives spread over fusions, vector
memory, Pallas kernels. The texts are libtpu 0.0.52's, cut down."""

import jax
import pytest
from jax.sharding import Mesh

from nanojaxlm.model.masks import Band
from nanojaxlm.planning.hlo import Program, analyse
from nanojaxlm.planning.kernels import attended_part
from nanojaxlm.planning.module import parse, shapes

ASYNC = """HloModule jit_f, is_scheduled=true, num_partitions=8

%started (p.0: bf16[1,256,256]) -> (bf16[1,256,256], bf16[1,1024,256], u32[]) {
  %p.0 = bf16[1,256,256]{2,1,0:T(8,128)(2,1)S(1)} parameter(0)
  %all-gather.38 = bf16[1,1024,256]{2,1,0:T(8,128)(2,1)} all-gather(%p.0), channel_id=17, replica_groups=[2,4]<=[8], dimensions={1}
  ROOT %custom-call.4 = (bf16[1,256,256]{2,1,0:T(8,128)(2,1)S(1)}, bf16[1,1024,256]{2,1,0:T(8,128)(2,1)S(1)}, u32[]{:S(2)}) custom-call(%all-gather.38), custom_call_target="AsyncCollectiveStart"
}

%beside (q.0: bf16[1,256,256], q.1: bf16[1,1024,256], q.2: u32[], q.3: bf16[64,1024], q.4: bf16[64,256]) -> (bf16[256,1024], bf16[1,256,256], bf16[1,1024,256], u32[]) {
  %q.4 = bf16[64,256]{1,0:T(8,128)(2,1)S(1)} parameter(4)
  %q.3 = bf16[64,1024]{1,0:T(8,128)(2,1)S(1)} parameter(3)
  %convolution.13 = bf16[256,1024]{1,0:T(8,128)(2,1)} convolution(%q.4, %q.3), dim_labels=fb_io->bf
  %q.0 = bf16[1,256,256]{2,1,0:T(8,128)(2,1)S(1)} parameter(0)
  %q.1 = bf16[1,1024,256]{2,1,0:T(8,128)(2,1)S(1)} parameter(1)
  %all-gather.40 = bf16[1,1024,256]{2,1,0:T(8,128)(2,1)S(1)} all-gather(%q.0), channel_id=17, replica_groups=[2,4]<=[8], dimensions={1}, backend_config={"async_collective_fusion_config":{"flag_start":"2","flag_end":"8"}}
  %q.2 = u32[]{:S(2)} parameter(2)
  ROOT %tuple.56 = (bf16[256,1024]{1,0:T(8,128)(2,1)}, bf16[1,256,256]{2,1,0:T(8,128)(2,1)S(1)}, bf16[1,1024,256]{2,1,0:T(8,128)(2,1)S(1)}, u32[]{:S(2)}) tuple(%convolution.13, %q.0, %q.1, %q.2)
}

%ended (r.0: bf16[1,256,256], r.1: bf16[1,1024,256], r.2: u32[]) -> bf16[1,1024,256] {
  %r.0 = bf16[1,256,256]{2,1,0:T(8,128)(2,1)S(1)} parameter(0)
  %r.1 = bf16[1,1024,256]{2,1,0:T(8,128)(2,1)S(1)} parameter(1)
  %all-gather.42 = bf16[1,1024,256]{2,1,0:T(8,128)(2,1)} all-gather(%r.0), channel_id=17, replica_groups=[2,4]<=[8], dimensions={1}, backend_config={"async_collective_fusion_config":{"flag_start":"2","flag_end":"8"}}
  %r.2 = u32[]{:S(2)} parameter(2)
  ROOT %custom-call.6 = bf16[1,1024,256]{2,1,0:T(8,128)(2,1)S(1)} custom-call(%r.0, %r.1, %all-gather.42, %r.2), custom_call_target="AsyncCollectiveDone"
}

%all-reduce-scatter (input.2: bf16[64,1024]) -> bf16[64,256] {
  %input.2 = bf16[64,1024]{1,0:T(8,128)(2,1)S(1)} parameter(0)
  %all-reduce.7 = bf16[64,1024]{1,0:T(8,128)(2,1)} all-reduce(%input.2), channel_id=9, replica_groups={{0,1,2,3},{4,5,6,7}}, to_apply=%add
  %constant.144 = u32[] constant(0)
  ROOT %dynamic-slice.46 = bf16[64,256]{1,0:T(8,128)(2,1)S(1)} dynamic-slice(%all-reduce.7, %constant.144, %constant.144), dynamic_slice_sizes={64,256}
}

%add (x: bf16[], y: bf16[]) -> bf16[] {
  %y = bf16[] parameter(1)
  %x = bf16[] parameter(0)
  ROOT %add.21 = bf16[] add(%x, %y)
}

%body (loop: (s32[], bf16[1,256,256], bf16[64,1024], bf16[64,256])) -> (s32[], bf16[1,256,256], bf16[64,1024], bf16[64,256]) {
  %loop = (s32[]{:T(128)}, bf16[1,256,256]{2,1,0:T(8,128)(2,1)S(1)}, bf16[64,1024]{1,0:T(8,128)(2,1)S(1)}, bf16[64,256]{1,0:T(8,128)(2,1)S(1)}) parameter(0)
  %i = s32[]{:T(128)S(6)} get-tuple-element(%loop), index=0
  %a = bf16[1,256,256]{2,1,0:T(8,128)(2,1)S(1)} get-tuple-element(%loop), index=1
  %b = bf16[64,1024]{1,0:T(8,128)(2,1)S(1)} get-tuple-element(%loop), index=2
  %c = bf16[64,256]{1,0:T(8,128)(2,1)S(1)} get-tuple-element(%loop), index=3
  %one = s32[]{:T(128)S(6)} constant(2)
  %next = s32[]{:T(128)S(6)} add(%i, %one)
  %start = (bf16[1,256,256]{2,1,0:T(8,128)(2,1)S(1)}, bf16[1,1024,256]{2,1,0:T(8,128)(2,1)S(1)}, u32[]{:S(2)}) fusion(%a), kind=kCustom, calls=%started
  %s.0 = bf16[1,256,256]{2,1,0:T(8,128)(2,1)S(1)} get-tuple-element(%start), index=0
  %s.1 = bf16[1,1024,256]{2,1,0:T(8,128)(2,1)S(1)} get-tuple-element(%start), index=1
  %s.2 = u32[]{:S(2)} get-tuple-element(%start), index=2
  %work = (bf16[256,1024]{1,0:T(8,128)(2,1)}, bf16[1,256,256]{2,1,0:T(8,128)(2,1)S(1)}, bf16[1,1024,256]{2,1,0:T(8,128)(2,1)S(1)}, u32[]{:S(2)}) fusion(%s.0, %s.1, %s.2, %b, %c), kind=kOutput, calls=%beside
  %done = bf16[1,1024,256]{2,1,0:T(8,128)(2,1)S(1)} fusion(%s.0, %s.1, %s.2), kind=kCustom, calls=%ended
  %scattered = bf16[64,256]{1,0:T(8,128)(2,1)S(1)} fusion(%b), kind=kCustom, calls=%all-reduce-scatter
  ROOT %round = (s32[]{:T(128)}, bf16[1,256,256]{2,1,0:T(8,128)(2,1)S(1)}, bf16[64,1024]{1,0:T(8,128)(2,1)S(1)}, bf16[64,256]{1,0:T(8,128)(2,1)S(1)}) tuple(%next, %a, %b, %scattered)
}

%condition (loop.1: (s32[], bf16[1,256,256], bf16[64,1024], bf16[64,256])) -> pred[] {
  %loop.1 = (s32[]{:T(128)}, bf16[1,256,256]{2,1,0:T(8,128)(2,1)S(1)}, bf16[64,1024]{1,0:T(8,128)(2,1)S(1)}, bf16[64,256]{1,0:T(8,128)(2,1)S(1)}) parameter(0)
  %limit = s32[]{:T(128)} constant(9)
  %i.1 = s32[]{:T(128)} get-tuple-element(%loop.1), index=0
  ROOT %lt = pred[]{:T(512)} compare(%i.1, %limit), direction=LT
}

ENTRY %main (m.0: bf16[1,256,256], m.1: bf16[64,1024], m.2: bf16[64,256]) -> bf16[64,256] {
  %m.0 = bf16[1,256,256]{2,1,0:T(8,128)(2,1)} parameter(0)
  %m.1 = bf16[64,1024]{1,0:T(8,128)(2,1)} parameter(1)
  %m.2 = bf16[64,256]{1,0:T(8,128)(2,1)} parameter(2)
  %copy-start = (bf16[64,1024]{1,0:T(8,128)(2,1)S(1)}, bf16[64,1024]{1,0:T(8,128)(2,1)}, u32[]{:S(2)}) copy-start(%m.1)
  %zero = s32[]{:T(128)} constant(0)
  %first = s32[]{:T(128)} copy(%zero)
  %copy-done = bf16[64,1024]{1,0:T(8,128)(2,1)S(1)} copy-done(%copy-start)
  %begin = (s32[]{:T(128)}, bf16[1,256,256]{2,1,0:T(8,128)(2,1)S(1)}, bf16[64,1024]{1,0:T(8,128)(2,1)S(1)}, bf16[64,256]{1,0:T(8,128)(2,1)S(1)}) tuple(%first, %m.0, %copy-done, %m.2)
  %while = (s32[]{:T(128)}, bf16[1,256,256]{2,1,0:T(8,128)(2,1)S(1)}, bf16[64,1024]{1,0:T(8,128)(2,1)S(1)}, bf16[64,256]{1,0:T(8,128)(2,1)S(1)}) while(%begin), condition=%condition, body=%body
  ROOT %out = bf16[64,256]{1,0:T(8,128)(2,1)S(1)} get-tuple-element(%while), index=3
}
"""  # noqa: E501

KERNEL = """HloModule jit_g, is_scheduled=true

ENTRY %main (q: bf16[2,8,1024,128], k: bf16[2,2,1024,128]) -> bf16[2,8,1024,128] {{
  %q = bf16[2,8,1024,128]{{3,2,1,0:T(8,128)(2,1)}} parameter(0)
  %k = bf16[2,2,1024,128]{{3,2,1,0:T(8,128)(2,1)}} parameter(1)
  ROOT %call = bf16[2,8,1024,128]{{3,2,1,0:T(8,128)(2,1)}} custom-call(%q, %k, %k), custom_call_target="tpu_custom_call", frontend_attributes={{kernel_metadata={{

"xprof_metadata":"{{\\"block_q\\": 256, \\"block_kv\\": 256, \\"block_q_dkv\\": 256, \\"block_kv_dkv\\": 256, \\"use_fused_bwd_kernel\\": true}}"

}}}}, metadata={{op_name="jit(g)/vmap(static_sparsity_splash)/jit(_splash_attention)/{name}/{name}/pallas_call"}}
}}
"""  # noqa: E501

SCORES = 2 * 2 * 8 * 1024 * 1024 * 128  # FLOPs of one product over them


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    return jax.make_mesh((2, 4), ("data", "fsdp"), axis_types=(jax.sharding.AxisType.Auto,) * 2)


@pytest.fixture(scope="module")
def program(mesh: Mesh) -> Program:
    return analyse(ASYNC, mesh)


def test_a_collective_spread_over_fusions_counts_once_a_round(program: Program):
    (gather,) = (one for one in program.collectives if one.kind == "all-gather")
    assert (gather.axes, gather.bytes, gather.count) == (("fsdp",), 2 * 1024 * 256, 5)
    assert gather.overlapped


def test_an_all_reduce_of_which_a_part_is_kept_is_a_reduce_scatter(program: Program):
    (scatter,) = (one for one in program.collectives if one.kind != "all-gather")
    assert (scatter.kind, scatter.bytes, scatter.count) == ("reduce-scatter", 2 * 64 * 1024, 5)
    assert scatter.sent == 3 / 4 * scatter.bytes


def test_a_convolution_is_the_product_it_stands_for(program: Program):
    """0 to 9 by 2: five rounds."""
    assert program.flops == 5 * 2 * 64 * 256 * 1024


def test_what_stays_on_the_chip_moves_no_bytes(program: Program):
    """A copy in, and the product's result in each round: the rest is in vector memory, S(1)."""
    scalars = 2 * 4
    assert program.bytes_moved == pytest.approx(2 * 64 * 1024 + 5 * 2 * 256 * 1024 + scalars)


@pytest.mark.parametrize(
    ("name", "products"),
    [
        ("splash_mha_fwd_segmented_residuals", 2),
        ("splash_mha_dq_segmented_no_residuals", 3),
        ("splash_mha_dkv_segmented_no_residuals", 5),  # fused, as its metadata says
    ],
)
def test_splash_attention_is_counted_by_hand(mesh: Mesh, name: str, products: int):
    program = analyse(KERNEL.format(name=name), mesh)
    assert program.flops == products * SCORES
    assert program.kernels == {name: program.flops}
    assert program.uncounted == {}


def test_blocks_that_the_mask_leaves_empty_cost_nothing(mesh: Mesh):
    text = KERNEL.format(name="splash_mha_fwd_residuals")
    causal, windowed = Band(True, None), Band(True, 256)
    assert analyse(text, mesh, [causal]).flops == 2 * SCORES * (4 + 1) / (2 * 4)
    assert analyse(text, mesh, [windowed]).flops == 2 * SCORES * (4 + 3) / 16
    assert analyse(text, mesh, [causal, windowed]).flops == 2 * SCORES * (10 + 7) / 32
    # without a mask each of 4 blocks of queries reads keys and values of all 4 heads a group anew
    whole, half = (analyse(text, mesh, bands).bytes_moved for bands in ([], [causal]))
    assert whole > half > 2 * (2 * 2 * 8 * 1024 * 128)


def test_an_unknown_kernel_is_reported(mesh: Mesh):
    program = analyse(KERNEL.format(name="mystery"), mesh)
    assert program.uncounted == {"mystery": 1}
    assert program.flops == 0


@pytest.mark.parametrize(("number", "part"), [(1, 1.0), (2, 3 / 4), (8, 9 / 16), (64, 65 / 128)])
def test_causal_blocks_are_half_and_the_diagonal(number: int, part: float):
    assert attended_part((Band(True, None),), number * 128, 128, 128) == part


def test_grouped_products_count_each_row_once(mesh: Mesh):
    text = """HloModule m

ENTRY %main (x: bf16[512,64], w: bf16[8,64,32]) -> bf16[512,32] {
  %x = bf16[512,64]{1,0} parameter(0)
  %w = bf16[8,64,32]{2,1,0} parameter(1)
  %sizes = s32[8]{0} constant({...})
  ROOT %y = bf16[512,32]{1,0} custom-call(%sizes, %x, %w), custom_call_target="tpu_custom_call", metadata={op_name="jit(step)/jit(gmm)/pallas_call"}
}
"""  # noqa: E501
    assert analyse(text, mesh).flops == 2 * 512 * 64 * 32


def test_a_slice_that_is_fetched_moves_only_itself(mesh: Mesh):
    text = """HloModule m

ENTRY %main (x: bf16[64,128]) -> bf16[1,128] {
  %x = bf16[64,128]{1,0} parameter(0)
  %start = ((bf16[64,128]{1,0}), bf16[1,128]{1,0S(1)}, s32[]{:S(2)}) slice-start(%x), slice={[3:4], [0:128]}
  ROOT %done = bf16[1,128]{1,0S(1)} slice-done(%start)
}
"""  # noqa: E501
    assert analyse(text, mesh).bytes_moved == 2 * 128


def test_what_the_host_keeps_is_read_on_the_device_alone(mesh: Mesh):
    """An update of an array in the host's memory, S(5), by a computation of the host's thread."""
    text = """HloModule m

%keep (all.0: f32[8,128], row.0: f32[1,128], i.0: s32[]) -> f32[8,128] {
  %all.0 = f32[8,128]{1,0:S(5)} parameter(0)
  %row.0 = f32[1,128]{1,0} parameter(1)
  %i.0 = s32[] parameter(2)
  ROOT %kept = f32[8,128]{1,0:S(5)} dynamic-update-slice(%all.0, %row.0, %i.0, %i.0)
}, execution_thread="host"

ENTRY %main (all: f32[8,128], row: f32[1,128], i: s32[]) -> f32[8,128] {
  %all = f32[8,128]{1,0:S(5)} parameter(0)
  %row = f32[1,128]{1,0} parameter(1)
  %i = s32[] parameter(2)
  %start = ((f32[8,128]{1,0:S(5)}, f32[1,128]{1,0}, s32[]), f32[8,128]{1,0:S(5)}, u32[]) async-start(%all, %row, %i), async_execution_thread="host", calls=%keep
  ROOT %done = f32[8,128]{1,0:S(5)} async-done(%start)
}
"""  # noqa: E501
    assert analyse(text, mesh).bytes_moved == 4 * 128


def test_shapes_are_read_with_their_space():
    read = shapes(
        "(f32[2,3]{1,0:T(8,128)S(1)}, s4[5]{0}, /*index=2*/pred[], token[], bf16[<=7]{0})"
    )
    assert [shape.space for shape in read] == [1, 0, 0, 0, 0]
    assert [shape.bytes for shape in read] == [24, 3, 1, 0, 14]


def test_users_and_parameters_of_a_computation():
    body = parse(ASYNC).computations["beside"]
    assert [p.name for p in body.parameters] == ["q.0", "q.1", "q.2", "q.3", "q.4"]
    assert [user.opcode for user in body.users["q.0"]] == ["all-gather", "tuple"]
