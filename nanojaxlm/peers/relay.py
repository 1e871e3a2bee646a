"""A door of this process's own to the coordinator, which stays open when the coordinator dies.

jax's client aborts its process, with a stack trace and SIGABRT, in the very moment its connection
to process 0 breaks. Through the relay it sees no break, and the watch has the time to say who died.
"""

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any

_CONNECT_SECONDS = 10.0


def open_relay(host: str, port: int) -> str:
    """Listens on loopback, passes on to HOST:PORT; returns its own address, 127.0.0.1:PORT."""
    server = socket.create_server(("127.0.0.1", 0))
    _start(_accept, server, host, port)
    return f"127.0.0.1:{server.getsockname()[1]}"


def _accept(server: socket.socket, host: str, port: int) -> None:
    while True:
        near, _ = server.accept()
        try:
            far = socket.create_connection((host, port), timeout=_CONNECT_SECONDS)
        except OSError:
            near.close()  # it tries again
            continue
        far.settimeout(None)
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _start(_pass_on, near, far, True)
        _start(_pass_on, far, near, False)


def _pass_on(source: socket.socket, sink: socket.socket, to_the_end: bool) -> None:
    """to_the_end: whether the end of `source` is passed on too."""
    with contextlib.suppress(OSError):
        while chunk := source.recv(65536):
            sink.sendall(chunk)
    if to_the_end:
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads from it
            end.close()


def _start(target: Callable[..., None], *arguments: Any) -> None:
    threading.Thread(target=target, args=arguments, name="relay", daemon=True).start()
