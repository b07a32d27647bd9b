"""The hand-over between the process that writes an answer and everybody who watches it (Redis).

Each turn has a stream `turn:<id>` whose entries carry sequence numbers 1, 2, 3 … as their ids, so
"resume after 17" is one command, in any process, without a gap or a duplicate. Writing an entry
whose number is not above the last one fails: a process that was given up cannot write any more.

A Redis that restarts may have forgotten the beginning, or its last second. What stands behind the
first missing number is nobody's prefix: it is neither told nor kept.

Streams need no trimming: text is bounded (`relay.MAX_ANSWER_CHARS`), and after SMALL_ENTRIES
entries text is gathered into larger ones, so the number of entries is bounded too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import orjson
from django.conf import settings
from redis.asyncio import Redis
from redis.exceptions import RedisError

from inference import subscribers, tools
from inference.pipe import Command, Pipe, Replies
from inference.subscribers import Entry as Entry
from net import stores

log = logging.getLogger(__name__)

SMALL_ENTRIES = 4000
LARGE_ENTRY_CHARS = 256
#: While an answer is written, and once it is over and stored (its words are in clear here).
KEPT_SECONDS = 3600
OVER_SECONDS = 600
ALIVE_SECONDS = 15
#: So long somebody has to be silent under our eyes: Redis may have been away for all, or forgotten
#: everything, and whoever lives is heard again sooner (`hub.BEAT_SECONDS`).
SILENT_SECONDS = 10
_SILENCE_KEPT = 60
#: A stream's life is prolonged at every so manyth entry: it outlives the longest answer anyway.
_EXPIRE_EVERY = 64
_BLOCK_MS = 5000
_MOST_READ = 500
MAX_WATCHERS = 16
_Row = tuple[bytes, bytes]
_watchers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, int]] = WeakKeyDictionary()
_pipes: WeakKeyDictionary[asyncio.AbstractEventLoop, Pipe] = WeakKeyDictionary()
_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, Redis] = WeakKeyDictionary()


def client() -> Redis:
    """This event loop's client. No read timeout: a watcher blocks on purpose (stack.md 9)."""
    loop = asyncio.get_running_loop()
    if loop not in _clients:
        _clients[loop] = stores.async_client(
            settings.REDIS_URL,
            socket_timeout=None,
            socket_connect_timeout=3,
            max_connections=4096,
        )
    return _clients[loop]


def pipe() -> Pipe:
    """This event loop's connection for many small commands."""
    loop = asyncio.get_running_loop()
    if loop not in _pipes:
        _pipes[loop] = Pipe(client().connection_pool)
    return _pipes[loop]


async def close() -> None:
    """Close this event loop's connections."""
    loop = asyncio.get_running_loop()
    _pipes.pop(loop, None)
    found = _clients.pop(loop, None)
    if found is not None:
        await found.aclose()


@dataclass
class _Piece:
    """What is to be written next: text that may still grow, or an event as it is."""

    kind: str
    text: list[str]
    event: dict[str, Any] | None = None


