"""Each mistake and each failure of the machine: one line, an exit code, and nothing lost."""

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nanojaxlm.data.tokenizer import Tokenizer
from nanojaxlm.token_store import StoreWriter

pytestmark = pytest.mark.slow
MAIN = "nanojaxlm.main"
ROOT = Path(__file__).resolve().parents[1]
CURATION = f"--config={ROOT}/configs/curation/quickstart.py"


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def small_disk():
    """The start of a command that may mount disks which only it sees, gone when it ends."""
    prefix = ["unshare", "--map-root-user", "--mount"]
    script = 'mount -t tmpfs -o size=4k none "$0" && touch "$0/a"'
    try:
        probe = subprocess.run([*prefix, "sh", "-c", script, "/mnt"], capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no unshare on this machine")
    if probe.returncode:
        pytest.skip("this user may not mount a disk: " + probe.stderr.decode())
    return prefix


def make_store(path, text, alphabet):
    tokenizer = Tokenizer.characters(alphabet)
    ids = np.array([1, *tokenizer.encode(text), 2])
    with StoreWriter(str(path), tokenizer=tokenizer.model, sources=[], curation={}) as writer:
        for split in ("train", "validation"):
            writer.write(split, ids, np.array([len(ids)]), len(text))
        writer.finish()
    return path


def test_inputs_without_a_document_are_told_with_what_was_found(
    tmp_path, run_module, assert_mistake
):
    folders = {name: tmp_path / name for name in ("empty", "binary", "damaged")}
    for folder in folders.values():
        folder.mkdir()
    (folders["binary"] / "picture.png").write_bytes(bytes(range(256)))
    damaged = folders["damaged"]
    (damaged / "latin.txt").write_bytes(b"caf\xe9 " * 100)
    (damaged / "none.parquet").write_bytes(b"")
    whole = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": ["a"]}), whole)
    (damaged / "cut.parquet").write_bytes(whole.getvalue().to_pybytes()[:-9])
    record = json.dumps({"text": "word " * 5000}).encode() + b"\n"
    (damaged / "cut.jsonl.gz").write_bytes(gzip.compress(record + os.urandom(99))[:60])
    (damaged / "zeros.txt").write_bytes(b"\0" * 1000)
    output = tmp_path / "out"
    for name, words in (
        ("empty", ["looked for", ".parquet"]),
        ("binary", ["looked for", ".png"]),
        ("damaged", ["none of 5 files", str(damaged)]),
    ):
        done = run_module(
            "data_pipeline.main", CURATION, f"--input={folders[name]}", f"--output={output}"
        )
        assert_mistake(done, 2, *words)
        assert not (output / "report.json").exists() and not (output / "store").exists()


def test_data_that_cannot_be_trained_on_is_told(
    tmp_path, text_file, small_run, run_module, finished_run, assert_mistake
):
    latin = tmp_path / "latin.txt"
    latin.write_bytes(b"caf\xe9")
    tiny = tmp_path / "tiny.txt"
    tiny.write_text("Too short. " * 10)
    words = "".join(sorted(set(text_file.read_text())))
    good = make_store(tmp_path / "good", "village garden " * 200, words)
    other = make_store(tmp_path / "other", "village garden " * 200, words + "!")
    damaged = shutil.copytree(good, tmp_path / "damaged")
    shard = next(path for path in (damaged / "train" / "tokens").rglob("c/*") if path.is_file())
    shard.write_bytes(shard.read_bytes()[:20])
    without_text = [a for a in small_run if not a.startswith("--config.data.text")]
    stores = [a.replace("shakespeare_char.py", "quickstart.py") for a in without_text]
    new = tmp_path / "new"
    for arguments, words_wanted in (
        ([*small_run, f"--config.data.text={latin}"], ["latin.txt is not UTF-8", "iconv"]),
        ([*small_run, f"--config.data.text={tmp_path}/no.txt"], ["no.txt", "No such file"]),
        ([*small_run, f"--config.data.text={tiny}"], ["fewer than config.data.batch_size = 8"]),
        ([*stores, f"--config.data.stores=('{damaged}',)"], ["damaged", "train"]),
        ([*stores, f"--config.data.stores=('{tmp_path}',)"], ["no finished token store"]),
        (
            [*stores, f"--config.data.stores=('{good}','{other}')"],
            ["was packed with tokenizer", str(other)],
        ),
        (
            [*stores, f"--config.data.stores=('{good}',)", "--config.model.vocab_size=5"],
            ["config.model.vocab_size is 5", "at least"],
        ),
    ):
        assert_mistake(run_module(MAIN, *arguments, f"--workdir={new}"), 2, *words_wanted)
        assert not (new / "metrics.jsonl").exists() and not (new / "config.json").exists()
    evaluated = run_module("nanojaxlm.evaluate", f"--checkpoint={finished_run}", f"--store={other}")
    assert_mistake(evaluated, 2, "another tokenizer than the checkpoint's")


def test_a_workdir_that_cannot_be_written_is_told(
    tmp_path, small_run, run_module, assert_mistake, small_disk
):
    (tmp_path / "file").write_text("mine")
    done = run_module(MAIN, *small_run, f"--workdir={tmp_path}/file/run")
    assert_mistake(done, 2, "cannot write to --workdir", "Not a directory")
    assert (tmp_path / "file").read_text() == "mine"
    folder = tmp_path / "read-only"
    folder.mkdir()
    mount = 'mount -t tmpfs -o ro none "$0" && exec "$@"'
    before = [*small_disk, "sh", "-c", mount, str(folder)]
    done = run_module(MAIN, *small_run, f"--workdir={folder}/run", before=before)
    assert_mistake(done, 2, "cannot write to --workdir", "Read-only file system")


def test_a_damaged_run_is_told_and_goes_on_from_what_is_whole(
    tmp_path, run_module, finished_run, assert_mistake
):
    workdir = tmp_path / "run"
    shutil.copytree(finished_run, workdir)
    last = workdir / "checkpoints" / "40"
    for file in (last / "state" / "d").iterdir():
        file.write_bytes(file.read_bytes()[:10])
    broken = contents(workdir)
    for module, flag in ((MAIN, "workdir"), ("nanojaxlm.generate", "checkpoint")):
        done = run_module(module, f"--{flag}={workdir}")
        assert_mistake(done, 2, "checkpoints/40 cannot be read", "move that folder away")
        assert contents(workdir) == broken
    last.rename(tmp_path / "aside")
    done = run_module(MAIN, f"--workdir={workdir}")
    assert done.returncode == 0 and "from the checkpoint of step 30" in done.stdout
    (workdir / "config.json").write_text('{"model": ')
    done = run_module(MAIN, f"--workdir={workdir}")
    assert_mistake(done, 2, "config.json is no JSON", "--config=FILE")


FULL_DISK = """
set -e
disk=$1; finished=$2; shift 2
mount -t tmpfs -o size=3m none "$disk"
cp -r "$finished" "$disk/run"
rm -r "$disk/run/checkpoints/40"
cksum() { find "$disk/run/checkpoints/30" -type f | sort | xargs cat | md5sum; }
before=$(cksum)
for free in 0 8 120; do
  rm -f "$disk/filler"
  available=$(df -k --output=avail "$disk" | tail -1)
  dd if=/dev/zero of="$disk/filler" bs=1k count=$((available - free)) 2>/dev/null
  status=0
  "$@" --workdir="$disk/run" >/dev/null || status=$?
  echo "free $free: exit $status"
  [ "$before" = "$(cksum)" ] && echo intact
done
rm "$disk/filler"
"$@" --workdir="$disk/run" >/dev/null
echo finished
cat "$disk/run/metrics.jsonl"
"""


def test_a_full_disk_is_worth_another_try_and_loses_nothing(
    tmp_path, small_disk, small_run, finished_run
):
    """With no room at all, with room for the metrics, and with room for a part of a checkpoint."""
    done = subprocess.run(
        [
            *[*small_disk, "bash", "-c", FULL_DISK, "bash", str(tmp_path), str(finished_run)],
            *[sys.executable, "-m", MAIN, *small_run],
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    out = done.stdout.splitlines()
    assert out[:7] == [
        *["free 0: exit 75", "intact", "free 8: exit 75", "intact", "free 120: exit 75", "intact"],
        "finished",
    ]
    told = done.stderr.splitlines()
    assert len(told) == 3, done.stderr
    assert all(line.startswith("error: the disk is full: free space") for line in told)
    metrics = [json.loads(line) for line in out[7:]]
    reference = (finished_run / "metrics.jsonl").read_text().splitlines()
    assert [(m["step"], m["loss"], m["batch_hash"]) for m in metrics] == [
        (m["step"], m["loss"], m["batch_hash"]) for m in map(json.loads, reference)
    ]


FULL_CURATION = """
disk=$1; shift
mount -t tmpfs -o size=300k none "$disk" || exit 9
status=0
"$@" --output="$disk/out" >/dev/null || status=$?
echo "exit $status"
[ -e "$disk/out/report.json" ] && echo half
mount -o remount,size=30m "$disk"
"$@" --output="$disk/out" >/dev/null
echo "exit $?"
ls "$disk/out"
"""


def test_a_curation_on_a_full_disk_goes_on_after_space_is_freed(
    tmp_path, small_disk, document_folder
):
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        [
            *[*small_disk, "bash", "-c", FULL_CURATION, "bash", str(disk)],
            *[sys.executable, "-m", "data_pipeline.main", CURATION, f"--input={document_folder}"],
            "--config.tokenizer.vocab_size=400",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    out = done.stdout.splitlines()
    assert out[:2] == ["exit 75", "exit 0"], done.stdout + done.stderr
    assert {"report.json", "store", "tokenizer.model"} <= set(out[2:])
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "disk is full" in errors[0] and "Traceback" not in done.stderr
