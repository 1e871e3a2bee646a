"""A real Ray cluster of two workers, started as launch/ray_cluster.yaml starts it on machines."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="the extra `distributed` is not installed")
yaml = pytest.importorskip("yaml", reason="the extra `distributed` is not installed")

ROOT = Path(__file__).parents[2]
RAY = Path(sys.executable).with_name("ray")


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def start(log: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """A node, in a process that stays: to end it ends the node, and no other cluster's."""
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT)}
    command = [RAY, "start", "--block", "--disable-usage-stats", "--object-store-memory=100000000"]
    with open(log, "wb") as output:
        node = subprocess.Popen(
            [*command, *arguments], stdout=output, stderr=subprocess.STDOUT, env=environment
        )
    deadline = time.monotonic() + 120
    while b"Ray runtime started" not in log.read_bytes():
        assert node.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)
    return node


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """host:port of a head that judges nothing and two workers of one core each."""
    port, logs = free_port(), tmp_path_factory.mktemp("ray")
    # The path of Ray's sockets may have 107 characters: pytest's folders are too deep.
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    head = (f"--temp-dir={folder}", "--head", f"--port={port}", "--num-cpus=0")
    nodes: list[subprocess.Popen[bytes]] = []
    try:
        nodes.append(start(logs / "head", *head, "--include-dashboard=false"))
        for name in ("one", "two"):
            nodes.append(start(logs / name, f"--address=127.0.0.1:{port}", "--num-cpus=1"))
        yield f"127.0.0.1:{port}"
    finally:
        for node in reversed(nodes):
            node.terminate()
            node.wait()
        shutil.rmtree(folder, ignore_errors=True)


def curate(corpus: Path, output: Path, *arguments: str) -> dict[str, bytes]:
    """Runs the command; every file that it made but for times."""
    command = [
        *(sys.executable, "-m", "data_pipeline.main", "--config=configs/curation/quickstart.py"),
        *(f"--input={corpus}", f"--output={output}", "--config.tokenizer.vocab_size=400"),
    ]
    done = subprocess.run(
        [*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {
        str(path.relative_to(output)): path.read_bytes()
        for path in sorted(output.rglob("*"))
        if path.is_file()
        and "stages" not in path.relative_to(output).parts
        and path.name not in ("report.json", "report.html", "manifest.json")
    }


@pytest.mark.slow
def test_the_same_config_gives_the_same_bytes_on_ray_with_two_workers(
    cluster, tmp_path, make_prose
):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for i in range(40):
        (corpus / f"{i:02d}.txt").write_text(make_prose(i, 300))
    (corpus / "copy.txt").write_text(make_prose(3, 300).upper())
    (corpus / "page.html").write_text(f"<html><body><p>{make_prose(300)}</p></body></html>")
    here = curate(corpus, tmp_path / "here", "--workers=1")
    there = curate(
        corpus, tmp_path / "there", "--workers=2", f"--ray={cluster}", "--part_megabytes=0.1"
    )
    assert len(list((tmp_path / "there").glob("stages/read-*/part-*.parquet"))) > 2
    assert here == there


def test_the_cluster_file_is_one_that_ray_accepts():
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((ROOT / "launch" / "ray_cluster.yaml").read_text())
    validate_config(prepare_config(config))
    assert "--num-cpus=0" in config["head_start_ray_commands"][-1]
    assert config["min_workers"] == len(config["provider"]["worker_ips"]) == 2
