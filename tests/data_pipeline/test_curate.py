"""The whole curation on a small corpus: accounted for, restartable, whole or not there."""

# pyright: reportAttributeAccessIssue=false
# (pyarrow.compute makes its functions at import, so a type checker cannot see them)

import dataclasses
import gzip
import json
import shutil
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from data_pipeline import curate as curate_module
from data_pipeline import execute, mix, tokenize
from data_pipeline.config import CurationConfig
from data_pipeline.curate import Execution, curate
from data_pipeline.dedup.minhash import MinHashConfig
from data_pipeline.execute import Runner
from data_pipeline.tokenize import TokenizerConfig
from nanojaxlm import typed_config
from nanojaxlm.errors import UserError
from nanojaxlm.token_store import TokenStore

CONFIG = CurationConfig(tokenizer=TokenizerConfig(vocab_size=400))


def tables(folder):
    return pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("*.parquet"))])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, make_prose):
    """Good documents in several forms among every kind of bad one."""
    folder = tmp_path_factory.mktemp("corpus")
    for i in range(30):
        (folder / f"{i:02d}.txt").write_text(make_prose(i))
    records = [json.dumps({"text": make_prose(100 + i)}) for i in range(10)]
    (folder / "more.jsonl.gz").write_bytes(gzip.compress("\n".join([*records, "{"]).encode()))
    pq.write_table(pa.table({"text": [make_prose(200)]}), folder / "one.parquet")
    (folder / "page.html").write_text(f"<html><body><p>{make_prose(300)}</p></body></html>")
    (folder / "copy.txt").write_text(make_prose(3).upper())
    (folder / "near.txt").write_text(make_prose(4) + "One more.\n")
    (folder / "short.txt").write_text("too short\n")
    (folder / "square.txt").write_text(make_prose(5, 31) + "\u2581\n")
    (folder / "latin.txt").write_bytes(b"caf\xe9")
    (folder / "empty.parquet").write_bytes(b"")
    (folder / "binary.bin").write_bytes(b"\0\1")
    return folder


@pytest.fixture(scope="module")
def finished(corpus, tmp_path_factory):
    output = tmp_path_factory.mktemp("output") / "out"
    return output, curate(CONFIG, [str(corpus)], output)


def test_every_document_that_went_in_has_one_row_in_the_ledger_and_the_sums_balance(finished):
    output, report = finished
    documents, num_failed = report["read"]["documents"], len(report["read"]["failed"])
    dropped = Counter()
    for stage in report["stages"]:
        assert stage["documents_in"] - stage["documents_out"] == sum(stage["dropped"].values())
        assert stage["documents_in"] == documents - dropped.total()
        dropped.update({(stage["name"], why): n for why, n in stage["dropped"].items()})
    kept = sum(split["documents"] for split in report["kept"].values())
    assert kept + dropped.total() == documents
    ledger = tables(output / "ledger")
    assert ledger.column_names == ["id", "source", "stage", "reason", "score"]
    assert len(set(ledger["id"].to_pylist())) == len(ledger) == documents + num_failed
    told = Counter(zip(ledger["stage"].to_pylist(), ledger["reason"].to_pylist(), strict=True))
    assert told.pop((None, None)) == kept
    assert sum(told.pop(key) for key in list(told) if key[0] == "read") == num_failed
    assert told == dropped
    kept_ids = [
        i for s in report["kept"] for i in tables(output / "documents" / s)["id"].to_pylist()
    ]
    alive = ledger.filter(pc.is_null(ledger["stage"]))["id"].to_pylist()
    assert sorted(kept_ids) == sorted(alive)


def test_what_was_dropped_can_be_browsed_with_its_text(finished):
    output, report = finished
    samples = tables(output / "dropped")
    assert samples.column_names == ["id", "source", "stage", "reason", "score", "text"]
    assert len(samples) == sum(sum(stage["dropped"].values()) for stage in report["stages"])
    assert "too short\n" in samples["text"].to_pylist()
    page = (output / "report.html").read_text()
    assert "too_few_words" in page and "too short" in page


