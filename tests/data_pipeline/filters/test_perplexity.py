"""The n-gram model of bytes, against sums and products by hand, and the stage made of it."""

import gzip
import json
import math
import pickle
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from data_pipeline.document import CODE, PROSE, batch_of
from data_pipeline.filters import model_file, perplexity
from data_pipeline.filters.ngrams import Ngrams, Rows, learn
from data_pipeline.filters.perplexity import (
    BUCKETS,
    Model,
    Perplexity,
    PerplexityConfig,
    PerplexityTraining,
)
from nanojaxlm.errors import UserError

DATA = Path(__file__).parents[4] / "shared/data"
ALL_KEPT = 2**20


class ByHand:
    """Interpolated Witten-Bell by recursion over dictionaries, as in the module's docstring."""

    def __init__(self, texts: Sequence[str], order: int, least: int = 1):
        self.order = order
        self.counts = {n: Counter[bytes]() for n in range(1, order + 1)}
        for text in texts:
            data = b"\n" * (order - 1) + text.encode()
            for i in range(order - 1, len(data)):
                for n in range(1, order + 1):
                    self.counts[n][data[i - n + 1 : i + 1]] += 1
        self.followers: dict[bytes, list[tuple[int, bool]]] = {}
        for n, counts in self.counts.items():
            for gram, count in counts.items():
                kept = n <= 2 or count >= least
                self.followers.setdefault(gram[:-1], []).append((count, kept))
        self.least = least

    def p(self, byte: bytes, context: bytes) -> float:
        lower = self.p(byte, context[1:]) if context else 1 / 256
        followers = self.followers.get(context, [])
        if not any(kept for _, kept in followers):
            return lower
        total = sum(count for count, _ in followers) + len(followers)
        backoff = 1 - sum(count for count, kept in followers if kept) / total
        gram = context + byte
        count = self.counts[len(gram)][gram]
        kept = len(gram) <= 2 or count >= self.least
        return (count / total if kept else 0) + backoff * lower

    def bits(self, text: str) -> float:
        size = self.order - 1
        data = b"\n" * size + text.encode()
        total = 0.0
        for i in range(size, len(data)):
            total -= math.log2(self.p(data[i : i + 1], data[i - size : i]))
        return total


def letters(seed: int, number: int, size: int, alphabet: str = "aab c\nü") -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices(alphabet, k=rng.randint(1, size))) for _ in range(number)]


def large(texts: Sequence[str]) -> pa.Array:
    return pa.array(texts, pa.large_string())


@pytest.mark.parametrize("order", [1, 2, 3, 6, 7])
def test_bits_are_those_of_a_recursion_by_hand(order: int):
    texts = letters(1, 20, 60)
    model, slow = learn(texts, order, ALL_KEPT), ByHand(texts, order)
    asked = [*texts[:4], *letters(2, 10, 40, "abcdü\n 日"), "", "\n\n", "zzz"]
    found = model.bits(large(asked))
    np.testing.assert_allclose(found, [slow.bits(text) for text in asked], atol=1e-4)


