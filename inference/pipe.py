"""Commands of all answers of a process on one connection to Redis: what is asked for while a batch
is under way travels together as the next one. No timer: a lone command goes at once, and the
busier the process, the fewer round trips each costs.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import hiredis
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as Lost
from redis.exceptions import RedisError, ResponseError

Command = tuple[bytes | str | int | float | memoryview, ...]
Replies = list[Any]

#: Hears how a call went, once.
Done = Callable[[Replies | RedisError], None]
_Call = tuple[Sequence[Command], Done]

log = logging.getLogger(__name__)

#: For the answer to a batch; a Redis that is this slow counts as away.
SECONDS = 10.0
#: Before each further try, while Redis restarts or another one takes over. Sent twice, an entry
#: with its number is refused, never doubled; a count counts once too often.
PAUSES = (0.05, 0.2, 0.5, 1.0)


class Pipe:
    """One connection of a pool, for one event loop. Commands of one call stay in order, and calls
    among each other.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._connection: AbstractConnection | None = None
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Call] = []
        self._task: asyncio.Task[None] | None = None
        self._since = 0.0
        self._watch: asyncio.TimerHandle | None = None

    def send(self, *commands: Command) -> asyncio.Future[Replies]:
        """The replies, once they are there; fails with RedisError where one of them is an error or
        Redis is away. What was sent is sent, also when nobody waits for it any more.
        """
        future: asyncio.Future[Replies] = self._loop.create_future()

        def done(said: Replies | RedisError) -> None:
            if future.done():
                return
            if isinstance(said, RedisError):
                future.set_exception(said)
            else:
                future.set_result(said)

        self.tell(done, *commands)
        return future

    def tell(self, done: Done, *commands: Command) -> None:
        """The same for whoever needs not wait: `done` hears it at once, where a future is heard of
        after a turn of the loop.
        """
        self._waiting.append((commands, done))
        if self._task is None:
            # Counted from now: a timer that is left from before could cancel this task ahead of its
            # first step, and then its `finally` would not fail those that wait.
            self._since = self._loop.time()
            self._task = self._loop.create_task(self._run(), context=contextvars.Context())

    async def _run(self) -> None:
        batch: deque[_Call] = deque()
        try:
            while self._waiting:
                batch, self._waiting = deque(self._waiting), []
                await self._through(batch)
        finally:
            self._task = None
            lost, self._waiting = [*batch, *self._waiting], []
            _fail(lost, Lost("the connection was closed"))
            if batch:  # answers may still come that nobody reads: never on this connection
                await self._drop()

    async def _through(self, batch: deque[_Call]) -> None:
        """Have all of `batch` answered, or failed. One that hangs is not tried again."""
        for pause in (*PAUSES, None):
            self._since = self._loop.time()
            if self._watch is None:
                self._look()
            try:
                await self._exchange(batch)
                return
            except (RedisError, OSError) as error:
                await self._drop()
                if pause is None:
                    _fail(batch, error)
                    batch.clear()
                    return
                await asyncio.sleep(pause)

    async def _exchange(self, batch: deque[_Call]) -> None:
        """Send all of `batch` and take out of it, one by one, what was answered."""
        connection = await self._connected()
        await connection.send_packed_command(
            [
                hiredis.pack_command(command)  # type: ignore[arg-type]  # its stub says one-tuples
                for commands, _ in batch
                for command in commands
            ],
            check_health=False,
        )
        while batch:
            commands, done = batch[0]
            replies: Replies = []
            refused: ResponseError | None = None
            for _ in commands:
                try:
                    replies.append(await connection.read_response(timeout=math.inf))
                except ResponseError as error:
                    refused = refused or error
            batch.popleft()
            _say(done, refused or replies)

    def _look(self) -> None:
        """End an exchange that hangs. One timer for all: a timeout costs as much as a command."""
        self._watch = None
        late = self._since + SECONDS
        if self._task is not None and self._loop.time() >= late:
            self._task.cancel()
        elif self._task is not None:
            self._watch = self._loop.call_at(late, self._look)

    async def _connected(self) -> AbstractConnection:
        if self._connection is None:
            self._connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
        else:  # notices a connection that was closed meanwhile
            await self._pool.ensure_connection(self._connection)
        return self._connection

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(RedisError, OSError):
                await connection.disconnect(nowait=True)
            await self._pool.release(connection)


def _fail(calls: Iterable[_Call], error: Exception) -> None:
    lost = error if isinstance(error, RedisError) else Lost(str(error))
    for _, done in calls:
        _say(done, lost)


def _say(done: Done, said: Replies | RedisError) -> None:
    try:
        done(said)
    except Exception:  # one that fails must not cost the others theirs
        log.exception("the answer of Redis was not taken")
