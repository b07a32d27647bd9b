"""Doors of pictures: the gallery and its form, one request, its files. Reading and asking work
without JavaScript.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    JsonResponse,
    StreamingHttpResponse,
)
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts.http import number_of, taker, uuid_of
from accounts.models import User
from inference import seals
from inference.errors import BadPrompt, ChatError
from inference.hub import hub
from inference.media import archive, doors, pictures, selectors, studio, uploads
from inference.media.masks import WHOLE, Mask
from inference.media.models import Role
from inference.media.pictures import Wish
from inference.media.uploads import Picture
from inference.models import Medium
from inference.selectors import Visit
from inference.views import as_streamed_file, refusal, session_of, user_of, visit_of
from ledger import selectors as ledger

#: A picture is only ever shown as the picture it was found to be, and can do nothing else.
_FILE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
    "X-Content-Type-Options": "nosniff",
}


@never_cache
@require_GET
def images(request: HttpRequest) -> HttpResponse:
    """Form and gallery; `from` fills the form as an earlier request, `edit` names a picture."""
    visit = visit_of(request)
    wish = None
    given = uuid_of(request.GET.get("from", ""))
    if given is not None and visit.user is not None:
        chat = doors.work_of(request, given, Medium.IMAGES)
        wish = {**selectors.wish_of(chat), "mask": []}
        visit = replace(visit, provider=visit.provider or chat.provider)
    elif visit.draft:
        wish = {"prompt": visit.draft, "count": 1}
    page = selectors.images_page(
        visit, number_of(request), wish=wish, edit=uuid_of(request.GET.get("edit", ""))
    )
    return render(request, "inference/images.html", {"page": page})


@require_POST
async def make(request: HttpRequest) -> HttpResponse:
    """Have pictures made or changed; leads to the gallery, where they appear."""
    visit = await sync_to_async(visit_of)(request)
    own = hub()
    try:
        if visit.user is None:
            raise BadPrompt(_("Sign in to make pictures."))
        ask = doors.asker(request, visit.user, own.process)
        wish = Wish.of({**request.POST.dict(), "mask": _mask(request)})
        source = await sync_to_async(_source)(request, visit, visit.user)
        await own.start()
        opened = await studio.draw(own, ask, wish, source)
    except ChatError as error:
        if doors.stays(request):
            return refusal(error)
        return await sync_to_async(_again)(request, visit, error)
    path = reverse("inference:images")
    return doors.taken(request, f"{path}?from={opened.chat}#work-{opened.chat}")


@never_cache
@require_GET
async def able(request: HttpRequest) -> JsonResponse:
    """What `provider` takes beside words, by the provider's own word; asked for members only."""
    takes = pictures.ANYTHING
    provider = ledger.address_of(request.GET.get("provider", "")) or ""
    if provider and await sync_to_async(user_of)(request) is not None:
        takes = await studio.taken(hub(), provider)
    return JsonResponse({"options": sorted(takes.options), "edits": takes.edits})


def _again(request: HttpRequest, visit: Visit, error: ChatError) -> HttpResponse:
    """The page once more, with what was wanted and what stood in the way."""
    wish: dict[str, Any] = {**request.POST.dict(), "mask": []}
    count = str(wish.get("count") or "")
    wish["count"] = int(count) if count.isascii() and count.isdecimal() and len(count) < 3 else 1
    edit = uuid_of(request.POST.get("edit", ""))
    file = bool(request.FILES)
    page = selectors.images_page(visit, wish=wish, edit=edit, error=error, file_again=file)
    return render(request, "inference/images.html", {"page": page}, status=error.status)


def _mask(request: HttpRequest) -> object:
    """What was marked; without JavaScript one rectangle, in percent."""
    if marked := request.POST.get("mask", ""):
        return marked
    sides = [request.POST.get(f"rect_{name}", "") for name in ("left", "top", "width", "height")]
    if not all(sides) or "rect" not in request.POST:
        return None
    if not all(x.isascii() and x.isdecimal() and len(x) < 4 and int(x) <= 100 for x in sides):
        raise BadPrompt(_("Each side of the rectangle is a whole number from 0 to 100."))
    return Mask.rectangle(*(int(x) * WHOLE // 100 for x in sides)).stored()


def _source(request: HttpRequest, visit: Visit, user: User) -> Picture | None:
    """The picture to change: uploaded, or one of the person's own. Raises BadPrompt or Busy."""
    given = doors.upload(request, user, "picture", uploads.MAX_UPLOAD_BYTES)
    if given is not None:
        return uploads.cleaned(*given)
    edit = uuid_of(request.POST.get("edit", ""))
    if edit is None:
        return None
    file = selectors.file_of(visit, edit)
    if file is None or file.role not in (Role.MADE, Role.SOURCE):
        raise BadPrompt(_("The picture to change is not there any more."))
    return uploads.cleaned(file.data, _("The picture"))


@never_cache
@require_GET
def work(request: HttpRequest, chat: UUID) -> HttpResponse:
    """One request for pictures with its proof."""
    page = selectors.work_page(doors.work_of(request, chat, Medium.IMAGES))
    return render(request, "inference/work_page.html", {"page": page})


@never_cache
@require_GET
def card(request: HttpRequest, chat: UUID) -> HttpResponse:
    """One request as it stands, to replace what the page shows of it."""
    found = selectors.works((doors.work_of(request, chat, Medium.IMAGES),))
    return render(request, "inference/work.html", {"work": found[0]})


@require_GET
def file(request: HttpRequest, file: UUID) -> HttpResponse:
    """A picture or a piece of a recording, byte for byte; `download` saves it under a name."""
    found = selectors.file_of(visit_of(request), file)
    if found is None:
        raise Http404("no such file")
    tag = f'"{found.sha256}"'
    if request.headers.get("If-None-Match") == tag:
        return HttpResponse(status=304, headers={"ETag": tag, **_FILE_HEADERS})
    try:
        data = found.data
    except seals.Unreadable:
        raise Http404(_("Its key is gone: nobody can read it any more.")) from None
    answer = HttpResponse(data, content_type=found.media_type)
    for name, value in {"ETag": tag, **_FILE_HEADERS}.items():
        answer[name] = value
    if "download" in request.GET:
        answer["Content-Disposition"] = f'attachment; filename="{archive.file_name(found)}"'
    return answer


@require_GET
def everything(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    """All pictures of the gallery with what is known about each, as one archive. Needs a fresh
    signature. Raises TooMany.
    """
    user = taker(request, _("Pictures as a file"), reverse("inference:images"))
    if not isinstance(user, User):
        return user
    made = archive.pictures(user, session_of(request))
    return as_streamed_file(request, made, "application/zip", "pictures.zip")
