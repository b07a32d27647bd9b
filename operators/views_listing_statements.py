"""Doors of an operator's own words: write a note or a profile, sign it, take it back."""

from __future__ import annotations

import uuid

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts.errors import Problem
from accounts.http import user_of
from accounts.models import User
from accounts.pages_parts import options
from accounts.problems import answer, body_of, json_door, signed_in, text_of
from accounts.siwe import MAX_SIGNATURE_CHARACTERS
from ledger import selectors as ledger
from operators import notes, pages_statements, profile, profile_signing
from operators.models import Note, Profile
from operators.models_listing import NoteKind
from operators.views_listing import outside

NOTES, PROFILE = "/operator/notes", "/operator/profile"
_NOTE_FIELDS = ("kind", "starts_at", "ends_at", "text", "instead")
SHOWN = 20
_MOST = 2_000


def _typed(request: HttpRequest, names: tuple[str, ...]) -> dict[str, str]:
    return {name: request.POST.get(name, "").replace("\0", "")[:_MOST] for name in names}


# --- notes ----------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def notes_page(request: HttpRequest) -> HttpResponse:
    """`/operator/notes?instead=`: write one, or change one that is shown; a POST checks it and
    shows exactly what is to be signed."""
    if not request.user.is_authenticated:
        return outside(request)
    user, now = user_of(request), timezone.now()
    typed = _typed(request, _NOTE_FIELDS) if request.method == "POST" else {}
    try:
        asked = request.GET.get("instead")
        instead = notes.own_open(user, typed.get("instead", asked or ""))
        if not typed:
            blank = {} if asked is None else {"instead": ""}
            return _notes(request, user, notes.form_of(instead, now) if instead else blank)
        note, errors = notes.parse(typed, now, instead)
        if note is None:
            return _notes(request, user, typed, errors, status=422)
        notes.prepare(request, user, note, typed, instead)
    except Problem as error:
        left = {**typed, "instead": ""} if error.code == "note_gone" else typed
        return _notes(request, user, left, problem=error.said, status=error.status)
    return HttpResponseRedirect(f"{NOTES}#sign")


def _notes(
    request: HttpRequest,
    user: User,
    typed: dict[str, str] | None = None,
    errors: dict[str, str] | None = None,
    problem: str = "",
    status: int = 200,
) -> HttpResponse:
    waiting = None if typed else profile_signing.waiting(request, user, notes.WHAT)
    typed = typed or profile_signing.typed(request, user, notes.WHAT)
    own = Note.objects.filter(provider=user.address).order_by("-signed_at", "pk")
    page = pages_statements.NotesPage(
        may=ledger.offers(user.address),
        form=pages_statements.fields(_NOTE_FIELDS, typed, errors or {}),
        kinds=options(
            [(one.value, _(one.label)) for one in NoteKind], typed.get("kind", NoteKind.MAINTENANCE)
        ),
        waiting=waiting,
        notes=tuple(own[:SHOWN]),
        shown=frozenset(notes.open_of(user.address).values_list("pk", flat=True)),
        problem=problem,
    )
    return render(request, "operators/notes.html", {"page": page}, status=status)


@require_POST
@signed_in
@json_door
def notes_sign(request: HttpRequest) -> HttpResponse:
    """`{signature}` → the note is published."""
    signature = text_of(body_of(request), "signature", limit=MAX_SIGNATURE_CHARACTERS)
    notes.publish(request, user_of(request), signature)
    return answer({"url": NOTES})


@require_POST
def notes_discard(request: HttpRequest) -> HttpResponse:
    profile_signing.forget(request, user_of(request), notes.WHAT)
    return HttpResponseRedirect(NOTES)


@require_POST
def note_withdraw(request: HttpRequest, identifier: uuid.UUID) -> HttpResponse:
    notes.withdraw(user_of(request), identifier)
    return HttpResponseRedirect(NOTES)


# --- profile --------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def profile_page(request: HttpRequest) -> HttpResponse:
    """`/operator/profile`: as for notes."""
    if not request.user.is_authenticated:
        return outside(request)
    user = user_of(request)
    if request.method != "POST":
        return _profile(request, user)
    typed = _typed(request, profile.FIELDS)
    values, errors = profile.parse(typed)
    if errors:
        return _profile(request, user, typed, errors, status=422)
    try:
        profile.prepare(request, user, values, typed)
    except Problem as error:
        return _profile(request, user, typed, problem=error.said, status=error.status)
    return HttpResponseRedirect(f"{PROFILE}#sign")


def _profile(
    request: HttpRequest,
    user: User,
    typed: dict[str, str] | None = None,
    errors: dict[str, str] | None = None,
    problem: str = "",
    status: int = 200,
) -> HttpResponse:
    row = Profile.objects.filter(provider=user.address, withdrawn_at=None).first()
    waiting = None if typed else profile_signing.waiting(request, user, profile.WHAT)
    if typed is None:
        typed = profile_signing.typed(request, user, profile.WHAT) or _written(row)
    page = pages_statements.ProfilePage(
        may=ledger.offers(user.address),
        address=user.address,
        form=pages_statements.fields(profile.FIELDS, typed, errors or {}),
        waiting=waiting,
        profile=row,
        problem=problem,
    )
    return render(request, "operators/profile.html", {"page": page}, status=status)


def _written(row: Profile | None) -> dict[str, str]:
    if row is None:
        return {}
    return {
        "name": row.name,
        "contact": row.contact,
        "links": "\n".join(row.links),
        "domain": row.domain,
    }


@require_POST
@signed_in
@json_door
def profile_sign(request: HttpRequest) -> HttpResponse:
    """`{signature}` → the profile is published, and its domain looked at."""
    signature = text_of(body_of(request), "signature", limit=MAX_SIGNATURE_CHARACTERS)
    profile.publish(request, user_of(request), signature)
    return answer({"url": PROFILE})


@require_POST
def profile_act(request: HttpRequest) -> HttpResponse:
    """`act`: discard (the statement that waits), withdraw, or look (at the domain, now)."""
    user, act = user_of(request), request.POST.get("act", "")
    if act == "discard":
        profile_signing.forget(request, user, profile.WHAT)
    elif act == "withdraw":
        profile.withdraw(user)
    elif act == "look":
        profile.ask_again(user)
    return HttpResponseRedirect(PROFILE)
