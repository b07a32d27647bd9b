"""Doors of single answers: as they stand, as they come, stopped, judged again, another version."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import orjson
from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from inference import conversations, selectors, services, turnlog
from inference.hub import hub
from inference.models import State, Turn
from inference.pages import TurnPage
from inference.views import turn_of


@never_cache
@require_GET
def turn(request: HttpRequest, turn: int) -> HttpResponse:
    """One question with its answers as they stand, to replace what was streamed."""
    page = TurnPage(selectors.asked(turn_of(request, turn)))
    return render(request, "inference/turn.html", {"page": page})


@require_POST
async def stop(request: HttpRequest, turn: int) -> HttpResponse:
    """Stop an answer by form."""
    found = await sync_to_async(turn_of)(request, turn)
    if found.state == State.OPEN:
        await hub().stop(found.pk, found.process)
    return _back(found)


@require_POST
async def recheck(request: HttpRequest, turn: int) -> HttpResponse:
    """Ask once more for a signature that was not available; the page watches for the verdict."""
    found = await sync_to_async(turn_of)(request, turn)
    if await sync_to_async(services.reopen_verdict)(found):
        hub().look_again(found.pk)
    if not request.headers.get("HX-Request"):
        return _back(found)
    fresh = await sync_to_async(turn_of)(request, turn)
    page = TurnPage(await sync_to_async(selectors.asked)(fresh))
    return await sync_to_async(render)(request, "inference/turn.html", {"page": page})


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
    """The websocket's twin: the same entries as server-sent events, resumable by Last-Event-ID."""
    found = await sync_to_async(turn_of)(request, turn)
    given = request.headers.get("Last-Event-ID") or request.GET.get("after", "0")
    after = int(given) if given.isascii() and given.isdecimal() and len(given) < 12 else 0
    answer = StreamingHttpResponse(_events(found, after), content_type="text/event-stream")
    answer["X-Accel-Buffering"] = "no"
    return answer


async def _events(turn: Turn, after: int) -> AsyncGenerator[bytes, None]:
    if turn.state != State.OPEN and not await turnlog.exists(turn.pk):
        yield _event(after, {"type": "end", "state": turn.state})
        yield _event(after, {"type": "verdict", "verdict": turn.verdict})
        return
    async with aclosing(turnlog.follow(turn.pk, after)) as entries:
        async for entry in entries:
            yield _event(entry.seq, entry.event)


def _event(seq: int, event: dict[str, object]) -> bytes:
    return b"id: %d\ndata: %s\n\n" % (seq, orjson.dumps(event))
