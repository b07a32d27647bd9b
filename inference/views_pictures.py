"""Doors of pictures in questions: whether a model takes some, and keeping one for the next
question. They are shown by `inference.media` (`/playground/files/…`), to their owner only.
"""

from __future__ import annotations

from uuid import UUID

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from inference import abilities, attachments, readiness
from inference.errors import BadPrompt, Busy, ChatError
from inference.hub import hub
from inference.views import chat_of, kept_picture, user_of
from ledger import selectors as ledger


@never_cache
@require_GET
async def able(request: HttpRequest) -> JsonResponse:
    """What the model of `provider` takes, by the provider's own word; asked for members only."""
    provider = ledger.address_of(request.GET.get("provider", "")) or ""
    listing = await sync_to_async(readiness.chat_service)(provider) if provider else None
    user = await sync_to_async(user_of)(request)
    if listing is None:
        found = abilities.Abilities()
    elif user is None:
        found = await sync_to_async(abilities.known)(listing)
    else:
        found = await hub().look(listing)
    return JsonResponse(
        {
            "pictures": found.pictures,
            "context": found.context,
            "parameters": None if found.parameters is None else list(found.parameters),
        }
    )


@require_POST
def add(request: HttpRequest, chat: UUID) -> HttpResponse:
    """Keep the uploaded `picture` for the next question: its id, size and about how many tokens."""
    found = chat_of(request, chat)
    file = request.FILES.get("picture")
    try:
        if file is None:
            raise BadPrompt(_("No picture came."))
        kept = kept_picture(found, file)
    except ChatError as wrong:
        status = 429 if isinstance(wrong, Busy) else wrong.status
        return JsonResponse({"title": wrong.sentence, "status": status}, status=status)
    return JsonResponse(
        {
            "id": str(kept.pk),
            "path": reverse("inference:file", args=[kept.pk]),
            "width": kept.width,
            "height": kept.height,
            "tokens": attachments.tokens(kept.width, kept.height),
        },
        status=201,
    )
