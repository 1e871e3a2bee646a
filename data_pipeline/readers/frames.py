"""WARC and ARC taken apart into records; what is damaged is one failure, and the rest goes on.

Parsed here and not by warcio, which is about as fast (300 MB/s of its own on 60 MB of pages, next
to which zlib takes longer) but ends at the first damage: here reading goes on at the next gzip
member, or where the next record's first line stands. Formats: ISO 28500 (WARC 1.0 and 1.1), and
the Internet Archive's ARC 1.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from data_pipeline.readers.compression import Stream
from data_pipeline.readers.records import Record, Unreadable, failure

_CHUNK, _OVERLAP = 2**18, 64
_MAX_HEAD = 2**16  # bytes of a record's own header; of a large record's content that is kept
_WARC = rb"WARC/\d\.\d+\r?\n"
_ARC = rb"[a-z][a-z0-9+.-]*:\S* \S+ \d{14} \S+ \d+\r?\n"
_VERSION = re.compile(_WARC)
_START = re.compile(rb"(?:%s|%s)" % (_WARC, _ARC))
_NEXT = re.compile(rb"\n(?=%s|%s)" % (_WARC, _ARC))
_BLANK = re.compile(rb"[\r\n]*")
_WARC_HEAD = re.compile(rb"%s(?:[^\n]+\n)*?\r?\n" % _WARC)


@dataclass(frozen=True)
class Frame:
    """A record. headers: names in lower case; those of ARC under the names of WARC.

    content: the block; of one larger than the limit only its begin (size is the whole).
    """

    source: str
    headers: dict[str, str]
    content: bytes
    size: int

    @property
    def is_whole(self) -> bool:
        return len(self.content) == self.size


class Frames:
    """The records of a stream, in order.

    A record's source is path:OFFSET, where its gzip member begins in the file, as CDX indexes have
    it (of a file that is not gzip: the byte where it begins); within a member of many records
    path:OFFSET:POSITION.
    """

    def __init__(self, path: str, stream: Stream, max_content: int):
        self._path, self._stream, self._max_content = path, stream, max_content
        self._buffer, self._at = b"", 0  # bytes read, and how many of them were taken
        self._failure: Unreadable | None = None
        # Of the gzip members at hand: (position of their begin in the stream, offset in the file).
        self._members = [(0, 0)]
        self._is_gzip = path.split("?", 1)[0].lower().endswith(".gz")

    def __iter__(self) -> Iterator[Frame | Record]:
        source = self._path
        while True:
            try:
                if not self._skip_blank():
                    return
                source = self._source()
                yield self._frame(source)
            except _Misframed as error:
                yield failure(source, error)
            except Unreadable as error:
                yield failure(source, error)
                if not (error.reason.startswith("damaged_") and self._stream.resume(_begins)):
                    return
                self._buffer, self._at, self._failure = b"", 0, None

    def _frame(self, source: str) -> Frame:
        head = self._head()
        headers = _warc_headers(head) if head.startswith(b"WARC/") else _arc_headers(head)
        length = headers.get("content-length", "")
        if not (length.isascii() and length.isdigit() and len(length) < 16):
            self._resynchronize(0)
            raise _Misframed(f"a record without a length ({length[:20]!r})")
        size = int(length)
        if size <= self._max_content:
            return Frame(source, headers, self._take(size), size)
        self._fill(_MAX_HEAD)
        content = self._buffer[self._at : self._at + _MAX_HEAD]
        self._pass(size)
        return Frame(source, headers, content, size)

    def _head(self) -> bytes:
        """Takes a record's own header, with the empty line behind it (of ARC: its only line)."""
        head = self._match(_START)
        if head is not None and head.startswith(b"WARC/"):
            head = self._match(_WARC_HEAD)
        if head is None:
            self._resynchronize(1)
            raise _Misframed("what stands there is not the header of a record")
        if begin := _VERSION.search(head, 1):
            self._at += begin.start()
            raise _Misframed("a record's header is cut off, and another follows")
        self._at += len(head)
        return head

    def _match(self, pattern: re.Pattern[bytes]) -> bytes | None:
        """What a pattern matches next, within the first 64 KiB."""
        while not (match := pattern.match(self._buffer, self._at, self._at + _MAX_HEAD)):
            available = len(self._buffer) - self._at
            if available >= _MAX_HEAD or not self._fill(available + 1):
                return None
        return match.group()

    def _take(self, size: int) -> bytes:
        """Takes a record's content, if it is followed by what may follow."""
        if not self._fill(size):
            what = f"the file ends after {len(self._buffer) - self._at} of a record's {size} bytes"
        elif self._is_followed(size):
            self._at += size
            return self._buffer[self._at - size : self._at]
        else:
            what = f"a record's length, {size}, is wrong"
        # If it was too large, the next record is within it.
        self._resynchronize(0)
        raise _Misframed(what)

    def _is_followed(self, size: int) -> bool:
        """Whether the end, or empty lines and a record, come after so many bytes."""
        try:
            while True:
                blank = _BLANK.match(self._buffer, self._at + size)
                assert blank is not None  # it matches nothing, too
                if _START.match(self._buffer, blank.end()):
                    return True
                available = len(self._buffer) - self._at
                if available >= size + _MAX_HEAD or not self._fill(available + 1):
                    return blank.end() == len(self._buffer)
        except Unreadable:
            if self._members[-1][1] == self._stream.member and self._is_gzip:
                raise  # the checksum of the member that this record came from, at the latest
            return True  # it is the next record's, and told when that is asked for

    def _pass(self, size: int) -> None:
        """Goes behind a content that is too large to be held."""
        left = size
        while left:
            begin = self._buffer.find(b"\n\r\nWARC/", self._at, self._at + left)
            if begin >= 0 and _START.match(self._buffer, begin + 3):
                self._at = begin + 3
                raise _Misframed(f"a record of {size} bytes holds the begin of another")
            available = len(self._buffer) - self._at
            # A begin may stand across two chunks.
            step = left if left <= available else max(available - _OVERLAP, 0)
            self._at += step
            left -= step
            if left and not self._fill(_OVERLAP + 1):
                self._at = len(self._buffer)
                raise _Misframed(f"the file ends before a record of {size} bytes does")

    def _resynchronize(self, start: int) -> None:
        """Goes to the next begin of a record, start bytes from here or later, or to the end."""
        self._at = min(self._at + start, len(self._buffer))
        while (begin := self._next_begin()) is None:
            self._at = max(self._at, len(self._buffer) - _MAX_HEAD)
            if not self._fill(len(self._buffer) - self._at + 1):
                self._at = len(self._buffer)
                return
        self._at = begin

    def _next_begin(self) -> int | None:
        """Where in the buffer a record begins: a line, or what a gzip member begins with."""
        if _START.match(self._buffer, self._at):
            return self._at
        match = _NEXT.search(self._buffer, self._at)
        found = [] if match is None else [match.end()]
        first = self._stream.position - len(self._buffer)
        for position, _ in self._members:
            if position - first >= self._at and _START.match(self._buffer, position - first):
                found.append(position - first)
        return min(found, default=None)

    def _skip_blank(self) -> bool:
        """Goes to the next record; False = that was the last."""
        while True:
            blank = _BLANK.match(self._buffer, self._at)
            assert blank is not None  # it matches nothing, too
            self._at = blank.end()
            if self._at < len(self._buffer):
                return True
            if not self._fill(1):
                return False

    def _fill(self, size: int) -> bool:
        """Reads until size bytes are there; False = the end comes first."""
        pieces = [self._buffer[self._at :]]
        missing = size - len(pieces[0])
        try:
            while missing > 0:
                if self._failure is not None:
                    raise self._failure
                data = self._stream.read(_CHUNK)
                if not data:
                    return False
                if self._members[-1][1] != self._stream.member:
                    begin = self._stream.position - len(data)
                    self._members.append((begin, self._stream.member))
                pieces.append(data)
                missing -= len(data)
        except Unreadable as error:
            self._failure = error
            raise
        finally:
            if len(pieces) > 1:
                self._buffer, self._at = b"".join(pieces), 0
        return True

    def _source(self) -> str:
        position = self._stream.position - len(self._buffer) + self._at
        while len(self._members) > 1 and self._members[1][0] <= position:
            del self._members[0]
        begin, offset = self._members[0]
        inner = position - begin
        if not self._is_gzip:
            return f"{self._path}:{position}"
        return f"{self._path}:{offset}:{inner}" if inner else f"{self._path}:{offset}"


class _Misframed(Unreadable):
    """Damage behind which the next record's begin was found."""

    def __init__(self, sentence: str):
        super().__init__("damaged_warc", f"{sentence}; get this record again")


def _begins(data: bytes) -> bool:
    return _START.match(data.lstrip(b"\r\n")) is not None


def _warc_headers(head: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    name = ""
    for line in head.decode("utf-8", "replace").splitlines()[1:]:
        if line[:1] in (" ", "\t") and name:
            headers[name] += " " + line.strip()
        elif ":" in line:
            name, value = line.split(":", 1)
            name = name.strip().lower()
            headers.setdefault(name, value.strip())
    return headers


def _arc_headers(head: bytes) -> dict[str, str]:
    url, _, date, kind, length = head.decode("utf-8", "replace").strip().rsplit(" ", 4)
    return {
        "warc-type": "filedesc" if url.startswith("filedesc:") else "response",
        "warc-target-uri": url,
        "warc-date": date,
        "content-type": "application/http; msgtype=response" if url.startswith("http") else kind,
        "content-length": length,
    }
