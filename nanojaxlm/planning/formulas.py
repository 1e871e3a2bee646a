"""What a step computes, moves and sends on one device, by formula: to rank meshes uncompiled.

A device's part of the model's FLOPs (metrics.py) thrice, for the forward and the backward pass, and
what remat runs again; of causal attention half. Bytes of the memory: kernels as read by each pass,
activations as written and read, the state once. Exchanges, for each layer and (micro-)batch:

    embed axes (fsdp, expert, context)  kernels gathered before each pass, gradients scattered
    replica, data                       gradients added up over them, once a step
    tensor                              two sums of the residual a pass
    context                             keys and values gathered, their gradients scattered
    expert                              rows to the experts and back, a pass
    stage                               the residual of a micro-batch to the next stage, a tick

Those of embed axes, of gradients and of keys run beside other work; those of tensor and expert
parallelism do not: the next product waits for them.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp

from nanojaxlm.config import Config
from nanojaxlm.losses import CHUNK_TOKENS
from nanojaxlm.metrics import train_flops_per_row
from nanojaxlm.model.config import MixtureConfig, StackConfig
from nanojaxlm.model.dispatch import buffer_rows
from nanojaxlm.planning.inventory import Inventory, Layout, Leaf
from nanojaxlm.planning.memory import num_microbatches
from nanojaxlm.sharding import TOKEN_AXES

# Forward passes of a layer that remat adds, and whether its attention is among what runs again.
AGAIN = {
    "none": (0.0, False),
    "dots": (0.0, False),
    "qkv": (0.6, False),
    "attention": (0.9, False),
    "full": (1.0, True),
    "stage": (2.0, True),
    "dots_offload": (0.0, False),
    "residual_offload": (1.0, True),
}


@dataclass(frozen=True)
class Work:
    """As hlo.Op."""

    flops: float
    bytes: float
    count: float = 1.0


@dataclass(frozen=True)
class Sent:
    """As hlo.Collective."""

    kind: str
    axes: tuple[str, ...]
    bytes: float
    count: float
    group_size: int
    overlapped: bool


class Counts(NamedTuple):
    """model_flops: of one device's part of the step, as published MFU counts them."""

    model_flops: float
    work: list[Work]
    sent: list[Sent]


def count(config: Config, layout: Layout, inventory: Inventory) -> Counts:
    """Of a config's step on a layout; config.mesh is not read."""
    lengths = config.data.lengths
    row = train_flops_per_row(config.model, lengths.encoder or 0, lengths.decoder or 0)
    counts = Counts(row * config.data.batch_size / layout.num_devices, [], [])
    rows = config.data.batch_size / config.training.accumulation / layout.split("batch")
    for name, length in (("encoder", lengths.encoder), ("decoder", lengths.decoder)):
        stack: StackConfig | None = getattr(config.model, name)
        if stack is not None and length is not None:
            leaves = [leaf for leaf in inventory.params if leaf.path[0] == name]
            _stack(counts, config, stack, leaves, rows, length, layout)
    _head(counts, config, rows, layout)
    params = sum(leaf.bytes(layout) for leaf in inventory.params)
    optimizer = sum(leaf.bytes(layout) for leaf in inventory.optimizer)
    counts.work.append(Work(0.0, 2 * (params + optimizer) + 3 * params))
    if copies := tuple(axis for axis in ("replica", "data") if layout.sizes[axis] > 1):
        gradients = params * jnp.dtype(config.model.dtype).itemsize / 4
        times = config.training.accumulation
        counts.sent.append(_sent("all-reduce", copies, gradients, times, layout, True))
    return counts


def _stack(
    counts: Counts,
    config: Config,
    stack: StackConfig,
    leaves: Sequence[Leaf],
    rows: float,
    length: int,
    layout: Layout,
) -> None:
    """Adds what the layers of a stack do with `rows` rows a device of `length` tokens each."""
    stages = layout.split("layers")
    micro = num_microbatches(rows, stages) if stages > 1 else 1
    run = Run(
        config=config,
        stack=stack,
        kernels=[leaf for leaf in leaves if leaf.is_kernel],
        layout=layout,
        rows=rows / micro,
        length=length,
        times=config.training.accumulation * (micro + stages - 1),
    )
    counts.work.extend(run.work(causal=leaves[0].path[0] == "decoder"))
    counts.sent.extend(run.sent())


