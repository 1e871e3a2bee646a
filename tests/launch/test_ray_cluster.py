"""launch/ray_cluster.yaml against Ray's schema, and launch/ray_cluster.sh against a stand-in."""

import shlex

import jsonschema
import pytest
import yaml

CURATION = ("--", "--config=configs/curation/web.py", "--input=/shared/a b", "--output=$HOME/x")


def curate(world, *options: str):
    return world.run("ray_cluster.sh", "curate", *options, *CURATION)


@pytest.mark.slow
def test_the_cluster_keeps_to_rays_schema(world):
    """As `ray up` reads it: the machines' list becomes node types, then the schema is checked."""
    util = pytest.importorskip("ray.autoscaler._private.util", reason="the extra `distributed`")
    text = (world.checkout / "launch" / "ray_cluster.yaml").read_text()
    util.validate_config(util.prepare_config(yaml.safe_load(text)))
    with pytest.raises(jsonschema.ValidationError, match="cluster_names"):
        wrong = yaml.safe_load(text.replace("cluster_name:", "cluster_names:"))
        util.validate_config(util.prepare_config(wrong))


def test_a_cluster_is_started_used_and_stopped(world):
    world.stand_in("ray", "")
    done = curate(world, "--checkout=/shared/my code")
    assert done.returncode == 0, done.stderr
    up, run, down = map(shlex.split, world.calls("ray"))
    cluster = str(world.checkout / "launch" / "ray_cluster.yaml")
    assert up == ["ray", "up", cluster, "--yes"]
    assert down == ["ray", "down", cluster, "--yes"]
    assert run[:3] == ["ray", "exec", cluster]
    assert shlex.split(run[3]) == [
        "cd", "/shared/my code", "&&", "python", "-m", "data_pipeline.main", *CURATION[1:],
        "--ray=auto",
    ]  # fmt: skip


def test_a_dry_run_prints_exactly_what_would_run(world):
    world.stand_in("ray", "")
    dry = curate(world, "--dry-run")
    assert (dry.returncode, world.calls()) == (0, [])
    curate(world)
    assert dry.stdout.splitlines() == world.calls("ray")


def test_a_curation_that_fails_stops_the_cluster_and_tells_its_code(world):
    world.stand_in("ray", "[[ $1 != exec ]] || exit 2\n")
    done = curate(world)
    assert done.returncode == 2
    assert [shlex.split(call)[1] for call in world.calls("ray")] == ["up", "exec", "down"]
    assert curate(world, "--keep").returncode == 2
    assert [shlex.split(call)[1] for call in world.calls("ray")][3:] == ["up", "exec"]


def test_a_cluster_that_cannot_be_stopped_is_told_by_the_code(world):
    world.stand_in("ray", "[[ $1 != down ]] || exit 1\n")
    assert curate(world).returncode == 75


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fly",), "the action is 'fly'"),
        (("curate",), "what to curate is missing"),
        (("up", "--cluster=none.yaml"), "none.yaml: there is no such file"),
        (("up", "--config=x"), "unknown option --config=x"),
    ],
)
def test_mistakes_are_told_at_once(world, arguments, words):
    world.stand_in("ray", "")
    done = world.run("ray_cluster.sh", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert world.calls() == []
