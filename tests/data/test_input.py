"""Global batches: the same for every number of processes, at any step, in every layout."""

import hashlib
import json
import os
import socket
import subprocess
import sys
from itertools import islice
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from nanojaxlm.batch import fingerprint, fingerprint_hex
from nanojaxlm.data.input import DataConfig, make_batches, validation_batches
from nanojaxlm.data.objectives import CausalLM
from nanojaxlm.data.schedule import Schedule
from nanojaxlm.data.source import BatchSource, RowSource
from nanojaxlm.data.stores import open_stores
from nanojaxlm.data.tokenizer import load_tokenizer
from nanojaxlm.data.vocabulary import Vocabulary
from nanojaxlm.errors import UserError
from nanojaxlm.typed_config import from_config_dict, to_config_dict

LENGTHS = [2, 30, 3, 2, 2, 17, 8, 64, 9, 2, 41] * 8


@pytest.fixture
def stores(make_store):
    return [
        make_store("a", train=LENGTHS, validation=[9, 30, 4]).store,
        make_store("bb", train=LENGTHS[:30], validation=[20]).store,
    ]


@pytest.fixture
def config(stores) -> DataConfig:
    return DataConfig(
        stores=tuple(store.path for store in stores), sequence_length=16, batch_size=8
    )


@pytest.fixture
def vocabulary(stores) -> Vocabulary:
    return Vocabulary.of(load_tokenizer(stores[0].tokenizer))


def one_device() -> SingleDeviceSharding:
    return SingleDeviceSharding(jax.devices()[0])


