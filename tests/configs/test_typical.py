"""The planner's typical model as a config."""

import runpy
from pathlib import Path

import pytest

from nanojaxlm.config import Config
from nanojaxlm.economics.shape import count, typical_config
from nanojaxlm.errors import UserError
from nanojaxlm.typed_config import from_config_dict

FILE = Path(__file__).resolve().parents[2] / "configs" / "models" / "typical.py"
get_config = runpy.run_path(str(FILE))["get_config"]


def test_it_is_the_planners_own_model():
    made = from_config_dict(Config, get_config("params=1.5B,sequence_length=2048"))
    assert made == typical_config(1.5e9, 2048)
    mixture = from_config_dict(Config, get_config("params=47B,active_params=13B"))
    assert count(mixture)[1] == pytest.approx(13e9, rel=0.05)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ("7B", "is no size"),
        ("sequence_length=8", "lacks params"),
        ("params=x", "is no number"),
        ("params=1", "parameters must be between"),
        ("params=1e9,active_params=2e9", "active parameters"),
    ],
)
def test_mistakes_are_told(size, words):
    with pytest.raises(UserError, match=words):
        get_config(size)