class Writer:
    """Appends to one turn's stream. Nobody waits for Redis: what comes while it writes is gathered
    into the next entry. Redis trouble never stops an answer: it is stored at its end, only watching
    live is lost, and that is logged once.
    """

    def __init__(self, turn: int) -> None:
        self._turn = turn
        self._key = _key(turn)
        self._seq = 0
        self._pieces: list[_Piece] = []
        self._chars = 0
        self._must = False
        self._writing = False
        self._broken = False
        self._written: asyncio.Future[None] | None = None
        self._pipe = pipe()
        self._publisher = subscribers.begin(turn)

    def text(self, text: str) -> None:
        self._add("delta", text)

    def reasoning(self, text: str) -> None:
        self._add("reasoning", text)

    def arguments(self, text: str) -> None:
        """More of the newest function called, which a `call` event began."""
        self._add("arguments", text)

    def event(self, event: dict[str, Any]) -> None:
        self._must = True
        self._pieces.append(_Piece("", [], event))
        self._write()

    @property
    def full(self) -> bool:
        """Whether more has come than what is under way: time to stop reading for a moment."""
        return self._writing and bool(self._pieces)

    async def room(self) -> None:
        """Wait until what has come is under way."""
        while self.full:
            await self._next()

    async def flush(self) -> None:
        """Wait until everything has been written, or cannot be."""
        self._must = True
        self._write()
        while self._writing:
            await self._next()

    async def _next(self) -> None:
        if self._written is None or self._written.done():
            self._written = asyncio.get_running_loop().create_future()
        await self._written

    def close(self) -> None:
        """Nothing more is written from here."""
        self._publisher.end()

    def _add(self, kind: str, text: str) -> None:
        if self._pieces and self._pieces[-1].kind == kind:
            self._pieces[-1].text.append(text)
        else:
            self._pieces.append(_Piece(kind, [text]))
        self._chars += len(text)
        self._write()

    def _write(self) -> None:
        """Write what there is, where that is worth an entry and no other is under way."""
        if self._broken:
            self._pieces.clear()
        if self._writing or not self._pieces:
            return
        if not (self._must or self._seq < SMALL_ENTRIES or self._chars >= LARGE_ENTRY_CHARS):
            return
        pieces, self._pieces, self._chars, self._must = self._pieces, [], 0, False
        commands, entries = self._commands(pieces)
        self._writing = True
        self._pipe.tell(partial(self._wrote, entries), *commands)

    def _commands(self, pieces: list[_Piece]) -> tuple[list[Command], list[Entry]]:
        key = self._key
        commands: list[Command] = []
        entries: list[Entry] = []
        for piece in pieces:
            self._seq += 1
            event = piece.event or {"type": piece.kind, "text": "".join(piece.text)}
            raw = orjson.dumps(event)
            commands.append(("XADD", key, f"0-{self._seq}", b"e", raw))
            entries.append(Entry(self._seq, event, raw))
            over = event["type"] == "verdict"
            if over or self._seq % _EXPIRE_EVERY == 1:
                commands.append(("EXPIRE", key, OVER_SECONDS if over else KEPT_SECONDS))
        return commands, entries

    def _wrote(self, entries: list[Entry], said: Replies | RedisError) -> None:
        """What is in the stream may be heard; nothing else, or a fence could not keep it out."""
        self._writing = False
        if isinstance(said, RedisError):
            self._broken = True
            self._publisher.lose()
            log.warning("turn %s cannot be watched live any more: %s", self._turn, said)
        else:
            self._publisher.publish(entries)
        self._write()
        if self._written is not None and not self._written.done():
            self._written.set_result(None)


async def append_after(turn: int, *events: dict[str, Any]) -> None:
    """Append behind whatever is there; for writers other than the turn's own process."""
    key = _key(turn)
    for event in events:
        # "0-*": the next number, chosen by the server in the same step (Redis 7, Valkey).
        await client().xadd(key, {b"e": orjson.dumps(event)}, id="0-*")
    await client().expire(key, OVER_SECONDS)


async def text_of(turn: int) -> tuple[str, str, tools.Calls]:
    """All answer, reasoning and calls that the stream has without a gap: the exact prefix of an
    answer whose process died.
    """
    rows: Any = await client().xrange(_key(turn))
    events = [entry.event for entry in _entries(((i, fields[b"e"]) for i, fields in rows), 0)]
    calls = tools.Calls()
    for event in events:
        if event["type"] == "call":
            calls.take(tools.Part(len(calls), event["id"], event["name"], ""))
        elif event["type"] == "arguments":
            calls.take(tools.Part(len(calls) - 1, "", "", event["text"]))
    return _joined(events, "delta"), _joined(events, "reasoning"), calls


def _joined(events: list[dict[str, Any]], kind: str) -> str:
    return "".join(event["text"] for event in events if event["type"] == kind)


async def exists(turn: int) -> bool:
    return bool(await client().exists(_key(turn)))


class TooManyWatchers(Exception):
    """MAX_WATCHERS sockets and streams of this process watch this answer already."""


@asynccontextmanager
async def watching(turn: int) -> AsyncGenerator[None, None]:
    """Counts one watcher of an answer in this process. Raises TooManyWatchers."""
    counts = _watchers.setdefault(asyncio.get_running_loop(), {})
    if counts.get(turn, 0) >= MAX_WATCHERS:
        raise TooManyWatchers
    counts[turn] = counts.get(turn, 0) + 1
    try:
        yield
    finally:
        counts[turn] -= 1
        if not counts[turn]:
            del counts[turn]


async def batches(turn: int, after: int = 0) -> AsyncGenerator[list[Entry], None]:
    """Entries after number `after`, as they come, until the turn's verdict: those together that are
    there together; none after some seconds of silence.

    Never ends where the stream was left without a verdict (`inference.watching`). Raises
    RedisError.
    """
    with subscribers.subscribed(turn, after) as subscriber:
        behind = subscriber.behind
        while True:
            here = subscriber.live and not behind
            entries = await subscriber.after(after, _BLOCK_MS / 1000) if here else []
            behind = False
            if not entries:
                rows = await (_range(turn, after) if subscriber.live else _read(turn, after))
                entries = _entries(rows, after)
                if rows and not entries:  # a gap, which nobody fills any more
                    await asyncio.sleep(_BLOCK_MS / 1000)
            yield entries
            if entries:
                after = entries[-1].seq
                if entries[-1].event["type"] == "verdict":
                    return


