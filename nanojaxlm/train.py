"""train(config, workdir): the composition root, the only file that sees everything."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import jax
import optax
from rich.console import Console

from nanojaxlm.accelerators import peak_flops_per_second
from nanojaxlm.assembly import assemble, mesh_for
from nanojaxlm.checkpoint import Checkpoints, Saved
from nanojaxlm.config import Config, EvaluationConfig
from nanojaxlm.data.input import Batches, make_batches, validation_batches
from nanojaxlm.data.objectives import CausalLM, NextTokens
from nanojaxlm.data.stores import open_stores
from nanojaxlm.data.tokenizer import Tokenizer, load_tokenizer
from nanojaxlm.data.vocabulary import Vocabulary
from nanojaxlm.distributed import stop_signals
from nanojaxlm.errors import RetryableError, UserError, explain
from nanojaxlm.evaluation.held_out import evaluate
from nanojaxlm.inference.filler import Filler
from nanojaxlm.inference.generator import Generator
from nanojaxlm.inference.sampling import Sampling
from nanojaxlm.loading import load_params
from nanojaxlm.metrics import Speedometer, train_flops_per_row
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.peers.job import ALONE, Peers
from nanojaxlm.planning import auto
from nanojaxlm.preflight import Preflight
from nanojaxlm.progress import Progress
from nanojaxlm.sharding import MeshConfig, batch_sharding, use_mesh
from nanojaxlm.state import TrainState, describe, init_state, num_parameters, state_of
from nanojaxlm.step import make_eval_step
from nanojaxlm.token_store import TokenStore
from nanojaxlm.typed_config import dump_json, flatten, to_plain
from nanojaxlm.writers import DEVICE, RunWriter, replace_text

CONFIG = "config.json"


def train(
    config: Config, workdir: Path, console: Console | None = None, peers: Peers = ALONE
) -> TrainState:
    """Trains to config.training.steps, from the newest checkpoint in `workdir` where there is one.

    Raises:
        UserError: the data, the workdir or its checkpoints do not fit the config; a loss that is
            not finite.
        RetryableError: stopped by SIGTERM, after a checkpoint.
    """
    console = console or Console()
    if not config.data.stores and config.data.text is None:
        raise UserError(
            "config.data.stores is empty and config.data.text is not given: pass "
            "--config.data.stores=DIR, a store made by python -m data_pipeline.main, or "
            "--config.data.text=FILE"
        )
    prepare_workdir(workdir)
    preflight = Preflight(peers, config.distributed, console)
    preflight.hosts(dump_json(config), workdir)
    stores = open_stores(config.data, workdir)
    objective = config.data.objective
    tokenizer = load_tokenizer(stores[0].tokenizer, objective.extra_tokens)
    config = with_vocabulary(config, tokenizer)
    vocabulary = Vocabulary.of(tokenizer, config.model.start_id)
    mesh_config = choose_mesh(config, jax.devices(), console)
    mesh = mesh_for(config, mesh_config, jax.devices())
    steps = config.training.steps
    peak = peak_flops_per_second(list(mesh.devices.flat))  # no single device is used below
    with use_mesh(mesh, mesh_config), stop_signals(peers) as stop, ExitStack() as closing:
        model, optimizer, abstract, step = assemble(config, mesh)
        rows = (config.data, stores, batch_sharding(mesh))
        batches = make_batches(*rows, seed=config.seed, vocabulary=vocabulary)
        closing.callback(batches.close)
        checkpoints = Checkpoints(workdir, config.checkpoint.keep)
        closing.callback(checkpoints.close)
        restored = restore_latest(checkpoints, config, stores[0], abstract, batches)
        state = restored or fresh_state(config, model, optimizer, abstract, tokenizer)
        start = int(state.step)
        introduce(console, config, stores, abstract, start)
        if start == steps:
            return state
        preflight.speed(mesh, batches)
        if jax.process_index() == 0:
            replace_text(workdir / CONFIG, dump_json(config))
            replace_text(workdir / DEVICE, json.dumps(device_figures()) + "\n")
        bytes_per_token = tokenizer.bytes_per_token()
        eval_step = make_eval_step(model, config.loss, bytes_per_token, abstract.params, mesh)
        sample = sampler(config.evaluation, model, tokenizer)
        writer = RunWriter(workdir, start, steps, console, enabled=jax.process_index() == 0)
        closing.callback(writer.close)
        lengths = objective.lengths(config.data.sequence_length)
        flops = train_flops_per_row(config.model, lengths.encoder or 0, lengths.decoder or 0)
        progress = Progress(
            writer,
            Speedometer(flops / config.data.sequence_length, peak),
            config.optimizer.schedule.make(config.optimizer.learning_rate, steps),
            lambda done: config.data.sizes.of(done) * config.data.sequence_length,
            config.training.log_every,
        )

        def validate(done: int) -> dict[str, float]:
            held_out = evaluate(
                eval_step,
                state.params,
                validation_batches(*rows, vocabulary=vocabulary),
                None if done == steps else config.evaluation.batches,
            )
            for prompt in config.evaluation.sample_prompts:
                writer.sample(done, prompt, sample(state.params, prompt, done))
            figures = {"validation_loss": held_out.loss}
            if isinstance(objective, CausalLM | NextTokens):  # the others leave text uncoded
                figures["validation_bits_per_byte"] = held_out.bits_per_byte
            return figures

        starts = [step for step, _ in config.data.batch_warmup]  # each size is compiled anew

        for done in range(start + 1, steps + 1):
            batch = next(batches)
            if done - 1 in starts:
                peers.at(f"step {done}, the first of its size")
            else:
                peers.step(done)
            state, report = step(state, batch)
            progress.after(done, report)
            last, stopped = done == steps, stop(done)
            to_validate = last or due(config.evaluation.every, done)
            to_save = last or stopped is not None or due(config.checkpoint.every, done)
            if to_validate or to_save:
                figures = progress.settle()
                peers.at(f"what follows step {done}")
                progress.write(figures | validate(done) if to_validate else figures)
            if to_save:
                saved = Saved(done, to_plain(config), batches.get_state(), stores[0].tokenizer)
                checkpoints.save(state, saved)
                progress.restart()
            if stopped and not last:
                checkpoints.wait()
                raise RetryableError(
                    f"stopped by {stopped} after step {done}, which is saved: run the same "
                    "command again to go on"
                )
    return state


def choose_mesh(config: Config, devices: Sequence[Any], console: Console) -> MeshConfig:
    """The config's mesh; where that is "auto", what planning chooses, with its reason said."""
    if isinstance(config.mesh, MeshConfig):
        return config.mesh
    chosen, why = auto.choose_mesh(config, devices)
    if jax.process_index() == 0:
        console.print(f"mesh: {why}", highlight=False)
    return chosen


