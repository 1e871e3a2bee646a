"""What every test shares: 8 CPU devices, strict promotion, small models, the developers' data where
it is, and which tests run."""

import importlib.util
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # before anything imports jax

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from nanojaxlm.batch import Batch, Stream, Targets
from nanojaxlm.model.config import (
    AttentionConfig,
    EmbedConfig,
    FeedForwardConfig,
    HeadTransformConfig,
    LayerNormConfig,
    MixtureConfig,
    ModelConfig,
    RelativeBiasConfig,
    StackConfig,
)
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.sharding import MeshConfig, make_mesh
from nanojaxlm.state import abstract_params, parameter_boxes

ROOT = Path(__file__).resolve().parents[1]
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

LEFT_OUT = pytest.StashKey[dict[str, int]]()
# Marked tests that run only when asked for, and what to say where they were not.
ON_DEMAND = {
    "interop": "they compare with transformers and torch: ./launch/test.sh --interop",
    "pods": "they compile models for whole pods, minutes each: ./launch/test.sh --pods",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--interop", action="store_true", help="run the tests that need transformers and torch too"
    )
    parser.addoption(
        "--pods", action="store_true", help="compile every config of a pod for it too: 30 minutes"
    )


def pytest_configure(config: pytest.Config) -> None:
    missing = [name for name in ("torch", "transformers") if not importlib.util.find_spec(name)]
    if config.getoption("--interop") and missing:
        raise pytest.UsageError(
            f"--interop needs {' and '.join(missing)}: ./launch/test.sh --interop installs them"
        )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the tests with a mark of ON_DEMAND that the command line does not ask for."""
    counts = {}
    for mark in ON_DEMAND:
        if config.getoption(f"--{mark}"):
            continue
        left_out = [item for item in items if item.get_closest_marker(mark)]
        items[:] = [item for item in items if not item.get_closest_marker(mark)]
        config.hook.pytest_deselected(items=left_out)
        counts[mark] = len(left_out)
    config.stash[LEFT_OUT] = counts
    if hasattr(config, "workeroutput"):  # a process of pytest-xdist, which all collect the same
        config.workeroutput["left_out"] = counts


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash[LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", {})


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for mark, count in config.stash.get(LEFT_OUT, {}).items():
        if count:
            terminalreporter.write_line(
                f"{count} tests marked {mark} were left out: {ON_DEMAND[mark]}"
            )


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data that developers have beside the checkout; a test that needs it skips without."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"developer data is not at {path}")
    return path


@pytest.fixture(scope="module")
def quick_compile() -> Iterator[None]:
    """Halves XLA's compile time for a module that compiles much and runs little."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="session")
def one_device() -> Mesh:
    return make_mesh(MeshConfig(), jax.devices()[:1])


@pytest.fixture(scope="session")
def tiny_config() -> Callable[..., ModelConfig]:
    """tiny_config(kind="encoder", window=4, scan=False, …): a model of 2 layers a stack, a field of
    any level overridden, in both stacks; kind: decoder, the default, encoder, or encoder_decoder.

    Grouped queries, a width that is not heads * head_dim, and no two equal sizes, so that no
    mistaken axis goes unseen.
    """

    def make(kind: str = "decoder", **overrides: Any) -> ModelConfig:
        def of(cls: type, **defaults: Any) -> Any:
            names = cls.__dataclass_fields__  # type: ignore[attr-defined]
            given = {name: overrides.pop(name) for name in list(overrides) if name in names}
            return cls(**defaults | given)

        attention = of(AttentionConfig, num_heads=4, num_kv_heads=2, head_dim=8)
        feed_forward = of(FeedForwardConfig, hidden=20)
        stack = of(StackConfig, num_layers=2, attention=attention, feed_forward=feed_forward)
        stacks = {name: stack for name in kind.split("_")}
        config = of(ModelConfig, d_model=16, vocab_size=50, dtype="float32", **stacks)
        assert not overrides, f"no such fields: {sorted(overrides)}"
        return config

    return make


