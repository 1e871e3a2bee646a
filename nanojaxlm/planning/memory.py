"""Bytes of a device's memory that a training step needs, by formula: what fits, without compiling.

Letters as in batch.py; sizes are a device's: n = rows * tokens of a (micro-)batch on it, a = bytes
of an activation. The state is counted array by array (inventory.py). Of the rest:

    gradients   float32, as the parameters lie; twice with accumulation: one is added to
    copies      the scanned layers' kernels in the activations' dtype, which XLA makes before the
                loop rather than within it: a bytes a parameter
    kept        what the forward pass leaves for the backward pass; a token and layer: as
                model/remat.py says. In a pipeline of S stages and M micro-batches a device keeps
                L / S layers of M + S - 1 micro-batches, and what enters and leaves each
    layer       the working set of one layer's backward pass, where what was not kept is made again
                and gradients lie beside it: 2(N + K)H + 6D, and the larger of the feed-forward's 5F
                and of attention's: with a TPU's kernel 256 + 4H a head, else as much again and
                logits, 2 of float32 and one as activations, of all keys or of a block of them
    gathered    one layer's kernels whole over what splits "embed", twice: the next layer's come
                while this one's are used; and this layer's gradient before it is scattered
    head        the kernel of the logits whole over "embed" and its gradient, float32, and a chunk's
                logits, their gradient (float32 both) and the latter in the activations' dtype

The peak is the largest of three moments: the loss (kept, head), the backward pass of the first
layer it comes to (kept, layer, gathered, gradients) and the update (gradients).
"""

from typing import NamedTuple

import jax.numpy as jnp

from nanojaxlm.config import Config
from nanojaxlm.losses import CHUNK_TOKENS
from nanojaxlm.model.attend import MANY_LOGITS
from nanojaxlm.model.blockwise import BLOCK
from nanojaxlm.model.config import (
    AttentionConfig,
    FeedForwardConfig,
    LayerConfig,
    MixtureConfig,
    StackConfig,
)
from nanojaxlm.model.dispatch import buffer_rows
from nanojaxlm.model.partition import partition
from nanojaxlm.model.pipeline import MICROBATCHES_A_STAGE
from nanojaxlm.model.stack import SCANNED
from nanojaxlm.planning.inventory import LANES, Inventory, Layout, Leaf, array_bytes

GATHERED_AXES = ("fsdp", "expert", "context")  # that parameters are gathered over before use


class Memory(NamedTuple):
    """Bytes of one device."""

    parameters: float
    optimizer: float
    batch: float
    gradients: float
    copies: float
    kept: float
    layer: float
    gathered: float
    head: float
    fetched: float = 0.0  # optimizer state that comes from the host for the update

    @property
    def peak(self) -> float:
        state = self.parameters + self.optimizer + self.batch
        loss = self.kept + self.copies + self.head
        backward = self.kept + self.copies + self.gradients + self.layer + self.gathered
        return state + max(loss, backward, self.gradients + self.fetched)


class Tokens(NamedTuple):
    """Of one stack's stream on one device. keys: that an attention's queries see."""

    rows: float
    queries: float  # a row, split over context
    between: float  # a row, between blocks
    keys: float

    @property
    def number(self) -> float:
        return self.rows * self.queries


