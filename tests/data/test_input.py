"""Global batches: the same for every number of processes, at any step, in every layout."""

import dataclasses
import hashlib
import json
from itertools import islice

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from nanojaxlm.data.draws import Draws
from nanojaxlm.data.input import DataConfig, make_batches, validation_batches
from nanojaxlm.data.objectives import (
    CausalLM,
    FillInTheMiddle,
    MaskedLM,
    Mixture,
    MixtureOfDenoisers,
    NextTokens,
    PrefixLM,
    SpanCorruption,
)
from nanojaxlm.data.objectives.rows import Rows, Setting
from nanojaxlm.data.schedule import BatchSizes, Schedule
from nanojaxlm.data.source import BatchSource, RowSource
from nanojaxlm.errors import UserError

OBJECTIVES = [
    MaskedLM(whole_words=True),
    SpanCorruption(mean_length=2.0),
    MixtureOfDenoisers(layout="prefix"),
    PrefixLM(layout="encoder"),
    FillInTheMiddle(),
    NextTokens(num_tokens=3),
    Mixture(objectives=(CausalLM(), PrefixLM(), SpanCorruption(layout="prefix"))),
]

LENGTHS = [2, 30, 3, 2, 2, 17, 8, 64, 9, 2, 41] * 8


@pytest.fixture(params=OBJECTIVES, ids=lambda one: type(one).__name__)
def any_config(config, request) -> DataConfig:
    return dataclasses.replace(config, objective=request.param)


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


GROWING = BatchSizes(final=8, warmup=((2, 4),))


@pytest.mark.parametrize(
    ("sizes", "num_processes"),
    [*((BatchSizes(final=8), n) for n in (1, 2, 4, 8)), (GROWING, 2), (GROWING, 4)],
)
def test_the_slices_of_any_number_of_processes_make_the_same_batches(stores, sizes, num_processes):
    sources = [[RowSource(store.split("train"), 16)] for store in stores]
    schedule = Schedule([len(group[0]) for group in sources], (0.7, 0.3), seed=3)
    alone = BatchSource(sources, schedule, sizes, {n: np.arange(n) for n in sizes.each})
    slices = {n: np.split(np.arange(n), num_processes) for n in sizes.each}
    parts = [
        BatchSource(sources, schedule, sizes, {n: each[i] for n, each in slices.items()})
        for i in range(num_processes)
    ]
    for step in (0, 1, 2, 3, 50, 1000):
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


def test_any_objective_makes_the_same_batches_in_every_layout(any_config, stores, vocabulary):
    def first(sharding, number, start_step=0):
        batches = make_batches(
            any_config, stores, sharding, seed=4, vocabulary=vocabulary, start_step=start_step
        )
        seen = list(islice(batches, number))
        batches.close()
        return seen

    wanted = [digest([batch]) for batch in first(one_device(), 6)]
    assert len(set(wanted)) == 6
    for sharding in layouts():
        seen = first(sharding, 2)
        assert [digest([batch]) for batch in seen] == wanted[:2]
        for array in jax.tree.leaves(seen):
            assert array.sharding.is_equivalent_to(sharding, 2)
    assert [digest([batch]) for batch in first(one_device(), 2, start_step=4)] == wanted[4:]
    again = dataclasses.replace(any_config, num_threads=1, prefetch=1)
    batches = make_batches(again, stores, one_device(), seed=4, vocabulary=vocabulary)
    assert digests(batches, 6) == wanted


@pytest.mark.parametrize("num_processes", [2, 4])
def test_any_objective_gives_a_process_its_rows_of_the_global_batch(
    any_config, stores, vocabulary, num_processes
):
    """Each process reads and corrupts only the rows that its devices hold."""
    devices = jax.devices()[:num_processes]
    whole = make_batches(any_config, stores, one_device(), seed=4, vocabulary=vocabulary)
    wanted = list(islice(whole, 3))
    lengths = any_config.lengths
    groups = [[RowSource(s.split("train"), lengths.row, lengths.ahead) for s in stores]]
    schedule = Schedule([sum(map(len, groups[0]))], (1.0,), seed=4)
    setting = Setting(
        vocabulary,
        {name: vocabulary.size + i for i, name in enumerate(any_config.objective.extra_tokens)},
        16,
    )
    for rows in np.split(np.arange(8), len(devices)):
        source = BatchSource(groups, schedule, BatchSizes(final=8), {8: rows})
        for step, batch in enumerate(wanted):
            tokens, segments, places = source[step]
            part = any_config.objective.batch(Rows(tokens, segments, Draws.of(4, places)), setting)
            for mine, all_of_it in zip(jax.tree.leaves(part), jax.tree.leaves(batch), strict=True):
                np.testing.assert_array_equal(mine, np.asarray(all_of_it)[rows])


