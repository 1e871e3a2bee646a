"""The token store: the contract on disk between the data pipeline and the model.

    manifest.json              the commit marker, written last; a folder without it is not a store
    tokenizer.model            the tokenizer's bytes: a SentencePiece model or a tokenizer.json
    SPLIT/tokens/              zarr3, uint16 (vocabulary <= 65,536) or uint32: documents, joined
    SPLIT/offsets/             zarr3, int64 [num_documents + 1]: where documents begin; the end

A path is a local folder, gs://bucket/path, s3://bucket/path, … (`storage`): one code for them all.
Arrays are sharded: a file holds 2^25 tokens, compressed in chunks of 2^15 that are read alone.
Every chunk and every shard's index carries a crc32c, and a missing chunk is an error, not zeros.
"""

import dataclasses
import datetime
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import sentencepiece
import tensorstore as ts

from nanojaxlm.errors import UserError
from nanojaxlm.storage import (
    ArrayWriter,
    fail_to_read,
    fail_to_write,
    first_line,
    open_array,
    open_place,
)

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.model"
TOKENS_PER_SHARD, TOKENS_PER_CHUNK = 2**25, 2**15  # 64 MiB as uint16; 64 KiB a random read
OFFSETS_PER_SHARD, OFFSETS_PER_CHUNK = 2**22, 2**15

