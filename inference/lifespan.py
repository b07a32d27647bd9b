"""Start and end of a web process: open turns of a dead predecessor are ended, our own get a moment
to end by themselves and are never left open.

Told to end (SIGTERM, SIGINT), a process first says so at `/readyz` and takes no new turns. Where
SHUTDOWN_DELAY_SECONDS gives a load balancer time to notice, it goes on answering pages that long;
then it takes no new connections, and turns that run get DRAIN_SECONDS from the signal on.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from django.conf import settings

from inference.errors import Unavailable
from inference.hub import hub

#: Set once this process was told to end.
ENDING = threading.Event()


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
            await send({"type": "lifespan.startup.complete"})
        else:
            await hub().drain(settings.DRAIN_SECONDS)
            await send({"type": "lifespan.shutdown.complete"})
            return


def _end_turns_on_signal() -> None:
    """On SIGTERM and SIGINT begin to drain at once: the server waits for open event streams before
    it shuts down, and those wait for their turns. A second signal does not wait.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    loop, own = asyncio.get_running_loop(), hub()
    for name in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(name)

        def ended(number: int, frame: FrameType | None, before: Any = before) -> None:
            again = ENDING.is_set()
            ENDING.set()
            loop.call_soon_threadsafe(lambda: loop.create_task(own.drain(settings.DRAIN_SECONDS)))
            if not callable(before):
                return
            if again or not settings.SHUTDOWN_DELAY_SECONDS:
                before(number, frame)
            else:
                loop.call_soon_threadsafe(
                    lambda: loop.call_later(settings.SHUTDOWN_DELAY_SECONDS, before, number, None)
                )

        signal.signal(name, ended)
