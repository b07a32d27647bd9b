"""Doors of embeddings: the form and its list, some texts with their vectors, and both as files.
Reading and asking work without JavaScript.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts import money
from accounts.http import number_of, taker, uuid_of
from accounts.models import User
from inference import views as chats
from inference.errors import BadPrompt, ChatError
from inference.hub import hub
from inference.media import doors, selectors, services, studio, vectors
from inference.media.vectors import Wish
from inference.models import Medium
from inference.selectors import Visit
from inference.views import as_file, refusal, visit_of
from ledger import selectors as ledger
from probes import exchange


@never_cache
@require_GET
def embeddings(request: HttpRequest) -> HttpResponse:
    """Form and list; `from` fills the form with the texts of an earlier request."""
    visit = visit_of(request)
    wish: dict[str, Any] = {"texts": visit.draft}
    given = uuid_of(request.GET.get("from", ""))
    if given is not None and visit.user is not None:
        chat = doors.work_of(request, given, Medium.EMBED)
        stored = selectors.wish_of(chat)
        wish = {**stored, "texts": "\n".join(stored.get("texts", ()))}
        if not visit.provider:
            visit = replace(visit, provider=chat.provider)
    page = selectors.embeddings_page(visit, number_of(request), wish=wish)
    return render(request, "inference/embeddings.html", {"page": page})


@require_POST
async def embed(request: HttpRequest) -> HttpResponse:
    """Have texts embedded; leads to the page where their vectors appear."""
    visit = await sync_to_async(visit_of)(request)
    own = hub()
    try:
        if visit.user is None:
            raise BadPrompt(_("Sign in to embed texts."))
        ask = doors.asker(request, visit.user, own.process)
        wish = Wish.of(request.POST.dict())
        await own.start()
        opened = await studio.embed(own, ask, wish)
    except ChatError as error:
        if doors.stays(request):
            return refusal(error)
        return await sync_to_async(_again)(request, visit, error)
    return doors.taken(request, reverse("inference:embedded", args=[opened.chat]))


def _again(request: HttpRequest, visit: Visit, error: ChatError) -> HttpResponse:
    """The page once more, with what was written and what stood in the way."""
    wish: dict[str, Any] = request.POST.dict()
    page = selectors.embeddings_page(visit, wish=wish, error=error)
    return render(request, "inference/embeddings.html", {"page": page}, status=error.status)


@never_cache
@require_GET
def estimate(request: HttpRequest) -> JsonResponse:
    """What `texts` texts of `bytes` bytes cost at most at `provider`, as the button says it; the
    words themselves stay in the browser.
    """
    provider = ledger.address_of(request.GET.get("provider", "")) or ""
    texts = chats.number_of(request.GET.get("texts"))
    listing = services.service(provider, Medium.EMBED)
    if listing is None or not texts:
        return JsonResponse({"label": _("Embed")})
    fee = services.most_of_texts(listing, chats.number_of(request.GET.get("bytes")), texts)
    label = ngettext(
        "Embed %(n)s text – up to %(fee)s 0G", "Embed %(n)s texts – up to %(fee)s 0G", texts
    ) % {"n": texts, "fee": money.told(fee)}
    in_dollars = exchange.said(fee)
    label += f" ({in_dollars})" if in_dollars else ""
    return JsonResponse({"label": label, "neuron": str(fee)})


@never_cache
@require_GET
def embedded(request: HttpRequest, chat: UUID) -> HttpResponse:
    """Some texts with their vectors' likeness and proof."""
    page = selectors.embedded_page(doors.work_of(request, chat, Medium.EMBED))
    return render(request, "inference/embedded.html", {"page": page})


@never_cache
@require_GET
def body(request: HttpRequest, chat: UUID) -> HttpResponse:
    """What came of some texts as it stands, to replace what the page shows of it."""
    page = selectors.embedded_page(doors.work_of(request, chat, Medium.EMBED))
    return render(request, "inference/embedded_body.html", {"page": page})


@never_cache
@require_GET
def download(request: HttpRequest, chat: UUID, form: str) -> HttpResponse:
    """The vectors as a table, or as JSON with their proof. Needs a fresh signature. Raises
    TooMany.
    """
    found = doors.work_of(request, chat, Medium.EMBED)
    user = taker(request, _("Embeddings as a file"), reverse("inference:embedded", args=[chat]))
    if not isinstance(user, User):
        return user
    turn = found.turns.select_related("job").get()
    turn.chat = found
    vectors_of, texts = selectors.embedded_of(turn)
    if form not in vectors.FORMS or vectors_of is None:
        raise Http404("no such file")
    facts = {"requests": selectors.facts_of(found.turns.all())}
    made = vectors.render(texts, vectors_of, form, facts)
    return as_file(made, vectors.FORMS[form], f"{slugify(found.title)[:40] or 'vectors'}.{form}")
