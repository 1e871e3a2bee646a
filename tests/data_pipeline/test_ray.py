"""A real Ray cluster of two workers, started as launch/ray_cluster.yaml starts it on machines."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from data_pipeline.engine import daft

ROOT = Path(__file__).parents[2]
ray_is_there = pytest.importorskip("ray", reason="the extra `distributed` is not installed")
RAY = Path(sys.executable).with_name("ray")


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def start(folder: Path, *arguments: str) -> None:
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [str(RAY), "start", "--disable-usage-stats", "--object-store-memory=100000000", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """host:port of a head that judges nothing and two workers of one core each."""
    port = free_port()
    # The path of Ray's sockets may have 107 characters: pytest's folders are too deep.
    folder = Path(f"/tmp/ray-of-tests-{os.getpid()}")
    head = [f"--temp-dir={folder}", "--head", f"--port={port}", "--num-cpus=0"]
    try:
        start(folder, *head, "--include-dashboard=false")
        for _ in range(2):
            start(folder, f"--address=127.0.0.1:{port}", "--num-cpus=1")
        yield f"127.0.0.1:{port}"
    finally:
        subprocess.run([str(RAY), "stop", "--force"], capture_output=True, check=False)
        subprocess.run(["rm", "-rf", str(folder)], check=False)
