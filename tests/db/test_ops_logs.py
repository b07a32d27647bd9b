"""A failing request in a process of its own: what its log says, and what reaches a server that
plays Sentry."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import brotli  # type: ignore[import-untyped]
import pytest
from django.db import connection

pytestmark = pytest.mark.django_db(transaction=True)
ROOT = Path(__file__).resolve().parents[2]
PROMPT = "what my doctor said about the lump"
SECRETS = (PROMPT, "app-sk-eyJhIjoxfHwweDEyMw", "s3ssion", "c00kie", "0x" + "cd" * 65)

PROGRAM = f"""
import logging, sys, types
import django
django.setup()
from django.conf import settings
from django.test import Client
from django.urls import path

log = logging.getLogger("inference.test")

def fails(request, who):
    prompt = request.POST["text"]
    log.warning("asking with Bearer {SECRETS[1]}", extra={{"provider": "0x12", "prompt": [prompt]}})
    raise ValueError(f"cannot send {{prompt!r}} with {SECRETS[1]} signed {SECRETS[4]}")

urls = types.ModuleType("urls")
import marketplace.urls
urls.urlpatterns = [path("accounts/<str:who>/fail", fails), *marketplace.urls.urlpatterns]
urls.handler500 = marketplace.urls.handler500
sys.modules["urls"] = urls
settings.ROOT_URLCONF = "urls"
client = Client(raise_request_exception=False)
client.cookies["sessionid"] = "{SECRETS[2]}"
client.cookies["other"] = "{SECRETS[3]}"
answer = client.post(
    "/accounts/0xAl1ce/fail", {{"text": "{PROMPT}"}},
    headers={{"Authorization": "Bearer {SECRETS[1]}", "X-Request-ID": "request-one"}},
)
print(answer.status_code, answer["X-Request-ID"])
import sentry_sdk
sentry_sdk.flush(10)
"""


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
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://public@127.0.0.1:{server.server_port}/7", came
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def run(**more: str) -> subprocess.CompletedProcess[str]:
    values = connection.settings_dict
    database = (
        f"postgresql://{values['USER']}@/{values['NAME']}?host={quote(values['HOST'], safe='')}"
    )
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env={
            **os.environ,
            "DATABASE_URL": database,
            "DJANGO_SETTINGS_MODULE": "marketplace.settings",
            "ALLOWED_HOSTS": "testserver",
            **more,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_failure_is_told_without_anybodys_words() -> None:
    with ingest() as (dsn, came):
        done = run(SENTRY_DSN=dsn, LOG_FORMAT="json")
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


def test_without_a_dsn_nothing_leaves_and_a_wrong_one_stops_the_start() -> None:
    with ingest() as (_, came):
        done = run(SENTRY_DSN="", LOG_FORMAT="text")
    assert came == [] and done.stdout.split() == ["500", "request-one"], done.stderr
    assert "request-one" in done.stderr and SECRETS[1] not in done.stderr
    wrong = run(SENTRY_DSN="http://s3cret-key")
    assert wrong.returncode != 0 and "SENTRY_DSN must look like" in wrong.stderr
    assert "s3cret-key" not in wrong.stderr