def layouts() -> list:
    """Shardings of [8, 16] arrays over all devices there are, rows and columns cut in every way."""
    devices = np.array(jax.devices()[:8])
    shapes = [(n, len(devices) // n) for n in (1, 2, 4, 8) if len(devices) % n == 0]
    specs = [PartitionSpec("data", "length"), PartitionSpec("data"), PartitionSpec(None, "length")]
    return [
        NamedSharding(Mesh(devices.reshape(shape), ("data", "length")), spec)
        for shape in shapes
        for spec in specs
    ]


def digest(parts) -> str:
    """sha256 over arrays, with the shapes and types that they must have."""
    whole = hashlib.sha256()
    for part in parts:
        for array in jax.tree.leaves(part):
            whole.update(f"{array.dtype}{array.shape}".encode() + np.asarray(array).tobytes())
    return whole.hexdigest()


def digests(batches, number: int) -> list[str]:
    return [digest([batch]) for batch in islice(batches, number)]


@pytest.mark.parametrize("num_processes", [1, 2, 4, 8])
def test_the_slices_of_any_number_of_processes_make_the_same_batches(stores, num_processes):
    sources = [[RowSource(store.split("train"), 16)] for store in stores]
    schedule = Schedule([len(group[0]) for group in sources], (0.7, 0.3), seed=3)
    alone = BatchSource(sources, schedule, 8, np.arange(8))
    parts = [
        BatchSource(sources, schedule, 8, rows) for rows in np.split(np.arange(8), num_processes)
    ]
    for step in (0, 1, 2, 50, 1000):
        together = [
            np.concatenate(slices) for slices in zip(*(part[step] for part in parts), strict=True)
        ]
        assert digest(together) == digest(alone[step])


def test_every_layout_holds_the_same_global_batches(config, stores, vocabulary):
    wanted = digests(make_batches(config, stores, one_device(), seed=0, vocabulary=vocabulary), 4)
    assert len(set(wanted)) == 4
    for sharding in layouts():
        batches = make_batches(config, stores, sharding, seed=0, vocabulary=vocabulary)
        first = next(batches)
        for array in jax.tree.leaves(first):
            assert array.shape == (8, 16)
            assert array.sharding.is_equivalent_to(sharding, 2)
        batches.seek(0)
        assert digests(batches, 4) == wanted
        batches.close()


def test_the_batches_of_a_seed_do_not_change_between_versions(config, stores, vocabulary):
    """A run that is resumed with a later release must see the data it would have seen."""
    golden = "c5454f6bf8c55fe7c1f53a0ea4d64574a0cf923d365f4845afb1730567f878f0"
    batches = make_batches(config, stores, one_device(), seed=0, vocabulary=vocabulary)
    arrays = [[*batch.decoder, *batch.targets] for batch in islice(batches, 20)]
    assert digest(arrays) == golden


@pytest.mark.parametrize("weights", [(), (0.5, 0.5)])
def test_seeking_a_step_equals_walking_there(config, stores, weights, vocabulary):
    config = DataConfig(**{**vars(config), "weights": weights})
    walked = digests(make_batches(config, stores, one_device(), seed=1, vocabulary=vocabulary), 60)
    for step in (0, 1, 7, 31, 59):
        batches = make_batches(
            config, stores, one_device(), seed=1, vocabulary=vocabulary, start_step=step
        )
        assert batches.next_step == step
        assert digests(batches, 1) == walked[step : step + 1]
        assert batches.next_step == step + 1
        batches.seek(3)
        assert digests(batches, 2) == walked[3:5]
        batches.close()


def test_a_far_step_is_reached_at_once(config, stores, vocabulary):
    batches = make_batches(
        config, stores, one_device(), seed=1, vocabulary=vocabulary, start_step=10**11
    )
    assert next(batches).targets.tokens_BT.shape == (8, 16)
    assert batches.next_step == 10**11 + 1


def test_a_state_goes_through_json_and_on_with_the_same_batches(config, stores, vocabulary):
    batches = make_batches(config, stores, one_device(), seed=1, vocabulary=vocabulary)
    digests(batches, 5)
    state = json.loads(json.dumps(batches.get_state()))
    later = digests(batches, 3)
    for sharding in layouts():
        resumed = make_batches(config, stores, sharding, seed=1, vocabulary=vocabulary)
        resumed.set_state(state)
        assert resumed.get_state() == state
        assert digests(resumed, 3) == later
        resumed.close()


def test_the_state_of_other_batches_is_refused(config, stores, vocabulary):
    state = make_batches(config, stores, one_device(), seed=1, vocabulary=vocabulary).get_state()
    others = {
        "seed": make_batches(config, stores, one_device(), seed=2, vocabulary=vocabulary),
        "data": make_batches(config, stores[:1], one_device(), seed=1, vocabulary=vocabulary),
        "batch_size": make_batches(
            DataConfig(**{**vars(config), "batch_size": 4}),
            stores,
            one_device(),
            seed=1,
            vocabulary=vocabulary,
        ),
        "sequence_length": make_batches(
            DataConfig(**{**vars(config), "sequence_length": 8}),
            stores,
            one_device(),
            seed=1,
            vocabulary=vocabulary,
        ),
    }
    for name, batches in others.items():
        with pytest.raises(UserError, match=f"have {name}"):
            batches.set_state(state)


def test_an_epoch_of_several_stores_loses_nothing_and_repeats_nothing(
    config, make_store, vocabulary
):
    known = [make_store("c", train=LENGTHS), make_store("dd", train=LENGTHS[:30])]
    stores = [one.store for one in known]
    rows = sum(len(RowSource(store.split("train"), 16)) for store in stores)
    config = DataConfig(**{**vars(config), "batch_size": 1})
    for epoch in range(2):
        batches = make_batches(
            config, stores, one_device(), seed=0, vocabulary=vocabulary, start_step=epoch * rows
        )
        counted = np.concatenate(
            [
                np.asarray(batch.targets.tokens_BT)[np.asarray(batch.targets.weights_BT) == 1]
                for batch in islice(batches, rows)
            ]
        )
        wanted = np.concatenate([doc[1:] for one in known for doc in one.documents["train"]])
        np.testing.assert_array_equal(np.sort(counted), np.sort(wanted))
        batches.close()


def test_weights_decide_how_many_rows_each_store_gives(config, stores, vocabulary):
    weighted = DataConfig(**{**vars(config), "weights": (0.75, 0.25)})
    batches = make_batches(weighted, stores, one_device(), seed=0, vocabulary=vocabulary)
    sources = [RowSource(store.split("train"), 16) for store in stores]
    known = {
        source[i][0].tobytes(): s for s, source in enumerate(sources) for i in range(len(source))
    }
    drawn = []
    for batch in islice(batches, 40):
        rows = np.concatenate([batch.decoder.tokens_BT, batch.targets.tokens_BT[:, -1:]], axis=1)
        drawn += [known[row.tobytes()] for row in rows]
    assert abs(drawn.count(0) - 0.75 * len(drawn)) <= 1


def test_validation_passes_once_over_everything_in_order(config, make_store, vocabulary):
    known = [make_store("c", validation=[9, 30, 4]), make_store("dd", validation=[20, 70])]
    wanted = np.concatenate([doc[1:] for one in known for doc in one.documents["validation"]])
    for sharding in (one_device(), *layouts()):
        batches = validation_batches(config, [one.store for one in known], sharding, vocabulary)
        seen = list(batches)
        assert len(seen) == batches.num_batches == 2
        counted = [
            np.asarray(batch.targets.tokens_BT)[np.asarray(batch.targets.weights_BT) == 1]
            for batch in seen
        ]
        np.testing.assert_array_equal(np.concatenate(counted), wanted)
        assert not np.asarray(seen[-1].decoder.segments_BT)[-1].any()


def test_too_little_text_and_missing_splits_are_told_with_their_counts(
    config, make_store, vocabulary
):
    small = [make_store("small", train=[9, 9], validation=[]).store]
    with pytest.raises(UserError, match=r"18 training tokens make 2 rows of 16, fewer .*= 8"):
        make_batches(config, small, one_device(), seed=0, vocabulary=vocabulary)
    with pytest.raises(UserError, match="no store has tokens in its split 'validation'"):
        validation_batches(config, small, one_device(), vocabulary)
    with pytest.raises(UserError, match="it has train, validation"):
        other = DataConfig(train_split="test")
        make_batches(other, small, one_device(), seed=0, vocabulary=vocabulary)
    pair = [make_store("empty", train=[]).store, make_store("full", train=LENGTHS).store]
    weighted = DataConfig(stores=("a", "b"), weights=(0.5, 0.5), batch_size=1)
    with pytest.raises(UserError, match="has no train tokens"):
        make_batches(weighted, pair, one_device(), seed=0, vocabulary=vocabulary)
    extreme = DataConfig(stores=("a", "b"), weights=(1e9, 1), batch_size=1)
    with pytest.raises(UserError, match=r"config\.data\.weights"):
        make_batches(extreme, [pair[1], pair[1]], one_device(), seed=0, vocabulary=vocabulary)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stores": ("a",), "text": "b"}, "only one"),
        ({"stores": ("a", "b"), "weights": (1.0,)}, "weights"),
        ({"stores": ("a",), "weights": (0.0,)}, "weights"),
        ({"stores": ("a",), "weights": (float("nan"),)}, "weights"),
        ({"validation_rate": 1.0}, "validation_rate"),
        ({"sequence_length": 0}, "sequence_length"),
        ({"batch_size": 0}, "batch_size"),
        ({"num_threads": 0}, "num_threads"),
        ({"prefetch": 1, "num_threads": 2}, "prefetch"),
        ({"train_split": ""}, "train_split"),
    ],
)
def test_impossible_configs_are_refused_by_the_field(fields, message):
    with pytest.raises(ValueError, match=message):
        DataConfig(**fields)


