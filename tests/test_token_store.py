"""The token store: what is written is read, and what is not whole is refused."""

import hashlib
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from sentencepiece import sentencepiece_model_pb2

from nanojaxlm import token_store
from nanojaxlm.errors import RetryableError, UserError
from nanojaxlm.token_store import StoreWriter, TokenStore, tokenizer_fingerprint

SHARD, CHUNK = 64, 16


def model(vocab_size: int = 100) -> bytes:
    """A character model with ids for U+10000, U+10001, …."""
    proto = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    for piece, kind in (("<unk>", 2), ("<s>", 3), ("</s>", 3)):
        proto.pieces.add(piece=piece, score=0.0, type=kind)
    for i in range(vocab_size - 3):
        proto.pieces.add(piece=chr(0x10000 + i), score=0.0, type=1)
    proto.trainer_spec.model_type = 4
    return proto.SerializeToString()


def documents(number: int, vocab_size: int = 100) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    lengths = random.integers(2, 20, number)
    return random.integers(3, vocab_size, lengths.sum()), lengths


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(token_store, "TOKENS_PER_SHARD", SHARD)
    monkeypatch.setattr(token_store, "TOKENS_PER_CHUNK", CHUNK)


def write(path, tokens, lengths, *, tokenizer=None, parts=1, **options) -> token_store.Manifest:
    with StoreWriter(
        str(path),
        tokenizer=tokenizer or model(),
        sources=["a.txt", "b.txt"],
        curation={"filters": ["x"]},
        **options,
    ) as writer:
        ends = np.cumsum(lengths)
        for part in np.array_split(np.arange(len(lengths)), parts):
            start, stop = ends[part[0]] - lengths[part[0]], ends[part[-1]]
            writer.write("train", tokens[start:stop], lengths[part], 10 * len(part))
        writer.write("validation", tokens[: lengths[0]], lengths[:1], 7)
        return writer.finish()


@pytest.fixture(scope="module")
def s3_endpoint():
    """A real server of the S3 protocol on loopback."""
    server_module = pytest.importorskip("moto.server", reason="needs moto[server]")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    request = urllib.request.Request(f"http://{host}:{port}/a-bucket", method="PUT")
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["folder", "memory", "s3"])
def place(request, tmp_path, monkeypatch):
    if request.param == "folder":
        return str(tmp_path / "a store")
    if request.param == "memory":
        return f"memory://{tmp_path.name}/store"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    return s3_spec(request.getfixturevalue("s3_endpoint"), f"{tmp_path.name}/store")


def s3_spec(endpoint: str, path: str, **options) -> str:
    return json.dumps(
        {
            "driver": "s3",
            "bucket": "a-bucket",
            "path": path,
            "endpoint": endpoint,
            "aws_region": "us-east-1",
            "aws_credentials": {"type": "environment"},
            **options,
        }
    )


def test_what_is_written_is_read_on_every_kind_of_storage(place):
    tokens, lengths = documents(50)
    manifest = write(place, tokens, lengths, parts=7)
    store = TokenStore.open(place, tokenizer=model())
    train = store.split("train")
    assert store.manifest == manifest
    assert store.tokenizer == model()
    assert (manifest.sources, manifest.curation) == (("a.txt", "b.txt"), {"filters": ["x"]})
    assert (train.num_documents, train.num_tokens, train.num_bytes) == (50, len(tokens), 500)
    assert len(manifest.splits["train"].files) > len(tokens) // SHARD > 5
    np.testing.assert_array_equal(train.offsets, np.concatenate([[0], np.cumsum(lengths)]))
    ranges = [(0, len(tokens)), (SHARD - 1, SHARD + 1), (5, 5), (len(tokens) - 1, len(tokens))]
    for (start, stop), part in zip(ranges, train.read_many(ranges), strict=True):
        assert part.dtype == np.int32
        np.testing.assert_array_equal(part, tokens[start:stop])
    np.testing.assert_array_equal(store.split("validation").read(0, 2), tokens[:2])