def estimate(config: Config, layout: Layout, inventory: Inventory) -> Memory:
    """The memory of a config's step on a layout; config.mesh is not read.

    Args:
        layout: tiled for a TPU.
    """
    itemsize = jnp.dtype(config.model.dtype).itemsize
    lengths = config.data.lengths
    rows = config.data.batch_size / config.training.accumulation / layout.split("batch")
    parameters = sum(leaf.bytes(layout) for leaf in inventory.params)
    optimizer = sum(leaf.bytes(layout) for leaf in inventory.optimizer)
    kept = layer = gathered = 0.0
    for name, length in (("encoder", lengths.encoder), ("decoder", lengths.decoder)):
        stack: StackConfig | None = getattr(config.model, name)
        if stack is None or length is None:
            continue
        tokens = Tokens(
            rows,
            length / layout.split("length"),
            length / layout.split("residual_length"),
            length,
        )
        of = Stack(stack, config.model.d_model, itemsize, layout)
        memory = lengths.encoder if name == "decoder" and config.model.encoder else None
        kept += of.kept(tokens)
        layer = max(layer, of.working(tokens, memory))
        own = [leaf for leaf in inventory.params if leaf.path[0] == name]
        gathered = max(gathered, _gathered(own, itemsize, layout))
    scanned = [leaf for leaf in inventory.params if SCANNED in leaf.path and leaf.is_kernel]
    copies = sum(array_bytes(leaf.shard(layout), itemsize, layout.tiled) for leaf in scanned) * (
        itemsize < 4
    )
    offloaded = config.training.offload_optimizer
    num_tokens = (lengths.encoder or 0) + (lengths.decoder or 0)
    arrays = 3 * num_tokens + 2 * (lengths.decoder or lengths.encoder or 0)
    batch = 4.0 * arrays * config.data.batch_size / layout.split("batch", "length")
    return Memory(
        parameters=parameters,
        optimizer=0.0 if offloaded else optimizer,
        batch=batch,
        gradients=parameters * (2 if config.training.accumulation > 1 else 1),
        copies=copies,
        kept=kept,
        layer=layer,
        gathered=gathered,
        head=_head(config, layout, rows, itemsize),
        fetched=optimizer if offloaded else 0.0,
    )


