"""What a training run leaves behind, and that its figures are what they are called."""

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console
from tensorboardX.proto.event_pb2 import Event

from nanojaxlm.batch import Stream
from nanojaxlm.checkpoint import FOLDER, Checkpoints
from nanojaxlm.config import Config, EvaluationConfig, TrainingConfig
from nanojaxlm.data.input import DataConfig, validation_batches
from nanojaxlm.data.objectives import (
    CausalLM,
    FillInTheMiddle,
    MaskedLM,
    MixtureOfDenoisers,
    NextTokens,
    PrefixLM,
    SpanCorruption,
)
from nanojaxlm.data.stores import open_stores
from nanojaxlm.data.tokenizer import load_tokenizer
from nanojaxlm.data.vocabulary import Vocabulary
from nanojaxlm.errors import UserError
from nanojaxlm.evaluation.held_out import evaluate
from nanojaxlm.loading import load
from nanojaxlm.losses import LossConfig
from nanojaxlm.model.config import EmbedConfig
from nanojaxlm.optimizer import AdamW, WarmupCosine
from nanojaxlm.sharding import batch_sharding, use_mesh
from nanojaxlm.state import abstract_params, parameter_boxes
from nanojaxlm.step import make_eval_step
from nanojaxlm.token_store import TokenStore
from nanojaxlm.train import prepare_workdir, train, with_vocabulary
from nanojaxlm.typed_config import dump_json, from_config_dict