def test_an_existing_store_is_replaced_only_on_request_and_then_whole(place):
    tokens, lengths = documents(50)
    write(place, tokens, lengths)
    with pytest.raises(UserError, match="already holds a token store"):
        write(place, tokens, lengths)
    write(place, tokens[: lengths[:3].sum()], lengths[:3], overwrite=True)
    assert TokenStore.open(place).split("train").num_documents == 3


def test_documents_without_end_lose_their_whole_store_when_overwriting_fails(tmp_path):
    tokens, lengths = documents(5)
    write(tmp_path, tokens, lengths)
    with (
        pytest.raises(ZeroDivisionError),
        StoreWriter(
            str(tmp_path), tokenizer=model(), sources=[], curation={}, overwrite=True
        ) as writer,
    ):
        writer.write("train", tokens, lengths, 1)
        1 / 0  # noqa: B018
    with pytest.raises(UserError, match="no finished token store"):
        TokenStore.open(str(tmp_path))


def test_foreign_files_survive_a_writer_that_clears_a_crashed_ones_leavings(tmp_path):
    tokens, lengths = documents(5)
    write(tmp_path, tokens, lengths)
    (tmp_path / "manifest.json").unlink()
    (tmp_path / "old" / "tokens" / "c").mkdir(parents=True)
    (tmp_path / "old" / "tokens" / "c" / "7").write_bytes(b"left by a crash")
    (tmp_path / "notes.txt").write_text("mine")
    write(tmp_path, tokens, lengths)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "old" / "tokens" / "c" / "7").exists()


@pytest.mark.parametrize(
    ("vocab_size", "dtype"), [(300, "uint16"), (65_536, "uint16"), (65_537, "uint32")]
)
def test_ids_take_two_bytes_up_to_65536_of_them_and_four_beyond(tmp_path, vocab_size, dtype):
    tokens, lengths = np.array([1, vocab_size - 1, 2]), np.array([3])
    write(tmp_path, tokens, lengths, tokenizer=model(vocab_size))
    assert json.loads((tmp_path / "train/tokens/zarr.json").read_text())["data_type"] == dtype
    read = TokenStore.open(str(tmp_path)).split("train").read(0, 3)
    np.testing.assert_array_equal(read, tokens)


def test_the_digest_is_of_ids_and_lengths_and_not_of_the_calls(tmp_path):
    tokens, lengths = documents(20)
    one = write(tmp_path / "one", tokens, lengths, parts=1).splits["train"]
    many = write(tmp_path / "many", tokens, lengths, parts=6).splits["train"]
    assert one.digest == many.digest
    inner = [hashlib.sha256(tokens.astype("<u4").tobytes()).digest()]
    inner += [hashlib.sha256(lengths.astype("<i8").tobytes()).digest()]
    assert one.digest == hashlib.sha256(b"".join(inner)).hexdigest()
    other = lengths.copy()
    other[:2] += (1, -1)
    assert write(tmp_path / "other", tokens, other).splits["train"].digest != one.digest


def test_a_killed_writer_leaves_no_store(tmp_path):
    program = f"""
import sys, numpy as np
from nanojaxlm import token_store
token_store.TOKENS_PER_SHARD, token_store.TOKENS_PER_CHUNK = 64, 16
model = open({str(tmp_path / "model")!r}, "rb").read()
path = {str(tmp_path / "store")!r}
with token_store.StoreWriter(path, tokenizer=model, sources=[], curation={{}}) as w:
    while True:
        w.write("train", np.full(50, 5), np.full(5, 10), 50)
"""
    (tmp_path / "model").write_bytes(model())
    child = subprocess.Popen([sys.executable, "-c", program])
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "store/train/tokens/c/3").exists():
            assert child.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    with pytest.raises(UserError, match="no finished token store"):
        TokenStore.open(str(tmp_path / "store"))
    tokens, lengths = documents(5)
    write(tmp_path / "store", tokens, lengths)
    read = TokenStore.open(str(tmp_path / "store")).split("train").read(0, len(tokens))
    np.testing.assert_array_equal(read, tokens)


