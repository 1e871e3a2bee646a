"""The layers of a stack over a pipeline of stages: each device computes its own layers only, and
micro-batches of rows follow one another through them.

The schedule is GPipe's (Huang et al. 2019) in the form of Xu et al. 2021 (GSPMD, section 3.3): at
each of M + S - 1 ticks all S stages compute at once, under vmap over an axis that lies over the
stages, each its own micro-batch of M; then what they hold moves on by one stage. Stages idle for
(S - 1) of the ticks, the "bubble": (S - 1) / (M + S - 1) of the time.

    tick      0  1  2  3  4      S = 3 stages, M = 3 micro-batches; · idle; bubble 2/5
    stage 0   0  1  2  ·  ·
    stage 1   ·  0  1  2  ·
    stage 2   ·  ·  0  1  2

The backward pass is the transpose: the same ticks backwards. It begins after the whole forward
pass, so a device keeps what all M micro-batches leave, not S of them as under 1F1B (Narayanan et
al. 2019), whose bubble is the same. Remat "stage" makes up for it: what is kept then is M + S - 1
residuals of a micro-batch for a stage and one micro-batch's layer inputs, where 1F1B with remat
"full" keeps layer inputs of S micro-batches; it costs one more forward pass. Interleaved stages,
which would make the bubble smaller, are not built.

With fsdp a stage's parameters are gathered anew at every tick, and their gradients scattered: M + S
- 1 times as often as without a pipeline, of 1/S of the layers. Layers beside the repeated ones
(Partition) are computed by all stages alike.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from nanojaxlm.errors import UserError
from nanojaxlm.model.block import Context
from nanojaxlm.model.remat import STAGE_INPUT, Policy
from nanojaxlm.sharding import STAGE_AXIS, active, axis_size, constrain, per_device

MICROBATCHES_A_STAGE = 4  # where the rows allow: a bubble of at most 1/5
HELD = ("act_stage", "batch", "residual_length", "act_embed")  # the axes of what the stages hold

# (the layers' parameters, residual, context) -> (residual, what the layers sow, by collection)
Layers = Callable[[Any, jax.Array, Context], tuple[jax.Array, dict[str, Any]]]


def check_stages(stack: str, repeats: int, period: int, num_stages: int) -> None:
    """Raises UserError where a stack's repeated layers do not split evenly over the stages."""
    if repeats == 0:
        raise UserError(
            f"config.model.{stack} repeats no layers that {num_stages} stages could share: set "
            f"config.model.{stack}.scan to True, or config.mesh.stage to 1"
        )
    if repeats % num_stages:
        of = "layers" if period == 1 else f"groups of {period} layers"
        allowed = [n for n in range(1, repeats + 1) if repeats % n == 0]
        raise UserError(
            f"the {repeats} {of} that config.model.{stack} repeats do not split over {num_stages} "
            f"stages: choose config.mesh.stage among {', '.join(map(str, allowed))}, or a multiple "
            f"of {num_stages} for config.model.{stack}.num_layers"
        )


def num_microbatches(num_rows: int, num_stages: int) -> int:
    """As the mesh's config says, or the most that are no more than MICROBATCHES_A_STAGE a stage.

    Raises:
        UserError: the config's do not divide the rows of each device.
    """
    now = active()
    a_device, uneven = divmod(num_rows, axis_size("batch"))
    if uneven:  # rows that lie whole on every device, as a single prompt's
        return 1
    if now is None or now.microbatches is None:
        most = min(MICROBATCHES_A_STAGE * num_stages, a_device)
        return next(m for m in range(most, 0, -1) if a_device % m == 0)
    if a_device % now.microbatches:
        raise UserError(
            f"config.mesh.microbatches={now.microbatches} does not divide the {a_device} rows that "
            f"a device has of a (micro-)batch of {num_rows}: choose a divisor of {a_device}, or "
            "other config.data.batch_size or config.training.accumulation"
        )
    return now.microbatches


