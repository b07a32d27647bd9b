"""Doors that pictures, recordings and embeddings share: delete, bring back, judge again."""

from __future__ import annotations

from uuid import UUID

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from inference import conversations, services
from inference.errors import Busy
from inference.hub import hub
from inference.media import doors, selectors
from inference.models import Chat, Medium, State, Turn
from inference.views import deleted_of, visit_of


@require_POST
def delete(request: HttpRequest, chat: UUID, medium: Medium) -> HttpResponse:
    """Delete a request with its files; the page it leads to offers to bring it back."""
    found = doors.work_of(request, chat, medium)
    try:
        conversations.delete_chat(found)
    except Busy:
        return _refused(request, found)
    return HttpResponseRedirect(f"{selectors.home_of(medium)}?deleted={found.pk}")


def _refused(request: HttpRequest, chat: Chat) -> HttpResponse:
    error = Busy(_("It is still being made. Delete it when it has ended."))
    if chat.medium == Medium.IMAGES:
        page: object = selectors.images_page(visit_of(request), error=error)
        return render(request, "inference/images.html", {"page": page}, status=409)
    if chat.medium == Medium.EMBED:
        page = selectors.embedded_page(chat, error)
        return render(request, "inference/embedded.html", {"page": page}, status=409)
    page = selectors.transcript_page(chat, error)
    return render(request, "inference/transcript.html", {"page": page}, status=409)


@require_POST
def undo(request: HttpRequest, chat: UUID, medium: Medium) -> HttpResponse:
    """Bring back a request that was just deleted."""
    found = deleted_of(request, chat, medium)
    conversations.bring_back(found)
    return HttpResponseRedirect(path_of(found))


@require_POST
async def recheck(request: HttpRequest, chat: UUID, medium: Medium) -> HttpResponse:
    """Ask once more for signatures that were not available."""
    found = await sync_to_async(doors.work_of)(request, chat, medium)
    for turn_id in await sync_to_async(_reopened)(found):
        hub().look_again(turn_id)
    return HttpResponseRedirect(path_of(found))


def _reopened(chat: Chat) -> list[int]:
    turns: list[Turn] = list(chat.turns.exclude(state=State.OPEN).defer("response_sealed"))
    return [turn.pk for turn in turns if services.reopen_verdict(turn)]


def path_of(chat: Chat) -> str:
    """The page of a request."""
    names = {Medium.IMAGES: "work", Medium.SPEECH: "transcript", Medium.EMBED: "embedded"}
    return reverse(f"inference:{names[Medium(chat.medium)]}", args=[chat.pk])
