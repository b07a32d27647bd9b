"""A provider over HTTP that behaves as told: lists models, answers preflights, streams."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def event(**delta: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": delta}]}).encode() + b"\n\n"


def usage(tokens: int) -> bytes:
    document = {"choices": [], "usage": {"completion_tokens": tokens}}
    return b"data: " + json.dumps(document).encode() + b"\n\n"


@dataclass
class Manners:
    """How a provider behaves; may be changed at any time. `wait` is before the model list."""

    models: bytes = b'{"object": "list", "data": [{"id": "llama-3"}]}'
    status: int = 200
    wait: float = 0.0
    cut: bool = False
    robots: bytes = b""
    cors: dict[str, str] = field(
        default_factory=lambda: {
            "Access-Control-Allow-Origin": "*",
            "Access-Control-Allow-Methods": "POST, GET",
            "Access-Control-Allow-Headers": "Content-Type, Authorization",
        }
    )
    pieces: tuple[bytes, ...] = (*(event(content="word ") for _ in range(20)), usage(40))
    between: float = 0.005
    chat_status: int = 200


class Peer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.manners = Manners()
        #: (method, path, headers) of every request.
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.busy = 0
        self.most_at_once = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def paths(self) -> list[str]:
        return [f"{method} {path}" for method, path, _ in self.asked]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Peer

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(body[: len(body) // 2] if self.server.manners.cut else body)
        self.close_connection = self.close_connection or self.server.manners.cut

    def do_GET(self) -> None:
        manners = self.note()
        if self.path == "/robots.txt":
            self.answer(200 if manners.robots else 404, manners.robots)
        elif self.path == "/v1/task/pending":
            self.answer(200, b"3")
        elif self.path == "/v1/models":
            self.server.busy += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.busy)
            time.sleep(manners.wait)
            self.server.busy -= 1
            self.answer(manners.status, manners.models)
        else:
            self.answer(404, b"")

    def do_OPTIONS(self) -> None:
        self.answer(204, b"", self.note().cors)

    def do_POST(self) -> None:
        manners = self.note()
        self.rfile.read(int(self.headers["Content-Length"]))
        if manners.chat_status != 200:
            self.answer(manners.chat_status, b'{"error": "no key"}')
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for piece in (*manners.pieces, b"data: [DONE]\n\n"):
            self.wfile.write(piece)
            self.wfile.flush()
            time.sleep(manners.between)
        self.close_connection = True

    def note(self) -> Manners:
        self.server.asked.append((self.command, self.path, dict(self.headers)))
        return self.server.manners

    def log_message(self, format: str, *values: object) -> None:
        """Quiet."""


@contextmanager
def peer() -> Iterator[Peer]:
    server = Peer()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