def test_a_full_disk_is_worth_a_retry_and_leaves_no_store(tmp_path):
    """On a real file system of 1 MB, in a mount namespace of its own."""
    program = f"""
import os, numpy as np
from nanojaxlm import errors, token_store
token_store.TOKENS_PER_SHARD, random = 2**17, np.random.default_rng(0)
model = open({str(tmp_path / "model")!r}, "rb").read()
def main(argv):
    path = {str(tmp_path / "disk" / "store")!r}
    with token_store.StoreWriter(path, tokenizer=model, sources=[], curation={{}}) as writer:
        try:
            for _ in range(50):
                writer.write("train", random.integers(3, 9000, 50_000), np.full(50, 1000), 1)
            writer.finish()
        finally:
            print("manifest.json" in os.listdir(path))
errors.run(main)
"""
    (tmp_path / "model").write_bytes(model(9000))
    (tmp_path / "disk").mkdir()
    mount = f"mount -t tmpfs -o size=1m tmpfs {tmp_path / 'disk'}"
    namespace = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    try:
        subprocess.run([*namespace, mount], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"this machine lets no test mount a small file system: {error}")
    child = subprocess.run(
        [*namespace, f'{mount} && exec "$0" -c "$1"', sys.executable, program],
        capture_output=True,
        text=True,
    )
    assert (child.returncode, child.stdout) == (75, "False\n")
    assert child.stderr.startswith("error: the disk is full at")
    assert len(child.stderr.splitlines()) == 1


def test_the_wrong_tokenizer_is_refused_by_both_names(tmp_path):
    write(tmp_path, *documents(5))
    with pytest.raises(UserError) as caught:
        TokenStore.open(str(tmp_path), tokenizer=model(101))
    for fingerprint in (tokenizer_fingerprint(model()), tokenizer_fingerprint(model(101))):
        assert fingerprint[:8] in str(caught.value)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(data)


def _edit(**changes):
    def edit(path: Path) -> None:
        manifest = json.loads(path.read_text())
        manifest["splits"]["train"] |= changes
        path.write_text(json.dumps(manifest))

    return edit


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("train/tokens/c/1", Path.unlink, "1 files are missing, such as train/tokens/c/1"),
        ("train/offsets/c/0", Path.unlink, "missing, such as train/offsets/c/0"),
        ("train/tokens/zarr.json", Path.unlink, "missing, such as train/tokens/zarr.json"),
        ("train/tokens/c/99", lambda path: path.write_bytes(b"x"), "not in the manifest"),
        ("train/tokens/c/2", _truncate, "damaged"),
        ("train/tokens/c/2", lambda path: path.write_bytes(b""), "damaged"),
        ("train/tokens/c/2", _flip, "damaged"),
        ("train/offsets/c/0", _truncate, "damaged"),
        ("train/offsets/c/0", _flip, "damaged"),
        ("train/tokens/zarr.json", lambda path: path.write_text("{"), "damaged"),
        ("tokenizer.model", lambda path: path.write_bytes(model(99)), "tokenizer.model is not"),
        ("tokenizer.model", Path.unlink, "tokenizer.model is not"),
        ("manifest.json", Path.unlink, "no finished token store"),
        ("manifest.json", _truncate, "manifest.json cannot be read"),
        ("manifest.json", lambda path: path.write_text("[]"), "manifest.json cannot be read"),
        ("manifest.json", _edit(num_tokens=3), "the manifest counts 3 tokens"),
        ("manifest.json", _edit(num_documents=3), "and 3 documents"),
        ("manifest.json", lambda path: path.write_text('{"format_version": 2}'), "version 2"),
    ],
)
def test_a_damaged_store_is_refused_at_opening(tmp_path, file, damage, message):
    write(tmp_path, *documents(50))
    TokenStore.open(str(tmp_path))
    damage(tmp_path / file)
    with pytest.raises(UserError, match=message) as caught:
        TokenStore.open(str(tmp_path))
    assert str(caught.value).count("is damaged") <= 1
    assert len(str(caught.value).splitlines()) == 1


