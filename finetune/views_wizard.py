"""The wizard's five pages: each is saved by a plain form; signing needs the wallet's script."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts import links, money
from accounts import selectors as funds
from accounts.errors import Problem, TooMany
from accounts.http import signed_out, user_of, uuid_of
from accounts.pages_transaction import Link
from attestation import selectors as attestation
from attestation.selectors import ServiceKey
from finetune import drafts, offers, pages, problems, selectors, wizard
from finetune.models import DatasetState, Draft
from finetune.pricing import Price
from ledger import selectors as ledger
from ledger.records import Listing, Position
from moderation import selectors as moderation
from protocol import tuning
from protocol.tuning import BadParameters

TITLE = N_("New fine-tuning")


@require_http_methods(["GET", "POST"])
@never_cache
def new(request: HttpRequest) -> HttpResponse:
    """`/fine-tuning/new?provider=&model=&service_name=`: the first step, shown; a draft begins once
    it is sent: browsers fetch what may be opened next, and drafts of theirs would push out real
    ones."""
    if not request.user.is_authenticated:
        return signed_out(request, _(TITLE))
    user = user_of(request)
    if request.method == "GET":
        provider = ledger.address_of(request.GET.get("provider", "")) or ""
        model, name = (request.GET.get(one, "")[:200] for one in ("model", "service_name"))
        draft = Draft(user=user, provider=provider, service_name=name, model=model)
        return _render(request, draft, "model", None)
    try:
        with transaction.atomic():
            draft = wizard.begin(user)
            _save_model(request, draft)
    except TooMany:
        raise
    except Problem as problem:
        return _render(request, Draft(user=user), "model", problem)
    return HttpResponseRedirect(f"/fine-tuning/new/{draft.pk}/dataset")


@require_http_methods(["GET", "POST"])
@never_cache
def step(request: HttpRequest, draft_id: UUID, name: str) -> HttpResponse:
    """One step of a draft: shown, or saved and on to the next."""
    if name not in wizard.STEPS:
        raise Http404("no such step")
    if not request.user.is_authenticated:
        return signed_out(request, _(TITLE))
    draft = drafts.one(user_of(request), draft_id)
    if request.method == "POST" and name == "config" and "view" in request.POST:
        return _turned(request, draft)
    if request.method == "POST" and name in _SAVE:
        try:
            _SAVE[name](request, draft)
        except (Problem, BadParameters) as problem:
            return _render(request, draft, name, problem)
        following = wizard.STEPS[wizard.STEPS.index(name) + 1]
        return HttpResponseRedirect(f"/fine-tuning/new/{draft.pk}/{following}")
    wanted, missing = wizard.STEPS.index(name), wizard.STEPS.index(wizard.missing_step(draft))
    if wanted > missing:
        return HttpResponseRedirect(f"/fine-tuning/new/{draft.pk}/{wizard.STEPS[missing]}")
    return _render(request, draft, name, None)


def _save_model(request: HttpRequest, draft: Draft) -> None:
    chosen = request.POST.get("choice", "").replace("\0", "")
    provider, _, rest = chosen.partition("|")
    service_name, _, model = rest.partition("|")
    wizard.choose_model(draft, provider, service_name, model)


def _save_dataset(request: HttpRequest, draft: Draft) -> None:
    chosen = uuid_of(request.POST.get("dataset", ""))
    dataset = draft.user.datasets.filter(pk=chosen).first() if chosen else None
    wizard.choose_dataset(draft, dataset, request.POST.get("root", ""))


def _save_config(request: HttpRequest, draft: Draft) -> None:
    draft.parameters, draft.wait = _written(request), request.POST.get("wait") == "on"
    wizard.configure(draft)


def _written(request: HttpRequest) -> str:
    """The settings as they were typed, in fields or as text, whole: a request's size bounds them,
    and `tuning` says what is too long."""
    if request.POST.get("form") == "json":
        return request.POST.get("text", "").replace("\r\n", "\n")
    return wizard.as_text({key: request.POST.get(key, "") for key in tuning.PARAMETERS})


def _turned(request: HttpRequest, draft: Draft) -> HttpResponse:
    """What was typed, written the other way. Nothing is saved or lost: text that has no
    fields stays as it is."""
    draft.parameters, draft.wait = _written(request), request.POST.get("wait") == "on"
    problem = None
    if request.POST["view"] != "json":
        try:
            wizard.fields_of(draft.parameters)
        except BadParameters as error:
            problem = error
    return _render(request, draft, "config", problem)


_SAVE: dict[str, Callable[[HttpRequest, Draft], None]] = {
    "model": _save_model,
    "dataset": _save_dataset,
    "config": _save_config,
}


def _render(
    request: HttpRequest, draft: Draft, name: str, problem: Problem | BadParameters | None
) -> HttpResponse:
    page = _SHOW[name](request, draft, problem)
    listing = page.listing or wizard.listing_of(draft)
    if listing is not None:
        page = replace(page, decided=moderation.of_listing(listing))
    status = 200 if problem is None else getattr(problem, "status", 400)
    return render(request, f"finetune/step_{name}.html", {"page": page}, status=status)


def _links(draft: Draft, current: str) -> tuple[Link, ...]:
    reach = -1 if draft._state.adding else wizard.STEPS.index(wizard.missing_step(draft))
    return tuple(
        Link(
            _(label),
            f"/fine-tuning/new/{draft.pk}/{name}" if at <= reach else "",
            name == current,
        )
        for at, (name, label) in enumerate(pages.STEPS)
    )


def _words(problem: Problem | BadParameters | None) -> str:
    if isinstance(problem, Problem):
        return problem.said
    return problems.of_setting(problem.problems.get("", "")) if problem is not None else ""


Refusal = Problem | BadParameters | None


def _show_model(request: HttpRequest, draft: Draft, problem: Refusal) -> pages.WizardPage:
    offers = selectors.offers_to(draft.user)
    if draft._state.adding:
        at = [
            row.listing
            for row in offers
            if row.listing.provider == draft.provider and draft.model in row.models
            if draft.service_name in ("", row.listing.service_name)
        ]
        # Of two contracts an address alone means the recommended one; a link may say anything.
        chosen = max(at, key=lambda listing: listing.recommended, default=None)
        draft.service_name = chosen.service_name if chosen else ""
        if chosen is None:
            draft.provider = draft.model = ""
    return pages.WizardPage(
        draft, "model", _links(draft, "model"), offers=offers, error=_words(problem)
    )


def _show_dataset(request: HttpRequest, draft: Draft, problem: Refusal) -> pages.WizardPage:
    views = selectors.dataset_views(draft.user)
    brought = uuid_of(request.GET.get("dataset", ""))  # uploaded on this page a moment ago
    good = {view.dataset.pk for view in views if view.dataset.state == DatasetState.GOOD}
    chosen = brought if brought in good and problem is None else draft.dataset_id
    return pages.WizardPage(
        draft,
        "dataset",
        _links(draft, "dataset"),
        datasets=views,
        chosen=chosen,
        error=_words(problem),
    )


def _show_config(request: HttpRequest, draft: Draft, problem: Refusal) -> pages.WizardPage:
    errors = problem.problems if isinstance(problem, BadParameters) else {}
    typed = {key: request.POST.get(key, "") for key in tuning.PARAMETERS}
    turned = request.POST.get("view", "") if problem is None else ""
    if turned == "fields":
        values = wizard.fields_of(draft.parameters)
    else:
        values = typed if problem is not None else wizard.values_of(draft.parameters)
    asked = turned or request.POST.get("form") or request.GET.get("view")
    as_json = asked == "json"
    listing = wizard.listing_of(draft)
    # A field says what is wrong with it itself; the text has no place for that.
    unplaced = [
        f"{key}: {problems.of_setting(text)}" if key else problems.of_setting(text)
        for key, text in errors.items()
        if as_json or key not in tuning.PARAMETERS
    ]
    return pages.WizardPage(
        draft,
        "config",
        _links(draft, "config"),
        listing=listing,
        fields=pages.fields(values, errors),
        text=draft.parameters,
        as_json=as_json,
        pending=offers.pending(listing) if listing else None,
        error="; ".join(unplaced) or _words(problem),
    )


def _show_price(request: HttpRequest, draft: Draft, problem: Refusal) -> pages.WizardPage:
    listing = wizard.listing_of(draft)
    held = wizard.position_of(draft)
    price = wizard.price_of(draft, listing, held) if listing else None
    least = _least(held)
    return pages.WizardPage(
        draft,
        "price",
        _links(draft, "price"),
        listing=listing,
        price=price,
        position=held,
        top_up=_top_up(listing, held, price, least),
        least=least,
        blocked_by=selectors.blocked(draft.user, held),
    )


def _least(held: Position | None) -> int:
    """What opens an account at a provider, neuron; 0 where there is one, or nobody knows."""
    limits = funds.limits() if held is None else None
    return limits[1] if limits else 0


def _top_up(listing: Listing | None, held: Position | None, price: Price | None, least: int) -> str:
    """The form of the transfer that is missing. The sum is filled in where it is known: the `least`
    that opens an account is enough whatever the provider adds, and some models' reserve is
    documented.
    """
    if listing is None:
        return ""
    lacks = price.missing if price else 0
    amount = max(lacks, least) if least else 0
    if held is not None and price and price.reserve is not None:
        amount = lacks
    filled = {"amount": money.exact(amount)} if amount else {}
    return links.form("transfer", held or listing, **filled)


def _show_sign(request: HttpRequest, draft: Draft, problem: Refusal) -> pages.WizardPage:
    listing, held = wizard.listing_of(draft), wizard.position_of(draft)
    price = wizard.price_of(draft, listing, held) if listing else None
    least = _least(held)
    return pages.WizardPage(
        draft,
        "sign",
        _links(draft, "sign"),
        listing=listing,
        standing=attestation.standing_of(ServiceKey.of(listing)) if listing else None,
        price=price,
        position=held,
        place=wizard.place_of(draft),
        sending=wizard.sending_of(draft),
        top_up=_top_up(listing, held, price, least),
        least=least,
        blocked_by=selectors.blocked(draft.user, held),
        acknowledged=bool(held and held.acknowledged),
        storage=bool(settings.STORAGE_INDEXER_URL),
    )


_SHOW: dict[str, Callable[[HttpRequest, Draft, Refusal], pages.WizardPage]] = {
    "model": _show_model,
    "dataset": _show_dataset,
    "config": _show_config,
    "price": _show_price,
    "sign": _show_sign,
}
