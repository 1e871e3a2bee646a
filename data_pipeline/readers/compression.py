"""Bytes out of gzip, bzip2, xz and zstd, as a stream: bounded memory, and limits for bombs.

What stands before a break is handed on to its last byte (gzip; a block of the others, at most
64 KiB, is lost with it). Then comes the failure.
"""

import bz2
import io
import lzma
import os
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow as pa

from data_pipeline.document import COMPRESSIONS
from data_pipeline.readers.config import ReadConfig
from data_pipeline.readers.records import Unreadable
from data_pipeline.readers.sources import Source

FREE_EXPANSION = 64 * 2**20  # bytes that come out before max_expansion is asked
GZIP_MAGIC = b"\x1f\x8b\x08"
_INPUT, _OUTPUT = 2**15, 2**18  # bytes in at once, and out at most
_BLOCK = 2**16  # bytes out of the others at once
_MEMORY = 128 * 2**20  # for the dictionary of xz; `xz -9` makes one of 64 MiB
_GZIP = 31  # zlib's wbits for a gzip header


class Stream:
    """A source's bytes as they are.

    position: bytes handed out so far.
    member: of gzip, where in the file the member began that the last read's bytes are of (a read
        never gives bytes of two); else 0.
    """

    def __init__(self, source: Source, config: ReadConfig):
        self.source, self._config = source, config
        self.position = self.member = 0

    def read(self, size: int) -> bytes:
        """At most size bytes; none at the end only.

        Raises:
            Unreadable: unreadable, damaged_*, expansion_limit.
        """
        data = self.source.read(size)
        self.position += len(data)
        return data

    def resume(self, begins: Callable[[bytes], bool]) -> bool:
        """After a failure: goes to the next member whose first bytes are such; False = no more."""
        return False

    def _count(self, data: bytes) -> bytes:
        self.position += len(data)
        if self.position > self._config.max_expanded_bytes:
            raise Unreadable(
                "expansion_limit",
                f"more than {self._config.max_expanded_bytes} bytes come out of it; it may be a "
                "bomb: look at it, or raise --config.read.max_expanded_bytes",
            )
        allowed = self._config.max_expansion * max(self.source.position, 1)
        if self.position > max(FREE_EXPANSION, allowed):
            raise Unreadable(
                "expansion_limit",
                f"it grows to more than {self._config.max_expansion} times its size; it may be a "
                "bomb: look at it, or raise --config.read.max_expansion",
            )
        return data


class _GzipStream(Stream):
    """Members one after the other, as `cat a.gz b.gz` makes them and WARC has one a record."""

    def __init__(self, source: Source, config: ReadConfig):
        super().__init__(source, config)
        self._decoder: Any = None  # zlib's, of the open member
        self._input = b""
        self._failure: Unreadable | None = None

    def read(self, size: int) -> bytes:
        while self._failure is None:
            if not self._input:
                self._input = self.source.read(_INPUT)
            if self._decoder is None and not self._next_member():
                return b""
            if not self._input:
                self._fail("it ends too early")
            elif data := self._decompress(min(size, _OUTPUT)):
                return self._count(data)
        raise self._failure

    def _next_member(self) -> bool:
        """Opens it; False = the end of the file."""
        self._input = self._input.lstrip(b"\0")  # tapes and some writers pad with zeros
        while len(self._input) < len(GZIP_MAGIC) and (more := self.source.read(_INPUT)):
            self._input = (self._input + more).lstrip(b"\0")
        if not self._input:
            return False
        self.member = self.source.position - len(self._input)
        self._decoder = zlib.decompressobj(_GZIP)
        return True

    def _decompress(self, size: int) -> bytes:
        before = self._decoder.copy()
        try:
            data = self._decoder.decompress(self._input, size)
        except zlib.error as error:
            self._fail(str(error))
            return _salvaged(before, self._input)
        if self._decoder.eof:
            self._input, self._decoder = self._decoder.unused_data, None
        else:
            self._input = self._decoder.unconsumed_tail
        return data

    def _fail(self, what: str) -> None:
        self._failure = Unreadable(
            "damaged_gzip", f"{what}, in the member at byte {self.member}; copy the file again"
        )

    def resume(self, begins: Callable[[bytes], bool]) -> bool:
        start = self.member + 1
        self.source.seek(start)
        window = self.source.read(_INPUT)
        while window:
            window += self.source.read(_INPUT)  # so that a member's first bytes are within it
            at = window.find(GZIP_MAGIC)
            while 0 <= at < _INPUT:
                if begins(_first_bytes(window[at:])):
                    self.source.seek(start + at)
                    self._input, self._decoder, self._failure = b"", None, None
                    return True
                at = window.find(GZIP_MAGIC, at + 1)
            start, window = start + _INPUT, window[_INPUT:]
        return False