async def _range(turn: int, after: int) -> list[_Row]:
    """What the stream has after number `after`."""
    position = f"(0-{after}"
    (rows,) = await pipe().send(("XRANGE", _key(turn), position, "+", "COUNT", _MOST_READ))
    return [(identifier, fields[1]) for identifier, fields in rows]


async def _read(turn: int, after: int) -> list[_Row]:
    """The same, waiting a while for the first one, on a connection of its own."""
    position: Any = {_key(turn): f"0-{after}"}
    found: Any = await client().xread(position, count=_MOST_READ, block=_BLOCK_MS)
    rows = found[0][1] if found else ()
    return [(identifier, fields[b"e"]) for identifier, fields in rows]


def _entries(rows: Iterable[_Row], after: int) -> list[Entry]:
    """What follows number `after` without a gap; nothing behind the verdict."""
    entries: list[Entry] = []
    for seq, (identifier, raw) in enumerate(rows, after + 1):
        if _seq(identifier) != seq:
            break
        entries.append(Entry(seq, orjson.loads(raw), raw))
        if entries[-1].event["type"] == "verdict":
            break
    return entries


def end(state: str, tokens: int, calls: int) -> dict[str, Any]:
    """The event of an answer that has ended, of so many `tokens` (0: not counted) and functions
    called.
    """
    return {"type": "end", "state": state, "tokens": tokens, "calls": calls}


# --- which processes live, and how to tell one to stop a turn ------------------------------------


async def beat(process: str) -> None:
    """Say that this process lives, for ALIVE_SECONDS."""
    async with client().pipeline() as both:
        both.set(f"process:{process}", b"1", ex=ALIVE_SECONDS)
        both.delete(_silence(process))
        await both.execute()


async def gone(process: str) -> None:
    """Say that this process ends: nobody has to wait for its heartbeat to run out. The heartbeat
    goes, too: processes of 0.1.0 look for nothing else, and run beside these while one updates.
    """
    async with client().pipeline() as both:
        both.set(_farewell(process), b"1", ex=KEPT_SECONDS)
        both.delete(f"process:{process}")
        await both.execute()


async def alive(process: str) -> bool:
    """Whether a process lives, or may: no heartbeat is no death before SILENT_SECONDS."""
    beaten, ended = await client().mget(f"process:{process}", _farewell(process))
    if ended is not None:
        return False
    if beaten is not None:
        return True
    await client().set(_silence(process), b"1", nx=True, ex=_SILENCE_KEPT)
    left: int = await client().pttl(_silence(process))
    return left > (_SILENCE_KEPT - SILENT_SECONDS) * 1000


def _farewell(process: str) -> str:
    return f"process:{process}:gone"


def _silence(process: str) -> str:
    return f"process:{process}:silent"


async def ask_to_stop(process: str, turn: int) -> None:
    """Tell the owner of a turn that its person does not want any more of it."""
    await client().publish(_channel(process), str(turn))


async def stop_requests(process: str) -> AsyncGenerator[int, None]:
    """Turns that some process asks this one to stop. Raises RedisError."""
    async with client().pubsub() as pubsub:
        await pubsub.subscribe(_channel(process))
        async for message in pubsub.listen():
            if message["type"] == "message" and message["data"].isdigit():
                yield int(message["data"])


def ask_all_to_stop(turns: Iterable[tuple[int, str]]) -> None:
    """`ask_to_stop` of many (turn, process), from a worker without an event loop."""
    with stores.client(settings.REDIS_URL, socket_timeout=5) as redis:
        for turn, process in turns:
            redis.publish(_channel(process), str(turn))


def forget(turns: Iterable[int]) -> None:
    """Delete what is still here of ended turns: their words are in clear."""
    keys = [_key(turn) for turn in turns]
    with stores.client(settings.REDIS_URL, socket_timeout=5) as redis:
        for first in range(0, len(keys), _MOST_READ):
            redis.delete(*keys[first : first + _MOST_READ])


def _channel(process: str) -> str:
    return f"process:{process}:stop"


def _key(turn: int) -> str:
    return f"turn:{turn}"


def _seq(identifier: bytes) -> int:
    return int(identifier.rpartition(b"-")[2])