def test_each_bad_document_is_dropped_for_its_own_reason(finished):
    output, report = finished
    table = tables(output / "ledger")
    reasons = {
        source.rsplit("/", 1)[1]: (stage, reason)
        for source, stage, reason in zip(
            *(table[c].to_pylist() for c in ("source", "stage", "reason")), strict=True
        )
    }
    assert reasons["short.txt"] == ("filter", "too_few_words")
    assert reasons["square.txt"] == ("tokenize", "not_lossless")
    assert reasons["latin.txt"] == ("read", "not_utf8")
    assert {"copy.txt", "03.txt"} & {n for n, r in reasons.items() if r[1] == "exact_duplicate"}
    assert {"near.txt", "04.txt"} & {n for n, r in reasons.items() if r[1] == "near_duplicate"}
    failed = {f["source"].rsplit("/", 1)[1].split(":")[0] for f in report["read"]["failed"]}
    assert failed == {"latin.txt", "empty.parquet", "more.jsonl.gz"}
    assert report["skipped"] == {".bin": 1}


def test_the_store_holds_the_kept_documents_in_their_order(finished):
    output, report = finished
    store = TokenStore.open(str(output / "store"))
    assert store.tokenizer == (output / "tokenizer.model").read_bytes()
    processor = tokenize.sentencepiece.SentencePieceProcessor(model_proto=store.tokenizer)
    for name, counts in report["kept"].items():
        split = store.split(name)
        tokens = split.read(0, split.num_tokens)
        texts = tables(output / "documents" / name)["text"].to_pylist()
        documents = [
            tokens[a:b].tolist() for a, b in zip(split.offsets[:-1], split.offsets[1:], strict=True)
        ]
        assert all(d[0] == tokenize.BOS and d[-1] == tokenize.EOS for d in documents)
        assert [processor.decode(d[1:-1]) for d in documents] == texts
        assert (split.num_documents, split.num_tokens, split.num_bytes) == (
            counts["documents"],
            counts["tokens"],
            counts["bytes"],
        )
        assert counts["bytes"] == sum(len(text.encode()) for text in texts)


def test_the_saved_config_is_the_config(finished):
    output, _ = finished
    saved = json.loads((output / "config.json").read_text())
    assert typed_config.from_config_dict(CurationConfig, saved) == CONFIG


def snapshot(output):
    return {
        str(path.relative_to(output)): path.read_bytes()
        for path in sorted(output.rglob("*"))
        if path.is_file()
        and "stages" not in path.relative_to(output).parts
        and path.name not in ("report.json", "report.html", "manifest.json")
    }


@pytest.mark.slow
def test_worker_processes_and_the_size_of_parts_change_no_byte(corpus, finished, tmp_path):
    execution = Execution(workers=2, part_bytes=5000)
    report = curate(CONFIG, [str(corpus)], tmp_path / "out", execution=execution)
    assert len(list((tmp_path / "out").glob("stages/read-*/part-*.parquet"))) > 5
    assert snapshot(tmp_path / "out") == snapshot(finished[0])
    for one, other in zip(report["stages"], finished[1]["stages"], strict=True):
        for name in ("dropped", "examples", "scores", "notes", "changes", "details"):
            assert one[name] == other[name]


