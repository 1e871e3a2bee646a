"""What a relay passes on, and what it keeps to itself."""

import socket
import threading

import pytest

from nanojaxlm.peers.relay import open_relay


def connect(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=5)


@pytest.fixture
def server():
    """Something that listens on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def test_bytes_go_both_ways_unchanged(server):
    with connect(open_relay("127.0.0.1", server.getsockname()[1])) as near:
        far, _ = server.accept()
        blob = bytes(range(256)) * 4000
        sender = threading.Thread(target=near.sendall, args=(blob,))
        sender.start()
        with far.makefile("rb") as reader:
            assert reader.read(len(blob)) == blob
        sender.join()
        far.sendall(b"answer")
        assert near.recv(6) == b"answer"
        far.close()


def test_the_end_of_the_far_side_is_kept_from_the_near_one(server):
    with connect(open_relay("127.0.0.1", server.getsockname()[1])) as near:
        far, _ = server.accept()
        far.sendall(b"last words")
        far.close()
        assert near.recv(64) == b"last words"
        near.settimeout(0.5)
        with pytest.raises(TimeoutError):  # open, and silent
            near.recv(1)


def test_the_end_of_the_near_side_reaches_the_far_one(server):
    near = connect(open_relay("127.0.0.1", server.getsockname()[1]))
    far, _ = server.accept()
    far.settimeout(5)
    near.close()
    assert far.recv(1) == b""
    far.close()


def test_where_nobody_listens_the_near_side_is_told_and_may_try_again():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    address = open_relay("127.0.0.1", port)
    with connect(address) as near:
        assert near.recv(1) == b""
    with socket.create_server(("127.0.0.1", port)) as server, connect(address):
        far, _ = server.accept()
        far.close()