def run(
    layers: Layers, params: Any, x_BTD: jax.Array, context: Context, policy: Policy | None
) -> tuple[jax.Array, dict[str, Any]]:
    """The residual after all layers, and what they sow, summed over the micro-batches.

    layers: what one stage does with its part of `params`, whose leading axis is L, as is that of
    what is sown. policy: what a stage keeps, to be run again in the backward pass; None = what its
    layers keep, and it is not run again.
    """
    num_stages = axis_size("layers")
    num_micro = num_microbatches(x_BTD.shape[0], num_stages)
    num_ticks = num_micro + num_stages - 1
    stages_S = jnp.arange(num_stages, dtype=jnp.int32)

    def by_stage(a: jax.Array) -> jax.Array:
        """A copy for each stage, which is no copy on any device; gradients meet after the last
        tick, not at each."""
        return jnp.broadcast_to(a[None], (num_stages, *a.shape))

    def fed(a_BTD: jax.Array) -> jax.Array:
        """[B, …] -> [ticks, S, B/M, …]: what could enter each stage at each tick, if it is the
        first; the last micro-batch over and over once there is none left."""
        micro = constrain(_split(a_BTD, num_micro), None, *HELD[1:])
        micro = constrain(by_stage(micro).swapaxes(0, 1), None, *HELD)
        idle = jax.lax.stop_gradient(jnp.repeat(micro[-1:], num_stages - 1, axis=0))
        return constrain(jnp.concatenate([micro, idle]), None, *HELD)

    moving = (x_BTD, context.memory_BSD)  # all else of the context is looked up
    looked_up = jax.tree.map(
        lambda a: _split(a, num_micro) if jnp.ndim(a) else a,
        context._replace(memory_BSD=None, bias_1NTS=None),
    )
    bias_S = None
    if context.bias_1NTS is not None:
        bias_S = constrain(by_stage(context.bias_1NTS), "act_stage", None, "act_heads", None, None)

    def stage(params: Any, held: Any, micro: jax.Array, bias: Any) -> tuple[Any, Any]:
        x_BTD, memory_BSD = checkpoint_name(held, STAGE_INPUT)
        own = jax.tree.map(
            lambda a: jax.lax.dynamic_index_in_dim(a, micro, keepdims=False) if jnp.ndim(a) else a,
            looked_up,
        )
        own = own._replace(memory_BSD=memory_BSD, bias_1NTS=bias)
        x_BTD, sown = layers(params, x_BTD, own)
        return (x_BTD, memory_BSD), sown

    if policy is not None:
        stage = jax.checkpoint(stage, prevent_cse=False, policy=policy)
    stages = jax.vmap(stage, spmd_axis_name=STAGE_AXIS)
    params = jax.tree.map(
        lambda a: a.reshape(num_stages, a.shape[0] // num_stages, *a.shape[1:]), params
    )

    to_next = per_device(_to_next_stage, (("act_stage",),), ("act_stage",), (STAGE_AXIS,))

    def tick(held: Any, at: tuple[jax.Array, Any]) -> tuple[Any, Any]:
        now, entering = at

        def moved_on(held: jax.Array, entering: jax.Array) -> jax.Array:
            first = (stages_S == 0)[:, None, None, None]
            return constrain(jnp.where(first, entering, to_next(held)), *HELD)

        held = jax.tree.map(moved_on, held, entering)
        micro_S = jnp.clip(now - stages_S, 0, num_micro - 1)
        held, sown = stages(params, held, micro_S, bias_S)
        held = jax.tree.map(lambda a: constrain(a, *HELD), held)
        return held, (held[0], sown)

    entering = jax.tree.map(fed, moving)
    # idle stages compute on rows like any other, so that nothing they do can overflow
    start = jax.tree.map(lambda a: jax.lax.stop_gradient(a[0]), entering)
    ticks = jnp.arange(num_ticks, dtype=jnp.int32)
    _, (out, sown) = jax.lax.scan(tick, start, (ticks, entering))

    last = (stages_S == num_stages - 1)[None, :, None, None, None]
    out_MBTD = jnp.sum(jnp.where(last, out[num_stages - 1 :], 0), axis=1, dtype=out.dtype)
    out_BTD = constrain(_joined(out_MBTD), "batch", "residual_length", "act_embed")
    return out_BTD, jax.tree.map(_over_microbatches, sown)


def _to_next_stage(a: jax.Array) -> jax.Array:
    """Each stage's part to the stage after it; zeros come to the first."""
    count = jax.lax.axis_size(STAGE_AXIS)
    return jax.lax.ppermute(a, STAGE_AXIS, [(s, s + 1) for s in range(count - 1)])


def _split(a: jax.Array, num_micro: int) -> jax.Array:
    """[B, …] -> [M, B/M, …]: micro-batch m takes rows m, m + M, …, so no row leaves its device."""
    return a.reshape(a.shape[0] // num_micro, num_micro, *a.shape[1:]).swapaxes(0, 1)


def _joined(a: jax.Array) -> jax.Array:
    """The inverse of `_split`."""
    return a.swapaxes(0, 1).reshape(-1, *a.shape[2:])


def _over_microbatches(sown: jax.Array) -> jax.Array:
    """The sum of float32[ticks, S, L/S, …] over micro-batches, [L, …]; idle ticks, at which a stage
    repeats a micro-batch, count for nothing. Stage s has micro-batch m at tick m + s.
    """
    num_ticks, num_stages = sown.shape[:2]
    last = num_ticks - num_stages  # micro-batch
    micro = jnp.arange(num_ticks)[:, None] - jnp.arange(num_stages)[None, :]
    at_work = (micro >= 0) & (micro <= last)
    at_work = at_work.reshape(num_ticks, num_stages, *(1,) * (sown.ndim - 2))
    return jnp.sum(jnp.where(at_work, sown, 0.0), axis=0).reshape(-1, *sown.shape[3:])
