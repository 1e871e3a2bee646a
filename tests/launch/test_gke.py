"""launch/gke: the manifests against the published schema, what their pods would run, and jobset.py
against a stand-in for kubectl."""

import json
import re
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

SCHEMA = json.loads((Path(__file__).parent / "jobset.schema.json").read_text())
TRAINING = ("--", "--config=configs/a b.py", "--workdir=/shared/it's", "--x=$(HOME) ${HOME} $HOME")
TPU = ("--accelerator=v5e", "--topology=16x16")
GPU = ("--accelerator=nvidia-h100-80gb", "--nodes=4")


def apply(world, *options: str, name: str = "llama") -> subprocess.CompletedProcess[str]:
    image = "--image=europe-docker.pkg.dev/me/r/n:tpu"
    return world.run("gke/jobset.py", "apply", f"--name={name}", image, *options, *TRAINING)


def rendered(world, *options: str) -> dict[str, Any]:
    done = apply(world, *options, "--dry-run")
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)


def pod(jobset: dict[str, Any]) -> dict[str, Any]:
    return jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]


@pytest.mark.parametrize(
    "options",
    [TPU, (*TPU, "--slices=4", "--spot"), ("--accelerator=v4", "--topology=4x4x8"), GPU,
     (*GPU, "--gpus=2", "--spot", "--claim=my: claim #1")],
    ids=" ".join,
)  # fmt: skip
def test_every_manifest_keeps_to_the_published_schema(world, options):
    jobset = rendered(world, *options)
    jsonschema.validate(jobset, SCHEMA, cls=jsonschema.Draft202012Validator)


def test_a_name_that_is_not_in_the_schema_is_refused(world):
    jobset = rendered(world, *TPU)
    jobset["spec"]["failurePolicy"]["maxRestart"] = 3
    with pytest.raises(jsonschema.ValidationError, match="maxRestart"):
        jsonschema.validate(jobset, SCHEMA)


@pytest.mark.parametrize(
    ("accelerator", "topology", "label", "hosts", "chips"),
    [
        ("v5e", "16x16", "tpu-v5-lite-podslice", 64, 4),
        ("v5e", "2x2", "tpu-v5-lite-podslice", 1, 4),
        ("v6e", "1x1", "tpu-v6e-slice", 1, 1),
        ("v5p", "4x4x4", "tpu-v5p-slice", 16, 4),
        ("v4", "2x2x2", "tpu-v4-podslice", 2, 4),
    ],
)
def test_a_slice_has_the_hosts_that_its_topology_has(
    world, accelerator, topology, label, hosts, chips
):
    options = (f"--accelerator={accelerator}", f"--topology={topology}", "--slices=3")
    jobset = rendered(world, *options)
    (job,) = jobset["spec"]["replicatedJobs"]
    assert job["replicas"] == 3
    assert job["template"]["spec"]["parallelism"] == job["template"]["spec"]["completions"] == hosts
    assert pod(jobset)["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": label,
        "cloud.google.com/gke-tpu-topology": topology,
    }
    resources = pod(jobset)["containers"][0]["resources"]
    assert resources["limits"] == resources["requests"] == {"google.com/tpu": chips}


def test_spot_nodes_are_asked_for_by_their_label(world):
    selector = pod(rendered(world, *GPU, "--spot"))["nodeSelector"]
    assert selector["cloud.google.com/gke-spot"] == "true"


def as_kubernetes_runs(world, jobset: dict[str, Any], **environment: str) -> list[str]:
    """What `python` gets from a pod's container, whose $(…) Kubernetes resolves."""

    def resolved(text: str) -> str:
        """$$( is $(; what names no variable of the pod stays."""
        known = {one["name"]: one.get("value", "") for one in container["env"]}
        known |= environment
        reference = re.compile(r"\$\$\(|\$\(([^)]*)\)")
        return reference.sub(lambda m: "$(" if m[1] is None else known.get(m[1], m[0]), text)

    (container,) = pod(jobset)["containers"]
    command = [resolved(word) for word in (*container["command"], *container["args"])]
    note = 'echo "${LIBTPU_INIT_ARGS:-}${XLA_FLAGS:-}" >"$WORLD/flags"\n'
    world.stand_in("python", note)
    subprocess.run(
        command, cwd=world.checkout, env=world.environment(HOME="/", **environment), check=True
    )
    (call,) = world.calls("python")
    return shlex.split(call)[1:]


def test_a_pod_of_a_slice_trains_as_a_process_of_the_cluster(world):
    ran = as_kubernetes_runs(world, rendered(world, *TPU))
    assert ran == ["-m", "nanojaxlm.main", *TRAINING[1:], "--distributed"]
    flags = world.run("xla_flags.sh", "v5e").stdout.split()
    assert (world.folder / "flags").read_text().split() == flags


