"""Near duplicates against brute force over exact Jaccard similarities."""

import json
import random
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from data_pipeline.accuracy import near_dedup as accuracy
from data_pipeline.accuracy.near_dedup import (
    clusters,
    exact_jaccard,
    pairs_found,
    planted_pairs,
    shingle_set,
)
from data_pipeline.dedup import bands, minhash, similarity
from data_pipeline.dedup.minhash import MinHashConfig, MinHashDedup
from data_pipeline.document import batch_of
from data_pipeline.engine import Tasks
from data_pipeline.stage import Comparison, decisions_path

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
REFINED_WEB = MinHashConfig(num_bands=450, rows_per_band=20, arrangements=1, min_similarity=None)


def versions(seed=0, num_texts=30, num_versions=6):
    """Texts in versions, each changed at a random rate: chains and groups of all similarities."""
    rng = random.Random(seed)
    texts = []
    for _ in range(num_texts):
        words = [f"w{rng.randrange(2000)}" for _ in range(rng.randint(30, 120))]
        for _ in range(num_versions):
            rate = rng.choice([0, 0.01, 0.03, 0.06])
            words = [f"w{rng.randrange(2000)}" if rng.random() < rate else w for w in words]
            texts.append(" ".join(words))
    rng.shuffle(texts)
    return texts


@pytest.fixture
def judge(make_parts, judge_all):
    """judge(texts, config, num_parts): {id: (reason, score)}; the id is the place in texts."""

    def run(texts, config=None, num_parts=1):
        stage = MinHashDedup(config or MinHashConfig())
        ids = [f"{i:04d}" for i in range(len(texts))]
        # The last part has the first documents: the order of the parts is not that of the ids.
        batches = [batch_of(texts[n::num_parts], ids=ids[n::num_parts]) for n in range(num_parts)][
            ::-1
        ]
        parts = make_parts(batches, stage)
        found = {}
        batches = [batch for part in parts for batch in part.batches()]
        for batch, one in zip(batches, judge_all(stage, parts), strict=True):
            names = batch["id"].to_pylist()
            values = zip(one.verdicts.reason, one.verdicts.score, strict=True)
            found |= dict(zip(names, values, strict=True))
        return [found[id_] for id_ in ids]

    return run


def dropped(found):
    return [reason is not None for reason, _ in found]


def test_it_is_a_comparison():
    assert isinstance(MinHashDedup(MinHashConfig()), Comparison)


@pytest.mark.slow
def test_recall_and_precision_on_planted_copies_against_brute_force():
    pairs = planted_pairs(1500)
    jaccard = np.array([exact_jaccard(*pair) for pair in pairs])
    assert ((jaccard >= 0.8).sum() > 400) and ((jaccard < 0.8).sum() > 400)
    found = pairs_found(pairs, MinHashConfig())
    assert found[jaccard >= 0.8].mean() >= 0.98
    assert (jaccard[found] >= 0.8).all()
    # The bands alone, arranged once, do what the formula says, within 3 standard errors.
    once = pairs_found(pairs, MinHashConfig(arrangements=1))[jaccard >= 0.8]
    odds = 1 - (1 - jaccard[jaccard >= 0.8] ** 8) ** 14
    error = 3 * np.sqrt((odds * (1 - odds)).sum()) / len(odds)
    assert once.mean() == pytest.approx(odds.mean(), abs=error)


@pytest.mark.slow
def test_the_marked_pairs_are_told_apart():
    if not (DATA / "neardup").is_dir():
        pytest.skip(f"{DATA / 'neardup'} is not here")
    texts, marked = accuracy.marked_pairs(DATA / "neardup")
    given = np.array([pair["jaccard_5word"] for pair in marked])
    hits = pairs_found([(texts[p["a"]], texts[p["b"]]) for p in marked], MinHashConfig())
    assert hits[given >= 0.8].mean() >= 0.98
    assert (given[hits] >= 0.8).mean() >= 0.99


@pytest.mark.parametrize("seed", range(3))
def test_clusters_are_the_components_of_similar_pairs(seed):
    texts = versions(seed, num_texts=20)
    sets, expected = [shingle_set(text) for text in texts], np.arange(len(texts))
    for left, right in combinations(range(len(texts)), 2):
        jaccard = len(sets[left] & sets[right]) / len(sets[left] | sets[right])
        if jaccard >= 0.8 and expected[left] != expected[right]:
            low, high = sorted([expected[left], expected[right]])
            expected[expected == high] = low
    # Many bands: with these, hardly a similar pair is no candidate.
    config = MinHashConfig(num_bands=40, rows_per_band=4)
    assert clusters(texts, config).tolist() == expected.tolist()