def test_rare_ngrams_leave_their_share_to_shorter_ones():
    texts = letters(3, 30, 80)
    whole = learn(texts, 5, ALL_KEPT)
    model = learn(texts, 5, len(whole.grams) // 3)
    assert 10 < len(model.grams) <= len(whole.grams) // 3
    asked = letters(4, 10, 40)
    errors = []
    for least in range(2, 40):
        slow = ByHand(texts, 5, least)
        errors.append(max(abs(model.bits(large(asked)) - [slow.bits(t) for t in asked])))
    assert min(errors) < 1e-4


@pytest.mark.parametrize("max_grams", [ALL_KEPT, 150, 60, 1])
def test_probabilities_of_the_next_byte_sum_to_one(max_grams: int):
    model = learn(letters(5, 30, 80), 6, max_grams)
    contexts = [b"", b"a", b"aab c", b"zzzz", b"\n\n\n", b"a\xc3", b"aaaaaaaaaa", b"c\na"]
    for context in contexts:
        # Bytes, for a text may not end within a character.
        every = pa.array([context, *(context + bytes([b]) for b in range(256))], pa.large_binary())
        bits = model.bits(every)
        assert (2.0 ** (bits[0] - bits[1:])).sum() == pytest.approx(1, abs=1e-5)


def test_rows_finds_every_key_and_no_other():
    rng = np.random.default_rng(0)
    keys = np.unique(rng.integers(0, 2**59, 5000, dtype=np.uint64))
    keys = np.union1d(keys, np.arange(3000, dtype=np.uint64) << np.uint64(48))  # crowded homes
    rows = Rows(keys, np.arange(len(keys), dtype=np.int32))
    found, values = rows.find(keys[::-1].copy())
    assert found.all() and values.tolist() == list(range(len(keys)))[::-1]
    others = np.setdiff1d(rng.integers(0, 2**59, 5000, dtype=np.uint64), keys)
    found, values = rows.find(others)
    assert not found.any() and not values.any()


@pytest.fixture(scope="module")
def prose(make_prose: Callable[..., str]) -> list[str]:
    return [make_prose(seed) for seed in range(60)]


@pytest.fixture(scope="module")
def content(prose: list[str]) -> bytes:
    return perplexity.train(prose)


@pytest.fixture
def model(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "model.npz"
    path.write_bytes(content)
    return str(path)


def shuffled(text: str, seed: int = 0) -> str:
    return "".join(random.Random(seed).sample(text, len(text)))


def test_shuffled_characters_surprise_and_boilerplate_does_not(
    tmp_path: Path, prose: list[str], make_prose: Callable[..., str]
):
    boilerplate = "all rights are reserved by the owner "
    path = tmp_path / "model.npz"
    path.write_bytes(perplexity.train([*prose, *(boilerplate * n for n in range(50, 70))]))
    noise = shuffled(make_prose(100))
    texts = [make_prose(100), noise, boilerplate * 20, noise]
    batch = batch_of(texts, kinds=[PROSE, PROSE, PROSE, CODE])
    config = PerplexityConfig(model=str(path), max_bits_per_byte=3.0, min_bits_per_byte=0.4)
    judged = Perplexity(config).judge(batch)
    assert judged.verdicts.reason.tolist() == [None, "too_surprising", "too_predictable", None]
    rates = judged.measures["bits_per_byte"]
    assert judged.verdicts.score[1] == rates[1] and np.isnan(rates[3])
    assert judged.notes["perplexity_bucket"][1:].tolist() == ["tail", "head", None]


def test_thirds_of_the_held_out_documents_are_the_buckets(model: str, content: bytes, prose):
    found, rates, held = perplexity.fit(prose, PerplexityTraining())
    assert found.to_bytes() == content
    assert len(held) == len(rates) and set("".join(held)) <= set("".join(prose))
    counts = Counter(found.buckets(rates).tolist())
    assert all(abs(counts[name] - len(rates) / 3) <= 1 for name in BUCKETS)
    batch = batch_of(list(held))
    kept = Perplexity(PerplexityConfig(model=model, keep_buckets=("head", "tail"))).judge(batch)
    dropped = kept.verdicts.reason == "unwanted_bucket"
    assert dropped.tolist() == (kept.notes["perplexity_bucket"] == "middle").tolist()


def test_judging_does_not_depend_on_the_batch_and_survives_pickling(model: str, prose):
    texts = [*prose[:10], "", "日本 é", "x", shuffled(prose[0])]
    stage = Perplexity(PerplexityConfig(model=model))
    assert stage.files == (model,)
    together = stage.judge(batch_of(texts)).measures["bits_per_byte"]
    stage = pickle.loads(pickle.dumps(stage))
    alone = [stage.judge(batch_of([text])).measures["bits_per_byte"][0] for text in texts]
    sliced = stage.judge(batch_of(["first", *texts]).slice(1)).measures["bits_per_byte"]
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together, sliced)
    assert np.isnan(together[10])  # no byte, no rate
    assert len(stage.judge(batch_of([])).measures["bits_per_byte"]) == 0


def _with(content: bytes, **changed) -> bytes:
    about, arrays = model_file.from_bytes(content, perplexity.KIND)
    return model_file.to_bytes(
        perplexity.KIND,
        about | {k: v for k, v in changed.items() if k in about},
        arrays | {k: v for k, v in changed.items() if k in arrays},
    )


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: model_file.to_bytes("quality, version 1", {}, {}),
        lambda content: model_file.to_bytes(perplexity.KIND, {"order": 3}, {}),
        lambda content: _with(content, order=9),
        lambda content: _with(content, ends=[2.0, 1.0]),
        lambda content: _with(content, grams=np.zeros(3, np.uint64)),
    ],
)
def test_a_damaged_model_is_named_with_its_field(
    tmp_path: Path, content: bytes, damage: Callable[[bytes], bytes]
):
    path = tmp_path / "model.npz"
    path.write_bytes(damage(content))
    with pytest.raises(UserError, match=r"config\.perplexity\.model: .*model\.npz.*python -m"):
        Perplexity(PerplexityConfig(model=str(path)))


