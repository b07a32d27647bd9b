"""A small ASGI server around uvicorn: binds first, says READY, and leaves time for last words."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator, Coroutine, Iterator

import uvicorn

from provider.errors import ConfigError

SHUTDOWN_SECONDS = 1

log = logging.getLogger("provider.server")


class _Beside(uvicorn.Server):
    """A second server in the same process: signals are the first one's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Server(uvicorn.Server):
    """Says READY once connections are accepted."""

    def __init__(self, config: uvicorn.Config, ready: str) -> None:
        super().__init__(config)
        self._ready = ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop politely; uvicorn's own version would end the process before our last words."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            print(self._ready, flush=True)


def listen(host: str, port: int, section: str = "listen") -> socket.socket:
    """A bound socket; port 0 lets the kernel choose. Raises ConfigError about `section`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"{section}: cannot listen on {host}:{port} ({error})", section
        ) from error


def url_of(host: str, port: int) -> str:
    """Where somebody who listens there is reached, an IPv6 address in brackets."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


async def serve_app(app: object, sock: socket.socket, ready: str) -> None:
    """Serve `app` on `sock` until SIGTERM or SIGINT."""
    await _Server(_options(app), ready).serve(sockets=[sock])


async def serve_beside(app: object, sock: socket.socket) -> None:
    """Serve `app` on `sock` until cancelled."""
    server = _Beside(_options(app))
    try:
        await server.serve(sockets=[sock])
    finally:
        # Cancelled, uvicorn leaves the loop watching a socket that somebody closes, and who gets
        # its number next is never told of a connection.
        for listening in getattr(server, "servers", []):
            listening.close()


def _options(app: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]  # our own, narrower ASGI types
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )


def _tell(task: asyncio.Task[None]) -> None:
    """What should go on for ever has ended: nothing else would say so before the broker stops."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("a part of the broker has ended: restart it", exc_info=error)


@contextlib.asynccontextmanager
async def background(*work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Do all of `work` as long as the block runs."""
    tasks = [asyncio.create_task(each) for each in work]
    for task in tasks:
        task.add_done_callback(_tell)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
