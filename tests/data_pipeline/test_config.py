"""The config of a curation: stages left out, moved, and alone."""

import json
import runpy
from pathlib import Path

import pytest

from data_pipeline.config import STAGES, CurationConfig
from data_pipeline.decontaminate import DecontaminateConfig, EvalSet
from data_pipeline.language import LanguageConfig
from data_pipeline.mix import MixConfig, SourceWeight
from data_pipeline.pii import PiiConfig
from data_pipeline.stage import Comparison, Stage
from nanojaxlm.typed_config import from_config_dict, to_plain

CONFIGS = Path(__file__).parents[2] / "configs" / "curation"


def test_every_stage_is_one_and_has_the_name_of_its_field():
    for name, make in STAGES.items():
        assert make.name == name  # pyright: ignore[reportFunctionMemberAccess]
        assert hasattr(make, "judge") and hasattr(make, "rewrites")


def test_stages_run_in_the_order_asked_for_and_none_is_left_out_by_mistake():
    config = CurationConfig(language=LanguageConfig(), pii=PiiConfig(), extraction=None)
    names = [stage.name for stage in config.stages()]
    assert names == ["exact_dedup", "language", "filter", "near_dedup", "pii"]
    assert all(isinstance(stage, Stage) for stage in config.stages())
    assert isinstance(config.stages()[0], Comparison)
    turned = CurationConfig(pii=PiiConfig(), order=tuple(reversed(STAGES)))
    assert [s.name for s in turned.stages()][:2] == ["pii", "near_dedup"]
    with pytest.raises(ValueError, match="pii: not in order"):
        CurationConfig(pii=PiiConfig(), order=("extraction", "exact_dedup", "filter", "near_dedup"))
    with pytest.raises(ValueError, match="names each stage once"):
        CurationConfig(order=("filter", "filter"))


def test_one_stage_can_be_run_alone():
    config = CurationConfig(pii=PiiConfig()).only("pii")
    assert [stage.name for stage in config.stages()] == ["pii"] and config.tokenizer is None
    with pytest.raises(ValueError, match="no stage 'quality'"):
        CurationConfig().only("quality")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("[!_]*.py")), ids=lambda path: path.stem)
def test_a_shipped_config_survives_its_file(path):
    tree = runpy.run_path(str(path))["get_config"]()
    config = from_config_dict(CurationConfig, tree)
    plain = json.loads(json.dumps(to_plain(config)))
    assert from_config_dict(CurationConfig, plain) == config


def test_lists_of_weights_and_of_evaluation_sets_survive_their_file():
    config = CurationConfig(
        mix=MixConfig(weights=(SourceWeight(pattern="*/wiki/*", weight=2.5),)),
        decontaminate=DecontaminateConfig(sets=(EvalSet(name="gsm8k", path="/x.txt"),)),
    )
    plain = json.loads(json.dumps(to_plain(config)))
    assert from_config_dict(CurationConfig, plain) == config
