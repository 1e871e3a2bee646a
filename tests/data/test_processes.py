"""Batches from real processes are those of a single one, and they are made fast."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding

from nanojaxlm.batch import fingerprint, fingerprint_hex
from nanojaxlm.data.input import DataConfig, make_batches
from nanojaxlm.data.objectives import CausalLM, MaskedLM, MixtureOfDenoisers, SpanCorruption
from nanojaxlm.data.stores import open_stores

CHILD = """
import json, sys
import jax
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_cpu_collectives_implementation", "gloo")
address, count, process, paths = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
jax.distributed.initialize(address, count, process)
from itertools import islice
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from nanojaxlm.batch import fingerprint, fingerprint_hex
from nanojaxlm.data.input import DataConfig, make_batches
from nanojaxlm.data.objectives import *
from nanojaxlm.data.stores import open_stores
from nanojaxlm.data.tokenizer import load_tokenizer
from nanojaxlm.data.vocabulary import Vocabulary
assert jax.process_count() == count and len(jax.devices()) == 2 * count
OBJECTIVES = (CausalLM(), MaskedLM(whole_words=True), SpanCorruption(mean_length=2.0))
sharding = NamedSharding(Mesh(jax.devices(), ("data",)), PartitionSpec("data"))
outputs = []
for objective in OBJECTIVES:
    config = DataConfig(
        stores=tuple(paths), sequence_length=16, batch_size=8, objective=objective
    )
    stores = open_stores(config, None)
    vocabulary = Vocabulary.of(load_tokenizer(stores[0].tokenizer))
    batches = make_batches(config, stores, sharding, seed=0, vocabulary=vocabulary)
    hashes = [fingerprint_hex(jax.jit(fingerprint)(batch)) for batch in islice(batches, 5)]
    outputs.append({"hashes": hashes, "state": batches.get_state()})
print(json.dumps(outputs))
"""


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 4])
def test_real_processes_read_the_global_batches_of_a_single_one(
    config, vocabulary, tmp_path, count
):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    root = str(Path(__file__).parents[2])
    environment["PYTHONPATH"] = os.pathsep.join([root, environment.get("PYTHONPATH", "")])
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, address, str(count), str(i), *config.stores],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for i in range(count)
    ]
    try:
        outputs = [
            json.loads(child.communicate(timeout=300)[0].splitlines()[-1]) for child in children
        ]
    finally:
        for child in children:
            child.kill()
            child.wait()
    stores = open_stores(config, tmp_path)
    wanted = []
    for objective in (CausalLM(), MaskedLM(whole_words=True), SpanCorruption(mean_length=2.0)):
        alone = make_batches(
            dataclasses.replace(config, objective=objective),
            stores,
            SingleDeviceSharding(jax.devices()[0]),
            seed=0,
            vocabulary=vocabulary,
        )
        hashes = [fingerprint_hex(jax.jit(fingerprint)(batch)) for batch in islice(alone, 5)]
        wanted.append({"hashes": hashes, "state": alone.get_state()})
    assert outputs == [wanted] * count


@pytest.mark.slow
@pytest.mark.parametrize("objective", [SpanCorruption(), MixtureOfDenoisers(), MaskedLM()])
def test_batches_are_made_faster_than_they_are_read(make_store, vocabulary, objective):
    """2.5 to 3.5 million tokens a CPU second, reading included; much less is a loop in Python."""
    lengths = np.random.default_rng(0).geometric(1 / 600, 2000) + 2
    store = make_store("large", train=lengths.tolist()).store
    config = DataConfig(sequence_length=512, batch_size=32, objective=objective)
    batches = make_batches(
        config, [store], SingleDeviceSharding(jax.devices()[0]), seed=0, vocabulary=vocabulary
    )
    list(islice(batches, 10))
    start = time.process_time()
    list(islice(batches, 100))
    assert 100 * 32 * config.lengths.row / (time.process_time() - start) > 5e5
    batches.close()
