"""The demo's door that is shut half of the time: refused and cut connections, made again later."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from devnet.fleet import outage
from runner.processes import free_port

SECONDS = 0.4


class Echo(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line.upper())


@pytest.fixture
def behind() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield int(server.server_address[1])
        server.shutdown()


def ask(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        connection.sendall(b"hello\n")
        return connection.recv(100)


def until(port: int, reachable: bool) -> float:
    """When the door is found so, monotonic seconds."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            found = ask(port) == b"HELLO\n"
        except OSError:
            found = False
        if found == reachable:
            return time.monotonic()
        time.sleep(0.01)
    raise AssertionError(f"never {'open' if reachable else 'shut'}")


def test_open_first_then_shut_and_open_in_turn(behind: int) -> None:
    port = free_port()
    with outage(f"{port}:{behind}:{SECONDS}"):
        assert ask(port) == b"HELLO\n"
        with socket.create_connection(("127.0.0.1", port), timeout=10) as kept:
            shut = until(port, reachable=False)
            with suppress(ConnectionError):
                assert kept.recv(10) == b"", "an open connection is cut"
        opened = until(port, reachable=True)
        assert opened - shut > SECONDS / 2
        until(port, reachable=False)
    with pytest.raises(OSError):
        ask(port)