class Stack(NamedTuple):
    """What the layers of one stack need."""

    config: StackConfig
    d_model: int
    itemsize: int
    layout: Layout

    def kept(self, tokens: Tokens) -> float:
        """Bytes that all layers keep from the forward to the backward pass."""
        c, stages = self.config, self.layout.split("layers")
        parts = partition(c)
        layers = [self._kept(c.layer(i), tokens) for i in range(c.num_layers)]
        if stages == 1 or not parts.repeats:
            return sum(layers)
        looped = slice(parts.num_first, c.num_layers - parts.num_rest)
        micro = num_microbatches(tokens.rows, stages)
        ticks = (micro + stages - 1) / micro
        residual = tokens.rows * tokens.between * self.d_model * self.itemsize
        piped = sum(layers[looped]) / stages * ticks
        if c.remat == "stage":
            piped = sum(layers[looped]) / stages / micro + residual * ticks
        outside = sum(layers) - sum(layers[looped])
        return outside + piped + 2 * residual * ticks  # what enters and leaves at each tick

    def _kept(self, layer: LayerConfig, tokens: Tokens) -> float:
        """Bytes that one layer keeps."""
        d, a = self.d_model, layer.attention
        residual = tokens.rows * tokens.between * d
        heads, kv_heads = self._heads(a)
        attended, projected = heads * a.head_dim, (heads + 2 * kv_heads) * a.head_dim
        hidden, out = self._products(layer.feed_forward, tokens)
        policy = self.config.remat
        numbers = {
            "none": 4 * residual + tokens.number * (attended + 2 * projected) + 2 * hidden + out,
            "dots": 2 * residual + tokens.number * (attended + projected) + hidden + out,
            "qkv": residual + tokens.number * (attended + projected),
            "attention": residual + tokens.number * attended,
            "full": residual,
            "stage": residual,
            "dots_offload": residual,
            "residual_offload": 0.0,
        }[policy]
        total = numbers * self.itemsize
        if policy == "none":
            total += 2 * self._logits(a, tokens) * self.itemsize
        if policy in ("none", "dots", "qkv", "attention"):
            total += 4 * tokens.number * heads  # of each query, the logarithm of its softmax's sum
        return total

    def working(self, tokens: Tokens, memory_length: int | None) -> float:
        """Bytes of one layer's backward pass, of the layer that needs most."""
        micro = 1
        if (stages := self.layout.split("layers")) > 1:
            micro = num_microbatches(tokens.rows, stages)
        some = tokens._replace(rows=tokens.rows / micro)
        c = self.config
        return max(self._working(c.layer(i), some, memory_length) for i in range(c.num_layers))

    def _working(self, layer: LayerConfig, tokens: Tokens, memory_length: int | None) -> float:
        d, a = self.d_model, layer.attention
        heads, kv_heads = self._heads(a)
        hidden, out = self._products(layer.feed_forward, tokens)
        attentions = 1 if memory_length is None else 2
        held = attentions * 2 * (heads + kv_heads) * a.head_dim + 6 * d
        feeding = 2.5 * hidden + out + tokens.number * held
        attending = 2 * tokens.number * held
        if self._has_kernel(tokens):  # each query's normaliser 128 times, and 4 parts of dq
            attending = tokens.number * (held + heads * (2 * LANES + 4 * a.head_dim))
        if tokens.keys > tokens.queries:  # whole keys and values, and their gradients
            attending += 4 * tokens.rows * tokens.keys * kv_heads * a.head_dim
        logits = self._logits(a, tokens)
        return max(
            feeding * self.itemsize, attending * self.itemsize + logits * (8 + self.itemsize)
        )

    def _heads(self, a: AttentionConfig) -> tuple[float, float]:
        """Query and key heads on a device."""
        return (
            a.num_heads / self.layout.split("act_heads"),
            -(-a.num_kv_heads // self.layout.split("act_kv_heads")),
        )

    def _products(
        self, f: FeedForwardConfig | MixtureConfig, tokens: Tokens
    ) -> tuple[float, float]:
        """Numbers of a feed-forward's inner products (up, gate), and of what it gives: of a mixture
        for each assignment."""
        mlp = self.layout.split("act_mlp")
        if isinstance(f, FeedForwardConfig):
            wide = f.hidden * (2 if f.gated else 1) / mlp
            return tokens.number * wide, tokens.rows * tokens.between * self.d_model
        owners = self.layout.split("expert")
        if owners == 1:
            rows = tokens.number * f.top_k
        else:
            rows = owners * buffer_rows(
                round(tokens.number), f.top_k, f.num_experts, owners, f.capacity
            )
        wide = f.expert.hidden * (2 if f.expert.gated else 1) / mlp
        inner, out = rows * wide, rows * self.d_model
        if f.shared is not None:
            shared = self._products(f.shared, tokens)
            inner, out = inner + shared[0], out + shared[1]
        return inner, out

    def _logits(self, a: AttentionConfig, tokens: Tokens) -> float:
        """Attention logits that exist at one time."""
        if self._has_kernel(tokens):
            return 0.0
        heads, _ = self._heads(a)
        queries, keys = tokens.queries, tokens.keys
        if queries * self.layout.split("length") * keys >= MANY_LOGITS:
            queries, keys = min(queries, BLOCK), min(keys, BLOCK)
        return tokens.rows * heads * queries * keys

    def _has_kernel(self, tokens: Tokens) -> bool:
        """Whether attention is by a TPU's kernel, whose logits never lie in memory."""
        even = tokens.queries % LANES == 0
        return self.layout.tiled and even and self.config.relative_bias is None


def num_microbatches(rows: float, stages: int) -> int:
    """As model/pipeline.py chooses, where the mesh's config does not say."""
    most = min(MICROBATCHES_A_STAGE * stages, max(1, int(rows)))
    return next(m for m in range(most, 0, -1) if int(max(1, rows)) % m == 0)


def _gathered(leaves: list[Leaf], itemsize: int, layout: Layout) -> float:
    """Bytes of one layer's kernels, whole, two layers of them, and of its gradient."""
    whole = tuple(axis for axis in GATHERED_AXES if layout.sizes[axis] > 1)
    if not whole:
        return 0.0
    total = 0.0
    for leaf in leaves:
        if SCANNED not in leaf.path or not leaf.is_kernel:
            continue
        # experts stay with their owners
        axes = [axis for axis in whole if axis != "expert" or "expert" not in leaf.names]
        shape = leaf.shard(layout, whole=axes)
        total += array_bytes(shape, itemsize, layout.tiled) / shape[0]
    return 3.0 * total


def _head(config: Config, layout: Layout, rows: float, itemsize: int) -> float:
    c, loss = config.model, config.loss
    assert c.vocab_size is not None
    vocab = -(-c.vocab_size // layout.split("vocab"))
    length = (config.data.lengths.decoder or config.data.lengths.encoder or 1) / layout.split(
        "length"
    )
    chunk = CHUNK_TOKENS / rows
    if loss.chunk_length is not None:
        chunk = loss.chunk_length / layout.split("length")
    logits = rows * min(chunk, length) * vocab
    return vocab * c.d_model * (4.0 + itemsize % 4) + logits * (2 * 4 + itemsize % 4)
