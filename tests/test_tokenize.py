"""A store made with the tokenizer of a checkpoint, whichever kind of tokenizer that is."""

import dataclasses
from pathlib import Path

import jax
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tokenizers
from rich.console import Console

from nanojaxlm.checkpoint import Checkpoints, Saved
from nanojaxlm.config import Config, TrainingConfig
from nanojaxlm.data.input import DataConfig
from nanojaxlm.data.tokenizer import load_tokenizer
from nanojaxlm.loading import load
from nanojaxlm.model.transformer import Transformer
from nanojaxlm.optimizer import AdamW, WarmupCosine
from nanojaxlm.token_store import TokenStore
from nanojaxlm.train import train
from nanojaxlm.typed_config import to_plain

TEXTS = {
    "train": [f"The {word} stands by the river, {i}.\n" for i, word in enumerate(["mill"] * 400)],
    "validation": ["A letter from the winter garden.\n", "History and the teacher\n"],
}


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    for split, texts in TEXTS.items():
        folder = tmp_path / "documents" / split
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"id": texts, "text": texts}), folder / "0.parquet")
    return tmp_path / "documents"


def byte_level_bpe() -> bytes:
    """A tokenizer.json of the kind of GPT-2."""
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    model.train_from_iterator(TEXTS["train"], trainer)
    return model.to_str().encode()


@pytest.mark.slow
def test_a_model_with_a_tokenizer_json_learns_from_a_store_made_with_it(
    tmp_path, documents, tiny_config, random_params, run_module
):
    """The way of an imported model: its checkpoint, documents, a store, further training."""
    tokenizer = load_tokenizer(byte_level_bpe())
    model_config = tiny_config(vocab_size=tokenizer.vocab_size)
    config = Config(
        model=model_config,
        data=DataConfig(sequence_length=16, batch_size=8),
        optimizer=AdamW(learning_rate=1e-3, schedule=WarmupCosine(warmup_steps=1)),
        training=TrainingConfig(steps=2),
    )
    checkpoints = Checkpoints(tmp_path / "imported")
    params = random_params(Transformer(model_config))
    checkpoints.save({"params": params}, Saved(0, to_plain(config), {}, tokenizer.model))
    checkpoints.close()

    arguments = {"checkpoint": "imported", "documents": "documents", "output": "store"}
    done = run_module(
        "nanojaxlm.tokenize", *(f"--{name}={tmp_path / value}" for name, value in arguments.items())
    )
    assert (done.returncode, done.stderr) == (0, "")
    store = TokenStore.open(str(tmp_path / "store"), tokenizer=tokenizer.model)
    for split, texts in TEXTS.items():
        found = store.split(split)
        assert found.num_bytes == sum(len(text.encode()) for text in texts)
        for i, text in enumerate(texts):
            start, stop = (int(offset) for offset in found.offsets[i : i + 2])
            ids = found.read(start, stop).tolist()
            assert (ids[0], ids[-1]) == (tokenizer.bos_id, tokenizer.eos_id)
            assert tokenizer.decode(ids[1:-1]) == text

    data = dataclasses.replace(config.data, stores=(str(tmp_path / "store"),))
    training = TrainingConfig(steps=2, start_from=str(tmp_path / "imported"))
    more = dataclasses.replace(config, data=data, training=training)
    train(more, tmp_path / "run", Console(quiet=True))
    loaded = load(str(tmp_path / "run"))
    assert loaded.step == 2
    assert loaded.tokenizer.decode(loaded.tokenizer.encode(TEXTS["validation"][0]))
    assert jax.tree.structure(loaded.params) == jax.tree.structure(params)


@pytest.mark.slow
def test_mistakes_are_told(tmp_path, finished_run, run_module, assert_mistake):
    (tmp_path / "documents" / "train").mkdir(parents=True)
    (tmp_path / "documents" / "train" / "0.parquet").write_bytes(b"no parquet")
    arguments = [f"--documents={tmp_path / 'documents'}", f"--output={tmp_path / 'store'}"]
    done = run_module("nanojaxlm.tokenize", *arguments)
    assert_mistake(done, 2, "--checkpoint is missing")
    done = run_module("nanojaxlm.tokenize", *arguments, f"--checkpoint={finished_run}")
    assert_mistake(done, 2, "0.parquet", "cannot be read as documents")
    assert not (tmp_path / "store" / "manifest.json").exists()
    arguments[0] = f"--documents={tmp_path}"
    done = run_module("nanojaxlm.tokenize", *arguments, f"--checkpoint={finished_run}")
    assert_mistake(done, 2, "no folders of Parquet files")
