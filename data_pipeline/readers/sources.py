"""Bytes of a file, wherever it is: on this machine, behind http(s), or in a bucket.

A file of this machine that cannot be read is its own failure (`Unreadable`), and the rest goes on.
A network that fails is the surroundings' (`RetryableError`): the same command may succeed later.
"""

import http.client
import io
import os
import tempfile
import time
import urllib.error
import urllib.request
from typing import Any, BinaryIO, Self, cast

from data_pipeline.engine import DaftCoreException, DaftTransientError, daft
from data_pipeline.listing import first_line, why
from data_pipeline.readers.records import Unreadable
from nanojaxlm.errors import RetryableError

BUFFER = 2**20  # bytes that are fetched at once
_TRIES, _TIMEOUT = 5, 60  # of an http connection; seconds without a byte


class Source:
    """A file, read from front to back; closed as a context manager.

    position: bytes read so far, counted from the file's begin.
    """

    def __init__(self, path: str):
        self.path, self.position = path, 0
        self._file = self._open()

    def _open(self) -> Any:
        try:
            return open(self.path, "rb", buffering=0)
        except OSError as error:
            raise self._unreadable(error) from error

    def read(self, size: int) -> bytes:
        """At most size bytes; none at the end only.

        Raises:
            Unreadable: unreadable.
            RetryableError: the network failed.
        """
        try:
            data = self._file.read(size)
        except OSError as error:
            raise self._unreadable(error) from error
        self.position += len(data)
        return data

    def seek(self, position: int) -> None:
        self._file.seek(position)
        self.position = position

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _unreadable(self, error: Exception) -> Unreadable:
        what = (
            os.strerror(error.errno) if isinstance(error, OSError) and error.errno else why(error)
        )
        return Unreadable("unreadable", f"{what}; check that it is there and may be read")


class _BucketSource(Source):
    """A file of s3, gs and what else daft knows, by ranges of bytes."""

    def _open(self) -> Any:
        return self._guard(lambda: daft.File(self.path).open(buffer_size=BUFFER).__enter__())

    def read(self, size: int) -> bytes:
        data = self._guard(lambda: self._file.read(size))
        self.position += len(data)
        return data

    def seek(self, position: int) -> None:
        self._guard(lambda: self._file.seek(position))
        self.position = position

    def _guard(self, action: Any) -> Any:
        try:
            return action()
        except FileNotFoundError as error:
            raise self._unreadable(error) from error
        except (DaftTransientError, DaftCoreException, OSError, RuntimeError, ValueError) as error:
            if any(word in str(error) for word in ("Unauthorized", "Forbidden", "AccessDenied")):
                raise self._unreadable(error) from error
            raise unreachable(self.path, why(error)) from error


class _WebSource(Source):
    """A file behind http(s), in one reply; a connection that breaks is taken up where it was."""

    def __init__(self, path: str):
        self._left: int | None = None  # bytes that the reply still owes; None = it did not say
        super().__init__(path)

    def _open(self) -> Any:
        attempt = 0
        while True:
            try:
                return self._request()
            except (OSError, http.client.HTTPException) as error:
                status = error.code if isinstance(error, urllib.error.HTTPError) else 500
                if status < 500 and status not in (408, 429):
                    raise self._unreadable(error) from error
                attempt += 1
                if attempt == _TRIES:
                    raise unreachable(self.path, first_line(error)) from error
            time.sleep(0.25 * 2**attempt)

    def _request(self) -> Any:
        headers = {"User-Agent": "nanojaxlm", "Accept-Encoding": "identity"}
        if self.position:
            headers["Range"] = f"bytes={self.position}-"
        reply = urllib.request.urlopen(
            urllib.request.Request(self.path, headers=headers), timeout=_TIMEOUT
        )
        length = reply.headers.get("Content-Length")
        self._left = int(length) if length and length.isdigit() else None
        to_skip = self.position if reply.status == 200 else 0
        while to_skip and (data := reply.read(min(to_skip, BUFFER))):  # a server without ranges
            to_skip -= len(data)
            self._left = None if self._left is None else self._left - len(data)
        return reply

    def read(self, size: int) -> bytes:
        for _ in range(_TRIES):
            try:
                data = self._file.read(size)
                if data or not self._left:
                    break
            except (OSError, http.client.HTTPException):
                pass
            self._file.close()
            self._file = self._open()
        else:
            raise unreachable(self.path, "the connection breaks again and again")
        self.position += len(data)
        self._left = None if self._left is None else self._left - len(data)
        return data

    def seek(self, position: int) -> None:
        self._file.close()
        self.position = position
        self._file = self._open()


def open_source(path: str) -> Source:
    """Opens a path or URL.

    Raises:
        Unreadable: unreadable.
        RetryableError: the network failed.
    """
    if path.startswith(("http://", "https://")):
        return _WebSource(path)
    return _BucketSource(path) if "://" in path else Source(path)


def is_local(path: str) -> bool:
    return "://" not in path


def unreachable(path: str, cause: str) -> RetryableError:
    return RetryableError(
        f"{path}: cannot be read ({cause}); check the network, then run the same command again"
    )


def seekable(path: str) -> BinaryIO:
    """A file of this machine, or of a bucket by ranges; what is behind http(s) is copied first.

    Raises:
        Unreadable: unreadable.
        RetryableError: the network failed.
    """
    if path.startswith(("http://", "https://")):
        copy = tempfile.TemporaryFile()  # noqa: SIM115  (the caller closes it)
        with open_source(path) as source:
            while data := source.read(BUFFER):
                copy.write(data)
        copy.seek(0)
        return cast(BinaryIO, copy)
    if is_local(path):
        try:
            return open(path, "rb")
        except OSError as error:
            raise Unreadable(
                "unreadable", f"{os.strerror(error.errno or 0)}; check that it may be read"
            ) from error
    return io.BufferedReader(_Seekable(path), BUFFER)


class _Seekable(io.RawIOBase):
    """A bucket's file as Python's own files are."""

    def __init__(self, path: str):
        self._source = _BucketSource(path)
        self._size = daft.File(path).size()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._source.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._source.position, io.SEEK_END: self._size}
        self._source.seek(start[whence] + offset)
        return self._source.position

    def tell(self) -> int:
        return self._source.position

    def close(self) -> None:
        if not self.closed:
            self._source.close()
        super().close()