def test_a_pod_of_a_gpu_node_finds_the_first_by_its_name(world):
    ran = as_kubernetes_runs(world, rendered(world, *GPU), PROCESS="2")
    assert ran == [
        "-m", "nanojaxlm.main", *TRAINING[1:], "--coordinator=llama-node-0-0.llama:8482",
        "--num_processes=4", "--process_id=2",
    ]  # fmt: skip
    flags = world.run("xla_flags.sh", "gpu").stdout.split()
    assert (world.folder / "flags").read_text().split() == flags


@pytest.mark.parametrize("options", [TPU, GPU])
def test_only_a_mistake_ends_a_jobset_at_once(world, options):
    jobset = rendered(world, *options, "--max-restarts=7")
    policy = jobset["spec"]["failurePolicy"]
    assert policy["maxRestarts"] == 7
    (rule,) = policy["rules"]
    assert (rule["action"], rule["onJobFailureReasons"]) == ("FailJobSet", ["PodFailurePolicy"])
    job = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert job["backoffLimit"] == 0
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"]["values"] == [2]
    assert rule["onExitCodes"]["containerName"] == pod(jobset)["containers"][0]["name"]


KUBECTL = """
case $2 in
  apply) cp -- "${3#--filename=}" "$WORLD/applied.yaml" ;;
  get) head -1 "$WORLD/states"; (($(wc -l <"$WORLD/states") == 1)) || sed -i 1d "$WORLD/states" ;;
  logs) echo "step 1: loss 3.2"; exec sleep 60 ;;
esac
"""


def test_apply_hands_kubectl_the_manifest_that_a_dry_run_shows(world):
    world.stand_in("kubectl", KUBECTL)
    dry = apply(world, *TPU, "--namespace=ml", "--dry-run")
    assert world.calls() == []
    done = apply(world, *TPU, "--namespace=ml")
    assert done.returncode == 0, done.stderr
    assert world.calls("kubectl") == [dry.stdout.splitlines()[-1].removeprefix("# ")]
    applied = (world.folder / "applied.yaml").read_text()
    assert dry.stdout.startswith(applied)


@pytest.mark.parametrize(("state", "code"), [("Completed", 0), ("Failed", 1)])
def test_wait_ends_as_the_jobset_does(world, state, code):
    world.stand_in("kubectl", KUBECTL)
    (world.folder / "states").write_text(f"\n\n{state}\n")
    started = time.monotonic()
    done = world.run("gke/jobset.py", "wait", "--name=llama", "--poll-seconds=0.5")
    assert done.returncode == code, done.stderr
    assert "step 1: loss 3.2" in done.stdout and f"llama: {state}" in done.stdout
    assert time.monotonic() - started < 30  # the log was not waited for
    dry = world.run("gke/jobset.py", "wait", "--name=llama", "--dry-run")
    ran = dict.fromkeys(world.calls("kubectl"))
    assert list(map(shlex.split, dry.stdout.splitlines())) == list(map(shlex.split, ran))


def test_delete_names_the_jobset(world):
    world.stand_in("kubectl", "exit 3")
    done = world.run("gke/jobset.py", "delete", "--name=llama")
    assert done.returncode == 3
    assert world.calls("kubectl") == ["kubectl --namespace=default delete jobset/llama"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--accelerator=v5e",), "--topology=None must be as in --topology=16x16"),
        (("--accelerator=v5e", "--topology=0x4"), "--topology=0x4 must be"),
        ((*GPU, "--topology=4x4"), "--topology and --slices are of TPUs"),
        ((*TPU, "--slices=0"), "--slices must be 1 or more"),
    ],
)
def test_mistakes_are_told_before_anything_is_applied(world, options, words):
    world.stand_in("kubectl", KUBECTL)
    done = apply(world, *options)
    assert done.returncode == 2
    assert f"error: {words}" in done.stderr
    assert world.calls() == []


def test_a_name_that_kubernetes_refuses_is_a_mistake(world):
    done = apply(world, *TPU, name="My_run")
    assert done.returncode == 2
    assert "error: --name=My_run must be" in done.stderr


def test_the_image_holds_what_the_manifests_run():
    """The Dockerfile copies every package and the scripts to the folder that pods work in."""
    text = (Path(__file__).resolve().parents[2] / "launch" / "gke" / "Dockerfile").read_text()
    assert "WORKDIR /nanojaxlm" in text
    copied = {line.split()[1] for line in text.splitlines() if line.startswith("COPY")}
    assert {"nanojaxlm", "data_pipeline", "configs", "launch", "setup.cfg"} <= copied
