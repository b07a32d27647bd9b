"""A failing request in a process of its own: what its log says, and what reaches a server that
plays Sentry."""

from __future__ import annotations

import gzip
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import brotli  # type: ignore[import-untyped]
import pytest
from django.db import connection

from tests.db.failing_request import SECRETS
from tests.forks import SITE

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def ingest() -> Iterator[tuple[str, list[bytes]]]:
    """A server that takes envelopes: (DSN, what came)."""
    came: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            unpack = {"gzip": gzip.decompress, "br": brotli.decompress}
            came.append(unpack.get(self.headers["Content-Encoding"], bytes)(body))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://public@127.0.0.1:{server.server_port}/7", came
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass(frozen=True)
class Done:
    """How the program ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


def run(tmp_path: Path, **more: str) -> Done:
    values = connection.settings_dict
    database = (
        f"postgresql://{values['USER']}@/{values['NAME']}?host={quote(values['HOST'], safe='')}"
    )
    env = {
        **os.environ,
        "DATABASE_URL": database,
        "DJANGO_SETTINGS_MODULE": "marketplace.settings",
        "ALLOWED_HOSTS": "testserver",
        **more,
    }
    out, err = tmp_path / "out", tmp_path / "err"
    with out.open("w") as stdout, err.open("w") as stderr:
        process = SITE.start("tests.db.failing_request", env=env, stdout=stdout, stderr=stderr)
        code = process.wait(120)
    return Done(code, out.read_text(), err.read_text())


def test_a_failure_is_told_without_anybodys_words(tmp_path: Path) -> None:
    with ingest() as (dsn, came):
        done = run(tmp_path, SENTRY_DSN=dsn, LOG_FORMAT="json")
    assert done.stdout.split() == ["500", "request-one"], done.stderr
    # Sentry
    text = b"\n".join(came).decode()
    assert '"type":"ValueError"' in text.replace(" ", "") and "request-one" in text
    assert '"function":"fails"' in text.replace(" ", "")
    for secret in (*SECRETS, "0xAl1ce", "testserver"):
        assert secret not in text, secret
    # the log: every line is JSON, names the request, and has no secret
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    own = [line for line in lines if line["request_id"] == "request-one"]
    warned = next(line for line in own if line["logger"] == "inference.test")
    assert warned["provider"] == "0x12" and "prompt" not in warned
    failed = next(line for line in own if line["level"] == "ERROR")
    assert "in fails" in failed["exception"]
    said = next(line for line in own if line["logger"] == "site.requests")
    assert said["message"] == "POST /accounts/<str:who>/fail 500" and said["status"] == 500
    for secret in (*SECRETS[1:], "0xAl1ce/fail?"):
        assert secret not in done.stderr, secret


def test_without_a_dsn_nothing_leaves_and_a_wrong_one_stops_the_start(tmp_path: Path) -> None:
    with ingest() as (_, came):
        done = run(tmp_path, SENTRY_DSN="", LOG_FORMAT="text")
    assert came == [] and done.stdout.split() == ["500", "request-one"], done.stderr
    assert "request-one" in done.stderr and SECRETS[1] not in done.stderr
    wrong = run(tmp_path, SENTRY_DSN="http://s3cret-key")
    assert wrong.returncode != 0 and "SENTRY_DSN must look like" in wrong.stderr
    assert "s3cret-key" not in wrong.stderr
