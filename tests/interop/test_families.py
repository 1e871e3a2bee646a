"""Each family's tables: our model computes what transformers do with the same folder.

The recorded cases need neither torch nor transformers; those marked `interop` ask both, over more
random models.
"""

import json
import runpy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from safetensors.numpy import load_file, save_file

from nanojaxlm.batch import Stream
from nanojaxlm.checkpoint import to_disk
from nanojaxlm.data.tokenizer import Tokenizer, load_tokenizer
from nanojaxlm.inference.filler import Filler
from nanojaxlm.inference.generator import Generator
from nanojaxlm.inference.sampling import Sampling
from nanojaxlm.interop.arrays import leaves_by_path
from nanojaxlm.interop.families import FAMILIES
from nanojaxlm.interop.family import Family, Tensor
from nanojaxlm.interop.importing import load_folder, open_folder
from nanojaxlm.interop.weights import theirs, write_weights
from nanojaxlm.model.config import ModelConfig
from nanojaxlm.model.transformer import Transformer

DRAW = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("draw_families.py"))))
THEIRS = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("record_families.py"))))
NAMES = tuple(DRAW.CLASSES)
RECORDED_CASES = [(name, seed) for name, seeds in DRAW.RECORDED.items() for seed in seeds]
LIVE_CASES = [(name, seed) for name in NAMES for seed in range(3)]
GENERATING = [(name, seed) for name, seed in LIVE_CASES if name not in DRAW.ENCODERS]
LOGITS = 1e-4  # of the logits' scale
GRADIENTS = 1e-3  # of the largest number in the tensor's gradient
FLOOR = 1e-3  # of the largest of all gradients: keys' biases have none, but for rounding
NEW_TOKENS = 14


class Ours(NamedTuple):
    """A folder as our importer reads it, and our model on it."""

    folder: Path
    family: Family
    config: ModelConfig
    tensors: list[Tensor]
    params: Any

    def arrays(self, tree: Any) -> dict[str, np.ndarray]:
        """{our path: the array}"""
        return {path: np.asarray(leaf) for path, leaf in leaves_by_path(to_disk(tree)).items()}

    def folder_tensors(self, tree: Any) -> dict[str, np.ndarray]:
        """Parameters, or their gradients, as tensors of the folder."""
        arrays = self.arrays(tree)
        return {tensor.name: theirs(tensor, arrays, "float32") for tensor in self.tensors}


@pytest.fixture(scope="module")
def import_ours(one_device: Mesh) -> Callable[[Path], Ours]:
    def of(folder: Path) -> Ours:
        opened = open_folder(folder)
        loaded = load_folder(folder, one_device)
        assert opened.config == loaded.config and loaded.config.dtype == "float32"
        return Ours(folder, opened.family, opened.config, opened.tensors, loaded.params)

    return of


@pytest.fixture(scope="module")
def compute() -> Iterator[Callable[..., tuple[np.ndarray, Any]]]:
    """compute(config, params, example) -> (logits_BTV, gradients); compiled once a config."""
    compiled: dict[ModelConfig, Any] = {}

    def of(config: ModelConfig, params: Any, example: Any, segments: Any = None):
        if config not in compiled:
            compiled[config] = jax.jit(jax.value_and_grad(loss_of(config), has_aux=True))
        streams = {name: stream(getattr(example, name)) for name in ("decoder", "encoder")}
        for name, value in (segments or {}).items():
            streams[name] = streams[name]._replace(segments_BT=value)
        (_, logits_BTV), gradients = compiled[config](
            params, streams, example.targets_BT, example.weights_BT
        )
        return np.asarray(logits_BTV), gradients

    yield of


def loss_of(config: ModelConfig) -> Callable[..., tuple[jax.Array, jax.Array]]:
    model = Transformer(config)

    def loss(params: Any, streams: Any, targets_BT: Any, weights_BT: Any):
        logits_BTV = model.apply({"params": params}, **streams)
        log_probs_BTV = jax.nn.log_softmax(logits_BTV, axis=-1)  # type: ignore[arg-type]
        chosen_BT = jnp.take_along_axis(log_probs_BTV, targets_BT[..., None], axis=-1)[..., 0]
        return -jnp.sum(chosen_BT * weights_BT) / jnp.sum(weights_BT), logits_BTV

    return loss  # type: ignore[return-value]


