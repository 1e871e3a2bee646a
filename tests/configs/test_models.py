"""Every config of a published family loads, validates, comes back from JSON, and has the published
number of parameters."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from nanojaxlm.config import Config
from nanojaxlm.errors import UserError
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.state import num_parameters, parameter_boxes
from nanojaxlm.typed_config import dump_json, flatten, from_config_dict

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "models"
NO_FAMILIES = ("__init__", "recipe", "scaled", "typical")
FAMILIES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in NO_FAMILIES)

# Of the checkpoints that the docstrings name, as `transformers` counts them (a tied table once).
PUBLISHED = {
    "gpt2": {
        "124m": 124_439_808,
        "355m": 354_823_168,
        "774m": 774_030_080,
        "1.5b": 1_557_611_200,
    },
    "llama": {
        "2-7b": 6_738_415_616,
        "2-13b": 13_015_864_320,
        "2-70b": 68_976_648_192,
        "3-8b": 8_030_261_248,
        "3-70b": 70_553_706_496,
        "3.1-8b": 8_030_261_248,
        "3.1-70b": 70_553_706_496,
        "3.1-405b": 405_853_388_800,
        "3.2-1b": 1_235_814_400,
        "3.2-3b": 3_212_749_824,
    },
    "mistral": {
        "7b-0.1": 7_241_732_096,
        "7b-0.3": 7_248_023_552,
        "nemo-12b": 12_247_782_400,
    },
    "qwen": {
        "2.5-0.5b": 494_032_768,
        "2.5-1.5b": 1_543_714_304,
        "2.5-3b": 3_085_938_688,
        "2.5-7b": 7_615_616_512,
        "3-0.6b": 596_049_920,
        "3-1.7b": 1_720_574_976,
        "3-4b": 4_022_468_096,
        "3-8b": 8_190_735_360,
        "3-14b": 14_768_307_200,
        "3-32b": 32_762_123_264,
    },
    "gemma": {
        "2-2b": 2_614_341_888,
        "2-9b": 9_241_705_984,
        "2-27b": 27_227_128_320,
        "3-270m": 268_098_176,
        "3-1b": 999_885_952,
        "3-4b": 3_880_263_168,
        "3-12b": 11_766_034_176,
        "3-27b": 27_009_346_304,
    },
    "olmo2": {
        "1b": 1_484_916_736,
        "7b": 7_298_617_344,
        "13b": 13_716_198_400,
        "32b": 32_234_279_936,
    },
    "mixtral": {"8x7b": 46_702_792_704, "8x22b": 140_620_634_112},
    "qwen_moe": {
        "1.5-a2.7b": 14_315_784_192,
        "2-57b-a14b": 57_408_658_944,
        "3-30b-a3b": 30_532_122_624,
        "3-235b-a22b": 235_093_634_560,
    },
    "deepseek_moe": {"16b": 16_375_728_128, "dots1": 142_774_381_696},
    "bert": {"base": 109_514_298, "large": 335_174_458},
    "roberta": {"base": 124_697_433, "large": 355_412_057},
    "modernbert": {"base": 149_655_232, "large": 395_881_664},
    "t5": {
        "small": 60_506_624,
        "base": 222_903_552,
        "large": 737_668_096,
        "3b": 2_851_598_336,
        "11b": 11_307_321_344,
        "1.1-small": 76_961_152,
        "1.1-base": 247_577_856,
        "1.1-large": 783_150_080,
        "1.1-xl": 2_849_757_184,
        "1.1-xxl": 11_135_332_352,
    },
    "modern_encoder_decoder": {
        "small": 312_517_632,
        "base": 591_490_560,
        "large": 1_241_761_792,
        "2b": 5_596_853_760,
    },
}
SIZES = [(family, size) for family in PUBLISHED for size in PUBLISHED[family]]


def run(family: str) -> dict[str, Any]:
    return runpy.run_path(str(FOLDER / f"{family}.py"))


def load(family: str, *size: str) -> Config:
    return from_config_dict(Config, run(family)["get_config"](*size))


def test_every_family_is_counted_and_every_size_of_it():
    assert set(FAMILIES) == set(PUBLISHED)
    for family in FAMILIES:
        assert set(run(family)["SIZES"]) == set(PUBLISHED[family])


@pytest.mark.parametrize(("family", "size"), SIZES)
def test_it_has_the_published_number_of_parameters(family: str, size: str):
    """No array is made: the largest would take 1.6 TB."""
    boxes = parameter_boxes(Transformer(load(family, size).model))
    assert num_parameters(boxes) == PUBLISHED[family][size]


@pytest.mark.parametrize("family", FAMILIES)
def test_its_docstring_has_the_command_and_each_count(family: str):
    text = (FOLDER / f"{family}.py").read_text(encoding="utf-8")
    assert f"python -m nanojaxlm.main --config=configs/models/{family}.py:" in text
    for size, count in PUBLISHED[family].items():
        assert f"{count:,}" in text, size


@pytest.mark.parametrize("family", FAMILIES)
def test_it_comes_back_from_json(family: str):
    config = load(family)
    assert from_config_dict(Config, json.loads(dump_json(config))) == config


@pytest.mark.parametrize("family", FAMILIES)
def test_its_objective_reads_and_predicts_with_the_stacks_it_has(family: str):
    """An encoder alone fills in, a decoder alone goes on, both together translate."""
    config = load(family)
    objective = config.data.objective
    assert objective.encodes == (config.model.encoder is not None)
    assert objective.decodes == (config.model.decoder is not None)
    assert config.training.steps > 1000


@pytest.mark.parametrize("family", FAMILIES)
def test_any_field_can_be_overridden(family: str):
    flat = flatten(run(family)["get_config"]().to_dict())
    assert {"config.model.d_model", "config.training.steps", "config.data.batch_size"} <= set(flat)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_unknown_size_is_refused_with_those_there_are(family: str):
    with pytest.raises(UserError, match="there is no size '1t'") as caught:
        load(family, "1t")
    assert all(size in str(caught.value) for size in PUBLISHED[family])
