"""Doors of whole conversations: name, delete, bring back, export."""

from __future__ import annotations

from uuid import UUID

from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.shortcuts import render
from django.urls import reverse
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts.http import taker
from accounts.models import User
from inference import conversations, export, selectors
from inference.errors import ChatError
from inference.models import Chat
from inference.views import as_streamed_file, chat_of, deleted_of, visit_of


@require_POST
def rename(request: HttpRequest, chat: UUID) -> HttpResponse:
    """Give a conversation another name."""
    found = chat_of(request, chat)
    try:
        conversations.rename(found, request.POST.get("title", ""))
    except ChatError as error:
        return _page(request, found, error)
    return HttpResponseRedirect(reverse("inference:chat", args=[chat]))


@require_POST
def delete(request: HttpRequest, chat: UUID) -> HttpResponse:
    """Delete a conversation; the page it leads to offers to bring it back."""
    found = chat_of(request, chat)
    try:
        conversations.delete_chat(found)
    except ChatError as error:
        return _page(request, found, error)
    return HttpResponseRedirect(f"{reverse('inference:new')}?deleted={found.pk}")


@require_POST
def undo(request: HttpRequest, chat: UUID) -> HttpResponse:
    """Bring back a conversation that was just deleted."""
    conversations.bring_back(deleted_of(request, chat))
    return HttpResponseRedirect(reverse("inference:chat", args=[chat]))


@never_cache
@require_GET
def download(request: HttpRequest, chat: UUID, form: str) -> HttpResponse | StreamingHttpResponse:
    """The whole conversation as `json` (every byte, hash and signature) or `md` (to read).
    Needs a fresh signature. Raises TooMany.
    """
    found = chat_of(request, chat)
    user = taker(request, _("Conversation as a file"), reverse("inference:chat", args=[chat]))
    if not isinstance(user, User):
        return user
    made = export.document(found) if form == "json" else export.markdown(found)
    kind = "application/json" if form == "json" else "text/markdown; charset=utf-8"
    name = f"{slugify(found.title)[:40] or 'conversation'}.{form}"
    return as_streamed_file(request, made, kind, name)


def _page(request: HttpRequest, chat: Chat, error: ChatError) -> HttpResponse:
    page = selectors.chat_page(visit_of(request), chat, error)
    return render(request, "inference/chat.html", {"page": page}, status=409)
