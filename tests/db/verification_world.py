"""A small market under real verification: providers over HTTP that answer as told, Intel's and
NVIDIA's services under development roots, and the rows of their listings."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.cache import cache

from attestation import services
from attestation.models import Trigger, Verification
from attestation.selectors import ServiceKey
from devnet.attestation.server import Server
from devnet.attestation.services import Services
from ledger.models import Service
from provider.tee.development.intel import Intel
from provider.tee.development.nvidia import Nvidia
from provider.tee.development.report import Machine, report
from tests.db import api_rows
from tests.db.api_rows import INFERENCE, PETRA
from tests.pure.attestation_lab import ADDRESS, Lab

SEED = b"attestation service"
LAB = Lab(SEED)
KEY = ServiceKey("inference", PETRA, "inference-v1.0")
Query = dict[str, str]


@dataclass
class Reply:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    #: Seconds before the answer, and between its bytes.
    wait: float = 0.0
    #: Close the connection after so many bytes.
    cut: int | None = None


Answer = Callable[[str, Query], Reply]


class Provider(ThreadingHTTPServer):
    """One provider's server; `answer` may be replaced at any time."""

    daemon_threads = True
    request_queue_size = 128  # as devnet/attestation/server.py

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.asked: list[tuple[str, Query]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Provider

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        self.server.asked.append((parts.path, query))
        reply = self.server.answer(parts.path, query)
        time.sleep(reply.wait)
        self.send_response(reply.status)
        self.send_header("Content-Length", str(len(reply.body)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(reply.body if reply.cut is None else reply.body[: reply.cut])
        self.close_connection = self.close_connection or reply.cut is not None

    def log_message(self, format: str, *values: object) -> None:
        """Quiet."""


@contextmanager
def provider(answer: Answer) -> Iterator[Provider]:
    server = Provider(answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def vendors(settings: Any, folder: Path) -> Iterator[None]:
    """The services of the site's settings, played under this world's roots."""
    anchors = folder / "anchors.json"
    anchors.write_text(json.dumps(LAB.anchors_document))
    settings.ATTESTATION_ANCHORS = str(anchors)
    settings.ALLOW_PRIVATE_PROVIDERS = True
    with Server(Services(SEED)) as server:
        for name, value in server.environment.items():
            setattr(settings, name, value)
        yield


@pytest.fixture(autouse=True)
def market(db: None, settings: Any, tmp_path: Path) -> Iterator[None]:
    """An index with its contracts and no listing, and vendors that answer as they do."""
    cache.clear()
    api_rows.head()
    api_rows.contracts()
    with vendors(settings, tmp_path):
        yield


def evidence(machine: Machine | None = None, name: str = "") -> bytes:
    """A broker's report; machines of different names are different CPUs with different GPUs."""
    machine = machine or Machine(ADDRESS)
    return json.dumps(report(Intel(SEED, name), Nvidia(SEED, name), machine)).encode()


def always(body: bytes, **fields: Any) -> Answer:
    return lambda path, query: Reply(body, **fields)


def listed(url: str, provider: str = PETRA, **fields: Any) -> Service:
    values = {"tee_signer": ADDRESS, "tee_signer_acknowledged": True}
    return api_rows.service(provider, INFERENCE, url=url, **{**values, **fields})


def run(key: ServiceKey = KEY, trigger: Trigger = Trigger.COMMAND) -> Verification:
    """One run of a service with one endpoint."""
    (stored,) = services.verify(key, trigger)
    return stored


def words(stored: Verification) -> dict[str, str]:
    return {row["id"]: row["verdict"] for row in stored.rows}
