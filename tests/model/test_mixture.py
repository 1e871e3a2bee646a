"""The mixture against loops: over tokens for the choice, over all experts for the sum."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from nanojaxlm.model.config import FeedForwardConfig, MixtureConfig
from nanojaxlm.model.mixture import LOSSES, Mixture
from nanojaxlm.model.router import Routing, auxiliary_loss, route, router_sums

pytestmark = pytest.mark.usefixtures("quick_compile")
D, E = 6, 8
EXPERT = FeedForwardConfig(hidden=5)
VALID = np.array([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]], bool)


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def mixture(**fields: Any) -> MixtureConfig:
    return MixtureConfig(**{"num_experts": E, "top_k": 3, "expert": EXPERT} | fields)


# --- The choice


def loop_route(logits: np.ndarray, bias: np.ndarray | None, c: MixtureConfig) -> np.ndarray:
    """weights[M, E], zero for the experts not chosen, one token at a time."""
    out = np.zeros(logits.shape)
    for m, row in enumerate(logits.astype(np.float64)):
        scores = np.exp(row) / np.exp(row).sum()
        if c.scores == "sigmoid":
            scores = 1 / (1 + np.exp(-row))
        choice = scores if bias is None else scores + bias
        size = c.num_experts // c.num_groups
        groups = [range(g * size, (g + 1) * size) for g in range(c.num_groups)]
        best = sorted(groups, key=lambda g: -sum(sorted(choice[e] for e in g)[-2:]))
        allowed = [e for g in best[: c.top_groups] for e in g]
        chosen = sorted(allowed, key=lambda e: -choice[e])[: c.top_k]
        total = sum(scores[e] for e in chosen) if c.normalize else 1.0
        for e in chosen:
            out[m, e] = c.scale * scores[e] / total
    return out


CHOICES = {
    "mixtral": mixture(),
    "qwen": mixture(normalize=False),
    "deepseek": mixture(scores="sigmoid", choice_bias=True, num_groups=4, top_groups=2, scale=2.5),
    "groups_of_one": mixture(scores="sigmoid", num_groups=8, top_groups=4, normalize=False),
}


@pytest.mark.parametrize("name", CHOICES)
def test_route_is_a_loop_over_tokens(name: str):
    config = CHOICES[name]
    logits = draw(40, E)
    bias = 0.5 * draw(E, seed=1) if config.choice_bias else None
    routing = route(jnp.asarray(logits), None if bias is None else jnp.asarray(bias), config)
    actual = np.zeros((40, E))
    np.put_along_axis(actual, np.asarray(routing.experts_MK), np.asarray(routing.weights_MK), 1)
    expected = loop_route(logits, bias, config)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    assert ((actual > 0).sum(axis=1) == 3).all()
    np.testing.assert_allclose(routing.scores_ME.sum(axis=1), 1.0, rtol=1e-5)
    if bias is not None:  # it moves the choice, not the weights
        assert (loop_route(logits, None, config) != expected).any()


# --- The sum


def random_params(module: Mixture, x: jax.Array) -> Any:
    boxes = jax.eval_shape(module.init, jax.random.key(0), x, VALID)["params"]
    leaves, tree = jax.tree.flatten(nn.meta.unbox(boxes))
    return tree.unflatten([jnp.asarray(draw(*a.shape, seed=i)) for i, a in enumerate(leaves)])


def over_all_experts(config: MixtureConfig, params: Any, x_MD: jax.Array) -> jax.Array:
    """Each expert on each token that is no padding, times its weight: what a loop without any
    sorting gives."""

    def feed_forward(w: Any, expert: int | None = None) -> jax.Array:
        up, gate, down = (
            w[name]["kernel"] if expert is None else w[name]["kernel"][expert]
            for name in ("up", "gate", "down")
        )
        return (jax.nn.silu(x_MD @ gate) * (x_MD @ up)) @ down

    logits = x_MD @ params["router"]["kernel"]
    bias = params["router"].get("choice_bias")
    chosen = loop_route(np.asarray(jax.lax.stop_gradient(logits)), bias, config) > 0
    scores = jax.nn.softmax(logits) if config.scores == "softmax" else jax.nn.sigmoid(logits)
    weights = jnp.where(chosen, scores, 0)
    if config.normalize:
        weights = weights / weights.sum(axis=-1, keepdims=True)
    out = jnp.zeros_like(x_MD)
    for e in range(E):
        out = out + config.scale * weights[:, e, None] * feed_forward(params["experts"], e)
    out = jnp.where(VALID.reshape(-1, 1), out, 0)
    if config.shared is not None:
        gate = 1.0
        if config.shared_gate:
            gate = jax.nn.sigmoid(x_MD @ params["shared_gate"]["kernel"])
        out = out + gate * feed_forward(params["shared"])
    return out


SUMS = {
    "shared, gated": mixture(normalize=False, shared=FeedForwardConfig(hidden=4), shared_gate=True),
    "shared, sigmoid": mixture(
        scores="sigmoid", choice_bias=True, scale=2.5, shared=FeedForwardConfig(hidden=4)
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SUMS)
def test_the_mixture_is_a_loop_over_all_experts_in_value_and_gradient(name: str):
    config = SUMS[name]
    module, x_BTD = Mixture(config, D, 1.0, jnp.dtype("float32")), jnp.asarray(draw(3, 5, D))
    params, r_BTD = random_params(module, x_BTD), draw(3, 5, D, seed=99)

    def ours(params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        out = module.apply({"params": params}, x, VALID)
        return jnp.sum(out * r_BTD), out

    def loop(params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        out = over_all_experts(config, params, x.reshape(-1, D)).reshape(x.shape)
        return jnp.sum(out * r_BTD), out

    (_, out), gradient = jax.jit(jax.value_and_grad(ours, (0, 1), has_aux=True))(params, x_BTD)
    (_, expected), wanted = jax.value_and_grad(loop, (0, 1), has_aux=True)(params, x_BTD)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)
    assert set(gradient[0]) >= {"router", "experts"}
    for (path, want), got in zip(
        jax.tree_util.tree_leaves_with_path(wanted), jax.tree.leaves(gradient), strict=True
    ):
        largest = np.abs(np.asarray(want)).max()
        # the choice bias is learned elsewhere: no gradient may reach it
        assert (largest > 0) != ("choice_bias" in str(path)), path
        np.testing.assert_allclose(got, want, atol=1e-5 * largest, err_msg=str(path))


def test_no_token_is_dropped_when_all_go_to_the_same_experts():
    config = mixture(choice_bias=True)
    module, x_BTD = Mixture(config, D, 1.0, jnp.dtype("float32")), jnp.asarray(draw(3, 5, D))
    params = random_params(module, x_BTD)
    params["router"]["choice_bias"] = jnp.asarray([0, 9, 0, 0, 9, 0, 0, 9], jnp.float32)
    expected = over_all_experts(config, params, x_BTD.reshape(-1, D)).reshape(x_BTD.shape)
    actual = jax.jit(module.apply)({"params": params}, x_BTD, VALID)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_fresh_experts_keep_the_variance():
    config = MixtureConfig(num_experts=4, top_k=2, expert=FeedForwardConfig(hidden=256))
    module = Mixture(config, 128, 0.5, jnp.dtype("float32"))
    x_BTD = jnp.asarray(draw(2, 3, 128))
    boxed = jax.eval_shape(module.init, jax.random.key(0), x_BTD, VALID[:2, :3])["params"]
    fresh = jax.jit(module.init)(jax.random.key(0), x_BTD, VALID[:2, :3])
    params = nn.meta.unbox(fresh["params"])
    experts = params["experts"]
    for name, fan_in, scale in (("up", 128, 1.0), ("gate", 128, 1.0), ("down", 256, 0.5)):
        assert boxed["experts"][name]["kernel"].fan_in_axes == (1,)
        std = float(jnp.std(experts[name]["kernel"]))
        assert std == pytest.approx(scale * fan_in**-0.5, rel=0.02)


# --- The auxiliary loss


def test_balance_costs_one_and_all_to_one_expert_costs_as_many_as_there_are():
    config = mixture(top_k=2, load_balance=0.1, router_z=0.0)
    valid = jnp.ones((E,), bool)
    experts = np.stack([np.arange(E), (np.arange(E) + 3) % E], axis=1)  # each is chosen twice
    even = Routing(jnp.asarray(experts), jnp.ones((E, 2)), jnp.full((E, E), 1 / E))
    logits = jnp.zeros((E, E))
    assert auxiliary_loss(router_sums(even, logits, valid, config)) == pytest.approx(0.1 * 1.0)
    one = mixture(top_k=1, load_balance=0.1, router_z=0.0)
    first = jnp.zeros((E, 1), jnp.int32)
    skewed = Routing(first, jnp.ones((E, 1)), jax.nn.one_hot(first[:, 0], E))
    sums = router_sums(skewed, logits, valid, one)
    assert auxiliary_loss(sums) == pytest.approx(0.1 * E)


@pytest.mark.parametrize("scores", ["softmax", "sigmoid"])
def test_the_loss_sown_is_a_loop_over_the_tokens_that_are_no_padding(scores: str):
    """Fedus et al. 2021, eq. 4 to 6, with top_k assignments a token, and Zoph et al. 2022, eq.
    5."""
    config = mixture(scores=scores, load_balance=0.3, router_z=0.2)
    module, x_BTD = Mixture(config, D, 1.0, jnp.dtype("float32")), draw(3, 5, D)
    params = random_params(module, jnp.asarray(x_BTD))

    def sown(x: np.ndarray) -> float:
        _, state = module.apply({"params": params}, jnp.asarray(x), VALID, mutable=[LOSSES])
        (sums,) = state[LOSSES]["router_sums"]
        return float(auxiliary_loss(sums))

    logits = x_BTD[VALID].astype(np.float64) @ np.asarray(params["router"]["kernel"], np.float64)
    chosen = loop_route(logits, None, config) > 0
    count, balance, z = len(logits), 0.0, 0.0
    probabilities = np.exp(logits) if scores == "softmax" else 1 / (1 + np.exp(-logits))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    for e in range(E):
        share = sum(bool(token[e]) for token in chosen) / (3 * count)
        balance += E * share * sum(p[e] for p in probabilities) / count
    for row in logits:
        z += np.log(np.exp(row).sum()) ** 2 / count
    assert balance > 1
    assert sown(x_BTD) == pytest.approx(0.3 * balance + 0.2 * z, rel=1e-4)
    elsewhere = np.where(VALID[..., None], x_BTD, 7.0)
    assert sown(elsewhere) == sown(x_BTD), "padding does not count"


def test_the_auxiliary_loss_pushes_the_router_towards_balance():
    """Steps down its gradient alone even the shares out."""
    config = mixture(top_k=1, load_balance=1.0, router_z=0.0)
    x_MD, valid = jnp.asarray(draw(200, D)), jnp.ones((200,), bool)
    kernel = jnp.asarray(draw(D, E, seed=1)).at[:, 0].set(0) + 1.0

    def loss(kernel: jax.Array) -> jax.Array:
        logits = x_MD @ kernel
        routing = route(logits, None, config)
        return auxiliary_loss(router_sums(routing, logits, valid, config))

    def busiest(kernel: jax.Array) -> int:
        chosen = route(x_MD @ kernel, None, config).experts_MK[:, 0]
        return int(jnp.bincount(chosen, length=E).max())

    before, step = busiest(kernel), jax.jit(jax.grad(loss))
    for _ in range(60):
        kernel = kernel - 2.0 * step(kernel)
    assert before > 45 and busiest(kernel) < 40  # 25 where all are even
