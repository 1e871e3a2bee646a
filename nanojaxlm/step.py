"""The one training step and its evaluation twin, jitted over a mesh."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from nanojaxlm.batch import Batch, Targets, fingerprint
from nanojaxlm.host_memory import to_device, to_host
from nanojaxlm.losses import HeadLayout, LossConfig, Sums, chunked_loss, zero_sums
from nanojaxlm.model.mixture import COUNTS, LOSSES
from nanojaxlm.model.router import RouterSums, auxiliary_loss
from nanojaxlm.model.transformer import Transformer, head_params
from nanojaxlm.sharding import Named, batch_sharding, constrain, replicated
from nanojaxlm.state import TrainState, parameter_boxes


class StepReport(NamedTuple):
    """What one step says, still on the device."""

    sums: Sums
    grad_norm: jax.Array  # float32[], before clipping
    fingerprint: jax.Array  # uint32[2] of the global batch


class EvalSums(NamedTuple):
    """float32[] sums over the targets of a batch."""

    nll: jax.Array
    count: jax.Array  # pyright: ignore[reportIncompatibleMethodOverride]
    num_bytes: jax.Array  # UTF-8 bytes that the targets stand for


TrainStep = Callable[[TrainState, Batch], tuple[TrainState, StepReport]]
EvalStep = Callable[[Any, Batch], EvalSums]


def batch_loss(
    model: Transformer, loss: LossConfig, params: Any, batch: Batch
) -> tuple[jax.Array, Sums]:
    """(what the gradient is of, its parts), both sums over the batch's targets."""
    apply: Any = partial(model.apply, {"params": params})
    sowing: Any = {"mutable": [LOSSES, COUNTS]}
    (x_BTD, _), sown = apply(batch.decoder, batch.encoder, method="hidden", **sowing)
    targets_loss = partial(_targets_loss, model, loss, params, _head_layout(model))
    total, sums = targets_loss(x_BTD, batch.targets)
    extra = jnp.zeros((), jnp.float32)
    sown_ahead = None
    if batch.future:
        ahead, sown_ahead = apply(x_BTD, batch.decoder, method="futures", **sowing)
        for ahead_BTD, targets in zip(ahead, batch.future, strict=True):
            nll, _ = targets_loss(ahead_BTD, targets)
            extra = extra + loss.future * nll
    # a router's loss is a mean over the tokens of its (micro-)batch, which counts for its targets
    for router_sums in _sown(LOSSES, sown, sown_ahead):
        extra = extra + jnp.sum(auxiliary_loss(router_sums)) * sums.count
    for dropped_2 in _sown(COUNTS, sown, sown_ahead):  # [repeats, 2] of scanned layers
        dropped, assigned = jnp.sum(dropped_2.reshape(-1, 2), axis=0)
        sums = sums._replace(dropped=sums.dropped + dropped, assigned=sums.assigned + assigned)
    return total + extra, sums._replace(extra=extra)


def _sown(collection: str, *sown: Any) -> list[Any]:
    parts = [part.get(collection) for part in sown if part is not None]
    return jax.tree.leaves(parts, is_leaf=lambda part: isinstance(part, RouterSums))


def _head_layout(model: Transformer) -> HeadLayout:
    boxes = head_params(model.config, parameter_boxes(model))
    names = jax.tree.map(lambda box: box.names, boxes, is_leaf=lambda x: isinstance(x, Named))
    return HeadLayout(names, jnp.dtype(model.config.dtype))


def _targets_loss(
    model: Transformer,
    loss: LossConfig,
    params: Any,
    layout: HeadLayout,
    x_BTD: jax.Array,
    targets: Targets,
) -> tuple[jax.Array, Sums]:
    def head(some_params: Any, x: jax.Array) -> Any:
        return model.apply({"params": some_params}, x, method="logits")

    return chunked_loss(
        head,
        head_params(model.config, params),
        x_BTD,
        jnp.asarray(targets.tokens_BT),
        jnp.asarray(targets.weights_BT),
        loss.chunk_length,
        loss.z_loss,
        layout,
    )


def make_step(
    model: Transformer,
    optimizer: optax.GradientTransformation,
    loss: LossConfig,
    accumulation: int,
    abstract: TrainState,
    mesh: Mesh,
) -> TrainStep:
    """step(state, batch) -> (state, report); the state is donated, the layouts are fixed.

    accumulation: micro-batches whose gradient sums are added before the one division and update;
    it must divide the batch. The result is that of the undivided batch.
    """

    def objective(params: Any, batch: Batch) -> tuple[jax.Array, Sums]:
        return batch_loss(model, loss, params, batch)

    def gradients(params: Any, batch: Batch) -> tuple[Any, Sums]:
        if accumulation == 1:
            return jax.grad(objective, has_aux=True)(params, batch)

        def add(carry: Any, micro: Batch) -> tuple[Any, None]:
            micro = jax.tree.map(lambda a: constrain(a, "batch", "length"), micro)
            return jax.tree.map(
                jnp.add, carry, jax.grad(objective, has_aux=True)(params, micro)
            ), None

        start = (jax.tree.map(jnp.zeros_like, params), zero_sums())
        return jax.lax.scan(add, start, _micro_batches(batch, accumulation))[0]

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, StepReport]:
        grads, sums = gradients(state.params, batch)
        count = jnp.maximum(sums.count, 1.0)
        grads = jax.tree.map(lambda g: g / count, grads)
        opt_state = to_device(state.opt_state, shardings.opt_state)
        with jax.numpy_dtype_promotion("standard"):  # optax mixes floats with its int32 counts
            updates, opt_state = optimizer.update(grads, opt_state, state.params)
        opt_state = to_host(opt_state, shardings.opt_state)
        params = optax.apply_updates(state.params, updates)
        report = StepReport(sums, optax.tree.norm(grads), fingerprint(batch))
        return TrainState(state.step + 1, params, opt_state), report

    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    return jax.jit(
        step,
        in_shardings=(shardings, batch_sharding(mesh)),
        out_shardings=(shardings, replicated(mesh)),
        donate_argnums=0,
    )


def make_eval_step(
    model: Transformer, loss: LossConfig, bytes_per_token: np.ndarray, params: Any, mesh: Mesh
) -> EvalStep:
    """eval_step(params, batch) -> sums. params: the abstract parameters, for their sharding.

    bytes_per_token: int32[V], the UTF-8 bytes each token id stands for.
    """

    def step(params: Any, batch: Batch) -> EvalSums:
        _, sums = batch_loss(model, loss, params, batch)
        targets_BT, weights_BT = batch.targets
        bytes_BT = jnp.asarray(bytes_per_token, jnp.float32)[targets_BT]
        return EvalSums(sums.nll, sums.count, jnp.sum(bytes_BT * weights_BT))

    shardings = jax.tree.map(lambda leaf: leaf.sharding, params)
    return jax.jit(
        step,
        in_shardings=(shardings, batch_sharding(mesh)),
        out_shardings=replicated(mesh),
    )


def _micro_batches(batch: Batch, accumulation: int) -> Batch:
    """[B, T] -> [A, B/A, T]: micro-batch a takes rows a, a + A, …, so no row leaves its device."""

    def split(a: jax.Array) -> jax.Array:
        return a.reshape(a.shape[0] // accumulation, accumulation, *a.shape[1:]).swapaxes(0, 1)

    return jax.tree.map(split, batch)
