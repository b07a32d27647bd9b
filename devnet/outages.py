"""A door that is shut half of the time: TCP in front of a broker, for a provider that is not
reliable.

While it is shut nobody listens on the port, and open connections are cut: what a client meets when
a machine is gone. The broker behind it runs on and knows nothing of it.
"""

from __future__ import annotations

import asyncio
import contextlib

from devnet.loops import InThread

_PIECE = 64 << 10


class Door(InThread):
    """Listens on loopback at `port` and forwards to `behind`; open and shut in turn, `seconds`
    each, open first.
    """

    def __init__(self, port: int, behind: int, seconds: float) -> None:
        super().__init__()
        self.port, self.behind, self.seconds = port, behind, seconds
        self._visitors: set[asyncio.Task[None]] = set()
        self._turns: asyncio.Task[None] | None = None

    async def _start(self) -> None:
        self._turns = asyncio.create_task(self._take_turns(await self._open()))

    async def _open(self) -> asyncio.Server:
        return await asyncio.start_server(self._visit, "127.0.0.1", self.port)

    async def _take_turns(self, server: asyncio.Server) -> None:
        try:
            while True:
                await asyncio.sleep(self.seconds)
                await self._shut(server)
                await asyncio.sleep(self.seconds)
                server = await self._open()
        finally:
            await self._shut(server)

    async def _shut(self, server: asyncio.Server) -> None:
        server.close()
        visitors = list(self._visitors)
        for visitor in visitors:
            visitor.cancel()
        await asyncio.gather(*visitors, return_exceptions=True)

    async def _stop(self) -> None:
        if self._turns is not None:
            self._turns.cancel()
            await asyncio.gather(self._turns, return_exceptions=True)

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._visitors.add(task)
        far: asyncio.StreamWriter | None = None
        try:
            near, far = await asyncio.open_connection("127.0.0.1", self.behind)
            await asyncio.gather(_pass_on(reader, far), _pass_on(near, writer))
        except (OSError, asyncio.CancelledError):
            pass  # either end is gone, or the door was shut
        finally:
            self._visitors.discard(task)
            for end in (writer, far):
                if end is not None:
                    end.transport.abort()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(_PIECE):
        writer.write(piece)
        await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()
