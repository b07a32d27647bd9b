"""What a watcher of an answer is told: its stream, and where that says no more, what is stored."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import orjson
from channels.db import database_sync_to_async
from django.db import DatabaseError

from inference import turnlog
from inference.models import State, Turn, Verdict
from inference.subscribers import Entry

log = logging.getLogger(__name__)


async def told(turn: int, after: int, *, over: bool = False) -> AsyncGenerator[list[Entry], None]:
    """Entries of a turn after number `after`, as they come, to its verdict; `over`: it has ended.

    A stream can be left without its end: it ran out, its process was killed right before, Redis was
    away at that moment. So in each silence it is looked whether the turn has ended, and the watcher
    fetches the stored answer. Raises RedisError, TooManyWatchers.
    """
    async with (
        turnlog.watching(turn),
        aclosing(turnlog.batches(turn, after)) as batches,
    ):
        ended = False
        if over and not await turnlog.exists(turn):
            yield await _stored(turn, after)
            return
        async for entries in batches:
            if entries:
                after, ended = entries[-1].seq, entries[-1].event["type"] == "end"
            else:
                entries = (await _stored(turn, after))[ended:]
                ended = ended or bool(entries)
            if entries:
                yield entries
                if entries[-1].event["type"] == "verdict":
                    return


async def _stored(turn: int, after: int) -> list[Entry]:
    """The end of a turn and its verdict, as far as they are stored."""
    try:
        events = await database_sync_to_async(_events)(turn)
    except DatabaseError as error:
        log.warning("turn %s is not looked after: %s", turn, error)
        events = []
    return [Entry(after, event, orjson.dumps(event)) for event in events]


def _events(turn: int) -> list[dict[str, Any]]:
    rows = Turn.objects.filter(pk=turn).exclude(state=State.OPEN).select_related("chat")
    found = rows.only("state", "verdict", "completion_tokens", "calls_sealed", "chat__key_sealed")
    ended = found.first()
    if ended is None:
        return []
    events = [turnlog.end(ended.state, ended.completion_tokens or 0, len(ended.calls))]
    if ended.verdict != Verdict.PENDING:
        events.append({"type": "verdict", "verdict": ended.verdict})
    return events