def test_a_missing_model_is_named_with_its_field(tmp_path: Path):
    with pytest.raises(UserError, match=r"config\.perplexity\.model: .*cannot be read"):
        Perplexity(PerplexityConfig(model=str(tmp_path / "none.npz")))


@pytest.mark.parametrize(
    "make",
    [
        lambda: PerplexityConfig(model=""),
        lambda: PerplexityConfig(model="m", max_bits_per_byte=0),
        lambda: PerplexityConfig(model="m", min_bits_per_byte=float("nan")),
        lambda: PerplexityConfig(model="m", min_bits_per_byte=3.0, max_bits_per_byte=2.0),
        lambda: PerplexityConfig(model="m", keep_buckets=("top",)),
        lambda: PerplexityConfig(model="m", keep_buckets=()),
        lambda: PerplexityTraining(order=8),
        lambda: PerplexityTraining(max_grams=0),
    ],
)
def test_impossible_values_are_refused(make: Callable[[], object]):
    with pytest.raises(ValueError, match=r"got|names a file"):
        make()


def test_command_trains_a_model_that_the_stage_takes(tmp_path: Path, capsys, prose, content):
    path, output = tmp_path / "prose.jsonl", tmp_path / "models/model.npz"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in prose))
    perplexity.main(["perplexity", f"--documents={path}", f"--output={output}"])
    told = capsys.readouterr().out
    assert "60 documents" in told and "bits per byte" in told and "head up to" in told
    assert output.read_bytes() == content
    Perplexity(PerplexityConfig(model=str(output)))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--output=m"], "both needed"),
        (["--documents=one.txt", "--output=m"], "--documents: 1 different document"),
        (["--documents=one.txt", "--output=m", "--order=9"], "order is from 1 to 7"),
        (["--documents=none", "--output=m"], "no such file"),
    ],
)
def test_command_says_what_is_wrong(tmp_path: Path, monkeypatch, arguments: list[str], said: str):
    (tmp_path / "one.txt").write_text("A text of one sentence only.\n")
    monkeypatch.chdir(tmp_path)
    flags = perplexity._FLAGS
    for name in ("documents", "output", "order"):
        flags[name].unparse()
    with pytest.raises(UserError, match=said):
        perplexity.main(["perplexity", *arguments])


@pytest.mark.slow
def test_real_prose_is_ranked_above_noise_and_above_other_languages():
    """Novels of other authors; their characters and words shuffled; German news."""
    if not DATA.is_dir():
        pytest.skip(f"{DATA} is missing")

    def load(name: str) -> list[dict[str, str]]:
        with gzip.open(DATA / name, "rt", encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    novels = [row["text"][:300_000] for row in load("lm/novels_train.jsonl.gz")]
    model = Model.from_bytes(perplexity.train(novels))
    assert isinstance(model.ngrams, Ngrams)
    held = [row["text"] for row in load("lm/novels_val.jsonl.gz")]
    held = [text[i : i + 3000] for text in held for i in range(0, 90_000, 3000)]
    rng = random.Random(0)
    words = [" ".join(rng.sample(text.split(), len(text.split()))) for text in held]
    rates = {
        name: model.bits_per_byte(large(texts))
        for name, texts in (
            ("prose", held),
            ("words", words),
            ("characters", [shuffled(text, i) for i, text in enumerate(held)]),
            (
                "German",
                [r["text"] for r in load("langid/lingua_dev.jsonl.gz") if r["language"] == "de"],
            ),
        )
    }
    assert rates["prose"].max() < rates["characters"].min()
    assert rates["prose"].max() < rates["German"].min()
    assert (rates["prose"] < rates["words"]).mean() > 0.95
