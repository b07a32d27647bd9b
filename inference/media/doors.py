"""What the doors of pictures and speech share: who asks, bounded uploads, and the way back."""

from __future__ import annotations

from uuid import UUID, uuid4

from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.utils.translation import gettext as _

from accounts.models import User
from inference import access
from inference.errors import BadPrompt
from inference.media import services
from inference.media.services import Ask
from inference.models import Chat, Medium
from inference.views import own, read_upload, session_of
from ledger import selectors as ledger


def asker(request: HttpRequest, user: User, process: str) -> Ask:
    """Who asks whom by a form. Raises BadPrompt where the page's own key of it is missing."""
    given = request.POST
    try:
        key = UUID(given.get("key", ""))
    except ValueError:
        raise BadPrompt(_("This form is out of date. Load the page again.")) from None
    kept = given.get("keep") != "no"
    return Ask(
        user=user,
        provider=ledger.address_of(given.get("provider", "")) or "",
        key=key,
        process=process,
        session_key="" if kept else session_of(request),
        accept_signer=given.get("accept_signer", ""),
    )


def going_on(request: HttpRequest, chat: Chat, process: str) -> Ask:
    """Who asks for the rest of a recording: as it was asked for before."""
    return Ask(
        user=chat.owner,
        provider=ledger.address_of(request.POST.get("provider", "")) or chat.provider,
        key=uuid4(),
        process=process,
        session_key=chat.session_key,
        accept_signer=request.POST.get("accept_signer", ""),
    )


def upload(request: HttpRequest, user: User, name: str, most: int) -> tuple[bytes, str] | None:
    """An uploaded file of a person and its name, None where none was chosen. Raises BadPrompt
    beyond `most` bytes, and Busy for too many: each is read before anything else is looked at.
    """
    found = request.FILES.get(name)
    if not isinstance(found, UploadedFile):
        return None
    services.spend_limit(user, "media:files")
    return read_upload(found, most)


def stays(request: HttpRequest) -> bool:
    """Whether the page itself asks, and stays where it is when it is refused."""
    return request.get_preferred_type(["text/html", "application/json"]) == "application/json"


def taken(request: HttpRequest, path: str) -> HttpResponse:
    """Where what was asked for appears."""
    return JsonResponse({"href": path}) if stays(request) else HttpResponseRedirect(path)


def work_of(request: HttpRequest, chat: UUID, medium: Medium) -> Chat:
    """The person's request, or 404: strangers do not even learn that it exists."""
    return own(request, access.chat_for, chat, medium)