def stream(row: Any) -> Stream | None:
    return None if row is None else Stream(row.tokens_BT, row.positions_BT, row.mask_BT)


def last_of(example: Any) -> Any:
    return example.decoder if example.decoder is not None else example.encoder


def assert_logits_equal(got_BTV: np.ndarray, wanted_BTV: np.ndarray, mask_BT: np.ndarray) -> None:
    scale = np.abs(wanted_BTV[mask_BT == 1]).max()
    error = np.abs(got_BTV - wanted_BTV)[mask_BT == 1].max() / scale
    assert error < LOGITS, f"logits differ by {error:.1e} of their scale {scale:.2f}"


def assert_gradients_equal(got: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    assert set(got) >= set(wanted)
    largest = max(np.abs(g).max() for g in wanted.values())
    errors = {
        name: np.abs(got[name] - g).max() / max(np.abs(g).max(), FLOOR * largest)
        for name, g in wanted.items()
    }
    worst = sorted(errors, key=errors.__getitem__)[-3:]
    assert errors[worst[-1]] < GRADIENTS, {name: float(errors[name]) for name in worst}
    for name in set(got) - set(wanted):  # what transformers have as a buffer
        assert np.abs(got[name]).max() == 0


class Recorded(NamedTuple):
    config: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    logits_BTV: np.ndarray
    gradients: dict[str, tuple[float, float]]


@pytest.fixture(scope="module")
def recorded() -> Callable[[str, int], Recorded]:
    def of(name: str, seed: int) -> Recorded:
        cases = json.loads((DRAW.FOLDER / f"{name}.json").read_text())
        case = next(case for case in cases if case["seed"] == seed)
        with np.load(DRAW.FOLDER / f"{name}.npz") as arrays:
            logits_BTV = arrays[f"logits_{seed}"]
        shapes = {name: tuple(shape) for name, shape in case["shapes"].items()}
        return Recorded(case["config"], shapes, logits_BTV, case["gradients"])

    return of


def family_named(name: str) -> Family:
    return next(family for family in FAMILIES if name in family.model_types)


def vocab_size_of(config: Mapping[str, Any]) -> int:
    return config.get("decoder", config)["vocab_size"]


@pytest.mark.parametrize(("name", "seed"), RECORDED_CASES)
def test_tensors_are_those_that_save_pretrained_writes(name, seed, recorded):
    case = recorded(name, seed)
    family = family_named(name)
    tensors = family.tensors(family.read_config(case.config))
    assert {tensor.name: tensor.shape for tensor in tensors} == case.shapes


@pytest.mark.slow
@pytest.mark.parametrize(("name", "seed"), RECORDED_CASES)
def test_logits_and_gradients_equal_those_recorded(
    name, seed, recorded, tmp_path, import_ours, compute, quick_compile
):
    case = recorded(name, seed)
    (tmp_path / "config.json").write_text(json.dumps(case.config))
    save_file(DRAW.draw_weights(name, case.shapes, seed), str(tmp_path / "model.safetensors"))
    ours = import_ours(tmp_path)
    example = DRAW.draw_example(name, vocab_size_of(case.config), seed)
    logits_BTV, gradients = compute(ours.config, ours.params, example)
    assert_logits_equal(logits_BTV, case.logits_BTV, last_of(example).mask_BT)
    got = DRAW.summaries(ours.folder_tensors(gradients))
    largest = max(norm for norm, _ in case.gradients.values())
    for tensor, (norm, product) in case.gradients.items():
        bound = GRADIENTS * max(norm, FLOOR * largest)
        assert got[tensor][0] == pytest.approx(norm, abs=bound), tensor
        assert got[tensor][1] == pytest.approx(product, abs=10 * bound), tensor


class Live(NamedTuple):
    """A random model on both sides."""

    theirs: Any
    config: dict[str, Any]  # config.json
    ours: Ours
    example: Any


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, import_ours: Any) -> Callable[..., Live]:
    made: dict[tuple[str, int], Live] = {}

    def of(name: str, seed: int) -> Live:
        if (name, seed) not in made:
            folder = tmp_path_factory.mktemp(f"{name}-{seed}")
            THEIRS.make_folder(name, seed, folder)
            config = json.loads((folder / "config.json").read_text())
            example = DRAW.draw_example(name, vocab_size_of(config), seed)
            model = THEIRS.load(name, folder)
            made[name, seed] = Live(model, config, import_ours(folder), example)
        return made[name, seed]

    return of


