"""A connection that carries JSON values, one a line, either way."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any


class Line:
    """One end of a connection; any thread may send, one may read."""

    def __init__(self, connection: socket.socket, timeout: float):
        connection.settimeout(timeout)  # of a send to one that does not read
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection, self._sending = connection, threading.Lock()

    def send(self, value: Any) -> None:
        """Sends, if the other side is there; that it is gone is for the reader to say."""
        with self._sending, contextlib.suppress(OSError):
            self._connection.sendall(json.dumps(value).encode() + b"\n")

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """What comes, until the other side is gone or talks nonsense."""
        rest = b""
        while True:
            try:
                chunk = self._connection.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                return
            *lines, rest = (rest + chunk).split(b"\n")
            try:
                yield from map(json.loads, lines)
            except ValueError:
                return
            if not chunk:
                return

    def close(self) -> None:
        self._connection.close()