@pytest.mark.parametrize("min_similarity", [0.8, None])
def test_parts_change_nothing(judge, min_similarity):
    texts = versions()
    config = MinHashConfig(min_similarity=min_similarity)
    expected = judge(texts, config)
    assert 10 < sum(dropped(expected)) < len(texts)
    for num_parts in (3, 7):
        np.testing.assert_equal(judge(texts, config, num_parts), expected)


def test_members_of_a_bucket_are_found_that_are_not_like_its_first(judge, monkeypatch):
    monkeypatch.setattr(
        "data_pipeline.dedup.shingles.combined", lambda values, seed: np.zeros(len(values), "u8")
    )  # all documents share all buckets
    first, other, third = (" ".join(f"{name}{i}" for i in range(60)) for name in "abc")
    texts = [first, other, third, other + " end", third + " end"]
    assert dropped(judge(texts)) == [False, True, True, False, False]
    num = 3 * bands.WINDOW  # more than one is compared with
    crowd = [" ".join(f"x{n}y{i}" for i in range(9)) for n in range(num)]
    assert not any(dropped(judge(crowd)))


def test_small_tasks_change_nothing(judge, monkeypatch):
    texts = versions()
    expected = judge(texts)
    monkeypatch.setattr(similarity, "PAIRS_A_TASK", 256)
    monkeypatch.setattr(similarity, "HASHES_AT_ONCE", 100)
    np.testing.assert_equal(judge(texts), expected)


def test_the_longest_stays_and_the_score_is_the_similarity_to_it(judge):
    texts = versions(1)
    label = clusters(texts, MinHashConfig())
    found = judge(texts)
    for cluster in set(label.tolist()):
        members = np.flatnonzero(label == cluster).tolist()
        best = min(members, key=lambda i: (-len(texts[i]), i))
        for i in members:
            reason, score = found[i]
            assert reason == (None if i == best else "near_duplicate")
            if i != best:
                assert score == pytest.approx(exact_jaccard(texts[i], texts[best]), abs=1e-12)


def test_case_and_punctuation_do_not_hide_a_copy(judge):
    text = versions()[0]
    assert sum(dropped(judge([text, text.upper().replace(" ", ", ")]))) == 1


def test_short_texts_are_alike_only_when_equal_and_no_words_are_like_nothing(judge):
    texts = ["one two", "one three", "", "one  two", "", "...", "..."]
    assert dropped(judge(texts)) == [True, False, False, False, False, False, False]


@pytest.mark.parametrize("num_parts", [1, 3])  # some parts are empty
@pytest.mark.parametrize("num", [0, 1, 2])
def test_few_documents_are_no_special_case(judge, num, num_parts):
    found = judge(["one two three four five six"] * num, num_parts=num_parts)
    assert dropped(found) == [False, True][:num]


def test_estimates_of_long_texts_are_near_the_truth(judge, monkeypatch):
    monkeypatch.setattr("data_pipeline.dedup.shingles.MAX_SKETCH", 500)
    monkeypatch.setattr(similarity, "MAX_SKETCH", 500)
    rng = random.Random(0)
    words = [f"w{rng.randrange(9000)}" for _ in range(4000)]
    other = [w if rng.random() > 0.01 else "other" for w in words]
    texts = [" ".join(words), " ".join(other), " ".join(words[:450])]
    found = judge(texts)
    assert sum(dropped(found[:2])) == 1
    score = next(score for reason, score in found if reason)
    assert score == pytest.approx(exact_jaccard(*texts[:2]), abs=0.05)
    assert not found[2][0]


def test_bands_alone_decide_where_there_is_no_bound(judge):
    words = [f"w{i}" for i in range(200)]
    copy = ["other" if i == 100 else word for i, word in enumerate(words)]
    assert (
        sum(dropped(judge([" ".join(words), " ".join(copy), "something else"], REFINED_WEB))) == 1
    )


def test_details_tell_of_documents_that_others_join(make_parts, tmp_path):
    words = [f"w{i}" for i in range(120)]
    chain = [" ".join(words[:110]), " ".join(words[5:115]), " ".join(words[10:])]
    stage = MinHashDedup(MinHashConfig(min_similarity=0.85))
    parts = make_parts([batch_of(chain, ids=["a", "b", "c"])], stage)
    details = stage.decide(parts, tmp_path, Tasks(0))
    assert details["clusters"] == {"3": 1}
    assert details["chained"] == int(exact_jaccard(chain[0], chain[2]) < 0.85)
    assert json.loads(json.dumps(details)) == details
    assert [path.name for path in tmp_path.glob("*/") if path.name == "work"] == []


