"""DataConfig: what it refuses, and its way through a ConfigDict."""

import pytest

from nanojaxlm.data.input import DataConfig
from nanojaxlm.data.objectives import CausalLM, FillInTheMiddle, SpanCorruption
from nanojaxlm.typed_config import from_config_dict, to_config_dict


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch_warmup": ((100, 8), (100, 16))}, "steps of batch_warmup must be above 0 and grow"),
        ({"batch_warmup": ((0, 8),)}, "steps of batch_warmup"),
        ({"batch_warmup": ((100, 8), (200, 8))}, "rows, with batch_size the last, of batch_warmup"),
        ({"batch_warmup": ((100, 32),)}, r"got \[32, 32\]"),
        ({"batch_warmup": ((100, 0),)}, "rows, with batch_size"),
        ({"batch_warmup": ((100, 8, 9),)}, "pairs of"),
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
        ({"sequence_length": 2048, "objective": SpanCorruption()}, "num_sentinels=100 are too few"),
        ({"sequence_length": 2, "objective": FillInTheMiddle()}, "sequence_length=2 has no room"),
    ],
)
def test_impossible_configs_are_refused_by_the_field(fields, message):
    with pytest.raises(ValueError, match=message):
        DataConfig(**fields)


def test_the_config_goes_through_a_config_dict_and_back():
    config = DataConfig(
        stores=("a", "b"),
        weights=(0.25, 0.75),
        objective=CausalLM(),
        batch_warmup=((9, 2), (20, 4)),
    )
    assert from_config_dict(DataConfig, to_config_dict(config)) == config