def _salvaged(decoder: Any, data: bytes) -> bytes:
    """What comes out before the error: zlib keeps it back, so it is asked for bit by bit."""
    pieces = []
    try:
        while data:
            pieces.append(decoder.decompress(data, 256))
            data = decoder.unconsumed_tail
    except zlib.error:
        pass
    return b"".join(pieces)


def _first_bytes(data: bytes) -> bytes:
    try:
        return zlib.decompressobj(_GZIP).decompress(data, 256)
    except zlib.error:
        return b""


class _BlockStream(Stream):
    """bzip2 or xz: one decompressor of Python's a member."""

    def __init__(self, source: Source, config: ReadConfig, name: str, new: Callable[[], Any]):
        super().__init__(source, config)
        self._name, self._new = name, new
        self._decoder: Any = None
        self._input = b""

    def read(self, size: int) -> bytes:
        while True:
            if not self._input and (self._decoder is None or self._decoder.needs_input):
                self._input = self.source.read(_INPUT)
                if not self._input:
                    if self._decoder is None:
                        return b""
                    raise _damaged(self._name, "it ends too early")
            if self._decoder is None:
                self._input = self._input.lstrip(b"\0")
                if not self._input:
                    continue
                self._decoder = self._new()
            try:
                data = self._decoder.decompress(self._input, min(size, _BLOCK))
            except (OSError, EOFError, lzma.LZMAError) as error:
                raise _damaged(self._name, str(error)) from error
            self._input = b""
            if self._decoder.eof:
                self._input, self._decoder = self._decoder.unused_data, None
            if data:
                return self._count(data)


class _ZstdStream(Stream):
    """Frames of zstd, by Arrow; a window of more than 128 MiB is refused by the library."""

    def __init__(self, source: Source, config: ReadConfig):
        super().__init__(source, config)
        self._file = pa.CompressedInputStream(pa.PythonFile(_Readable(source), "r"), "zstd")

    def read(self, size: int) -> bytes:
        try:
            return self._count(self._file.read(min(size, _BLOCK)))
        except Unreadable:
            raise
        except OSError as error:
            raise _damaged("zstd", str(error)) from error


class _Readable(io.RawIOBase):
    """A source as Arrow wants a file."""

    def __init__(self, source: Source):
        self._source = source

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._source.read(size)


def _damaged(compression: str, what: str) -> Unreadable:
    return Unreadable(f"damaged_{compression}", f"{what}; copy the file again")


def open_stream(source: Source, config: ReadConfig) -> Stream:
    """The decompressed bytes of a source, by the suffix of its path."""
    name = os.path.basename(source.path).split("?", 1)[0].lower()
    compression = COMPRESSIONS.get(os.path.splitext(name)[1])
    if compression == "gzip":
        return _GzipStream(source, config)
    if compression == "bz2":
        return _BlockStream(source, config, "bz2", bz2.BZ2Decompressor)
    if compression == "xz":
        return _BlockStream(source, config, "xz", partial(lzma.LZMADecompressor, memlimit=_MEMORY))
    return _ZstdStream(source, config) if compression == "zstd" else Stream(source, config)


def read_all(stream: Stream, limit: int) -> bytes:
    """Everything, but no more than limit bytes and one, by which the caller sees that it is more.

    Raises:
        Unreadable: as `Stream.read`.
    """
    pieces, left = [], limit + 1
    while left and (data := stream.read(left)):
        pieces.append(data)
        left -= len(data)
    return b"".join(pieces)