@pytest.fixture(scope="session")
def everything_config(tiny_config: Callable[..., ModelConfig]) -> ModelConfig:
    """Biases wherever there can be one, tables of all sorts, a dense layer and then mixtures."""
    mixture = MixtureConfig(
        num_experts=3, top_k=2, expert=FeedForwardConfig(hidden=10), scores="sigmoid",
        choice_bias=True, shared=FeedForwardConfig(hidden=12), shared_gate=True,
    )  # fmt: skip
    return tiny_config(
        kind="encoder_decoder", qkv_bias=True, out_bias=True, qk_norm="width", kv_shift=True,
        norm=LayerNormConfig(), feed_forward=mixture, num_dense=1,
        dense=FeedForwardConfig(hidden=14, bias=True), relative_bias=RelativeBiasConfig(),
        embed=EmbedConfig(num_positions=12, num_types=2, norm=True), tie_embeddings=False,
        head_transform=HeadTransformConfig(), head_bias=True, num_future=1,
    )  # fmt: skip


@pytest.fixture(scope="session")
def random_params(one_device: Mesh) -> Callable[..., Any]:
    """random_params(model, seed=0): parameters with no zero and no one in them.

    Drawn in numpy, so that no test leans on the initialisation: where an output projection starts
    at zero, attention could do anything unseen.
    """

    def make(model: Transformer, seed: int = 0) -> Any:
        rng = np.random.default_rng(seed)

        def draw(path: Any, leaf: jax.ShapeDtypeStruct) -> jax.Array:
            normal = rng.standard_normal(leaf.shape).astype(np.float32)
            is_scale = jax.tree_util.keystr(path[-1:], simple=True) == "scale"
            return jax.device_put(1 + 0.2 * normal if is_scale else 0.25 * normal, leaf.sharding)

        abstract = abstract_params(parameter_boxes(model), one_device)
        return jax.tree_util.tree_map_with_path(draw, abstract)

    return make


