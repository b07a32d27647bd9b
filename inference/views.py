"""Doors of the playground's chat: its pages, and asking. Reading works without JavaScript, and so
does asking (by form).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from asgiref.sync import sync_to_async
from django.core.exceptions import ObjectDoesNotExist
from django.core.files.uploadedfile import UploadedFile
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    JsonResponse,
    QueryDict,
    StreamingHttpResponse,
)
from django.shortcuts import render
from django.urls import Resolver404, resolve, reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts import limits
from accounts.errors import TooMany
from accounts.http import NotSignedIn, in_pieces, uuid_of
from accounts.models import User
from accounts.session_store import name_of
from inference import access, attachments, conversations, estimates, opening, readiness, selectors
from inference.errors import BadPrompt, Busy, ChatError, SignerChanged
from inference.hub import hub
from inference.media import services as media
from inference.media import uploads
from inference.media.models import File
from inference.models import Chat, Medium, Turn
from inference.options import Options
from inference.pages import MEDIA
from inference.prompts import MAX_PICTURES, Prompt
from inference.search import MAX_WORDS_CHARS
from inference.selectors import Visit
from ledger import selectors as ledger
from probes import exchange

Own = TypeVar("Own")
#: Uploads of one person in a minute; each costs a second of work.
PICTURES_PER_MINUTE = 30
#: So often one may ask for older conversations; search finds what is older still.
MAX_OLDER = 1_000


def home(request: HttpRequest) -> HttpResponse:
    return HttpResponseRedirect(reverse("inference:new"))


@never_cache
@require_GET
def new(request: HttpRequest) -> HttpResponse:
    """An empty conversation, with `provider` chosen and `draft` in the composer."""
    page = selectors.chat_page(visit_of(request), None)
    return render(request, "inference/chat.html", {"page": page})


@never_cache
@require_GET
def chat(request: HttpRequest, chat: UUID) -> HttpResponse:
    """One conversation, whole: answers, costs and proofs are readable without JavaScript."""
    page = selectors.chat_page(visit_of(request), chat_of(request, chat))
    return render(request, "inference/chat.html", {"page": page})


@require_POST
async def start(request: HttpRequest) -> HttpResponse:
    """Create a conversation with `provider` (not kept with `keep=no`); ask `text` in it where
    given. Goes there, or says where it is as JSON.
    """
    user = await sync_to_async(user_of)(request)
    provider = ledger.address_of(request.POST.get("provider", "")) or ""
    service = await sync_to_async(readiness.chat_service)(provider) if provider else None
    if user is None:
        return await _again(request, None, BadPrompt(_("Sign in to chat.")))
    if service is None:
        return await _again(request, None, BadPrompt(_("Choose a provider that offers chat.")))
    kept = request.POST.get("keep") != "no"
    session = "" if kept else session_of(request)
    form = uuid_of(request.POST.get("key", "")) or uuid4()
    begin = sync_to_async(conversations.begin_once)
    try:
        await sync_to_async(opening.spend_limit)(user)
        made = await begin(user, provider, form, session_key=session)
        if request.POST.get("text", ""):
            await _ask(request, made)
    except ChatError as error:
        return await _again(request, None, error)
    path = reverse("inference:chat", args=[made.pk])
    if request.accepts("text/html"):
        return HttpResponseRedirect(path)
    return JsonResponse({"id": str(made.pk), "path": path}, status=201)


@require_POST
async def send(request: HttpRequest, chat: UUID) -> HttpResponse:
    """Ask by form: opens a turn and returns to the conversation; as JSON it says which turns, for
    pages whose network lets no websocket through.
    """
    found = await sync_to_async(chat_of)(request, chat)
    try:
        opened = await _ask(request, found)
    except ChatError as error:
        return await _again(request, found, error)
    if request.accepts("text/html"):
        return HttpResponseRedirect(f"{reverse('inference:chat', args=[chat])}#composer")
    said = {"turns": [each.turn for each in opened], "refused": opened[0].refused}
    return JsonResponse(said, status=201)


async def _ask(request: HttpRequest, chat: Chat) -> list[opening.Opened]:
    own = hub()
    await own.start()
    given = request.POST
    key = given.get("key") or str(uuid4())
    if (form := uuid_of(key)) is not None:
        await sync_to_async(opening.same_words)(chat, form, given.get("text", ""))
    chosen = [str(pk) for pk in _ids(given.get("pictures", ""))]
    for file in request.FILES.getlist("pictures")[: MAX_PICTURES + 1]:
        chosen.append(str((await sync_to_async(kept_picture)(chat, file)).pk))
    settings = _settings(given)
    prompt = Prompt.of(
        {
            "key": key,
            "text": given.get("text", ""),
            "provider": given.get("provider", ""),
            "also": given.get("also", ""),
            "adapter": given.get("adapter"),
            "beside": given.get("beside"),
            "accept_signer": given.get("accept_signer", ""),
            "again": number_of(given.get("again")) or None,
            "called": number_of(given.get("called")) or None,
            "seen": number_of(given["seen"]) if "seen" in given else None,
            # A form sends a line break as two characters.
            "results": [text.replace("\r\n", "\n") for text in given.getlist("result")],
            "options": settings or None,
            "pictures": chosen,
            "had": [str(pk) for pk in _had(given)] if "had" in given else None,
        }
    )
    return await own.ask_all(chat, prompt)


def _had(given: QueryDict) -> tuple[UUID, ...]:
    """Which pictures of an edited question a form sends again: as a list, or a box for each."""
    return _ids(",".join(given.getlist("had")))


def _settings(given: QueryDict) -> dict[str, str]:
    """How a form wants its question asked; empty where it says nothing of it (asked as before)."""
    names = Options.__dataclass_fields__ if "max_tokens" in given else ()
    return {name: str(given[name]) for name in names if name in given}


async def _again(request: HttpRequest, chat: Chat | None, error: ChatError) -> HttpResponse:
    """The page once more, with what was written and what stood in the way."""
    if not request.accepts("text/html"):
        return refusal(error)
    visit = await sync_to_async(visit_of)(request)
    page = await sync_to_async(selectors.chat_page)(visit, chat, error)
    context = {"page": page}
    return await sync_to_async(render)(request, "inference/chat.html", context, status=error.status)


@never_cache
@require_GET
def side(request: HttpRequest) -> HttpResponse:
    """Gate and inspector for `provider`, fetched when another one is chosen or money moved."""
    provider = ledger.address_of(request.GET.get("provider", ""))
    service = readiness.chat_service(provider) if provider else None
    given = request.GET.get("medium", "")
    medium = next((known for known in MEDIA if known == given), Medium.CHAT)
    fee = media.usual_fee(service, medium) if service else None
    verified = request.GET.get("verified") == "on"
    page = selectors.side_page(
        user_of(request), service, medium=medium, fee=fee, verified=verified, back=_open(request)
    )
    return render(request, "inference/side.html", {"page": page})


def _open(request: HttpRequest) -> str:
    """The path of the conversation that a fragment was asked for, by the page's own word."""
    try:
        shown = urlsplit(request.headers.get("HX-Current-URL", "")).path
        match = resolve(shown)
    except (ValueError, Resolver404):
        return ""
    return shown if match.view_name == "inference:chat" else ""