def sampler(
    evaluation: EvaluationConfig, model: Transformer, tokenizer: Tokenizer
) -> Callable[[Any, str, int], str]:
    """(parameters, prompt, seed) -> what a decoder adds to the prompt, or, of an encoder alone, the
    prompt with its masks filled in."""
    sampling = Sampling(temperature=evaluation.sample_temperature)
    if model.config.decoder is None:
        # compiled once, at the first prompt: without prompts the tokenizer needs no mask
        filler = cache(lambda: Filler(model, tokenizer))

        def fill(params: Any, prompt: str, seed: int) -> str:
            return filler().fill(params, [prompt], sampling, seed=seed)[0].text

        return fill
    generator = Generator(model, tokenizer)

    def add(params: Any, prompt: str, seed: int) -> str:
        length = evaluation.sample_tokens
        return generator.generate(params, [prompt], length, sampling, seed=seed)[0]

    return add


def due(every: int, step: int) -> bool:
    return step % every == 0


def prepare_workdir(workdir: Path) -> None:
    """Makes the workdir and sees that it can be written.

    Raises:
        UserError: it cannot.
    """
    if "://" in str(workdir):
        raise UserError(f"--workdir={workdir} must be a local or mounted folder, not a URL")
    probe = workdir / f".writable-{jax.process_index()}"
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        if explain(error):  # a full disk
            raise
        raise UserError(
            f"cannot write to --workdir={workdir} ({error.strerror}): name a folder that you may "
            "write to"
        ) from None


