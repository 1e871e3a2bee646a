"""Bytes of a device's memory that a training step needs, by formula: what fits, without compiling.

Letters as in batch.py; sizes are a device's: n = rows * tokens of a (micro-)batch on it, a = bytes
of an activation. The state is counted array by array (inventory.py). Of the rest:

    summed      with accumulation: the micro-batches' gradients, float32, as the parameters lie
    gradients   of this (micro-)batch, float32, as the parameters lie. A TPU's compiler makes the
                look-up's last of all, when much has gone, and scatters the head's only after the
                layers' backward pass, the sum's after all micro-batches: these are whole over what
                splits "embed". In a pipeline the layers' twice: a tick's, and their sum
    copies      kernels in the activations' dtype, which XLA makes before a loop rather than within
                it: a bytes a parameter; of the scanned layers, with accumulation of all
    kept        what the forward pass leaves for the backward pass, a token and layer: as
                model/remat.py says, less what is only added to the residual (a dense "down"). In a
                pipeline of S stages and M micro-batches a device keeps L / S layers of M + S - 1
                micro-batches, and of the one that is its turn again, and what enters and leaves
    layer       the working set of one layer's backward pass, where what was not kept is made again:
                the larger of two moments. The feed-forward's: up, gate, their gradients and what is
                between, 5F (a TPU's compiler fuses some: 4F, and 3F where no kernel is gathered),
                beside q, k, v and what attention gave, 2(N + K)H, and 6D of residuals, norms and
                gradients. Of experts, where each one's matrix meets all rows in turn (not on TPUs),
                also what it gives and the rows that are its own: 2(D + F) of each row. Attention's,
                by a TPU's kernel: q, out, its gradient and q's in 4 parts, 7NH, k, v and theirs,
                4KH, and D; otherwise 2(2(N + K)H + 5D), and logits, 2 of float32 and one as
                activations, of all keys or of a block of them. For the kernel also each token's
                segment, cosines and sines, of 4 bytes, 128 of each; and where kernels are gathered
                in many pieces, half of the 3F and 3D that wait there in some programs for the
                feed-forward's gradients
    gathered    one layer's kernels whole over what splits "embed". A TPU's compiler gathers, and
                scatters gradients, piece by piece, and of experts' three kernels turns one over;
                elsewhere there are the next layer's too, and this layer's gradient
    head        the kernel of the logits whole over "embed" and its gradient, float32, and a chunk's
                logits, float32, and their gradient in the activations' dtype
    gaps        between buffers that come and go: 2% of all but state and batch

A TPU's registers have 128 lanes, so to its attention kernel a head of 64 is one of 128.

The peak is the largest of three moments: the loss (kept, head), the backward pass of the first
layer it comes to (kept, layer, gathered, gradients) and the update (gradients). Compiled for TPU,
programs of the same parts differ by some percent: one that has room is ordered for speed, one that
has none is squeezed (BENCHMARKS.md has formula and compiler side by side).
"""

import math
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

GAPS = 0.02  # of the temporaries; in compiled programs 0 to 8%
MANY_PIECES = 8  # of a gathered kernel; of fewer, products do not wait
GATHERED_AXES = ("fsdp", "expert", "context")  # that parameters are gathered over before use