def test_offsets_that_do_not_fit_the_tokens_are_refused(tmp_path):
    write(tmp_path / "a", np.full(12, 5), np.array([5, 7]))
    write(tmp_path / "b", np.full(13, 5), np.array([5, 8]))
    (tmp_path / "b/train/offsets/c/0").rename(tmp_path / "a/train/offsets/c/0")
    with pytest.raises(UserError, match="offsets do not rise from 0 to 12"):
        TokenStore.open(str(tmp_path / "a"))


def test_damage_inside_a_shard_is_an_error_when_it_is_read(tmp_path):
    tokens, lengths = np.arange(3, 3 + SHARD), np.array([SHARD])
    write(tmp_path, tokens, lengths)
    shard = tmp_path / "train/tokens/c/0"
    data = bytearray(shard.read_bytes())
    index = np.frombuffer(data[-4 - 16 * (SHARD // CHUNK) : -4], "<u8").reshape(-1, 2)
    data[int(index[2, 0])] ^= 1  # the third chunk
    shard.write_bytes(data)
    train = TokenStore.open(str(tmp_path)).split("train")
    np.testing.assert_array_equal(train.read(0, 2 * CHUNK), tokens[: 2 * CHUNK])
    with pytest.raises(UserError, match="damaged"):
        train.read(2 * CHUNK, 3 * CHUNK)


def test_shards_of_zeros_are_stored_like_any_other(tmp_path):
    write(tmp_path, np.zeros(2 * SHARD, int), np.full(2, SHARD))
    train = TokenStore.open(str(tmp_path)).split("train")
    assert not train.read(0, 2 * SHARD).any()
    assert "tokens/c/1" in train.manifest.files


def test_a_chunk_that_a_shard_lacks_is_an_error_and_not_zeros(tmp_path):
    write(tmp_path / "long", np.arange(3, 3 + SHARD), np.array([SHARD]))
    write(tmp_path / "short", np.arange(3, 3 + CHUNK), np.array([CHUNK]))
    (tmp_path / "short/train/tokens/c/0").replace(tmp_path / "long/train/tokens/c/0")
    train = TokenStore.open(str(tmp_path / "long")).split("train")
    with pytest.raises(UserError, match="missing"):
        train.read(CHUNK, SHARD)


def test_places_that_cannot_hold_a_store_are_told(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    for path in (f"{tmp_path}/file/store", "ftp://host/store", "{not json"):
        with pytest.raises(UserError, match=r"file/store|no place for a token store"):
            write(path, *documents(2))
    with pytest.raises(UserError, match=r"data_pipeline\.main"):
        TokenStore.open(str(tmp_path / "nothing"))
    with pytest.raises(UserError, match="no split 'test'; it has train, validation"):
        write(tmp_path / "store", *documents(2))
        TokenStore.open(str(tmp_path / "store")).split("test")


def test_unreachable_storage_is_worth_a_retry(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, but nobody listens
        once = {"s3_request_retries": {"max_retries": 1, "initial_delay": "1ms"}}
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        path = s3_spec(endpoint, "store", context=once)
        with pytest.raises(RetryableError, match="cannot reach"):
            TokenStore.open(path)
        with pytest.raises(RetryableError, match="cannot reach"):
            write(path, *documents(2))


@pytest.mark.parametrize(
    ("tokens", "lengths", "message"),
    [
        ([5, 6], [3], "lengths sum to 3"),
        ([5, 6], [2, 0], "at least one token"),
        ([5, 100], [2], "the tokenizer has 100 ids"),
        ([5, -1], [2], "the tokenizer has 100 ids"),
    ],
)
def test_documents_that_do_not_fit_are_refused(tmp_path, tokens, lengths, message):
    with (
        StoreWriter(str(tmp_path), tokenizer=model(), sources=[], curation={}) as writer,
        pytest.raises(ValueError, match=message),
    ):
        writer.write("train", np.array(tokens), np.array(lengths), 1)


def test_a_tokenizer_that_is_no_sentencepiece_model_is_refused(tmp_path):
    with pytest.raises(UserError, match="no SentencePiece model"):
        StoreWriter(str(tmp_path), tokenizer=b"junk", sources=[], curation={})


def test_the_store_imports_no_jax():
    modules = "nanojaxlm.token_store, nanojaxlm.data.tokenizer"
    program = f"import sys, {modules}; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