@never_cache
@require_GET
def estimate(request: HttpRequest) -> HttpResponse:
    """What a question of `bytes` bytes may cost at most, before it is sent, in `dollars` too where
    they are shown; the words themselves stay in the browser.
    """
    user = user_of(request)
    given = request.GET
    named = uuid_of(given.get("chat", ""))
    chat = chat_of(request, named) if named else None
    beside = given.get("beside") == "on"  # and nobody else, as `prompts` has it
    found = estimates.estimate(
        user,
        chat,
        provider=ledger.address_of(given.get("provider", "")) or "",
        question_bytes=number_of(given.get("bytes")),
        max_tokens=number_of(given.get("max_tokens")),
        pictures=_ids(given.get("pictures", ""))[:MAX_PICTURES],
        also="" if beside else ledger.address_of(given.get("also", "")) or "",
        again=number_of(given.get("again")),
        called=number_of(given.get("called")),
        beside=beside,
        had=_ids(given["had"]) if "had" in given else None,
        settings_bytes=number_of(given["settings"]) if "settings" in given else None,
    )
    if dollars := exchange.said(int(found.get("most", 0))):
        found["dollars"] = dollars
    return JsonResponse(found)


def number_of(text: str | None) -> int:
    """The number that a field or an address names; 0 where it names none that a row could have."""
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 19 else 0


def _ids(text: str) -> tuple[UUID, ...]:
    """The ids in a list with commas; what is none is left out."""
    return tuple(found for word in text.split(",")[:20] if (found := uuid_of(word)))