@pytest.mark.interop
@pytest.mark.parametrize(("name", "seed"), LIVE_CASES)
def test_logits_and_gradients_equal_transformers(name, seed, live, compute, quick_compile):
    """Rows padded on the right and on the left, longer than windows and original rope lengths."""
    case = live(name, seed)
    wanted_BTV, wanted = THEIRS.logits_and_gradients(name, case.theirs, case.example)
    logits_BTV, gradients = compute(case.ours.config, case.ours.params, case.example)
    assert_logits_equal(logits_BTV, wanted_BTV, last_of(case.example).mask_BT)
    assert_gradients_equal(case.ours.folder_tensors(gradients), wanted)


@pytest.mark.interop
@pytest.mark.parametrize(("name", "seed"), LIVE_CASES)
def test_packed_documents_equal_transformers_on_each_alone(
    name, seed, live, compute, quick_compile
):
    """Three documents in a row of ours; one at a time, in rows of their own, for transformers."""
    import torch

    case = live(name, seed)
    example = case.example
    packed: dict[str, Any] = {}
    cuts = {}
    for which in ("encoder", "decoder"):
        row = getattr(example, which)
        if row is None:
            continue
        length = row.tokens_BT.shape[1]
        cuts[which] = (0, 4, length // 2 + 1, length)
        starts = np.repeat(cuts[which][:-1], np.diff(cuts[which]))
        tokens_BT = np.where(row.mask_BT == 1, row.tokens_BT, DRAW.FIRST_ID)
        positions_BT = np.broadcast_to(np.arange(length) - starts, tokens_BT.shape)
        segments_BT = np.broadcast_to(np.repeat([1, 2, 3], np.diff(cuts[which])), tokens_BT.shape)
        packed[which] = type(row)(
            tokens_BT, positions_BT.astype(np.int32), segments_BT.astype(np.int32)
        )
    logits_BTV, _ = compute(case.ours.config, case.ours.params, example._replace(**packed))
    for i in range(3):
        alone: dict[str, Any] = {}
        for which, row in packed.items():
            piece = slice(cuts[which][i], cuts[which][i + 1])
            tokens_BT, positions_BT = row.tokens_BT[:, piece], row.positions_BT[:, piece]
            alone[which] = type(row)(tokens_BT, positions_BT, np.ones_like(tokens_BT))
        document = example._replace(**alone)
        with torch.no_grad():
            inputs = THEIRS.inputs(name, case.config, document)
            wanted_BTV = case.theirs(**inputs).logits.numpy()
        last = list(cuts)[-1]
        got_BTV = logits_BTV[:, slice(cuts[last][i], cuts[last][i + 1])]
        assert_logits_equal(got_BTV, wanted_BTV, last_of(document).mask_BT)


@pytest.mark.interop
@pytest.mark.parametrize(("name", "seed"), LIVE_CASES)
def test_exported_tensors_are_byte_equal_and_transformers_load_them(name, seed, live, tmp_path):
    import torch

    case = live(name, seed)
    ours = case.ours
    arrays = ours.arrays(ours.params)
    dtypes = dict.fromkeys((tensor.name for tensor in ours.tensors), "float32")
    write_weights(tmp_path, ours.tensors, lambda paths: arrays, dtypes)
    before = load_file(ours.folder / "model.safetensors")
    after = load_file(tmp_path / "model.safetensors")
    assert after.keys() == before.keys()
    for tensor in before:
        assert after[tensor].tobytes() == before[tensor].tobytes(), tensor

    written = ours.family.write_config(ours.config)
    assert ours.family.read_config(written) == ours.config
    ids = {f"{kind}_token_id": case.config.get(f"{kind}_token_id") for kind in ("pad", "eos")}
    (tmp_path / "config.json").write_text(json.dumps(ids | written))
    again = THEIRS.load(name, tmp_path)
    with torch.no_grad():
        inputs = THEIRS.inputs(name, case.config, case.example)
        wanted_BTV = case.theirs(**inputs).logits.numpy()
        got_BTV = again(**inputs).logits.numpy()
    assert np.abs(got_BTV - wanted_BTV).max() <= 1e-5 * np.abs(wanted_BTV).max()


@pytest.mark.interop
@pytest.mark.parametrize(("name", "seed"), GENERATING)
def test_greedy_tokens_equal_those_of_generate(name, seed, live, quick_compile):
    """With a cache on both sides, past the windows and the original rope lengths; the second prompt
    is shorter, and padded on the left."""
    import torch

    case = live(name, seed)
    reads = case.example.encoder or case.example.decoder
    prompts_BT = np.where(reads.mask_BT == 1, reads.tokens_BT, DRAW.FIRST_ID)[:, :12]
    prompts = [prompts_BT[0].tolist(), prompts_BT[1, 4:].tolist()]
    start_id = case.ours.config.start_id
    ids = {"bos_id": start_id, "vocab_size": case.ours.config.vocab_size}
    tokenizer: Any = SimpleNamespace(**ids)
    generator = Generator(Transformer(case.ours.config), tokenizer)
    greedy = Sampling(temperature=0.0)
    steps = generator.token_stream(case.ours.params, prompts, NEW_TOKENS, greedy)
    got = np.stack(list(steps), axis=1)

    mask_BT = np.ones_like(prompts_BT)
    mask_BT[1, :4] = 0
    case.theirs.generation_config.eos_token_id = None
    generated = case.theirs.generate(
        torch.from_numpy((prompts_BT * mask_BT).astype(np.int64)),
        attention_mask=torch.from_numpy(mask_BT.astype(np.int64)),
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        use_cache=True,
        decoder_start_token_id=start_id,
    )
    assert got.tolist() == generated[:, -NEW_TOKENS:].tolist()


@pytest.mark.interop
@pytest.mark.parametrize(
    ("name", "seed"), [case for case in LIVE_CASES if case[0] in DRAW.ENCODERS]
)
def test_masks_are_filled_with_the_likeliest_tokens_of_transformers(
    name, seed, live, quick_compile
):
    """Of the ids that the tokenizer has; the vocabulary has more rows than that."""
    import torch

    case = live(name, seed)
    config = case.ours.config
    tokenizer = load_tokenizer(Tokenizer.characters("a quick brown fox").model, ("<mask>",))
    assert tokenizer.vocab_size < config.vocab_size
    filler = Filler(Transformer(config), tokenizer)
    text = "a qu<mask>ck bro<mask>n fox"
    greedy = Sampling(temperature=0.0)
    filled = filler.fill(case.ours.params, [text], greedy, at_once=True)[0]

    ids = [tokenizer.bos_id, *tokenizer.encode(text, special=True), tokenizer.eos_id]
    with torch.no_grad():
        # positions are given, as RoBERTa takes the id of BOS here for padding
        positions = torch.arange(len(ids))[None] + config.embed.first_position
        logits_BTV = case.theirs(
            torch.tensor([ids]), attention_mask=torch.ones_like(positions), position_ids=positions
        ).logits[..., : tokenizer.base_size]  # all ids but the mask's
    masks = [i for i, token in enumerate(ids) if token == filler.mask_id]
    assert len(masks) == 2
    best = logits_BTV.softmax(dim=-1)[0, masks].max(dim=-1)
    assert [choice.token for choice in filled.choices] == best.indices.tolist()
    got = [choice.probability for choice in filled.choices]
    np.testing.assert_allclose(got, best.values.numpy(), rtol=1e-3)