def with_vocabulary(config: Config, tokenizer: Tokenizer) -> Config:
    """The config with model.vocab_size filled in: the tokenizer's ids and the objective's.

    Raises:
        UserError: model.vocab_size is given and too small.
    """
    size = tokenizer.vocab_size
    if config.model.vocab_size is None:
        model = dataclasses.replace(config.model, vocab_size=size)
        return dataclasses.replace(config, model=model)
    if config.model.vocab_size < size:
        extra = len(config.data.objective.extra_tokens)
        raise UserError(
            f"config.model.vocab_size is {config.model.vocab_size}, but the tokenizer of the token "
            f"store has {size - extra} ids and the objective {extra} more: leave it None, or set "
            f"at least {size}"
        )
    return config


def fresh_state(
    config: Config,
    model: Transformer,
    optimizer: optax.GradientTransformation,
    abstract: TrainState,
    tokenizer: Tokenizer,
) -> TrainState:
    """The state before the first step: from training.start_from where it is given, else random."""
    start_from = config.training.start_from
    if start_from is None:
        return init_state(model, optimizer, config.seed, abstract)
    return state_of(load_params(start_from, abstract.params, tokenizer.model), optimizer, abstract)


def restore_latest(
    checkpoints: Checkpoints,
    config: Config,
    store: TokenStore,
    abstract: TrainState,
    batches: Batches,
) -> TrainState | None:
    """The newest checkpoint's state, with `batches` set to go on after it; None on a fresh workdir.

    Raises:
        UserError: the checkpoint is of another model, seed, tokenizer or data.
    """
    step = checkpoints.latest_step()
    if step is None:
        return None
    saved = checkpoints.describe(step)
    ours, theirs = to_plain(config), flatten(saved.config)
    for name, value in flatten({part: ours[part] for part in ("model", "seed")}).items():
        if name.endswith((".scan", ".remat")):  # how to compute, not what
            continue
        then = theirs.get(name)
        if then != value:
            raise UserError(
                f"{name} is {value}, but the checkpoint of step {step} in {checkpoints.folder} was "
                f"trained with {then}: restore that value, or name another --workdir"
            )
    if saved.tokenizer != store.tokenizer:
        raise UserError(
            f"the checkpoint of step {step} in {checkpoints.folder} has another tokenizer than "
            f"store {store.path}: restore that store, or name another --workdir"
        )
    if step > config.training.steps:
        raise UserError(
            f"config.training.steps is {config.training.steps}, but the workdir is already at step "
            f"{step}: raise it, or name another --workdir"
        )
    batches.set_state(saved.input)
    return checkpoints.restore(abstract, step)


def device_figures() -> dict[str, Any]:
    """What the planner needs to know of where a run's speed was measured."""
    return {
        "device_kind": jax.devices()[0].device_kind,
        "num_devices": jax.device_count(),
        "jax": jax.__version__,
    }


def introduce(
    console: Console, config: Config, stores: Sequence[TokenStore], abstract: TrainState, start: int
) -> None:
    """Says what will be trained on what, and how it is laid out."""
    if jax.process_index() != 0:
        return
    device = jax.devices()[0]
    kind = f"{jax.device_count()} x {device.device_kind}, jax {jax.__version__}"
    split = config.data.train_split
    tokens = sum(store.split(split).num_tokens for store in stores)
    length, steps = config.data.sequence_length, config.training.steps
    each = [rows * length for rows in config.data.sizes.each]
    batch = f"{each[0]:,} to {each[-1]:,}" if len(each) > 1 else f"{each[0]:,}"
    console.print(
        f"{num_parameters(abstract.params):,} parameters on {kind}\n"
        f"{tokens:,} training tokens; {steps:,} steps of {batch} are "
        f"{config.data.sizes.before(steps) * length / tokens:.2f} epochs",
        highlight=False,
    )
    if start == config.training.steps:
        console.print(
            f"finished already, at step {start}; raise config.training.steps to go on",
            highlight=False,
        )
    elif start:
        console.print(f"going on from the checkpoint of step {start}", highlight=False)
    if jax.device_count() > 1:
        console.print(describe(abstract.params), highlight=False)