EVERY_LINE = {"step", "loss", "learning_rate", "grad_norm", "targets", "batch_hash"}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def events(folder):
    """The events of a TensorBoard folder: records of length, crc, bytes, crc."""
    found = []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        while data:
            length = int.from_bytes(data[:8], "little")
            found.append(Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return found


@pytest.fixture
def small_config(text_file, tiny_config):
    """small_config(steps=…, optimizer=…): a run in this process, on the 8 devices."""

    def make(**fields):
        defaults = {
            "model": dataclasses.replace(tiny_config(), vocab_size=None),
            "data": DataConfig(text=str(text_file), sequence_length=16, batch_size=8),
            "optimizer": AdamW(learning_rate=1e-2, schedule=WarmupCosine(warmup_steps=1)),
            "training": TrainingConfig(steps=3),
            "loss": LossConfig(chunk_length=16),
            "evaluation": EvaluationConfig(every=1000, batches=1),
        }
        return Config(**defaults | fields)

    return make


@pytest.mark.slow
def test_metrics_have_the_documented_keys_on_the_documented_lines(finished_run):
    metrics = lines(finished_run / "metrics.jsonl")
    assert [line["step"] for line in metrics] == list(range(1, 41))
    for line in metrics:
        assert line.keys() >= EVERY_LINE
        assert len(line["batch_hash"]) == 16 and int(line["batch_hash"], 16) > 0
        assert line["targets"] == 8 * 32  # no padding in one long document
        assert ("validation_loss" in line) == (line["step"] in (20, 40))
        assert ("validation_bits_per_byte" in line) == (line["step"] in (20, 40))
    assert len({line["batch_hash"] for line in metrics}) == 40
    timed = [line for line in metrics if "tokens_per_second" in line]
    assert {line["step"] for line in timed} >= {5, 10, 15, 20, 25, 30, 35, 40}
    assert all(line["tokens_per_second"] > 0 and 0 < line["mfu"] < 1 for line in timed)


@pytest.mark.slow
def test_the_loss_falls_far_below_that_of_guessing(finished_run):
    metrics = lines(finished_run / "metrics.jsonl")
    vocab_size = json.loads((finished_run / "config.json").read_text())["model"]["vocab_size"]
    assert abs(metrics[0]["loss"] - math.log(vocab_size)) < 2
    assert metrics[-1]["loss"] < 2.3 < metrics[5]["loss"]
    assert metrics[-1]["validation_loss"] < metrics[19]["validation_loss"]


@pytest.mark.slow
def test_the_learning_rate_of_each_line_is_the_schedules(finished_run):
    config = from_config_dict(Config, json.loads((finished_run / "config.json").read_text()))
    peak = config.optimizer.learning_rate
    rates = [line["learning_rate"] for line in lines(finished_run / "metrics.jsonl")]
    rising = np.linspace(peak / 11, peak, 11)[:10]
    want = [*rising, *[peak] * 10, *np.linspace(peak, 0, 21)[:20]]
    np.testing.assert_allclose(rates, want, rtol=1e-5, atol=1e-9)


@pytest.mark.slow
def test_tensorboard_holds_the_numbers_of_the_metrics_and_the_samples(finished_run):
    scalars, texts = {}, []
    for event in events(finished_run / "tensorboard"):
        for value in event.summary.value:
            if value.HasField("tensor"):
                texts.append((event.step, value.tensor.string_val[0].decode()))
            else:
                scalars[event.step, value.tag] = value.simple_value
    want = {
        (line["step"], name): value
        for line in lines(finished_run / "metrics.jsonl")
        for name, value in line.items()
        if name not in ("step", "batch_hash")
    }
    assert scalars.keys() == want.keys()
    for key, value in want.items():
        assert scalars[key] == pytest.approx(value, rel=1e-6)
    samples = lines(finished_run / "samples.jsonl")
    assert texts == [(s["step"], f"**{s['prompt']}**{s['text']}") for s in samples]


@pytest.mark.slow
def test_samples_continue_the_configs_prompts(finished_run):
    samples = lines(finished_run / "samples.jsonl")
    assert [(sample["step"], sample["prompt"]) for sample in samples] == [
        (20, "ROMEO:\n"),
        (40, "ROMEO:\n"),
    ]
    assert all(1 <= len(sample["text"]) <= 8 for sample in samples)


def full_logits_loss(loaded, store, length):
    """(nats, tokens, bytes) over the whole validation split by whole rows of logits, in numpy.

    Written from the definition: row i reads tokens i T … i T + T - 1 and predicts their followers;
    a target of another document is none.
    """
    split = store.split("validation")
    tokens = split.read(0, split.num_tokens)
    documents = np.repeat(np.arange(split.num_documents), np.diff(split.offsets))
    starts = split.offsets[documents]
    pieces = [loaded.tokenizer.piece_bytes(i) for i in range(loaded.tokenizer.vocab_size)]
    forward = jax.jit(lambda stream: loaded.model.apply({"params": loaded.params}, stream))
    nats = count = num_bytes = 0
    for start in range(0, len(tokens) - 1, length):
        n = min(length, len(tokens) - 1 - start)
        row, segments = np.zeros((1, length), np.int32), np.zeros((1, length), np.int32)
        places = np.zeros((1, length), np.int32)
        row[0, :n] = tokens[start : start + n]
        segments[0, :n] = documents[start : start + n] - documents[start] + 1
        places[0, :n] = np.arange(start, start + n) - np.maximum(starts[start : start + n], start)
        logits = np.asarray(forward(Stream(row, places, segments)), np.float64)[0]
        logits -= logits.max(axis=1, keepdims=True)
        log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        for i in range(n):
            target = int(tokens[start + i + 1])
            if documents[start + i] == documents[start + i + 1]:
                nats -= log_probs[i, target]
                count += 1
                num_bytes += len(pieces[target])
    return nats, count, num_bytes


@pytest.mark.slow
def test_evaluation_is_that_of_the_whole_logits_whatever_the_batch(finished_run):
    loaded = load(str(finished_run))
    stores = open_stores(loaded.config.data, finished_run)
    nats, count, num_bytes = full_logits_loss(loaded, stores[0], 32)
    split = stores[0].split("validation")
    assert num_bytes == split.num_bytes  # one document: each of its bytes is a target once
    assert count == split.num_tokens - 1
    results = []
    with use_mesh(loaded.mesh):
        eval_step = make_eval_step(
            loaded.model,
            loaded.config.loss,
            loaded.tokenizer.bytes_per_token(),
            abstract_params(parameter_boxes(loaded.model), loaded.mesh),
            loaded.mesh,
        )
        for batch_size in (1, 8, 64):  # 64: the last batch is mostly padding
            data = dataclasses.replace(loaded.config.data, batch_size=batch_size)
            rows = (data, stores, batch_sharding(loaded.mesh))
            batches = validation_batches(*rows, Vocabulary.of(loaded.tokenizer))
            results.append(evaluate(eval_step, loaded.params, batches))
            batches.close()
    for held_out in results:
        assert held_out.loss == pytest.approx(nats / count, rel=1e-5)
        bits = nats / math.log(2) / num_bytes
        assert held_out.bits_per_byte == pytest.approx(bits, rel=1e-5)
        assert (held_out.num_tokens, held_out.num_bytes) == (count, num_bytes)
    last = lines(finished_run / "metrics.jsonl")[-1]
    assert last["validation_loss"] == pytest.approx(nats / count, rel=1e-5)
    assert last["validation_bits_per_byte"] == pytest.approx(bits, rel=1e-5)


@pytest.mark.slow
def test_a_run_on_8_devices_samples_and_goes_on_to_more_steps(tmp_path, small_config):
    evaluation = EvaluationConfig(every=2, batches=1, sample_prompts=("The ",), sample_tokens=2)
    config = small_config(evaluation=evaluation)
    console = Console(quiet=True)
    first = train(config, tmp_path, console)
    more = dataclasses.replace(config, training=TrainingConfig(steps=4))
    second = train(more, tmp_path, console)
    assert (int(first.step), int(second.step)) == (3, 4)
    assert [line["step"] for line in lines(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4]
    assert [line["step"] for line in lines(tmp_path / "samples.jsonl")] == [2, 3, 4]
    assert len(jax.tree.leaves(first.params)[0].sharding.device_set) == 8
    saved = (tmp_path / "config.json").read_text()
    store = TokenStore.open(str(tmp_path / "store"))
    assert saved == dump_json(with_vocabulary(more, load_tokenizer(store.tokenizer)))


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_the_run_and_is_not_saved(tmp_path, small_config):
    absurd = AdamW(learning_rate=1e30, schedule=WarmupCosine(warmup_steps=0), clip_norm=None)
    config = small_config(
        optimizer=absurd,
        training=TrainingConfig(steps=6, log_every=1),
        checkpoint=dataclasses.replace(small_config().checkpoint, every=1),
    )
    with pytest.raises(UserError, match=r"is (nan|inf) at step \d.*lower the learning rate"):
        train(config, tmp_path, Console(quiet=True))
    metrics = lines(tmp_path / "metrics.jsonl")  # JSON has no NaN
    assert all(math.isfinite(v) for m in metrics for v in m.values() if isinstance(v, float))
    saved = {int(path.name) for path in (tmp_path / FOLDER).iterdir() if path.name.isdigit()}
    assert saved <= {line["step"] for line in metrics}
    assert 6 not in saved


def test_a_vocabulary_below_the_stores_is_refused(tmp_path, small_config):
    config = small_config()
    tokenizer = load_tokenizer(open_stores(config.data, tmp_path)[0].tokenizer)
    size = tokenizer.vocab_size
    assert with_vocabulary(config, tokenizer).model.vocab_size == size
    for given, fits in ((size + 3, True), (size - 1, False)):
        model = dataclasses.replace(config.model, vocab_size=given)
        other = dataclasses.replace(config, model=model)
        if fits:
            assert with_vocabulary(other, tokenizer) == other
        else:
            with pytest.raises(UserError, match=rf"vocab_size is {given}.*at least {size}"):
                with_vocabulary(other, tokenizer)


def test_a_workdir_that_is_no_folder_to_write_to_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    for workdir in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="cannot write to --workdir"):
            prepare_workdir(workdir)
    assert (tmp_path / "file").read_text() == "mine"
    prepare_workdir(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_the_oracles_rows_have_the_positions_of_the_batches(tmp_path, small_config):
    """The first positions of each row start at 0: the oracle above leans on it."""
    config = small_config()
    stores = open_stores(config.data, tmp_path)
    where = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    vocabulary = Vocabulary.of(load_tokenizer(stores[0].tokenizer))
    batches = validation_batches(config.data, stores, where, vocabulary)
    for batch in batches:
        assert int(jnp.max(batch.decoder.positions_BT[:, 0])) == 0
    batches.close()


@pytest.mark.slow
def test_a_checkpoint_restores_into_the_state_that_train_returned(tmp_path, small_config):
    state = train(small_config(training=TrainingConfig(steps=1)), tmp_path, Console(quiet=True))
    checkpoints = Checkpoints(tmp_path, read_only=True)
    abstract = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), state
    )
    restored = checkpoints.restore(abstract)
    checkpoints.close()
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(restored), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


