"""The services over HTTP/1.1 on loopback: one thread per connection, requests are few and small."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from devnet.attestation import environment
from devnet.attestation.services import Reply, Services

_MAX_BODY_BYTES = 4 << 20
_IDLE_SECONDS = 30


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "devnet-attestation", ""
    timeout = _IDLE_SECONDS
    server: Server

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > _MAX_BODY_BYTES:
            self.close_connection = True
            self._send(Reply(413, b"{}"))
            return
        self._answer(self.rfile.read(int(length)))

    def _answer(self, body: bytes) -> None:
        self._send(self.server.services.answer(self.command, self.path, body, int(time.time())))

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, format: str, *values: object) -> None:
        """Quiet: the log is for trouble."""


class Server(ThreadingHTTPServer):
    """A server on loopback; `port` 0 lets the system choose. Use as a context in tests."""

    daemon_threads = True
    #: A check opens a connection per document, all at once. One too many for the queue is dropped
    #: by the kernel and comes again after a second.
    request_queue_size = 128

    def __init__(self, services: Services, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.services = services
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """The site's variables that lead here."""
        return environment(self.url)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        if self._thread:
            self._thread.join(5)
        self.server_close()