@dataclass(frozen=True)
class Run:
    """One pass of a device's layers of a stack over `rows` rows; `times`: how often a step, idle
    ticks of a pipeline among them."""

    config: Config
    stack: StackConfig
    kernels: Sequence[Leaf]
    layout: Layout
    rows: float
    length: int
    times: float

    @property
    def tokens(self) -> float:
        return self.rows * self.length / self.layout.split("length")

    @property
    def itemsize(self) -> int:
        return jnp.dtype(self.config.model.dtype).itemsize

    @property
    def num_layers(self) -> float:
        return self.stack.num_layers / self.layout.split("layers")

    @property
    def mixture(self) -> MixtureConfig | None:
        last = self.stack.layer(self.stack.num_layers - 1).feed_forward
        return last if isinstance(last, MixtureConfig) else None

    @property
    def assigned(self) -> float:
        """Rows that a device's experts go through, empty ones among them; else its tokens."""
        f, owners = self.mixture, self.layout.sizes["expert"]
        if f is None:
            return self.tokens
        if owners == 1:
            return self.tokens * f.top_k
        most = (round(self.tokens), f.top_k, f.num_experts, owners, f.capacity)
        return owners * buffer_rows(*most)

    @property
    def heads(self) -> tuple[float, int]:
        """Query and key heads of a device."""
        a, split = self.stack.attention, self.layout.split
        return a.num_heads / split("act_heads"), -(-a.num_kv_heads // split("act_kv_heads"))

    def work(self, causal: bool) -> list[Work]:
        """The products, and what lies between them: half of the bytes of activations, an estimate,
        are moved by operations that compute next to nothing."""
        again, attends_again = AGAIN[self.stack.remat]
        n, layout, mixture = self.tokens, self.layout, self.mixture
        a, d = self.stack.attention, self.config.model.d_model
        whole = read = 0.0  # parameters that a token meets, and that are read
        for leaf in self.kernels:
            size = whole_size(leaf, layout)
            read += size
            if "expert" in leaf.names and mixture is not None:
                size *= layout.sizes["expert"] * mixture.top_k / mixture.num_experts
            whole += size
        windows = [self.stack.layer(i).attention.window for i in range(self.stack.num_layers)]
        seen = sum(
            window if window and window < self.length else self.length * (0.5 if causal else 1.0)
            for window in windows
        )
        heads, kv_heads = self.heads
        scores = 4 * heads * a.head_dim * n * seen / layout.split("layers")
        flops = 2 * whole * n * (3 + again) + scores * (3.5 + attends_again)
        f = self.stack.layer(self.stack.num_layers - 1).feed_forward
        hidden = f.expert.hidden if isinstance(f, MixtureConfig) else f.hidden
        numbers = 12 * self.residual + 4 * n * (heads + kv_heads) * a.head_dim
        numbers += 6 * self.assigned * hidden / layout.split("act_mlp")
        if mixture is not None:
            numbers += 4 * self.assigned * d
        kernels = self.itemsize * (4 + again) * read
        activations = self.itemsize * (3 + again) * numbers * self.num_layers
        return [
            Work(flops, kernels + activations / 2, self.times),
            Work(0.0, activations / 2, self.times),
        ]

    @property
    def residual(self) -> float:
        """Numbers of what lies between blocks."""
        between = self.length / self.layout.split("residual_length")
        return self.rows * between * self.config.model.d_model

    def sent(self) -> Iterator[Sent]:
        layout, times = self.layout, self.times
        for axes in sorted({embed_axes(leaf, layout) for leaf in self.kernels} - {()}):
            part = [leaf for leaf in self.kernels if embed_axes(leaf, layout) == axes]
            size = self.itemsize * sum(whole_size(leaf, layout) for leaf in part)
            yield _sent("all-gather", axes, size, 2 * times, layout, True)
            yield _sent("reduce-scatter", axes, size, times, layout, True)
        again, _ = AGAIN[self.stack.remat]
        layers = times * self.num_layers
        branches = 2 * (2 + again) * layers
        whole = self.tokens * self.config.model.d_model * self.itemsize
        if layout.sizes["tensor"] > 1:
            yield _sent("all-reduce", ("tensor",), whole, branches, layout, False)
        if layout.sizes["context"] > 1:
            heads = 2 * self.heads[1] * self.stack.attention.head_dim
            keys = self.rows * self.length * heads * self.itemsize
            yield _sent("all-gather", ("context",), keys, 2 * layers, layout, True)
            yield _sent("reduce-scatter", ("context",), keys, layers, layout, True)
        if self.mixture is not None and layout.sizes["expert"] > 1:
            size = self.assigned * self.config.model.d_model * self.itemsize
            yield _sent("all-to-all", ("expert",), size, branches, layout, False)
        if layout.sizes["stage"] > 1:
            size = self.residual * self.itemsize
            yield _sent("collective-permute", ("stage",), size, 2 * times, layout, False)


def whole_size(leaf: Leaf, layout: Layout) -> float:
    """Numbers of a kernel on a device once it is gathered over all but its owners."""
    return math.prod(leaf.shard(layout, whole=embed_axes(leaf, layout)))


def embed_axes(leaf: Leaf, layout: Layout) -> tuple[str, ...]:
    """The mesh axes that a kernel is gathered over before use."""
    return layout.axes("expert_embed" if "expert" in leaf.names else "embed")


def _sent(
    kind: str, axes: tuple[str, ...], size: float, times: float, layout: Layout, overlapped: bool
) -> Sent:
    group = math.prod(layout.sizes[axis] for axis in axes)
    return Sent(kind, axes, size, times, group, overlapped)


def _head(counts: Counts, config: Config, rows: float, layout: Layout) -> None:
    """Adds the embedding and the logits. The head is gathered once, and its gradient meets over all
    tokens once; looked-up rows of the embedding go to their tokens, and their gradients back."""
    c, lengths, times = config.model, config.data.lengths, config.training.accumulation
    assert c.vocab_size is not None
    length = lengths.decoder or lengths.encoder or 1
    vocab, itemsize = c.vocab_size / layout.split("vocab"), jnp.dtype(c.dtype).itemsize
    n, kernel = rows * length / layout.split("length"), vocab * c.d_model
    heads = times * (1 + c.num_future)
    chunks = max(1.0, n / CHUNK_TOKENS)
    moved = 10 * n * vocab + chunks * kernel * (2 * itemsize + 2 * 4)
    counts.work.append(Work(6 * n * kernel, moved, heads))
    send, embed = counts.sent.append, layout.axes("embed")
    if embed:
        send(_sent("all-gather", embed, itemsize * kernel, heads, layout, False))
        send(_sent("reduce-scatter", embed, 4 * kernel, heads, layout, False))
        send(_sent("all-to-all", embed, itemsize * n * c.d_model, 2 * times, layout, False))
    others = [a for a in TOKEN_AXES if layout.sizes[a] > 1 and a not in embed]
    if others:
        part = 4 * kernel / layout.split("embed")
        send(_sent("all-reduce", tuple(others), part, heads, layout, False))
