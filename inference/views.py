"""Doors of the playground's chat. Reading works without JavaScript, and so does asking (by
form).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from uuid import UUID

import orjson
from asgiref.sync import sync_to_async
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    JsonResponse,
    StreamingHttpResponse,
)
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts.models import User
from inference import access, readiness, selectors, services, turnlog
from inference.errors import BadPrompt, ChatError
from inference.hub import hub
from inference.models import Chat, State, Turn
from inference.pages import TurnPage, TurnView
from ledger import selectors as ledger


def home(request: HttpRequest) -> HttpResponse:
    return HttpResponseRedirect(reverse("inference:new"))


@never_cache
@require_GET
def new(request: HttpRequest) -> HttpResponse:
    """An empty conversation, with `provider` chosen and `draft` in the composer."""
    provider = ledger.address_of(request.GET.get("provider", "")) or ""
    draft = request.GET.get("draft", "")[:2000]
    page = selectors.chat_page(_user(request), None, provider, draft=draft)
    return render(request, "inference/chat.html", {"page": page})


@require_POST
async def start(request: HttpRequest) -> HttpResponse:
    """Create a conversation with `provider`; ask `text` in it where given. Goes there, or says
    where it is as JSON.
    """
    user = await sync_to_async(_user)(request)
    provider = ledger.address_of(request.POST.get("provider", "")) or ""
    text = request.POST.get("text", "")
    service = await sync_to_async(readiness.chat_service)(provider) if provider else None
    if user is None:
        return await _again(request, user, None, provider, text, BadPrompt("Sign in to chat."))
    if service is None:
        unknown = BadPrompt("Choose a provider that offers chat.")
        return await _again(request, user, None, provider, text, unknown)
    try:
        await sync_to_async(services.spend_limit)(user)
        made = await sync_to_async(services.create_chat)(user, provider)
        if text:
            await _ask(made, text, provider)
    except ChatError as error:
        return await _again(request, user, None, provider, text, error)
    path = reverse("inference:chat", args=[made.pk])
    if request.accepts("text/html"):
        return HttpResponseRedirect(path)
    return JsonResponse({"id": str(made.pk), "path": path}, status=201)


async def _again(
    request: HttpRequest,
    user: User | None,
    chat: Chat | None,
    provider: str,
    draft: str,
    error: ChatError,
) -> HttpResponse:
    """The page once more, with what was written and what stood in the way."""
    status = 400 if isinstance(error, BadPrompt) else 409
    if not request.accepts("text/html"):
        return JsonResponse({"title": error.sentence, "status": status}, status=status)
    page = await sync_to_async(selectors.chat_page)(user, chat, provider, draft=draft, error=error)
    context = {"page": page}
    return await sync_to_async(render)(request, "inference/chat.html", context, status=status)


@never_cache
@require_GET
def chat(request: HttpRequest, chat: UUID) -> HttpResponse:
    """One conversation, whole: answers, costs and proofs are readable without JavaScript."""
    user = _user(request)
    provider = ledger.address_of(request.GET.get("provider", "")) or ""
    page = selectors.chat_page(user, _chat(user, chat), provider)
    return render(request, "inference/chat.html", {"page": page})


@never_cache
@require_GET
def side(request: HttpRequest) -> HttpResponse:
    """Gate and inspector for `provider`, fetched when another one is chosen or money moved."""
    provider = ledger.address_of(request.GET.get("provider", ""))
    service = readiness.chat_service(provider) if provider else None
    page = selectors.side_page(_user(request), service)
    return render(request, "inference/side.html", {"page": page})


@never_cache
@require_GET
def turn(request: HttpRequest, turn: int) -> HttpResponse:
    """One turn as it stands, to replace what was streamed."""
    page = TurnPage(TurnView.of(_turn(_user(request), turn)))
    return render(request, "inference/turn.html", {"page": page})


@require_POST
async def send(request: HttpRequest, chat: UUID) -> HttpResponse:
    """Ask by form: opens a turn and returns to the conversation."""
    user = await sync_to_async(_user)(request)
    found = await sync_to_async(_chat)(user, chat)
    text = request.POST.get("text", "")
    provider = request.POST.get("provider", "")
    try:
        await _ask(found, text, provider, request.POST.get("accept_signer", ""))
    except ChatError as error:
        return await _again(request, user, found, ledger.address_of(provider) or "", text, error)
    return HttpResponseRedirect(f"{reverse('inference:chat', args=[chat])}#composer")


async def _ask(chat: Chat, text: str, provider: str, accept_signer: str = "") -> None:
    own = hub()
    await own.start()
    await own.ask(chat, text, provider=provider, accept_signer=accept_signer)


@require_POST
async def stop(request: HttpRequest, turn: int) -> HttpResponse:
    """Stop an answer by form."""
    user = await sync_to_async(_user)(request)
    found = await sync_to_async(_turn)(user, turn)
    if found.state == State.OPEN:
        await hub().stop(found.pk, found.process)
    return HttpResponseRedirect(reverse("inference:chat", args=[found.chat_id]))


@require_POST
async def recheck(request: HttpRequest, turn: int) -> HttpResponse:
    """Ask once more for a signature that was not available; the page watches for the verdict."""
    user = await sync_to_async(_user)(request)
    found = await sync_to_async(_turn)(user, turn)
    if await sync_to_async(services.reopen_verdict)(found):
        hub().look_again(found.pk)
    if not request.headers.get("HX-Request"):
        return HttpResponseRedirect(reverse("inference:chat", args=[found.chat_id]))
    page = TurnPage(TurnView.of(await sync_to_async(_turn)(user, turn)))
    return await sync_to_async(render)(request, "inference/turn.html", {"page": page})


@require_POST
def delete(request: HttpRequest, chat: UUID) -> HttpResponse:
    """Delete a conversation for good."""
    user = _user(request)
    found = _chat(user, chat)
    try:
        services.delete_chat(found)
    except ChatError as error:
        page = selectors.chat_page(user, found, error=error)
        return render(request, "inference/chat.html", {"page": page}, status=409)
    return HttpResponseRedirect(reverse("inference:new"))


@never_cache
@require_GET
async def events(request: HttpRequest, turn: int) -> HttpResponse | StreamingHttpResponse:
    """The websocket's twin: the same entries as server-sent events, resumable by Last-Event-ID."""
    user = await sync_to_async(_user)(request)
    found = await sync_to_async(_turn)(user, turn)
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


def _user(request: HttpRequest) -> User | None:
    return request.user if isinstance(request.user, User) else None


def _chat(user: User | None, chat: UUID) -> Chat:
    """The person's chat, or 404: strangers do not even learn that it exists."""
    try:
        if user is not None:
            return access.chat_for(user, chat)
    except Chat.DoesNotExist:
        pass
    raise Http404("no such conversation")


def _turn(user: User | None, turn: int) -> Turn:
    try:
        if user is not None:
            return access.turn_for(user, turn)
    except (Turn.DoesNotExist, OverflowError):
        pass
    raise Http404("no such answer")
