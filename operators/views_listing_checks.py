"""Doors of the setup checker and of the private self-test: ask for a run, look at one's own."""

from __future__ import annotations

import uuid

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from accounts import limits
from accounts.errors import Problem
from accounts.http import user_of
from accounts.models import User
from accounts.pages_parts import Option, options
from ledger import selectors as ledger
from operators import listing, pages_setup, selftest, setup
from operators.models import ListingDraft, SelfTest, SetupRun
from operators.views_listing import outside

_KINDS = {"inference": gettext_noop("Inference"), "fine-tuning": gettext_noop("Fine-tuning")}
#: What a choice of the form says: kind, name of the contract, and `draft` for an unpublished one.
_BETWEEN = ":"
SHOWN = 6


def _choices(user: User, chosen: str, *, drafts: bool) -> tuple[Option, ...]:
    """Own services, then own drafts (3 queries)."""
    found = [
        (_BETWEEN.join((one.kind, one.service_name)), f"{_(_KINDS[one.kind])}, {one.service_name}")
        for one in ledger.services_of(user.address)
        if one.kind in listing.KINDS
    ]
    if drafts:
        rows = ListingDraft.objects.filter(user=user, kind__in=listing.KINDS).order_by("pk")
        found += [
            (
                _BETWEEN.join((row.kind, row.service_name, "draft")),
                _("Your draft: %(kind)s, %(service_name)s")
                % {"kind": _(_KINDS[row.kind]), "service_name": row.service_name},
            )
            for row in rows
        ]
    return options(found, chosen)


def _chosen(request: HttpRequest) -> str:
    """Of a form's select, or of a link's `kind`, `service_name` and `draft`."""
    given = request.POST.get("service", "") or request.GET.get("service", "")
    if not given and request.GET.get("kind"):
        parts = [request.GET["kind"], request.GET.get("service_name", "")]
        given = _BETWEEN.join([*parts, "draft"] if request.GET.get("draft") else parts)
    return given.replace("\0", "")[:300]


#: Letters of a provider key that are read.
_LONGEST_KEY = 8_000


def _parts(chosen: str) -> tuple[str, str, bool]:
    kind, _between, rest = chosen.partition(_BETWEEN)
    draft = rest.endswith(f"{_BETWEEN}draft")
    return kind, rest.removesuffix(f"{_BETWEEN}draft") if draft else rest, draft


def _spend(request: HttpRequest) -> str:
    """Checks and self-tests share what one network address may begin, which is returned; raises
    Problem beyond it."""
    caller = limits.address(request)
    limits.spend("operator-checks-from", caller, limit=30, seconds=600)
    return caller


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def setup_page(request: HttpRequest) -> HttpResponse:
    """`/operator/setup`: choose what is checked; the last run stands below. A POST begins one."""
    if not request.user.is_authenticated:
        return outside(request)
    user, chosen, problem, status = user_of(request), _chosen(request), "", 200
    if request.method == "POST":
        kind, name, draft = _parts(chosen)
        try:
            caller = _spend(request)
            key = request.POST.get("key", "")[:_LONGEST_KEY].strip()
            run = setup.start(user, kind, name, draft=draft, key=key, caller=caller)
            return HttpResponseRedirect(f"/operator/setup/{run.pk}")
        except Problem as error:
            problem, status = error.said, error.status
    last = SetupRun.objects.filter(user=user).order_by("-created_at").first()
    return _setup(request, user, chosen, last, problem, status)


@require_GET
@never_cache
def setup_run(request: HttpRequest, identifier: uuid.UUID) -> HttpResponse:
    """One of the user's own runs; its fragment is asked for again while it goes on."""
    if not request.user.is_authenticated:
        return outside(request)
    user = user_of(request)
    run = setup.of(user, SetupRun, identifier)
    return _setup(request, user, _chosen(request), run)


def _setup(
    request: HttpRequest,
    user: User,
    chosen: str,
    run: SetupRun | None,
    problem: str = "",
    status: int = 200,
) -> HttpResponse:
    page = pages_setup.SetupPage(
        choices=_choices(user, chosen, drafts=True),
        view=pages_setup.setup_view(setup.seen(run)) if run else None,
        earlier=tuple(SetupRun.objects.filter(user=user).order_by("-created_at")[:SHOWN]),
        problem=problem,
    )
    return _answer(request, "setup", page, status)


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def self_test_page(request: HttpRequest) -> HttpResponse:
    """`/operator/selftest`: the engine on one's own evidence. A POST begins a run."""
    if not request.user.is_authenticated:
        return outside(request)
    user, chosen, problem, status = user_of(request), _chosen(request), "", 200
    if request.method == "POST":
        kind, name, _draft = _parts(chosen)
        url, signer = (request.POST.get(field, "")[:2_100] for field in ("url", "signer"))
        try:
            caller = _spend(request)
            kind = kind or listing.INFERENCE
            run = selftest.start(user, kind, name, url, signer, caller=caller)
            return HttpResponseRedirect(f"/operator/selftest/{run.pk}")
        except Problem as error:
            problem, status = error.said, error.status
    last = SelfTest.objects.filter(user=user).order_by("-created_at").first()
    return _self_test(request, user, chosen, last, problem, status)


@require_GET
@never_cache
def self_test_run(request: HttpRequest, identifier: uuid.UUID) -> HttpResponse:
    """One of the user's own tests; nobody else ever sees it."""
    if not request.user.is_authenticated:
        return outside(request)
    user = user_of(request)
    run = setup.of(user, SelfTest, identifier)
    return _self_test(request, user, _chosen(request), run)


def _self_test(
    request: HttpRequest,
    user: User,
    chosen: str,
    run: SelfTest | None,
    problem: str = "",
    status: int = 200,
) -> HttpResponse:
    page = pages_setup.SelfTestPage(
        choices=_choices(user, chosen, drafts=False),
        view=pages_setup.self_test_view(setup.seen(run)) if run else None,
        earlier=tuple(SelfTest.objects.filter(user=user).order_by("-created_at")[:SHOWN]),
        typed={field: request.POST.get(field, "") for field in ("url", "signer")},
        problem=problem,
    )
    return _answer(request, "selftest", page, status)


def _answer(request: HttpRequest, template: str, page: object, status: int) -> HttpResponse:
    part = "#run" if request.headers.get("HX-Request") == "true" and status == 200 else ""
    response = render(request, f"operators/{template}.html{part}", {"page": page}, status=status)
    patch_vary_headers(response, ["HX-Request", "Cookie"])
    return response