def test_each_epoch_has_other_masks_and_validation_always_the_same(config, stores, vocabulary):
    config = dataclasses.replace(config, objective=MaskedLM(rate=0.5), batch_size=1)
    rows = sum(len(RowSource(store.split("train"), 16, 0)) for store in stores)
    masks = []
    for epoch in range(2):
        batches = make_batches(
            config, stores, one_device(), seed=0, vocabulary=vocabulary, start_step=epoch * rows
        )
        masks.append(
            {
                np.asarray(batch.targets.tokens_BT).tobytes(): np.asarray(batch.targets.weights_BT)
                for batch in islice(batches, rows)
            }
        )
        batches.close()
    assert masks[0].keys() == masks[1].keys()
    differ = [not np.array_equal(masks[0][row], masks[1][row]) for row in masks[0]]
    assert np.mean(differ) > 0.9
    passes = [
        digests(validation_batches(config, stores, one_device(), vocabulary), 99) for _ in range(2)
    ]
    assert passes[0] == passes[1]


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
        "objective": make_batches(
            dataclasses.replace(config, objective=PrefixLM()),
            stores,
            one_device(),
            seed=1,
            vocabulary=vocabulary,
        ),
    }
    for name, batches in others.items():
        with pytest.raises(UserError, match=f"have {name}"):
            batches.set_state(state)


def test_the_state_holds_every_number_of_the_objective(config, stores, vocabulary):
    states = [
        make_batches(
            dataclasses.replace(config, objective=objective),
            stores,
            one_device(),
            seed=1,
            vocabulary=vocabulary,
        )
        for objective in (
            Mixture(objectives=(SpanCorruption(), SpanCorruption(density=0.25))),
            Mixture(objectives=(SpanCorruption(), SpanCorruption(density=0.3))),
        )
    ]
    state = json.loads(json.dumps(states[0].get_state()))
    states[0].set_state(state)
    with pytest.raises(UserError, match=r"have objective .*0\.25.* give .*0\.3"):
        states[1].set_state(state)


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


# --- Batches that grow


WARMUP = ((3, 2), (5, 4))  # 2 rows a step, from step 3 on 4, from step 5 on 8


def test_a_batch_that_grows_reads_the_rows_of_one_that_does_not(stores, any_config, vocabulary):
    """Row by row in the order of the places, whatever the objective draws: none is skipped, none
    comes twice."""

    def rows(config: DataConfig, sizes: list[int]) -> list[str]:
        batches = make_batches(config, stores, one_device(), seed=5, vocabulary=vocabulary)
        seen = list(islice(batches, len(sizes)))
        batches.close()
        assert [len(batch.targets.tokens_BT) for batch in seen] == sizes
        of_each = [jax.tree.map(lambda a, i=i: a[i], b) for b in seen for i in range(len(b[0][0]))]
        return [digest([row]) for row in of_each]

    growing = dataclasses.replace(any_config, batch_warmup=WARMUP)
    wanted = rows(any_config, [8] * 4)
    assert rows(growing, [2, 2, 2, 4, 4, 8, 8])[:30] == wanted[:30]


def test_a_batch_that_grows_is_the_same_in_every_layout_and_from_any_step(
    config, stores, vocabulary
):
    growing = dataclasses.replace(config, batch_warmup=((2, 4),))
    batches = make_batches(growing, stores, one_device(), seed=0, vocabulary=vocabulary)
    wanted = digests(batches, 5)
    for step in (0, 1, 2, 4):
        batches.seek(step)
        assert digests(batches, 5 - step) == wanted[step:]
    for sharding in layouts():
        if sharding.mesh.shape["data"] > 4 and sharding.spec[0] == "data":
            continue  # four rows do not split over eight devices
        batches = make_batches(growing, stores, sharding, seed=0, vocabulary=vocabulary)
        assert digests(batches, 5) == wanted
        batches.close()


def test_a_checkpoint_of_another_warmup_is_refused(config, stores, vocabulary):
    def make(warmup):
        growing = dataclasses.replace(config, batch_warmup=warmup)
        return make_batches(growing, stores, one_device(), seed=0, vocabulary=vocabulary)

    batches = make(WARMUP)
    assert len(list(islice(batches, 4))) == 4
    state = json.loads(json.dumps(batches.get_state()))
    again = make(WARMUP)
    again.set_state(state)
    assert digests(again, 2) == digests(batches, 2)
    for other in ((), ((3, 2), (6, 4))):
        with pytest.raises(UserError, match="batch_size"):
            make(other).set_state(state)


def test_validation_reads_whole_batches_whatever_the_warmup(config, stores, vocabulary):
    plain, growing = (
        list(validation_batches(one, stores, one_device(), vocabulary))
        for one in (config, dataclasses.replace(config, batch_warmup=WARMUP))
    )
    assert [digest([batch]) for batch in plain] == [digest([batch]) for batch in growing]