_SPLIT_NAME = re.compile(r"[A-Za-z0-9_-]+")
_ARRAY_FILE = re.compile(r"[A-Za-z0-9_-]+/(tokens|offsets)/(zarr\.json|c/\d+)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitManifest:
    """What one split holds.

    num_tokens counts the control tokens too; num_bytes is UTF-8 bytes of text. digest is sha256 hex
    of the token ids and the document lengths. files are the exact keys below the split's folder.
    """

    num_documents: int
    num_tokens: int
    num_bytes: int
    digest: str
    files: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """manifest.json. tokenizer is the fingerprint of tokenizer.model; created is UTC, ISO 8601."""

    format_version: int
    tokenizer: str
    vocab_size: int
    sources: tuple[Any, ...]
    curation: Mapping[str, Any]
    splits: Mapping[str, SplitManifest]
    created: str


def tokenizer_fingerprint(model: bytes) -> str:
    """sha256 hex of the tokenizer's bytes."""
    return hashlib.sha256(model).hexdigest()


class StoreWriter:
    """Writes a store in one pass; as a context manager, left without finish() it leaves no store.

    Holds at most one shard of tokens in memory for each split.

    Raises:
        UserError: a store is there already and overwrite is False; the path cannot be written.
        RetryableError: the disk is full, or the storage cannot be reached.
    """

    def __init__(
        self,
        path: str,
        *,
        tokenizer: bytes,
        sources: Sequence[Any],
        curation: Mapping[str, Any],
        vocab_size: int | None = None,
        overwrite: bool = False,
    ):
        """vocab_size: the tokenizer's ids; None = those of a SentencePiece model."""
        self._path = str(path)
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size or _vocab_size(tokenizer, self._path)
        self._sources = tuple(sources)
        self._curation = json.loads(json.dumps(dict(curation)))
        self._splits: dict[str, _SplitWriter] = {}
        self._finished = False
        self._root = open_place(self._path)
        try:
            if self._root.read(MANIFEST).result().state == "value":
                if not overwrite:
                    raise UserError(
                        f"{self._path} already holds a token store; name another path, delete it, "
                        "or ask to overwrite it"
                    )
                del self._root[MANIFEST]
            # What a crashed writer left, and nothing else that a user may keep there.
            for key in self._root.list().result():
                if key == TOKENIZER.encode() or _ARRAY_FILE.fullmatch(key.decode()):
                    del self._root[key]
            self._root.write(TOKENIZER, tokenizer).result()
        except (ValueError, OSError) as error:
            fail_to_write(error, self._path)

    def write(self, split: str, tokens: np.ndarray, lengths: np.ndarray, num_bytes: int) -> None:
        """Appends documents to a split, made at the first call.

        Args:
            split: letters, digits, _ and -.
            tokens: integers [sum(lengths)], the documents' ids one after another, BOS … EOS each.
            lengths: integers [number of documents], tokens of each document, all >= 1.
            num_bytes: UTF-8 bytes of the documents' text.

        Raises:
            ValueError: shapes that do not fit, or an id outside the vocabulary.
        """
        if self._finished:
            raise ValueError(f"{self._path}: write() after finish()")
        tokens, lengths = np.asarray(tokens), np.asarray(lengths)
        if not _SPLIT_NAME.fullmatch(split):
            raise ValueError(f"split {split!r}: use letters, digits, _ and - only")
        if tokens.ndim != 1 or lengths.ndim != 1 or int(lengths.sum()) != len(tokens):
            raise ValueError(
                f"{split}: lengths sum to {lengths.sum()}, but tokens have shape {tokens.shape}"
            )
        if len(lengths) and lengths.min() < 1:
            raise ValueError(f"{split}: every document needs at least one token")
        if len(tokens) and not 0 <= tokens.min() <= tokens.max() < self._vocab_size:
            raise ValueError(
                f"{split}: token ids span {tokens.min()}…{tokens.max()}, "
                f"the tokenizer has {self._vocab_size} ids"
            )
        try:
            if split not in self._splits:
                dtype = "uint16" if self._vocab_size <= 2**16 else "uint32"
                self._splits[split] = _SplitWriter(self._root / f"{split}/", dtype)
            self._splits[split].write(tokens, lengths, num_bytes)
        except (ValueError, OSError) as error:
            fail_to_write(error, self._path)

    def finish(self) -> Manifest:
        """Writes what is buffered, then the manifest: from then on the store exists."""
        if self._finished:
            raise ValueError(f"{self._path}: finish() called twice")
        try:
            manifest = Manifest(
                format_version=FORMAT_VERSION,
                tokenizer=tokenizer_fingerprint(self._tokenizer),
                vocab_size=self._vocab_size,
                sources=self._sources,
                curation=self._curation,
                splits={name: split.finish() for name, split in self._splits.items()},
                created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            )
            text = json.dumps(dataclasses.asdict(manifest), indent=1) + "\n"
            self._root.write(MANIFEST, text.encode()).result()
        except (ValueError, OSError) as error:
            fail_to_write(error, self._path)
        self._finished = True
        return manifest

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._splits.clear()


class Split:
    """One split of an open store.

    num_documents, num_tokens, num_bytes: as in the manifest. offsets: int64 [num_documents + 1] in
    memory, 8 bytes a document; document i is tokens offsets[i]:offsets[i + 1].
    """

    def __init__(self, name: str, path: str, manifest: SplitManifest, root: ts.KvStore, dtype: str):
        """Opens and verifies; see TokenStore.open."""
        self.name, self.manifest = name, manifest
        self.num_documents = manifest.num_documents
        self.num_tokens = manifest.num_tokens
        self.num_bytes = manifest.num_bytes
        self._path = path
        folder = root / f"{name}/"
        try:
            _check_files(path, name, manifest.files, _list_arrays(folder))
            offsets = open_array(folder / "offsets/")
            self._tokens = open_array(folder / "tokens/")
            if (self._tokens.shape, offsets.shape) != (
                (self.num_tokens,),
                (self.num_documents + 1,),
            ):
                raise _Damage(
                    f"tokens and offsets have shapes {self._tokens.shape} and {offsets.shape}, the "
                    f"manifest counts {self.num_tokens} tokens and {self.num_documents} documents"
                )
            if (self._tokens.dtype.name, offsets.dtype.name) != (dtype, "int64"):
                raise _Damage(
                    f"tokens and offsets are {self._tokens.dtype.name} and {offsets.dtype.name}, "
                    f"expected {dtype} and int64"
                )
            self.offsets: np.ndarray = np.asarray(offsets.read().result())
            ends = (int(self.offsets[0]), int(self.offsets[-1]))
            if ends != (0, self.num_tokens) or (np.diff(self.offsets) < 1).any():
                raise _Damage(
                    f"offsets do not rise from 0 to {self.num_tokens}, the number of tokens"
                )
            # One token of each shard: its index and that chunk must match their crc32c.
            (shard,) = self._tokens.chunk_layout.write_chunk.shape or (TOKENS_PER_SHARD,)
            self.read_many([(i, i + 1) for i in range(0, self.num_tokens, int(shard or 1))])
        except (ValueError, OSError) as error:
            fail_to_read(error, path, name)

    def read(self, start: int, stop: int) -> np.ndarray:
        """int32 [stop - start]: the tokens start … stop - 1 of the split."""
        return self.read_many([(start, stop)])[0]

    def read_many(self, ranges: Iterable[tuple[int, int]]) -> list[np.ndarray]:
        """`read` of many (start, stop) at once: the reads overlap, in storage and on the cores."""
        try:
            pending = [self._tokens[start:stop].read() for start, stop in ranges]
            return [np.asarray(read.result()).astype(np.int32) for read in pending]
        except (ValueError, OSError) as error:
            fail_to_read(error, self._path, self.name)


class TokenStore:
    """An open, verified store.

    manifest: what it holds. tokenizer: its bytes. path: as it was given.
    """

    def __init__(self, path: str, manifest: Manifest, tokenizer: bytes, splits: dict[str, Split]):
        self.path = path
        self.manifest = manifest
        self.tokenizer = tokenizer
        self._splits = splits

    @classmethod
    def open(cls, path: str, *, tokenizer: bytes | None = None) -> "TokenStore":
        """Opens a store and verifies that manifest, tokenizer and arrays belong together.

        Args:
            path: where it is; see the module.
            tokenizer: the model that the store must have been packed with; None = any.

        Raises:
            UserError: no store there, another format, another tokenizer, or damage: a file missing,
                added, truncated or corrupted, counts that do not match.
            RetryableError: the storage cannot be reached.
        """
        path = str(path)
        root = open_place(path)
        try:
            manifest_read = root.read(MANIFEST).result()
            tokenizer_read = root.read(TOKENIZER).result()
        except (ValueError, OSError) as error:
            fail_to_read(error, path, None)
        if manifest_read.state != "value":
            raise UserError(
                f"{path} holds no finished token store ({MANIFEST} is not there); make one with "
                "python -m data_pipeline.main --input=DOCUMENTS --output=DIR and name DIR/store"
            )
        manifest = _parse_manifest(manifest_read.value, path)
        if tokenizer_fingerprint(tokenizer_read.value) != manifest.tokenizer:
            raise UserError(
                f"{path} is damaged: its {TOKENIZER} is not the one of its {MANIFEST} "
                f"({manifest.tokenizer[:8]}); restore the folder or write the store again"
            )
        if tokenizer is not None and tokenizer_fingerprint(tokenizer) != manifest.tokenizer:
            raise UserError(
                f"{path} was packed with tokenizer {manifest.tokenizer[:8]}, but tokenizer "
                f"{tokenizer_fingerprint(tokenizer)[:8]} is wanted here; tokenize the documents "
                f"again with the latter, or use the former ({TOKENIZER} in that folder)"
            )
        dtype = "uint16" if manifest.vocab_size <= 2**16 else "uint32"
        splits = {
            name: Split(name, path, split, root, dtype) for name, split in manifest.splits.items()
        }
        return cls(path, manifest, tokenizer_read.value, splits)

    def split(self, name: str) -> Split:
        """The split of that name; UserError if the store has none."""
        if name not in self._splits:
            raise UserError(
                f"{self.path} has no split {name!r}; it has {', '.join(self._splits) or 'none'}"
            )
        return self._splits[name]


class _Damage(ValueError):
    """A store whose files do not agree with each other."""


class _SplitWriter:
    def __init__(self, folder: ts.KvStore, dtype: str):
        self._folder = folder
        self._tokens = ArrayWriter(folder / "tokens/", dtype, TOKENS_PER_SHARD, TOKENS_PER_CHUNK)
        self._offsets = ArrayWriter(
            folder / "offsets/", "int64", OFFSETS_PER_SHARD, OFFSETS_PER_CHUNK
        )
        self._offsets.append(np.zeros(1, np.int64))
        self._end = self._num_documents = self._num_bytes = 0
        self._content, self._lengths = hashlib.sha256(), hashlib.sha256()

    def write(self, tokens: np.ndarray, lengths: np.ndarray, num_bytes: int) -> None:
        tokens = tokens.astype(self._tokens.dtype)
        lengths = lengths.astype("<i8")
        self._content.update(tokens.astype("<u4").tobytes())
        self._lengths.update(lengths.tobytes())
        self._tokens.append(tokens)
        self._offsets.append(self._end + np.cumsum(lengths))
        self._end += len(tokens)
        self._num_documents += len(lengths)
        self._num_bytes += int(num_bytes)

    def finish(self) -> SplitManifest:
        self._tokens.flush()
        self._offsets.flush()
        return SplitManifest(
            num_documents=self._num_documents,
            num_tokens=self._end,
            num_bytes=self._num_bytes,
            digest=hashlib.sha256(self._content.digest() + self._lengths.digest()).hexdigest(),
            files=_list_arrays(self._folder),
        )


def _list_arrays(folder: ts.KvStore) -> tuple[str, ...]:
    keys = (folder / "tokens/").list().result(), (folder / "offsets/").list().result()
    return tuple(
        sorted(
            f"{array}/{key.decode()}"
            for array, names in zip(("tokens", "offsets"), keys, strict=True)
            for key in names
        )
    )


def _check_files(path: str, name: str, wanted: Sequence[str], found: Sequence[str]) -> None:
    for kind, files in (
        ("missing", set(wanted) - set(found)),
        ("not in the manifest", set(found) - set(wanted)),
    ):
        if files:
            raise _Damage(f"{len(files)} files are {kind}, such as {name}/{min(files)}")


def _parse_manifest(data: bytes, path: str) -> Manifest:
    try:
        fields = json.loads(data)
        version = fields["format_version"]
        if version == FORMAT_VERSION:
            splits = {
                name: SplitManifest(**(split | {"files": tuple(split["files"])}))
                for name, split in fields["splits"].items()
            }
            return Manifest(**(fields | {"sources": tuple(fields["sources"]), "splits": splits}))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is damaged: {MANIFEST} cannot be read ({type(error).__name__}: {error}); "
            "restore it or write the store again"
        ) from error
    raise UserError(
        f"{path} has format version {version}, this program reads {FORMAT_VERSION}; write the "
        "store again with this version of data_pipeline, or update this program"
    )


def _vocab_size(model: bytes, path: str) -> int:
    try:
        return sentencepiece.SentencePieceProcessor(model_proto=model).get_piece_size()
    except (RuntimeError, TypeError) as error:
        raise UserError(
            f"the tokenizer for {path} is no SentencePiece model ({len(model)} bytes); pass the "
            f"bytes of a .model file ({first_line(error)})"
        ) from error
