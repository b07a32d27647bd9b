"""Reading the next range of final blocks while the present one is folded and stored.

One range ahead, in a thread that never outlives the step that started it, and through the node of
that step: what it read is used only by a step that the same node answers. It touches no database
and stores nothing, so the order of writing, and what a crash leaves behind, stay as they are.

Where a lot lies ahead on our own node the thread only waits: a process reads (chain.helper).
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from chain.endpoint import Endpoint
from chain.errors import ChainError
from chain.facts import Block
from chain.fetch import Fetcher
from chain.helper import Helper

logger = logging.getLogger(__name__)

#: So many logs ahead, about, are worth a process.
MUCH = 5_000


@dataclass(frozen=True, slots=True)
class Span:
    """Final blocks `first`..`last`; `dense`: every one of them, else those with our logs."""

    first: int
    last: int
    dense: bool


class Prefetch:
    """At most one range that nobody has asked for yet."""

    def __init__(self, fetch: Fetcher) -> None:
        self.fetch = fetch
        self._span: Span | None = None
        self._sources: dict[str, int] = {}
        self._node: Endpoint | None = None
        self._blocks: list[Block] | None = None
        self._helper: Helper | None = None

    def expect(self, logs: int, node: Endpoint | None) -> None:
        """About so many `logs` lie ahead: start the process where it helps."""
        if logs < MUCH or node is None or node.budget.rate is not None:
            return
        if self._helper is None and len(os.sched_getaffinity(0)) > 1:
            self._helper = Helper()

    def close(self) -> None:
        """Nothing more lies ahead."""
        self.forget()
        if self._helper is not None:
            self._helper.close()
            self._helper = None

    def take(
        self, first: int, goal: int, sources: Mapping[str, int], node: Endpoint | None
    ) -> tuple[Span, list[Block]] | None:
        """What was read from block `first` on, if it is what we need now, and from `node`."""
        span, blocks = self._span, self._blocks
        fits = span is not None and span.first == first and span.last <= goal
        same = self._sources == dict(sources) and node is not None and self._node is node
        self.forget()
        return (span, blocks) if span and blocks is not None and fits and same else None

    def forget(self) -> None:
        self._span, self._blocks, self._node = None, None, None

    @contextmanager
    def reading(
        self, span: Span | None, sources: Mapping[str, int], node: Endpoint | None
    ) -> Iterator[None]:
        """Read `span` for the next step while the caller does something else; None: nothing."""
        self.forget()
        if span is None or node is None:
            yield
            return
        self._span, self._sources, self._node = span, dict(sources), node
        thread = threading.Thread(target=self._read, name="ahead", daemon=True)
        thread.start()
        try:
            yield
        finally:
            thread.join()

    def _read(self) -> None:
        span = self._span
        assert span is not None
        try:
            self._blocks = self._range(span)
        except ChainError as error:
            # The next step asks again, and says what is wrong if it still is.
            logger.info("not read ahead", extra={"error": str(error)})
        except Exception:
            logger.exception("not read ahead")

    def _range(self, span: Span) -> list[Block]:
        helper, node, sources = self._helper, self._node, sorted(self._sources)
        if helper is None or node is None or node.budget.rate is not None or not helper.ready:
            return self.fetch.range(span.first, span.last, sources, dense=span.dense)
        try:
            return helper.range(
                node, self.fetch.rpc.chain_id, span.first, span.last, sources, dense=span.dense
            )
        except ChainError:
            if not helper.alive:
                self._helper = None  # the next `expect` starts another
            raise
