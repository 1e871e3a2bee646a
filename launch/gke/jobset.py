#!/usr/bin/env python3
"""Trains on GKE, as a JobSet of TPU slices or of GPU nodes.

    launch/gke/jobset.py apply --name=llama --image=IMAGE --accelerator=v5e --topology=16x16 \\
        --claim=shared -- --config=configs/x.py --workdir=/shared/run
    launch/gke/jobset.py apply … --accelerator=nvidia-h100-80gb --nodes=4 --gpus=8 -- …
    launch/gke/jobset.py wait --name=llama        until it is done: shows its log
    launch/gke/jobset.py delete --name=llama      stop it, after a checkpoint

apply fills in launch/gke/tpu.yaml or gpu.yaml, writes it to out/gke/NAME.yaml and applies that with
kubectl. The JobSet restarts by itself after a preemption or a failure, and goes on from the newest
checkpoint of --workdir, which must lie below /shared: there the claim is mounted in every pod.
IMAGE is built from launch/gke/Dockerfile. The cluster needs JobSet (jobset.sigs.k8s.io), and a node
pool for each slice.

Exit codes: 0 done; 1 the JobSet failed; 2 a mistake in the call; else kubectl's.
"""

import argparse
import json
import math
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from string import Template

HERE = Path(__file__).resolve().parent
TPUS = {  # platform -> label of its nodes (cloud.google.com/kubernetes-engine, "TPUs in GKE")
    "v4": "tpu-v4-podslice",
    "v5e": "tpu-v5-lite-podslice",
    "v5p": "tpu-v5p-slice",
    "v6e": "tpu-v6e-slice",
}
CHIPS_PER_HOST = 4  # of every TPU's nodes that belong to slices of several hosts


def mistake(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """(options, arguments of nanojaxlm.main), which stand after --."""
    cut = argv.index("--") if "--" in argv else len(argv)
    parser = argparse.ArgumentParser(
        prog="launch/gke/jobset.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("action", choices=("apply", "wait", "delete"))
    parser.add_argument("--name", required=True, help="of the JobSet, at most 40 letters")
    parser.add_argument("--namespace", default="default")
    parser.add_argument("--image", help="built from launch/gke/Dockerfile")
    parser.add_argument("--accelerator", help="v4, v5e, v5p, v6e, or the label of GPU nodes")
    parser.add_argument("--topology", help="of a TPU slice, such as 16x16")
    parser.add_argument("--slices", type=int, default=1, help="TPU slices (1)")
    parser.add_argument("--nodes", type=int, default=1, help="GPU nodes (1)")
    parser.add_argument("--gpus", type=int, default=8, help="GPUs of a node (8)")
    parser.add_argument("--spot", action="store_true", help="on spot nodes")
    parser.add_argument("--claim", default="shared", help="a persistent volume claim (shared)")
    parser.add_argument("--max-restarts", type=int, default=100)
    parser.add_argument("--poll-seconds", type=float, default=30)
    parser.add_argument("--dry-run", action="store_true", help="print instead of running")
    options = parser.parse_args(argv[:cut])
    return options, argv[cut + 1 :]


def manifest(options: argparse.Namespace, arguments: list[str]) -> str:
    """The JobSet, as YAML."""
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", options.name):
        mistake(f"--name={options.name} must be up to 40 of a-z, 0-9 and -, a letter first")
    for needed in ("image", "accelerator"):
        if not getattr(options, needed):
            mistake(f"--{needed} is missing")
    if not arguments:
        mistake("what to train is missing: -- --config=FILE --workdir=/shared/FOLDER")
    for count in ("slices", "nodes", "gpus"):
        if getattr(options, count) < 1:
            mistake(f"--{count} must be 1 or more")
    fields = {
        "name": options.name,
        "image": json.dumps(options.image),
        "claim": json.dumps(options.claim),
        "max_restarts": options.max_restarts,
        # Kubernetes would put variables in the place of $(…)
        "arguments": json.dumps([one.replace("$(", "$$(") for one in arguments]),
    }
    if options.accelerator in TPUS:
        sizes = r"[1-9][0-9]*(x[1-9][0-9]*){1,2}"
        if not re.fullmatch(sizes, options.topology or ""):
            mistake(f"--topology={options.topology} must be as in --topology=16x16 or 4x4x8")
        chips = math.prod(map(int, options.topology.split("x")))
        selector = {
            "cloud.google.com/gke-tpu-accelerator": TPUS[options.accelerator],
            "cloud.google.com/gke-tpu-topology": options.topology,
        }
        fields |= {
            "platform": options.accelerator,
            "slices": options.slices,
            "hosts": max(1, chips // CHIPS_PER_HOST),
            "chips": min(chips, CHIPS_PER_HOST),
        }
    else:
        if options.topology or options.slices != 1:
            mistake(
                f"--topology and --slices are of TPUs ({', '.join(TPUS)}), not of "
                f"--accelerator={options.accelerator}"
            )
        selector = {"cloud.google.com/gke-accelerator": options.accelerator}
        fields |= {"hosts": options.nodes, "chips": options.gpus}
    if options.spot:
        selector["cloud.google.com/gke-spot"] = "true"
    fields["node_selector"] = json.dumps(selector)
    template = HERE / ("tpu.yaml" if options.accelerator in TPUS else "gpu.yaml")
    return Template(template.read_text(encoding="utf-8")).substitute(fields)


def kubectl(options: argparse.Namespace, *words: str) -> list[str]:
    return ["kubectl", f"--namespace={options.namespace}", *words]


def state_command(options: argparse.Namespace) -> list[str]:
    state = "--output=jsonpath={.status.terminalState}"
    return kubectl(options, "get", f"jobset/{options.name}", state)


def log_command(options: argparse.Namespace) -> list[str]:
    """Of the first process, the one that reports."""
    first = "jobset.sigs.k8s.io/job-index=0,batch.kubernetes.io/job-completion-index=0"
    selector = f"--selector=jobset.sigs.k8s.io/jobset-name={options.name},{first}"
    return kubectl(options, "logs", "--follow", "--tail=20", selector)


def wait(options: argparse.Namespace) -> int:
    """Shows what the first process says, until the JobSet is done: 0, or 1 where it failed."""
    following: subprocess.Popen | None = None
    try:
        while True:
            command = state_command(options)
            state = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
            if state.returncode:
                return state.returncode
            terminal = state.stdout.strip()  # empty while it runs
            if terminal in ("Completed", "Failed"):
                print(f"{options.name}: {terminal}")
                return int(terminal == "Failed")
            if following is None or following.poll() is not None:  # a pod that is new, or not yet
                following = subprocess.Popen(log_command(options), stderr=subprocess.DEVNULL)
            time.sleep(options.poll_seconds)
    finally:
        if following is not None:
            following.terminate()
            following.wait()


def main(argv: list[str]) -> int:
    options, arguments = parse(argv)
    if options.action == "wait" and not options.dry_run:
        return wait(options)
    if options.action == "wait":
        print(shlex.join(state_command(options)), shlex.join(log_command(options)), sep="\n")
        return 0
    if options.action == "delete":
        command = kubectl(options, "delete", f"jobset/{options.name}")
    else:
        text = manifest(options, arguments)
        path = HERE.parents[1] / "out" / "gke" / f"{options.name}.yaml"
        command = kubectl(options, "apply", f"--filename={path}")
        if options.dry_run:
            print(text, end="")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if options.dry_run:  # a comment where a manifest stands before it: kubectl can read both
        print("# " * (options.action == "apply") + shlex.join(command))
        return 0
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