def test_the_config_goes_through_a_config_dict_and_back():
    config = DataConfig(stores=("a", "b"), weights=(0.25, 0.75), objective=CausalLM())
    assert from_config_dict(DataConfig, to_config_dict(config)) == config


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
from nanojaxlm.data.stores import open_stores
from nanojaxlm.data.tokenizer import load_tokenizer
from nanojaxlm.data.vocabulary import Vocabulary
assert jax.process_count() == count and len(jax.devices()) == 2 * count
config = DataConfig(stores=tuple(paths), sequence_length=16, batch_size=8)
sharding = NamedSharding(Mesh(jax.devices(), ("data",)), PartitionSpec("data"))
stores = open_stores(config, None)
vocabulary = Vocabulary.of(load_tokenizer(stores[0].tokenizer))
batches = make_batches(config, stores, sharding, seed=0, vocabulary=vocabulary)
hashes = [fingerprint_hex(jax.jit(fingerprint)(batch)) for batch in islice(batches, 5)]
print(json.dumps({"hashes": hashes, "state": batches.get_state()}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 4])
def test_real_processes_read_the_global_batches_of_a_single_one(
    config, stores, vocabulary, tmp_path, count
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
    alone = make_batches(config, stores, one_device(), seed=0, vocabulary=vocabulary)
    hashes = [fingerprint_hex(jax.jit(fingerprint)(batch)) for batch in islice(alone, 5)]
    wanted = {"hashes": hashes, "state": alone.get_state()}
    assert outputs == [wanted] * count