class Killed(BaseException):
    """Stands for a signal: no handler of the pipeline may catch it."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "step"),
    [
        (Runner, "read"),
        (Runner, "run_stage"),
        (mix, "mix"),
        (curate_module._Run, "_encoder"),
        (curate_module._Run, "_store"),
        (curate_module, "replace_folder"),
        (curate_module.report, "write"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_killed_run_goes_on_to_the_same_bytes(
    corpus, finished, tmp_path, monkeypatch, owner, step
):
    output, calls, original = tmp_path / "out", [], getattr(owner, step)

    def kill_after(*args, **kwargs):
        if step != "write":  # the report is what makes a curation finished
            original(*args, **kwargs)
        calls.append(step)
        raise Killed

    monkeypatch.setattr(owner, step, kill_after)
    with pytest.raises(Killed):
        curate(CONFIG, [str(corpus)], output)
    assert not (output / "report.json").exists()
    monkeypatch.undo()
    if step == "mix":  # and what is finished is not done again
        for name in ("read_task", "judge_part", "write_keys"):
            monkeypatch.setattr(f"data_pipeline.execute.{name}", None)
    curate(CONFIG, [str(corpus)], output)
    assert calls == [step]
    assert snapshot(output) == snapshot(finished[0])


@pytest.mark.slow
def test_a_changed_threshold_runs_again_what_follows_and_nothing_else(
    corpus, finished, tmp_path, monkeypatch
):
    output = tmp_path / "out"
    shutil.copytree(finished[0], output)
    judged = []
    original = execute.judge_part
    monkeypatch.setattr(
        execute,
        "judge_part",
        lambda stage, *rest: (judged.append(stage.name), original(stage, *rest))[1],
    )
    monkeypatch.setattr(execute, "read_task", None)
    near = MinHashConfig(num_bands=15)
    curate(dataclasses.replace(CONFIG, near_dedup=near), [str(corpus)], output, overwrite=True)
    assert set(judged) == {"near_dedup"}
    names = {path.name.split("-")[0] for path in (output / "stages").iterdir()}
    assert {"read", "extraction", "exact_dedup", "filter", "near_dedup", "mix"} <= names
    assert len(list((output / "stages").glob("near_dedup-*"))) == 1


def test_a_finished_output_is_left_as_it_is(corpus, finished, monkeypatch):
    output, report = finished
    before = snapshot(output)
    monkeypatch.setattr(curate_module, "_Run", None)
    assert curate(CONFIG, [str(corpus)], output) == json.loads(json.dumps(report))
    assert snapshot(output) == before


@pytest.mark.slow
def test_another_config_needs_another_output_or_the_users_word(prose_folder, tmp_path):
    output = tmp_path / "out"
    curate(CONFIG, [str(prose_folder)], output)
    other = dataclasses.replace(CONFIG, tokenizer=TokenizerConfig(vocab_size=450))
    before = snapshot(output)
    with pytest.raises(UserError, match="--overwrite"):
        curate(other, [str(prose_folder)], output)
    assert snapshot(output) == before
    curate(other, [str(prose_folder)], output, overwrite=True)
    assert TokenStore.open(str(output / "store")).manifest.vocab_size == 450


def test_a_changed_input_is_another_curation(prose_folder, tmp_path):
    output = tmp_path / "out"
    curate(CONFIG, [str(prose_folder)], output)
    (prose_folder / "00.txt").write_text("changed " * 60)
    with pytest.raises(UserError, match="other inputs"):
        curate(CONFIG, [str(prose_folder)], output)


def test_a_mended_config_goes_on_from_the_stages_that_fit(prose_folder, tmp_path, monkeypatch):
    output = tmp_path / "out"
    large = dataclasses.replace(CONFIG, tokenizer=TokenizerConfig(vocab_size=30_000))
    with pytest.raises(UserError, match="vocab_size"):
        curate(large, [str(prose_folder)], output)
    monkeypatch.setattr(execute, "read_task", None)
    assert curate(CONFIG, [str(prose_folder)], output)["kept"]["train"]["documents"] > 30


def test_stages_can_be_left_out(prose_folder, tmp_path):
    (prose_folder / "copy.txt").write_text((prose_folder / "00.txt").read_text())
    config = CurationConfig(
        extraction=None, filter=None, exact_dedup=None, near_dedup=None, tokenizer=CONFIG.tokenizer
    )
    report = curate(config, [str(prose_folder)], tmp_path / "out")
    assert [stage["name"] for stage in report["stages"]] == ["tokenize"]
    assert sum(split["documents"] for split in report["kept"].values()) == 41


def test_a_folder_of_the_users_is_not_written_into(prose_folder, tmp_path):
    output = tmp_path / "mine"
    output.mkdir()
    (output / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        curate(CONFIG, [str(prose_folder)], output, overwrite=True)
    assert (output / "thesis.txt").read_text() == "mine"


def test_when_a_rule_drops_everything_the_error_names_it(tmp_path):
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "a.txt").write_text("short")
    with pytest.raises(UserError, match=r"filter dropped all .*too_few_words"):
        curate(CONFIG, [str(folder)], tmp_path / "out")
