"""The host's mail server, out of its mind: whatever it does ends within one mail's time, in one
sentence, and nobody is told that something was sent."""

from __future__ import annotations

import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from alerts import deliver
from net import smtp

Talk = Callable[[socket.socket], None]
HELLO, FINE = b"220 here\r\n", b"250 fine\r\n"


def silence(_: socket.socket) -> None:
    GOING.wait()


def drip(peer: socket.socket) -> None:
    while not GOING.wait(0.02):
        peer.sendall(b"2")


def drip_lines(peer: socket.socket) -> None:
    """Each is whole and in time; the reply never ends."""
    while not GOING.wait(0.02):
        peer.sendall(b"220-and\r\n")


def flood_of_lines(peer: socket.socket) -> None:
    while not GOING.is_set():
        peer.sendall(b"220-and more of it\r\n" * 2_000)


def flood_without_a_line(peer: socket.socket) -> None:
    while not GOING.is_set():
        peer.sendall(b"2" * 60_000)


def garbage(peer: socket.socket) -> None:
    peer.sendall(b"\xff\x00\x80 <script>\r\n" * 3)


def hangs_up(_: socket.socket) -> None:
    return


def refuses(peer: socket.socket) -> None:
    peer.sendall(b"554 no\r\n")


def greets_and_stops(peer: socket.socket) -> None:
    peer.sendall(HELLO)
    peer.recv(1_000)
    GOING.wait()


def greets_and_floods(peer: socket.socket) -> None:
    peer.sendall(HELLO)
    peer.recv(1_000)
    flood_of_lines(peer)


def takes_no_letter(peer: socket.socket) -> None:
    """Everything is fine until the letter itself, whose end is never answered."""
    peer.sendall(HELLO)
    while word := peer.recv(1_000)[:4].upper():
        peer.sendall(b"354 go on\r\n" if word == b"DATA" else FINE)
        if word == b"DATA":
            GOING.wait()


ATTACKS: tuple[Talk, ...] = (
    *(silence, drip, drip_lines, flood_of_lines, flood_without_a_line, garbage, hangs_up, refuses),
    *(greets_and_stops, greets_and_floods, takes_no_letter),
)
GOING = threading.Event()


@pytest.fixture(params=ATTACKS, ids=lambda attack: attack.__name__)
def server(request: pytest.FixtureRequest, settings: Any) -> Iterator[None]:
    GOING.clear()

    def serve() -> None:
        try:
            peer, _ = listening.accept()
            with peer:
                request.param(peer)
        except OSError:
            return  # the other side had enough

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        settings.EMAIL_BACKEND = "net.smtp.Backend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = listening.getsockname()
        yield
        GOING.set()
        thread.join()


def test_a_hostile_mail_server_costs_one_mail_its_time(
    server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp, "SECONDS", 0.5)
    tracemalloc.start()
    error = deliver.send_mail("a@example.org", "Subject", "Text\n")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert error and "script" not in error and len(error) < 200
    assert peak < 2 << 20