class Memory(NamedTuple):
    """Bytes of one device."""

    parameters: float
    optimizer: float
    batch: float
    summed: float
    gradients: float
    copies: float
    kept: float
    layer: float
    gathered: float
    head: float
    fetched: float = 0.0  # optimizer state that comes from the host for the update

    @property
    def parts(self) -> dict[str, float]:
        """What there is at the moment that needs most, by name; their sum is the peak."""
        loss = ("summed", "copies", "kept", "head")
        backward = ("summed", "gradients", "copies", "kept", "layer", "gathered")
        update = {"gradients": self.summed or self.parameters, "fetched": self.fetched}
        moments = ({name: getattr(self, name) for name in names} for names in (loss, backward))
        temporary = max(*moments, update, key=lambda parts: sum(parts.values()))
        state = {name: getattr(self, name) for name in ("parameters", "optimizer", "batch")}
        return state | temporary | {"gaps": GAPS * sum(temporary.values())}

    @property
    def peak(self) -> float:
        return sum(self.parts.values())


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
    accumulates = config.training.accumulation > 1
    copied = [
        leaf
        for leaf in inventory.params
        if leaf.is_kernel and (accumulates or SCANNED in leaf.path) and itemsize < leaf.itemsize
    ]
    copies = sum(array_bytes(leaf.shard(layout), itemsize, layout.tiled) for leaf in copied)
    gradients, summed = _gradients(config, layout, inventory)
    offloaded = config.training.offload_optimizer
    num_tokens = (lengths.encoder or 0) + (lengths.decoder or 0)
    arrays = 3 * num_tokens + 2 * (lengths.decoder or lengths.encoder or 0)
    batch = 4.0 * arrays * config.data.batch_size / layout.split("batch", "length")
    return Memory(
        parameters=parameters,
        optimizer=0.0 if offloaded else optimizer,
        batch=batch,
        summed=summed if accumulates else 0.0,
        gradients=gradients,
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
        piped = sum(layers[looped]) / stages * (ticks + 1 / micro)
        if c.remat == "stage":
            piped = sum(layers[looped]) / stages / micro + residual * ticks
        outside = sum(layers) - sum(layers[looped])
        return outside + piped + 2 * residual * ticks  # what enters and leaves at each tick

    def _kept(self, layer: LayerConfig, tokens: Tokens) -> float:
        """Bytes that one layer keeps."""
        d, a = self.d_model, layer.attention
        residual = tokens.rows * tokens.between * d
        heads, kv_heads = self._heads(a)
        width = self._head_width(a, tokens)
        attended, projected = heads * width, (heads + 2 * kv_heads) * width
        hidden, out = self._products(layer.feed_forward, tokens)
        policy = self.config.remat
        if policy == "dots" and not self._reads_out(layer):
            out = 0.0
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

    def _reads_out(self, layer: LayerConfig) -> bool:
        """Whether the backward pass needs what the feed-forward gives: where it is normed, or
        experts' are weighted, not where it is only added."""
        return self.config.post_norm or isinstance(layer.feed_forward, MixtureConfig)

    def _working(self, layer: LayerConfig, tokens: Tokens, memory_length: int | None) -> float:
        d, a = self.d_model, layer.attention
        heads, kv_heads = self._heads(a)
        width = self._head_width(a, tokens)
        hidden, out = self._products(layer.feed_forward, tokens)
        products = 2.5  # of up and gate
        if self.layout.tiled:
            products = 2.0 if _gathering(self.layout) else 1.5
        attentions = 1 if memory_length is None else 2
        held = attentions * 2 * (heads + kv_heads) * width + 5 * d
        feeding = products * hidden + out + tokens.number * held
        feeding += self._looped(layer.feed_forward, tokens)
        attending = 2 * tokens.number * held
        if self._has_kernel(tokens):
            attending = tokens.number * ((7 * heads + 4 * kv_heads) * width + d)
            if math.prod(self.layout.sizes[axis] for axis in GATHERED_AXES) >= MANY_PIECES:
                attending += 0.75 * hidden + 1.5 * tokens.number * d
        if tokens.keys > tokens.queries:  # whole keys and values, and their gradients
            attending += 4 * tokens.rows * tokens.keys * kv_heads * width
        logits = self._logits(a, tokens)
        most = max(
            feeding * self.itemsize, attending * self.itemsize + logits * (8 + self.itemsize)
        )
        if self._has_kernel(tokens):  # segments, cosines, sines
            most += 4 * LANES * tokens.number * (1 if a.rope is None else 3)
        return most

    def _head_width(self, a: AttentionConfig, tokens: Tokens) -> int:
        """Of a head of q, k, v and out, in memory."""
        return -(-a.head_dim // LANES) * LANES if self._has_kernel(tokens) else a.head_dim

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
        rows = self._assigned(f, tokens)
        wide = f.expert.hidden * (2 if f.expert.gated else 1) / mlp
        inner, out = rows * wide, rows * self.d_model
        if f.shared is not None:
            shared = self._products(f.shared, tokens)
            inner, out = inner + shared[0], out + shared[1]
        return inner, out

    def _assigned(self, f: MixtureConfig, tokens: Tokens) -> float:
        """Rows that a device's experts work on: tokens, once for each expert that has them."""
        owners = self.layout.split("expert")
        if owners == 1:
            return tokens.number * f.top_k
        number = round(tokens.number)
        return owners * buffer_rows(number, f.top_k, f.num_experts, owners, f.capacity)

    def _looped(self, f: FeedForwardConfig | MixtureConfig, tokens: Tokens) -> float:
        """Numbers of all rows of the experts, with one expert's matrix."""
        if self.layout.tiled or isinstance(f, FeedForwardConfig):
            return 0.0
        wide = f.expert.hidden / self.layout.split("act_mlp") + self.d_model
        return 2 * self._assigned(f, tokens) * wide

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


def _gathering(layout: Layout) -> tuple[str, ...]:
    """The mesh axes over which kernels are gathered."""
    return tuple(axis for axis in GATHERED_AXES if layout.sizes[axis] > 1)


def _gradients(config: Config, layout: Layout, inventory: Inventory) -> tuple[float, float]:
    """Bytes of those that a (micro-)batch's backward pass holds, and of the micro-batches' sum."""
    everything = sum(leaf.bytes(layout) for leaf in inventory.params)
    piped = 0.0
    if layout.sizes["stage"] > 1:
        piped = sum(leaf.bytes(layout) for leaf in inventory.params if SCANNED in leaf.path)
    if not layout.tiled:
        return everything + piped, everything
    tied = config.model.tie_embeddings
    tables = [leaf for leaf in inventory.params if leaf.path[0] in ("embed", "encoder_embed")]
    heads = tables if tied else [leaf for leaf in inventory.params if leaf.path[0] == "head"]
    split = sum(leaf.bytes(layout) for leaf in heads)
    layers = everything - sum(leaf.bytes(layout) for leaf in {*tables, *heads})
    whole = sum(array_bytes(leaf.shard(layout, GATHERED_AXES), leaf.itemsize) for leaf in heads)
    # a tied one is summed with the look-up's; where tensor parallelism splits it, it is scattered
    late = not tied and layout.split("vocab") == 1
    return layers + piped + whole, everything - split + (whole if late else split)


def _gathered(leaves: list[Leaf], itemsize: int, layout: Layout) -> float:
    """Bytes of one layer's kernels, whole, as often as they are there."""
    if not (whole := _gathering(layout)):
        return 0.0
    total = 0.0
    for leaf in leaves:
        if SCANNED not in leaf.path or not leaf.is_kernel:
            continue
        # experts stay with their owners
        axes = [axis for axis in whole if axis != "expert" or "expert" not in leaf.names]
        shape = leaf.shard(layout, whole=axes)
        times = 3.0
        if layout.tiled:
            times = 4 / 3 if "expert" in leaf.names else 1.0
        total += times * array_bytes(shape, itemsize, layout.tiled) / shape[0]
    return total


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
    return vocab * c.d_model * (4.0 + itemsize % 4) + logits * (4 + itemsize)
