"""Doors of speech: recordings, their transcripts, and both as files."""

from __future__ import annotations

import re
import threading
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts.http import number_of, taker
from accounts.models import User
from inference import seals
from inference.errors import BadPrompt, ChatError
from inference.hub import hub
from inference.media import doors, recordings, selectors, studio, transcripts
from inference.media.transcripts import Wish
from inference.media.views_works import path_of
from inference.models import Medium
from inference.selectors import Visit
from inference.views import as_file, refusal, visit_of

#: Only this page may ask for the microphone, and only by itself.
MICROPHONE = "microphone=(self), camera=(), geolocation=(), display-capture=()"
#: Cutting a recording takes its size a few times over: so many at the same time in one process.
_AT_ONCE = threading.BoundedSemaphore(2)
_RANGE = re.compile(r"bytes=(\d{1,12})-(\d{0,12})")


@never_cache
@require_GET
def audio(request: HttpRequest) -> HttpResponse:
    """Form and list of transcripts."""
    page = selectors.audio_page(visit_of(request), number_of(request))
    return _with_microphone(render(request, "inference/audio.html", {"page": page}))


@require_POST
async def transcribe(request: HttpRequest) -> HttpResponse:
    """Have a recording written down; leads to its transcript, which grows piece by piece."""
    visit = await sync_to_async(visit_of)(request)
    own = hub()
    try:
        if visit.user is None:
            raise BadPrompt(_("Sign in to transcribe."))
        ask = doors.asker(request, visit.user, own.process)
        wish = Wish.of(request.POST.dict())
        pieces, name = await sync_to_async(_pieces)(request, visit.user)
        await own.start()
        opened = await studio.transcribe(own, ask, wish, pieces, name)
    except ChatError as error:
        if doors.stays(request):
            return refusal(error)
        return await sync_to_async(_again)(request, visit, error)
    return doors.taken(request, reverse("inference:transcript", args=[opened.chat]))


def _pieces(request: HttpRequest, user: User) -> tuple[list[recordings.Piece], str]:
    given = doors.upload(request, user, "recording", recordings.MAX_BYTES)
    if given is None:
        raise BadPrompt(_("Choose a recording, or make one."))
    data, called = given
    name = request.POST.get("name", "").strip().replace("\x00", "")[:80] or called
    with _AT_ONCE:
        return recordings.pieces(recordings.read(data, called)), name


def _again(request: HttpRequest, visit: Visit, error: ChatError) -> HttpResponse:
    on = {name: request.POST.get(name) == "on" for name in ("timed", "words")}
    wish: dict[str, Any] = {**request.POST.dict(), **on}
    page = selectors.audio_page(visit, wish=wish, error=error, file_again=bool(request.FILES))
    answer = render(request, "inference/audio.html", {"page": page}, status=error.status)
    return _with_microphone(answer)


def _with_microphone(answer: HttpResponse) -> HttpResponse:
    answer["Permissions-Policy"] = MICROPHONE
    return answer


@never_cache
@require_GET
def transcript(request: HttpRequest, chat: UUID) -> HttpResponse:
    """A transcript with its player and its proofs."""
    page = selectors.transcript_page(doors.work_of(request, chat, Medium.SPEECH))
    return render(request, "inference/transcript.html", {"page": page})


@never_cache
@require_GET
def body(request: HttpRequest, chat: UUID) -> HttpResponse:
    """A transcript as it stands, to replace what the page shows of it."""
    page = selectors.transcript_page(doors.work_of(request, chat, Medium.SPEECH))
    return render(request, "inference/transcript_body.html", {"page": page})


@require_POST
async def go_on(request: HttpRequest, chat: UUID) -> HttpResponse:
    """Have the rest of a recording written down; what was is not paid for again."""
    found = await sync_to_async(doors.work_of)(request, chat, Medium.SPEECH)
    own = hub()
    try:
        wish = Wish.of(await sync_to_async(selectors.wish_of)(found))
        await own.start()
        ask = doors.going_on(request, found, own.process)
        await studio.go_on(own, ask, wish, found)
    except ChatError as error:
        page = await sync_to_async(selectors.transcript_page)(found, error)
        context = {"page": page}
        return await sync_to_async(render)(
            request, "inference/transcript.html", context, status=409
        )
    return HttpResponseRedirect(path_of(found))


@never_cache
@require_GET
def download(request: HttpRequest, chat: UUID, form: str) -> HttpResponse:
    """The transcript as text, subtitles, or JSON with its proofs. Needs a fresh signature. Raises
    TooMany.
    """
    found = doors.work_of(request, chat, Medium.SPEECH)
    if form not in transcripts.FORMS:
        raise Http404("no such form")
    user = taker(request, _("Transcript as a file"), reverse("inference:transcript", args=[chat]))
    if not isinstance(user, User):
        return user
    heard = selectors.heard_of(found)
    if form in ("srt", "vtt") and not heard.segments:
        raise Http404(_("The provider gave no times, so there are no subtitles."))
    facts = {"name": found.title, "requests": selectors.facts_of(found.turns.all())}
    made = transcripts.render(heard, form, facts)
    name = f"{slugify(found.title)[:40] or 'transcript'}.{form}"
    return as_file(made, transcripts.FORMS[form], name)


@require_GET
def recording(request: HttpRequest, chat: UUID) -> HttpResponse:
    """The recording, whole or the asked range of it: players seek by ranges (RFC 9110 14)."""
    found = doors.work_of(request, chat, Medium.SPEECH)
    try:
        data = selectors.recording_of(found)
    except seals.Unreadable:
        raise Http404(_("Its key is gone: nobody can read it any more.")) from None
    match = _RANGE.fullmatch(request.headers.get("Range", ""))
    start = int(match[1]) if match else 0
    end = min(int(match[2]) if match and match[2] else len(data) - 1, len(data) - 1)
    if match and (start >= len(data) or end < start):
        return HttpResponse(status=416, headers={"Content-Range": f"bytes */{len(data)}"})
    answer = HttpResponse(data[start : end + 1], content_type="audio/wav")
    if match:
        answer.status_code = 206
        answer["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
    answer["Accept-Ranges"] = "bytes"
    answer["Cache-Control"] = "private, no-store"
    return answer
