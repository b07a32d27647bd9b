"""Intel's and NVIDIA's services on loopback, with faults; and a cache in memory."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import urlsplit

from attestation.engine.anchors import Anchors
from attestation.sources.records import Answer, Source, Sources
from devnet.attestation import OCSP_PATH
from devnet.attestation.server import Server
from devnet.attestation.services import Reply, Services
from net.addresses import Policy

Fault = Callable[[Reply], Reply]


class Faulty(Services):
    """The development services; a fault stands in front of every path that begins with its key.

    `ahead`: by how many seconds the services' clock is ahead.
    """

    def __init__(self, seed: bytes) -> None:
        super().__init__(seed)
        self.faults: dict[str, Fault] = {}
        self.asked: Counter[str] = Counter()
        self.ahead = 0
        self._lock = threading.Lock()

    def answer(self, method: str, target: str, body: bytes, now: int) -> Reply:
        path = urlsplit(target).path
        with self._lock:
            self.asked[path] += 1
        reply = super().answer(method, target, body, now + self.ahead)
        for prefix, fault in self.faults.items():
            if path.startswith(prefix):
                reply = fault(reply)
        return reply


class Recorded(Services):
    """Answers given by path, as they were recorded; 404 for the rest."""

    def __init__(self, replies: dict[str, Reply]) -> None:
        self._replies = replies

    def answer(self, method: str, target: str, body: bytes, now: int) -> Reply:
        return self._replies.get(urlsplit(target).path, Reply(404, b"{}"))


class Shelf:
    """A `Cache` in memory."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []

    async def find(self, source: Source, key: str, now: int) -> Answer | None:
        return next(
            (
                answer
                for answer in reversed(self.answers)
                if (answer.source, answer.key) == (source, key) and answer.usable(now)
            ),
            None,
        )

    async def keep(self, answer: Answer) -> None:
        self.answers.append(answer)

    def age(self, seconds: int) -> None:
        """Let what is kept have been fetched earlier; the documents' own windows stay."""
        self.answers = [
            replace(answer, fetched_at=answer.fetched_at - seconds) for answer in self.answers
        ]


@contextmanager
def serving(services: Services, anchors: Anchors, **changes: object) -> Iterator[Sources]:
    """Where the site's clients find these services."""
    with Server(services) as server:
        yield replace(
            Sources(
                pcs=server.url,
                rim=server.url,
                ocsp=server.url + OCSP_PATH,
                nras=server.url,
                anchors=anchors,
                policy=Policy(allow_private=True),
                pauses=(0.0, 0.0),
                answer_seconds=5.0,
                seconds=20.0,
            ),
            **changes,  # type: ignore[arg-type]  # fields of Sources
        )
