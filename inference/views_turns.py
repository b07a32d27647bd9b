"""Doors of single answers: as they stand, as they come, stopped, judged again, another version."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST
from redis.exceptions import RedisError

from inference import (
    access,
    conversations,
    selectors,
    services,
    sessions,
    signatures,
    turnlog,
    watching,
)
from inference.hub import hub
from inference.models import Medium, State, Turn
from inference.views import own, session_of, turn_of
from net import layer

log = logging.getLogger(__name__)

#: A comment after so many silent seconds, for proxies that end quiet connections.
QUIET_SECONDS = 15.0


@never_cache
@require_GET
def turn(request: HttpRequest, turn: int) -> HttpResponse:
    """One question with its answers as they stand, to replace what was streamed."""
    asked = selectors.asked(turn_of(request, turn))
    return render(request, "inference/asked.html", {"asked": asked})


@require_POST
async def stop(request: HttpRequest, turn: int) -> HttpResponse:
    """Stop an answer by form."""
    found = await sync_to_async(turn_of)(request, turn)
    if found.state == State.OPEN:
        await hub().stop(found.pk, found.process)
    return _back(found)


@require_POST
async def recheck(request: HttpRequest, turn: int) -> HttpResponse:
    """Ask once more for a signature that was not available. The conversation watches for the
    verdict; the page of a program's request does not, so it comes with it. Pages of before have
    HTMX ask, which would put the page that comes into the answer: they are loaded again.
    """
    found = await sync_to_async(own)(request, access.request_for, turn)
    reopened = await sync_to_async(services.reopen_verdict)(found)
    conversation = found.chat.medium == Medium.CHAT
    if reopened and conversation:
        hub().look_again(turn)
    elif reopened:
        await signatures.settle(hub().client, turn)
    if request.headers.get("HX-Request"):
        return HttpResponse(status=204, headers={"HX-Refresh": "true"})
    if conversation:
        return _back(found, f"#turn-{turn}")
    return HttpResponseRedirect(reverse("inference:inspect", args=[turn]))


@require_POST
def show(request: HttpRequest, turn: int) -> HttpResponse:
    """Turn the conversation to this version of a question, at the newest end of its branch."""
    found = turn_of(request, turn)
    conversations.show(found)
    return _back(found, f"#asked-{found.pk}")


@require_POST
def forget(request: HttpRequest, turn: int) -> HttpResponse:
    """Do not send this turn and what came before it any more; `undo` sends all again."""
    found = turn_of(request, turn)
    if request.POST.get("undo"):
        conversations.remember_all(found.chat)
    else:
        conversations.forget_until(found)
    return _back(found, "#composer")


def _back(turn: Turn, anchor: str = "") -> HttpResponse:
    return HttpResponseRedirect(reverse("inference:chat", args=[turn.chat_id]) + anchor)


@never_cache
@require_GET
async def events(request: HttpRequest, turn: int) -> HttpResponse | StreamingHttpResponse:
    """The websocket's twin: the same entries as server-sent events, resumable by Last-Event-ID.

    Ends with the turn's verdict, or when the session does. A comment keeps silent lines open.
    """
    found = await sync_to_async(turn_of)(request, turn)
    given = request.headers.get("Last-Event-ID") or request.GET.get("after", "0")
    after = int(given) if given.isascii() and given.isdecimal() and len(given) < 12 else 0
    content = _events(found, after, session_of(request))
    answer = StreamingHttpResponse(content, content_type="text/event-stream")
    answer["X-Accel-Buffering"] = "no"
    return answer


async def _events(turn: Turn, after: int, session: str) -> AsyncGenerator[bytes, None]:
    signed_out = asyncio.ensure_future(sessions.ended(session))
    queue: asyncio.Queue[bytes] = asyncio.Queue(maxsize=8)
    reading = asyncio.ensure_future(_read(turn, after, queue))
    try:
        while not signed_out.done():
            try:
                async with asyncio.timeout(QUIET_SECONDS):
                    event = await queue.get()
            except TimeoutError:
                yield b": still being written\n\n"
                continue
            if not event:
                return
            yield event
    finally:
        await layer.end((signed_out, reading))


async def _read(turn: Turn, after: int, queue: asyncio.Queue[bytes]) -> None:
    """Put the turn's events into `queue`, then b"" for the end."""
    told = watching.told(turn.pk, after, over=turn.state != State.OPEN)
    try:
        async with aclosing(told) as batches:
            async for entries in batches:
                for entry in entries:
                    await queue.put(b"id: %d\ndata: %s\n\n" % (entry.seq, entry.raw))
    except turnlog.TooManyWatchers:
        await queue.put(b"event: refused\ndata: too many watch this answer\n\n")
    except RedisError as error:
        log.warning("turn %s cannot be watched: %s", turn.pk, error)
    await queue.put(b"")
