import itertools
import math
import shutil
import subprocess

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from nanojaxlm.errors import UserError
from nanojaxlm.reporting import baselines


def _prose(num_words: int, seed: int = 0) -> bytes:
    words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"]
    chosen = np.random.default_rng(seed).integers(len(words), size=num_words)
    return " ".join(words[i] for i in chosen).encode()


@pytest.mark.skipif(shutil.which("xz") is None, reason="the xz program is not installed")
@pytest.mark.parametrize("data", [b"a", _prose(5000), bytes(range(256)) * 20])
def test_xz_is_what_the_xz_program_needs(data):
    program = subprocess.run(
        ["xz", "-9", "-T1", "--stdout"], input=data, capture_output=True, check=True
    )
    assert baselines.xz_bits_per_byte(data) == 8 * len(program.stdout) / len(data)


def test_xz_cannot_compress_noise():
    noise = np.random.default_rng(0).bytes(100_000)
    assert 8.0 < baselines.xz_bits_per_byte(noise) < 8.01


def _bigram_by_hand(train: list[bytes], heldout: bytes) -> float:
    """The documented formula, one byte at a time, with dictionaries."""
    text = b"".join(train)
    followers: dict[int, list[int]] = {}
    for document in train:
        for first, second in itertools.pairwise(document):
            followers.setdefault(first, []).append(second)
    bits = 0.0
    for i, byte in enumerate(heldout):
        probability = (text.count(byte) + 1) / (len(text) + 256)
        seen = followers.get(heldout[i - 1], []) if i else []
        if seen:
            distinct = len(set(seen))
            probability = (seen.count(byte) + distinct * probability) / (len(seen) + distinct)
        bits -= math.log2(probability)
    return bits / len(heldout)


def test_bigram_of_a_text_worked_out_on_paper():
    # "abab": c(a)=2, c(b)=2, n=4; pairs ab 2, ba 1. Held out "ab":
    # p(a) = 3/260; p(b|a) = (2 + 1 * 3/260) / (2 + 1)
    expected = -(math.log2(3 / 260) + math.log2((2 + 3 / 260) / 3)) / 2
    assert baselines.bigram_bits_per_byte([b"abab"], b"ab") == pytest.approx(expected, rel=1e-12)


def test_bigram_follows_its_formula_on_several_documents():
    train = [_prose(60, seed=1), b"", b"x", _prose(40, seed=2), "naïve café ☃".encode()]
    heldout = _prose(30, seed=3) + "unseen: ☂ \x00".encode()
    assert baselines.bigram_bits_per_byte(train, heldout) == pytest.approx(
        _bigram_by_hand(train, heldout), rel=1e-12
    )


def test_pairs_do_not_cross_documents():
    apart = baselines.bigram_bits_per_byte([b"a", b"b"], b"ab")
    together = baselines.bigram_bits_per_byte([b"ab"], b"ab")
    assert apart > together


def test_portions_do_not_change_the_counts(monkeypatch):
    train, heldout = [_prose(20, seed=i) for i in range(9)] + [b"", b"", b"y"], _prose(30, seed=9)
    whole = baselines.bigram_bits_per_byte(train, heldout)
    monkeypatch.setattr(baselines, "PORTION_BYTES", 100)
    assert baselines.bigram_bits_per_byte(train, heldout) == whole


def test_without_training_text_every_byte_costs_eight_bits():
    assert baselines.bigram_bits_per_byte([], bytes(range(256))) == pytest.approx(8.0, abs=1e-12)


def test_uniform_bytes_cost_eight_bits():
    generator = np.random.default_rng(0)
    train = [generator.bytes(1_000_000) for _ in range(20)]
    assert baselines.bigram_bits_per_byte(train, generator.bytes(1_000_000)) == pytest.approx(
        8.0, abs=0.01
    )


def test_a_deterministic_sequence_costs_almost_nothing():
    assert baselines.bigram_bits_per_byte([b"abc" * 10_000], b"abc" * 10_000) < 0.01


@pytest.mark.parametrize("measure", [baselines.xz_bits_per_byte, lambda data: _bigram([], data)])
def test_empty_heldout_text_is_refused(measure):
    with pytest.raises(UserError, match="held-out text is empty"):
        measure(b"")


def _bigram(train: list[bytes], heldout: bytes) -> float:
    return baselines.bigram_bits_per_byte(train, heldout)


def test_documents_come_in_the_order_of_files_and_rows(tmp_path):
    for name, texts in [("b", ["drei ☃"]), ("a", ["eins", "", "zwei"])]:
        table = pyarrow.table({"id": texts, "text": texts, "source": texts})
        pyarrow.parquet.write_table(table, tmp_path / f"{name}.parquet")
    read = list(baselines.read_documents(tmp_path))
    assert read == [b"eins", b"", b"zwei", "drei ☃".encode()]


def test_a_folder_without_documents_names_the_command_that_makes_them(tmp_path):
    with pytest.raises(UserError, match=r"python -m data_pipeline\.main"):
        list(baselines.read_documents(tmp_path))


@pytest.mark.parametrize("content", [b"", b"PAR1 this is no table PAR1"])
def test_a_broken_file_is_named(tmp_path, content):
    (tmp_path / "part-0.parquet").write_bytes(content)
    with pytest.raises(UserError, match=r"part-0\.parquet cannot be read"):
        list(baselines.read_documents(tmp_path))


def test_documents_of_another_table_are_refused(tmp_path):
    pyarrow.parquet.write_table(pyarrow.table({"body": ["x"]}), tmp_path / "other.parquet")
    with pytest.raises(UserError, match=r"other\.parquet"):
        list(baselines.read_documents(tmp_path))