@pytest.mark.slow
def test_worker_processes_decide_the_same(make_parts, tmp_path, monkeypatch):
    texts = versions()
    stage = MinHashDedup(MinHashConfig(num_bands=3, rows_per_band=4))
    ids = [f"{i:04d}" for i in range(len(texts))]
    batches = [batch_of(texts[n::3], ids=ids[n::3]) for n in range(3)]
    parts = make_parts(batches, stage)
    monkeypatch.setattr(minhash, "FEW_DOCUMENTS", 0)
    found = []
    for workers in (0, 2):
        folder = tmp_path / f"workers-{workers}"
        folder.mkdir()
        details = stage.decide(parts, folder, Tasks(workers))
        found.append((details, [decisions_path(folder, part).read_bytes() for part in parts]))
    assert found[0] == found[1]


# Decides on documents of which 30% are in clusters of up to 12; prints documents, peak kB, dropped.
# Keys and texts are made by number: to read a million documents is not what is tried here.
MILLION = """
import sys, tempfile
from pathlib import Path
import numpy as np, pyarrow as pa, pyarrow.compute as pc
from data_pipeline.dedup.minhash import MinHashConfig, MinHashDedup
from data_pipeline.dedup.shingles import combined
from data_pipeline.engine import Tasks
from data_pipeline.parts import PartFile

DOCUMENTS, PARTS, BANDS = int(sys.argv[1]), 8, 28

class Numbered:
    num_documents = DOCUMENTS // PARTS
    def __init__(self, folder, number):
        self.name, self.number = f"part-{number:05d}-000", number
        self.keys = folder / f"{self.name}.keys.parquet"
    def rows(self):
        for start in range(0, self.num_documents, 2**14):
            yield np.arange(start, min(start + 2**14, self.num_documents)) * PARTS + self.number
    def clusters(self, rows):
        return np.where(rows % 40 < 12, rows // 40, rows + DOCUMENTS)
    def batches(self):
        for rows in self.rows():
            name = pa.array(self.clusters(rows)).cast(pa.large_string())
            texts = pc.binary_join_element_wise(*[name] * 30, pa.scalar(" ", pa.large_string()))
            yield pa.record_batch({"text": texts})
    def write_keys(self):
        file = None
        for rows in self.rows():
            clusters = self.clusters(rows)
            columns = {
                "id": pc.utf8_lpad(pa.array(rows).cast(pa.large_string()), 16, "0"),
                "source": pa.array(["documents.jsonl:1"] * len(rows), pa.large_string()),
                "size": rows % 997, "has_words": np.ones(len(rows), bool),
            }
            for band in range(BANDS):  # of a cluster, each member agrees in two bands of three
                parts = clusters, np.full(len(rows), band), rows * ((rows + band) % 3 == 0)
                columns[f"band_{band:03d}"] = combined(np.stack(parts, 1).astype(np.uint32), 1)
            table = pa.table({name: pa.array(values) for name, values in columns.items()})
            file = file or PartFile(self.keys, table.schema)
            file.write(table)
        file.close()

with tempfile.TemporaryDirectory() as folder:
    parts = [Numbered(Path(folder), number) for number in range(PARTS)]
    for part in parts:
        part.write_keys()
    details = MinHashDedup(MinHashConfig()).decide(parts, Path(folder), Tasks(0))
dropped = sum((int(size) - 1) * count for size, count in details["clusters"].items())
# Not getrusage: its peak is also that of the process which started this one.
status = Path("/proc/self/status").read_text()
print(DOCUMENTS, status.split("VmHWM:")[1].split()[0], dropped)
"""


@pytest.mark.slow
def test_memory_is_bounded_for_millions_of_documents():
    def peak(num):
        command = [sys.executable, "-c", MILLION, str(num)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        documents, kilobytes, dropped = map(int, done.stdout.split())
        assert dropped == documents // 40 * 11
        return kilobytes / 1000

    small, large = peak(100_000), peak(1_000_000)
    # For 3.5 million documents 444 MB were measured, all steps in one process: it does not grow in
    # proportion, and by how much the first million does varies with the allocator.
    assert large < 500 and large - small < 200


@pytest.mark.parametrize(
    "fields",
    [{"num_bands": 0}, {"min_similarity": 0.0}, {"arrangements": 3}, {"seed": -1}],
)
def test_impossible_configs_are_refused(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        MinHashConfig(**fields)
