"""Texts made here: prose that passes the filters, and folders of it."""

import gc
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from data_pipeline.document import SCHEMA
from data_pipeline.engine import Tasks
from data_pipeline.execute import judge_batches, write_keys
from data_pipeline.parts import Layer, PartFile, StoredPart, rebatch
from data_pipeline.stage import Comparison, Judged

WORDS = """
    the be to of and that have with river mountain village letter winter garden teacher history
    science market bridge forest captain silver morning journey kitchen window island thunder music
    harvest library compass shadow engine harbour meadow painter quarrel orchard lantern whisper
    granite copper valley summer festival merchant cottage sailor promise puzzle ribbon
""".split()  # noqa: SIM905  (a list of 57 lines tells less)


HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Daft does not close the pipe to a worker process of a user-defined function.
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"))


@pytest.fixture(scope="module", autouse=True)
def pipes_of_daft_are_collected_here():
    """Else the garbage collector warns of them in the midst of another module's test."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def make_prose() -> Callable[..., str]:
    """make_prose(seed, num_sentences=30): varied sentences, different for every seed."""

    def make(seed: int, num_sentences: int = 30) -> str:
        rng = random.Random(seed)
        lines = []
        for _ in range(num_sentences):
            words = [rng.choice(WORDS) for _ in range(rng.randint(8, 16))]
            lines.append(" ".join(words).capitalize() + ".")
        return "\n".join(lines) + "\n"

    return make


@pytest.fixture
def make_parts(tmp_path: Path) -> Callable[..., list[StoredPart]]:
    """make_parts([batch, …], comparison): a stored part for each batch, its keys made."""

    def make(batches: Sequence[pa.RecordBatch], stage: Comparison) -> list[StoredPart]:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        parts = []
        for number, batch in enumerate(batches):
            name = f"part-{number:05d}-000"
            with PartFile(folder / f"{name}.parquet", SCHEMA) as file:
                for piece in rebatch([batch]):
                    file.write(piece)
            layers = (Layer("read", folder, True),)
            part = StoredPart(name, len(batch), layers, keys_folder=folder)
            write_keys(stage, part)
            parts.append(part)
        return parts

    return make


@pytest.fixture
def judge_all() -> Callable[..., list[Judged]]:
    """judge_all(comparison, parts): what it says of each part's batches, in order."""

    def judge(stage: Comparison, parts: Sequence[StoredPart]) -> list[Judged]:
        folder = parts[0].keys.parent / "decisions"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        stage.decide(parts, folder, Tasks(0))
        return [judged for p in parts for _, judged in judge_batches(stage, folder.parent, p)]

    return judge


@pytest.fixture
def prose_folder(tmp_path: Path, make_prose: Callable[..., str]) -> Path:
    """A folder of 40 different text files."""
    folder = tmp_path / "documents"
    folder.mkdir()
    for i in range(40):
        (folder / f"{i:02d}.txt").write_text(make_prose(i))
    return folder