# --- Encoders, decoders, and both

KINDS = {
    "encoder, masked": ("encoder", MaskedLM(), {}),
    "both, spans": ("encoder_decoder", SpanCorruption(), {}),
    "both, prefix": ("encoder_decoder", PrefixLM(layout="encoder"), {}),
    "decoder, UL2": ("decoder", MixtureOfDenoisers(layout="prefix"), {}),
    "decoder, fill in the middle": ("decoder", FillInTheMiddle(), {}),
    "decoder, three ahead": ("decoder", NextTokens(num_tokens=3), {"num_future": 2}),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_learns_evaluates_saves_and_goes_on(tmp_path, small_config, tiny_config, kind):
    """The same train() for all: 12 steps, the last 4 by a second call."""
    stacks, objective, fields = KINDS[kind]
    model = dataclasses.replace(tiny_config(stacks, **fields), vocab_size=None)
    defaults = small_config()
    config = small_config(
        model=model,
        data=dataclasses.replace(defaults.data, objective=objective, sequence_length=48),
        evaluation=EvaluationConfig(every=12, batches=1),
        training=TrainingConfig(steps=8),
    )
    train(config, tmp_path, Console(quiet=True))
    more = dataclasses.replace(config, training=TrainingConfig(steps=12))
    state = train(more, tmp_path, Console(quiet=True))
    assert int(state.step) == 12
    metrics = lines(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in metrics] == list(range(1, 13))
    assert metrics[-1]["validation_loss"] < metrics[0]["loss"]
    codes_text = isinstance(objective, NextTokens)  # each byte is a target once
    assert ("validation_bits_per_byte" in metrics[-1]) == codes_text
    assert ("extra_loss" in metrics[-1]) == (objective.num_future > 0)
    loaded = load(str(tmp_path))
    size = loaded.tokenizer.vocab_size
    assert (
        loaded.config.model.vocab_size
        == size
        == loaded.tokenizer.base_size + len(objective.extra_tokens)
    )


@pytest.mark.slow
def test_a_run_starts_from_the_parameters_of_another(tmp_path, small_config):
    """Its optimizer and its step are fresh; at a learning rate of 0 the parameters stay."""
    first = train(small_config(), tmp_path / "first", Console(quiet=True))
    still = AdamW(learning_rate=1e-30, schedule=WarmupCosine(warmup_steps=1))
    start = TrainingConfig(steps=1, start_from=str(tmp_path / "first"))
    config = small_config(optimizer=still, training=start)
    second = train(config, tmp_path / "second", Console(quiet=True))
    assert int(second.step) == 1
    for a, b in zip(jax.tree.leaves(first.params), jax.tree.leaves(second.params), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.slow
def test_parameters_of_another_model_or_tokenizer_are_no_start(
    tmp_path, small_config, tiny_config, text_file
):
    train(small_config(training=TrainingConfig(steps=1)), tmp_path / "first", Console(quiet=True))
    start = TrainingConfig(steps=1, start_from=str(tmp_path / "first"))
    wider = dataclasses.replace(tiny_config(hidden=24), vocab_size=None)
    with pytest.raises(UserError, match=r"feed_forward.* has shape .*the config wants"):
        train(small_config(model=wider, training=start), tmp_path / "second", Console(quiet=True))
    other = tmp_path / "other.txt"
    other.write_text(text_file.read_text().upper())
    data = dataclasses.replace(small_config().data, text=str(other))
    with pytest.raises(UserError, match="another tokenizer"):
        train(small_config(data=data, training=start), tmp_path / "third", Console(quiet=True))
    start = TrainingConfig(steps=1, start_from=str(tmp_path / "nothing"))
    with pytest.raises(UserError, match="no checkpoint in"):
        train(small_config(training=start), tmp_path / "fourth", Console(quiet=True))


@pytest.mark.parametrize(
    ("kind", "objective", "words"),
    [
        ("decoder", MaskedLM(), "MaskedLM feeds encoder, but model.encoder is None"),
        ("encoder", CausalLM(), "CausalLM feeds no encoder, but model.encoder is given"),
        ("encoder_decoder", MaskedLM(), "MaskedLM feeds no decoder, but model.decoder is given"),
        ("decoder", NextTokens(num_tokens=3), "2 tokens beyond the next, but model.num_future is"),
    ],
)
def test_an_objective_that_does_not_fit_the_model_is_refused(
    small_config, tiny_config, kind, objective, words
):
    data = dataclasses.replace(small_config().data, objective=objective)
    with pytest.raises(ValueError, match=words):
        small_config(model=tiny_config(kind), data=data)


def test_rows_longer_than_the_learned_positions_are_refused(small_config, tiny_config):
    embed = EmbedConfig(num_positions=17, first_position=2)
    model = dataclasses.replace(tiny_config(), embed=embed)
    with pytest.raises(ValueError, match="rows of 16 tokens are longer than the 17 positions"):
        small_config(model=model)
