"""The pictures, transcripts and embeddings that this process is waiting for: one task each, owned
by the process's hub, not by a page.

When the process is told to end, a request that is a job at the provider stays open: the next
process that looks takes it over and goes on asking. Anything else was lost with the connection and
ends as interrupted; it is never sent again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from channels.db import database_sync_to_async
from django.db import DataError, IntegrityError

from inference import hub as hubs
from inference import signatures, turnlog
from inference.errors import ChatError
from inference.hub import Hub
from inference.media import asking, endings, pictures, services, transcripts, vectors
from inference.media.asking import Call, Outcome
from inference.media.pictures import Remote
from inference.media.recordings import Piece
from inference.media.services import Ask, Opened
from inference.media.uploads import Picture
from inference.models import Chat, Medium, State, Turn

log = logging.getLogger(__name__)

RESTARTED = "the server was restarted while it waited"


async def draw(own: Hub, ask: Ask, wish: pictures.Wish, source: Picture | None) -> Opened:
    """Open a wish for pictures and begin to wait for them. Raises ChatError."""
    return await own.whole(_draw(own, ask, wish, source))


async def _draw(own: Hub, ask: Ask, wish: pictures.Wish, source: Picture | None) -> Opened:
    takes = pictures.ANYTHING
    if source is not None or wish.options:
        takes = await taken(own, ask.provider)
    opened: Opened = await _in_db(services.open_pictures)(ask, wish, source, takes)
    if opened.call is not None:
        own.work(opened.turn, _pictures(own, opened.turn, opened.call))
    return opened


async def taken(own: Hub, provider: str) -> pictures.Takes:
    """What a service that draws takes, by its own word."""
    listing = await _in_db(services.service)(provider, Medium.IMAGES)
    if listing is None:
        return pictures.ANYTHING
    return pictures.Takes.of(listing.service_type, await own.look(listing))


async def transcribe(
    own: Hub, ask: Ask, wish: transcripts.Wish, pieces: Sequence[Piece], name: str
) -> Opened:
    """Keep a recording and begin to have it written down. Raises ChatError."""
    return await own.whole(_transcribe(own, ask, wish, services.open_recording, pieces, name))


async def go_on(own: Hub, ask: Ask, wish: transcripts.Wish, recording: Chat) -> Opened:
    """Have its first piece written down that is not yet. Raises ChatError."""
    return await own.whole(_transcribe(own, ask, wish, services.open_piece, recording))


async def _transcribe(
    own: Hub, ask: Ask, wish: transcripts.Wish, open_turn: Callable[..., Opened], *given: Any
) -> Opened:
    opened: Opened = await _in_db(open_turn)(ask, wish, *given)
    if opened.call is not None:
        own.work(opened.turn, _piece(own, opened, opened.call, ask, wish))
    return opened


async def embed(own: Hub, ask: Ask, wish: vectors.Wish) -> Opened:
    """Begin to have texts embedded. Raises ChatError."""
    return await own.whole(_embed(own, ask, wish))


async def _embed(own: Hub, ask: Ask, wish: vectors.Wish) -> Opened:
    opened: Opened = await _in_db(services.open_texts)(ask, wish)
    if opened.call is not None:
        own.work(opened.turn, _texts(own, opened.turn, opened.call))
    return opened


async def _texts(own: Hub, turn_id: int, call: Call) -> None:
    outcome = await _outcome(turn_id, asking.embed(own.client, call))
    await asyncio.shield(hubs.spawn(_end(own, turn_id, outcome)))


async def _pictures(own: Hub, turn_id: int, call: Call) -> None:
    remote = [call.remote]

    async def told(job: Remote) -> None:
        remote[0] = job.id
        note = partial(services.note_remote, turn_id, job.id, working=job.state == "processing")
        await own.stored(turn_id, note)  # it goes on, and is paid, whatever our database does

    try:
        outcome = await asking.draw(own.client, call, told)
    except asyncio.CancelledError:
        if remote[0] and not own.stopped(turn_id):
            return  # another process goes on asking for the provider's job
        outcome = endings.interrupted(RESTARTED)
    except Exception:
        # The outermost frame: whatever it was, the row must not stay open.
        log.exception("turn %s failed", turn_id)
        outcome = endings.interrupted("an error of this site")
    await asyncio.shield(hubs.spawn(_end(own, turn_id, outcome)))


async def _piece(own: Hub, opened: Opened, call: Call, ask: Ask, wish: transcripts.Wish) -> None:
    outcome = await _outcome(opened.turn, asking.transcribe(own.client, call))

    async def go_on() -> None:
        if outcome.failure is None and not own.closing:
            await _go_on(own, opened, ask, wish)

    await asyncio.shield(hubs.spawn(_end(own, opened.turn, outcome, go_on)))


async def _outcome(turn_id: int, asked: Coroutine[Any, Any, Outcome]) -> Outcome:
    """What came of a request that is lost with its connection."""
    try:
        return await asked
    except asyncio.CancelledError:
        return endings.interrupted(RESTARTED)
    except Exception:
        # The outermost frame: whatever it was, the row must not stay open.
        log.exception("turn %s failed", turn_id)
        return endings.interrupted("an error of this site")


async def _go_on(own: Hub, opened: Opened, ask: Ask, wish: transcripts.Wish) -> None:
    """Have the next piece of the same recording written down, where there is one."""
    chat = await _in_db(Chat.objects.filter(pk=opened.chat, deleted_at=None).first)()
    if chat is None or await _in_db(services.next_piece)(chat) is None:
        return
    try:
        await go_on(own, ask, wish, chat)
    except ChatError as error:
        # The page says which part is missing, and offers to go on.
        log.info("recording %s: %s", opened.chat, error)


async def _end(
    own: Hub,
    turn_id: int,
    outcome: Outcome,
    go_on: Callable[[], Coroutine[Any, Any, None]] | None = None,
) -> None:
    """Store the end, whatever it takes, and have its signature judged, for which nobody waits who
    can `go_on`.
    """
    ended = await own.stored(turn_id, partial(_stored, turn_id, outcome))
    try:
        if go_on is not None:
            await go_on()
    finally:
        if ended and not (outcome.failure and outcome.failure.kind == "interrupted"):
            waits = signatures.AT_ONCE if outcome.failure is None else signatures.AT_ONCE[:1]
            await signatures.settle(own.client, turn_id, waits=waits)


def _stored(turn_id: int, outcome: Outcome) -> bool:
    try:
        return endings.end(turn_id, outcome)
    except (DataError, IntegrityError):
        # It would be refused again: what came is lost, and the row says so.
        log.exception("the end of turn %s cannot be stored", turn_id)
        return endings.end(turn_id, endings.interrupted("an answer that cannot be stored"))


async def take_over(own: Hub) -> None:
    """Go on with what dead processes were waiting for."""
    for turn_id, process in await _in_db(_open)():
        if process == own.process or await turnlog.alive(process):
            continue
        if own.closing or not await _in_db(endings.claim)(turn_id, process, own.process):
            continue
        turn = await _in_db(_with_job)(turn_id)
        call = await _in_db(endings.resumed)(turn)
        if call is None:
            await _in_db(endings.end)(turn_id, endings.interrupted(RESTARTED))
        else:
            own.work(turn_id, _pictures(own, turn_id, call))


def _open() -> list[tuple[int, str]]:
    rows = Turn.objects.filter(state=State.OPEN, chat__medium__in=services.TYPES).order_by("pk")
    return list(rows.values_list("pk", "process"))


def _with_job(turn_id: int) -> Turn:
    return Turn.objects.select_related("chat__owner", "job__piece").get(pk=turn_id)


def _in_db(call: Any) -> Any:
    return database_sync_to_async(call)


hubs.CHORES.append(take_over)
