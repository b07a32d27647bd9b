"""Host names become addresses, without a stranger's name server keeping anybody else waiting.

The system's lookup blocks a thread until the name server answers, ten seconds and more where it
never does, and nothing ends it sooner. asyncio has a handful of threads for that (six on two
cores), which all other work in threads shares: half a dozen such names would stop every lookup of
the process. So each name has a thread of its own, and whoever asks for it meanwhile waits for the
same one: a name costs one thread, however often it is asked for.
"""

from __future__ import annotations

import asyncio
import os
import socket
from concurrent.futures import Future
from threading import Thread
from typing import Any

_Found = list[tuple[Any, ...]]
_Asked = tuple[str, int, int]
_under_way: dict[_Asked, Future[_Found]] = {}
# A child process has no threads of its parent, so nothing that they would end.
os.register_at_fork(after_in_child=_under_way.clear)


async def look_up(host: str, port: int, family: int = socket.AF_UNSPEC) -> _Found:
    """The addresses of `host` as `socket.getaddrinfo` tells them, for TCP. Raises OSError."""
    asked = (host, port, family)
    fresh: Future[_Found] = Future()
    fresh.set_running_or_notify_cancel()  # who goes away takes the answer from nobody else
    found = _under_way.setdefault(asked, fresh)
    if found is fresh:
        try:
            Thread(target=_ask, args=(asked, fresh), name="name", daemon=True).start()
        except RuntimeError as error:  # no room for a thread
            _end(asked, fresh, OSError(str(error)))
    return await asyncio.wrap_future(found)


def _ask(asked: _Asked, found: Future[_Found]) -> None:
    host, port, family = asked
    try:
        _end(asked, found, socket.getaddrinfo(host, port, family, socket.SOCK_STREAM))
    except Exception as error:  # everything that went wrong belongs to whoever asked
        _end(asked, found, error)


def _end(asked: _Asked, found: Future[_Found], outcome: _Found | Exception) -> None:
    # First forgotten: what is asked from now on is asked anew.
    _under_way.pop(asked, None)
    if isinstance(outcome, Exception):
        found.set_exception(outcome)
    else:
        found.set_result(outcome)
