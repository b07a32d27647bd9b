"""Start and end of a web process: open turns of a dead predecessor are ended, our own get a moment
to end by themselves and are never left open.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from inference.errors import Unavailable
from inference.hub import hub

#: Below what process managers wait before they kill (`--timeout-graceful-shutdown`, docker's 10 s).
DRAIN_SECONDS = 4.0


async def lifespan(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """The ASGI lifespan protocol: the hub lives from startup to shutdown."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            with suppress(Unavailable):  # said in the log; the first chat tries again
                await hub().start()
            _end_turns_on_signal()
            # What was imported stays: looking through it again and again would cost the streams a
            # good part of their speed.
            gc.collect()
            gc.freeze()
            await send({"type": "lifespan.startup.complete"})
        else:
            await hub().drain(DRAIN_SECONDS)
            await send({"type": "lifespan.shutdown.complete"})
            return


def _end_turns_on_signal() -> None:
    """On SIGTERM and SIGINT begin to drain at once: the server waits for open event streams before
    it shuts down, and those wait for their turns.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    loop, own = asyncio.get_running_loop(), hub()
    for name in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(name)

        def ended(number: int, frame: FrameType | None, before: Any = before) -> None:
            loop.call_soon_threadsafe(lambda: loop.create_task(own.drain(DRAIN_SECONDS)))
            if callable(before):
                before(number, frame)

        signal.signal(name, ended)
