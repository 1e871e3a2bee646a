"""launch/xla_flags.txt: each flag has a reason, and the compilers that are installed know it."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

LAUNCH = Path(__file__).resolve().parents[2] / "launch"
LINES = (LAUNCH / "xla_flags.txt").read_text().splitlines()
FLAG = re.compile(r"(tpu|v4|v5e|v5p|v6e|gpu) (--(xla_[a-z0-9_]+)=(\S+))")
TPUS = {"v4": "v4:2x2x1", "v5e": "v5e:2x2", "v5p": "v5p:2x2x1", "v6e": "v6e:2x2"}


def printed(platform: str) -> list[str]:
    done = subprocess.run(
        [LAUNCH / "xla_flags.sh", platform], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_every_flag_has_a_reason_above_it():
    explained = False
    for line in LINES[LINES.index("") :]:
        if FLAG.fullmatch(line):
            assert explained, line
        else:
            assert not line or line.startswith("# "), line
            explained = bool(line)


def test_no_flag_is_set_twice_for_one_platform():
    for platform in (*TPUS, "gpu"):
        names = [flag.split("=")[0] for flag in printed(platform)]
        assert len(names) == len(set(names))


def test_a_tpu_gets_those_of_every_tpu_and_its_own():
    given = [match.groups()[:2] for match in map(FLAG.fullmatch, LINES) if match]
    for platform in TPUS:
        assert printed(platform) == [flag for of, flag in given if of in ("tpu", platform)]
    assert printed("gpu") == [flag for of, flag in given if of == "gpu"]


def test_an_unknown_platform_is_a_mistake():
    done = subprocess.run(
        [LAUNCH / "xla_flags.sh", "cpu"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "error: 'cpu' is no platform" in done.stderr


def child(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"JAX_PLATFORMS": "cpu"} | environment,
    )


@pytest.mark.slow
def test_jaxlib_knows_the_flags_of_gpus():
    flags = " ".join(printed("gpu"))
    done = child("import jax; jax.devices()", XLA_FLAGS=flags)
    assert done.returncode == 0, done.stderr
    done = child("import jax; jax.devices()", XLA_FLAGS=f"{flags} --xla_gpu_no_such_flag=1")
    assert done.returncode != 0  # or the test above would tell nothing
    assert "--xla_gpu_no_such_flag" in done.stderr


COMPILE = """
import sys
import jax, numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
devices = topologies.get_topology_desc(platform="tpu", topology_name=sys.argv[1]).devices
split = NamedSharding(Mesh(np.array(devices), ("x",)), P("x"))
x = jax.ShapeDtypeStruct((256, 256), "bfloat16", sharding=split)
lowered = jax.jit(lambda x: (x @ x).sum()).lower(x)
lowered.compile(compiler_options=dict(flag[2:].split("=") for flag in sys.argv[2:]))
try:
    lowered.compile(compiler_options={"xla_tpu_no_such_flag": "1"})
except Exception as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("platform", TPUS)
def test_libtpu_knows_the_flags_of_tpus(platform):
    if not importlib.util.find_spec("libtpu"):
        pytest.skip("libtpu, the extra `tpu`, is not installed")
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, TPUS[platform], *printed(platform)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ
        | {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "true"},
    )
    assert done.returncode == 0, done.stderr
    assert "No such compile option: 'xla_tpu_no_such_flag'" in done.stdout