def kept_picture(chat: Chat, file: UploadedFile[Any]) -> File:
    """An uploaded picture, kept for the next question. Raises BadPrompt, and Busy above
    PICTURES_PER_MINUTE."""
    try:
        limits.spend("pictures", chat.owner.address, limit=PICTURES_PER_MINUTE, seconds=60)
    except TooMany:
        raise Busy(
            _("Up to %(pictures_per_minute)s pictures a minute. Wait a little.")
            % {"pictures_per_minute": PICTURES_PER_MINUTE}
        ) from None
    return attachments.keep(chat, *read_upload(file, uploads.MAX_UPLOAD_BYTES))


# --- what the chat's other doors share ------------------------------------------------------------


def refusal(error: ChatError) -> JsonResponse:
    """What stood in the way, for a page that stays where it is."""
    body = {
        "title": error.sentence, "status": error.status, "code": error.code, "href": error.href
    }  # fmt: skip
    if isinstance(error, SignerChanged):
        body["signer"] = error.signer
    return JsonResponse(body, status=error.status)


def read_upload(file: UploadedFile[Any], most: int) -> tuple[bytes, str]:
    """The bytes and the name of an uploaded file. Raises BadPrompt beyond `most` bytes; the size is
    known before anything is read.
    """
    called = (file.name or _("The file")).replace("\x00", "")[-60:]
    if (file.size or 0) > most:
        raise BadPrompt(
            _("%(called)s is larger than %(most)s MB.") % {"called": called, "most": most >> 20}
        )
    return file.read(), called


def as_file(made: bytes, kind: str, name: str) -> HttpResponse:
    """An answer that is saved under a name."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return HttpResponse(made, content_type=kind, headers=headers)


def as_streamed_file(
    request: HttpRequest, parts: Iterator[bytes], kind: str, name: str
) -> StreamingHttpResponse:
    """The same, of what is too large to be whole in memory."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingHttpResponse(in_pieces(request, parts), content_type=kind, headers=headers)


def user_of(request: HttpRequest) -> User | None:
    return request.user if isinstance(request.user, User) else None


def session_of(request: HttpRequest) -> str:
    """The name of the visitor's session; "" where there is none."""
    return name_of(request.session.session_key)


def visit_of(request: HttpRequest) -> Visit:
    """What the address, or a form that has to be shown again, asks for."""
    given = request.POST if request.method == "POST" else request.GET
    again = given.get("again") or given.get("edit") or ""
    deleted = given.get("deleted", "")
    return Visit(
        user=user_of(request),
        session_key=session_of(request),
        provider=ledger.address_of(given.get("provider", "")) or "",
        draft=given.get("text", "") if request.method == "POST" else given.get("draft", "")[:2000],
        words=request.GET.get("q", "").replace("\x00", "").strip()[:MAX_WORDS_CHARS],
        deleted=uuid_of(deleted),
        again=number_of(again),
        preset=number_of(request.GET.get("preset")),
        adapter=given.get("adapter", "")[:150],
        also=ledger.address_of(given.get("also", "")) or "",
        older=min(number_of(request.GET.get("older")) or 1, MAX_OLDER),
        before=number_of(request.GET.get("before")),
        had=_had(request.POST) if "had" in request.POST else None,
        called=number_of(request.POST.get("called")),
        results=tuple(request.POST.getlist("result")),
        settings=_shown_again(_settings(request.POST)),
    )


def _shown_again(given: dict[str, str]) -> Options | None:
    """The settings of a form that was refused: the next try is to be asked like this one."""
    if not given:
        return None
    try:
        return Options.of(given)
    except BadPrompt:  # one of them is why; the wish is not lost with it
        return Options(verified="verified" in given)


def own(request: HttpRequest, read: Callable[..., Own], pk: UUID | int, *more: Medium) -> Own:
    """What the person may `read` (`access`), or 404: strangers do not even learn that it exists."""
    user = user_of(request)
    if user is None:
        raise NotSignedIn("not signed in")
    try:
        return read(user, pk, session_of(request), *more)
    except (ObjectDoesNotExist, OverflowError):
        raise Http404("no such conversation or answer") from None


def chat_of(request: HttpRequest, chat: UUID) -> Chat:
    return own(request, access.chat_for, chat)


def deleted_of(request: HttpRequest, chat: UUID, medium: Medium = Medium.CHAT) -> Chat:
    """What the person deleted a moment ago. Raises Http404, which says that the moment is over."""
    try:
        return own(request, access.deleted_chat_for, chat, medium)
    except NotSignedIn:
        raise
    except Http404:
        raise Http404(_("It is too late to undo this.")) from None


def turn_of(request: HttpRequest, turn: int) -> Turn:
    return own(request, access.turn_for, turn)