@pytest.fixture(scope="session")
def packed_batch() -> Callable[..., Batch]:
    """packed_batch(B, T, V, seed, kind="decoder"): rows of 1 to 3 documents and padding, so target
    counts differ from row to row.

    kind: decoder: next tokens; encoder: a third of the tokens, at random; encoder_decoder: next
    tokens, with as many documents in an encoder's rows, which are a third longer. num_future: that
    many targets more, 2, 3, … tokens ahead.
    """

    def documents(rng: np.random.Generator, batch_size: int, length: int, vocab_size: int):
        tokens = rng.integers(0, vocab_size, (batch_size, length + 1)).astype(np.int32)
        positions, segments = np.zeros((2, batch_size, length), np.int32)
        for row in range(batch_size):
            used = length - row * length // (2 * batch_size)
            cuts = np.sort(rng.choice(np.arange(1, used), row % 3, replace=False))
            for i, (start, stop) in enumerate(zip([0, *cuts], [*cuts, used], strict=True)):
                segments[row, start:stop] = i + 1
                positions[row, start:stop] = np.arange(stop - start)
        return tokens, Stream(tokens[:, :-1] * (segments > 0), positions, segments)

    def ahead(tokens: np.ndarray, segments: np.ndarray, k: int) -> Targets:
        missing = ((0, 0), (0, k))
        weights = (segments == np.pad(segments, missing)[:, k:]) & (segments > 0)
        targets = np.pad(tokens, missing)[:, k : segments.shape[1] + k] * weights
        return Targets(targets.astype(np.int32), weights.astype(np.float32))

    def make(
        batch_size: int,
        length: int,
        vocab_size: int,
        seed: int = 0,
        kind: str = "decoder",
        num_future: int = 0,
    ) -> Batch:
        rng = np.random.default_rng(seed)
        tokens, stream = documents(rng, batch_size, length, vocab_size)
        if kind == "encoder":
            chosen = (rng.random((batch_size, length)) < 1 / 3) & (stream.segments_BT > 0)
            return Batch(Targets(tokens[:, 1:] * chosen, chosen.astype(np.float32)), None, stream)
        targets, *future = (ahead(tokens, stream.segments_BT, 1 + k) for k in range(1 + num_future))
        _, read = documents(rng, batch_size, length * 4 // 3, vocab_size)
        encoder = read if kind == "encoder_decoder" else None
        return Batch(targets, stream, encoder, tuple(future))

    return make


@pytest.fixture(scope="session")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 KB of text that a small model learns in a few steps."""
    rng = random.Random(0)
    words = ["river", "mountain", "village", "letter", "winter", "garden", "teacher", "history"]
    lines = (" ".join(rng.choices(words, k=9)).capitalize() + ".\n" for _ in range(600))
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def small_run(text_file: Path) -> tuple[str, ...]:
    """Arguments of nanojaxlm.main, all but --workdir: 40 small steps, saved every 10, scanned."""
    values = {
        "data.text": text_file,
        "data.sequence_length": 32,
        "data.batch_size": 8,
        "model.d_model": 32,
        "model.decoder.num_layers": 2,
        "model.decoder.scan": True,
        "model.decoder.attention.head_dim": 8,
        "model.decoder.feed_forward.hidden": 64,
        "loss.chunk_length": 16,
        "optimizer.schedule.warmup_steps": 10,
        "optimizer.schedule.decay_rate": 0.5,
        "training.steps": 40,
        "training.log_every": 5,
        "evaluation.every": 20,
        "evaluation.sample_tokens": 8,
        "checkpoint.every": 10,
        "checkpoint.keep": 2,
    }
    config = f"--config={ROOT / 'configs' / 'shakespeare_char.py'}"
    return (config, *(f"--config.{name}={value}" for name, value in values.items()))


@pytest.fixture(scope="session")
def module_process(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.Popen]:
    """module_process(module, *arguments, before=(), **environment): `python -m module`, started.

    What is compiled is kept for the next process, or the tests would mostly compile.
    """
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.getbasetemp().parent / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "PYTHONPATH": str(ROOT),
    }

    def start(
        module: str, *arguments: str, before: Sequence[str] = (), **environment: str
    ) -> subprocess.Popen:
        return subprocess.Popen(
            [*before, sys.executable, "-m", module, *arguments],
            env=os.environ | cache | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
        )

    return start


@pytest.fixture(scope="session")
def run_module(
    module_process: Callable[..., subprocess.Popen],
) -> Callable[..., subprocess.CompletedProcess]:
    """run_module(module, *arguments, stdin=b"", …): as module_process, but waits for its end."""

    def run(module: str, *arguments: str, stdin: bytes = b"", **options: Any):
        process = module_process(module, *arguments, **options)
        try:
            out, err = process.communicate(stdin, timeout=300)
        finally:
            process.kill()
        return subprocess.CompletedProcess(
            process.args, process.returncode, out.decode(), err.decode()
        )

    return run


@pytest.fixture(scope="session")
def assert_mistake() -> Callable[..., None]:
    """assert_mistake(done, code, *words): one line of error that holds the words, nothing else."""

    def check(done: subprocess.CompletedProcess, code: int, *words: str) -> None:
        assert done.returncode == code, done.stderr
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
        for word in words:
            assert word in done.stderr

    return check


@pytest.fixture(scope="session")
def finished_run(
    tmp_path_factory: pytest.TempPathFactory,
    small_run: tuple[str, ...],
    run_module: Callable[..., subprocess.CompletedProcess],
) -> Path:
    """The workdir that `small_run` leaves; a test that changes it makes a copy."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    done = run_module("nanojaxlm.main", *small_run, f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return workdir


@pytest.fixture(scope="session")
def document_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 different documents of made-up prose that the curation keeps, and a short one."""
    rng = random.Random(0)
    syllables = [c + v for c in "bdfglmnprstvw" for v in "aeiou"]
    words = ["".join(rng.choices(syllables, k=rng.randint(2, 4))) for _ in range(400)]
    words += ["the", "of", "and", "to", "that", "with", "have", "be"] * 15
    folder = tmp_path_factory.mktemp("documents")
    for i in range(60):
        sentences = [" ".join(rng.choices(words, k=rng.randint(8, 16))) for _ in range(30)]
        text = "".join(sentence.capitalize() + ".\n" for sentence in sentences)
        (folder / f"{i:02d}.txt").write_text(text)
    (folder / "short.txt").write_text("too short\n")
    return folder
