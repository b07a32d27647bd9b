"""Maintenance and incidents, in the operator's own signed words."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Count, Exists, Max, OuterRef, Q, QuerySet, Window
from django.db.models.functions import RowNumber
from django.http import Http404, HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import limits
from accounts.days import moment_of, utc
from accounts.errors import Problem
from accounts.models import User
from ledger import listed, tags
from moderation import looking
from moderation import selectors as moderation
from moderation.models import EffectKind
from operators import profile_signing, profile_words
from operators.models import Note
from operators.models_listing import NoteKind
from operators.profile_signing import Prepared

WHAT = "note"
#: How far ahead, and how far back, a note may begin; and how long it may last.
AHEAD, BACK, LONGEST = dt.timedelta(days=90), dt.timedelta(days=30), dt.timedelta(days=60)
#: Notes of one provider that are open at once.
MOST = 5
#: A time in UTC as a browser's field gives it.
_TYPED = "%Y-%m-%dT%H:%M"
#: An ended note stays on the listing for this long; without an end it is shown for `LONGEST`.
SHOWN_AFTER = dt.timedelta(days=2)


@dataclass(frozen=True)
class Written:
    """A checked note, times in UTC."""

    kind: NoteKind
    starts_at: dt.datetime
    ends_at: dt.datetime | None
    text: str


def parse(
    typed: Mapping[str, str], now: dt.datetime, instead: Note | None = None
) -> tuple[Written | None, dict[str, str]]:
    """The note that was typed, or what is wrong at each field. `instead`: the one that it changes,
    whose beginning it may keep."""
    errors: dict[str, str] = {}
    kind = typed.get("kind", "")
    if kind not in NoteKind.values:
        errors["kind"] = _("Choose which it is.")
    begins = _moment(typed.get("starts_at", ""), "starts_at", errors, needed=True)
    ends = _moment(typed.get("ends_at", ""), "ends_at", errors, needed=False)
    text = ""
    try:
        text = profile_words.prose(typed.get("text", ""))
    except ValueError as error:
        errors["text"] = str(error)
    kept = instead is not None and begins == instead.starts_at
    if begins is not None and not kept and not now - BACK <= begins <= now + AHEAD:
        errors["starts_at"] = _("It begins at most 90 days from now, or began in the last 30.")
    if kind == NoteKind.INCIDENT and begins is not None and begins > now:
        errors.setdefault(
            "starts_at", _("An incident has begun already; what is planned is not one.")
        )
    if kind == NoteKind.MAINTENANCE and ends is None:
        errors.setdefault("ends_at", _("Maintenance has a planned end."))
    if begins is not None and ends is not None:
        if ends <= begins:
            errors.setdefault("ends_at", _("It ends after it begins."))
        elif ends - begins > LONGEST:
            errors.setdefault(
                "ends_at", _("At most 60 days; a service that is away longer is gone.")
            )
    if errors or begins is None:
        return None, errors
    return Written(NoteKind(kind), begins, ends, text), errors


def _moment(text: str, field: str, errors: dict[str, str], *, needed: bool) -> dt.datetime | None:
    """A time in UTC as a browser's field gives it."""
    if not text.strip():
        if needed:
            errors[field] = _("Enter a time.")
        return None
    found = moment_of(text)
    if found is None:
        errors[field] = _("Write it like 2026-05-01T12:00, in UTC.")
    return found


def own_open(user: User, text: str) -> Note | None:
    """The note of the user's own that a change is about, while it is shown. `text`: its id as a
    stranger sends it, empty for a new note. Raises Problem."""
    if not text:
        return None
    try:
        return Note.objects.get(
            _shown(), pk=uuid.UUID(text), provider=user.address, withdrawn_at=None
        )
    except (Note.DoesNotExist, ValueError):
        raise Problem(
            "note_gone",
            _("The note that this changes is no longer shown."),
            _("Write a new one."),
            status=409,
        ) from None


def form_of(note: Note, now: dt.datetime) -> dict[str, str]:
    """The form that changes a note; one whose end nobody knew is proposed to end now."""
    return {
        "kind": note.kind,
        "starts_at": f"{note.starts_at.astimezone(dt.UTC):{_TYPED}}",
        "ends_at": f"{(note.ends_at or now).astimezone(dt.UTC):{_TYPED}}",
        "text": note.text,
        "instead": str(note.pk),
    }


def prepare(
    request: HttpRequest,
    user: User,
    note: Written,
    typed: Mapping[str, str],
    instead: Note | None = None,
) -> Prepared:
    """The statement to sign. Raises Problem."""
    limits.spend("operator-statements", user.address, limit=20, seconds=600)
    profile_signing.require_provider(user)
    _require_room(user, instead)
    until = utc(note.ends_at) if note.ends_at else "not known yet"
    said = [
        ("Kind", note.kind.value),
        ("From", utc(note.starts_at)),
        ("To", until),
        ("Text", note.text),
    ]
    if instead is not None:
        said.append(("Instead of the note signed at", f"{instead.signed_at:%Y-%m-%dT%H:%M:%SZ}"))
    title = f"a note of {note.kind.value}"
    return profile_signing.prepare(request, user, WHAT, title, said, dict(typed))


def _require_room(user: User, instead: Note | None) -> None:
    own = Note.objects.filter(_shown(), provider=user.address, withdrawn_at=None)
    others = own.exclude(pk=instead.pk) if instead is not None else own
    if others.count() >= MOST:
        raise Problem(
            "too_many_notes",
            _("%(most)s notes of yours are open.") % {"most": MOST},
            _("Withdraw one that is over."),
        )


def publish(request: HttpRequest, user: User, signature: str) -> Note:
    """Store the waiting note with its signature, and take back the one that it changes. Raises
    Problem."""
    found = profile_signing.signed(request, user, WHAT, signature)
    instead = own_open(user, found.fields.get("instead", ""))
    note, errors = parse(found.fields, found.at, instead)
    if note is None:  # the rules changed since it was written
        raise Problem("note_refused", " ".join(errors.values()), _("Write it again."))
    row = Note(
        provider=user.address,
        message=found.message,
        signature=signature,
        nonce=found.nonce,
        signed_at=found.at,
        kind=note.kind,
        starts_at=note.starts_at,
        ends_at=note.ends_at,
        text=note.text,
    )
    try:
        with transaction.atomic():
            User.objects.select_for_update().get(pk=user.pk)  # one at a time, so that MOST holds
            if instead is not None:
                own_open(user, str(instead.pk))  # it may be gone by now
                withdraw(user, instead.pk)
            _require_room(user, instead)
            row.save(force_insert=True)
            before = instead.text if instead and instead.text != row.text else ""
            looking.published(user.address, f"{WHAT}:{row.pk}", "", before, row.text)
    except IntegrityError:
        raise Problem(
            "published_before", _("This statement was published before."), status=409
        ) from None
    profile_signing.done(request, WHAT)
    return row


def withdraw(user: User, identifier: uuid.UUID) -> None:
    """Take back one of the user's own notes, once; it stays stored. Http404 for anybody else's."""
    own = Note.objects.filter(pk=identifier, provider=user.address)
    if own.filter(withdrawn_at=None).update(withdrawn_at=timezone.now()):
        looking.withdrawn(user.address, f"{WHAT}:{identifier}")
    elif not own.exists():
        raise Http404("no such note")


def heard(now: tags.Moment | None = None) -> Q:
    """The condition on statements of providers for everybody's eyes: moderators did not hide their
    provider, nor every service that it still lists. Its owner goes on seeing them."""
    decided = moderation.in_force(now).filter(kind=EffectKind.HIDDEN, provider=OuterRef("provider"))
    offered = listed.rows(now=now).filter(provider=OuterRef("provider"))
    return ~Q(Exists(decided)) | Q(Exists(offered))


def is_heard(provider: str, now: dt.datetime | None = None) -> bool:
    """`heard` of one provider (at most 2 queries)."""
    decided = moderation.in_force(now).filter(kind=EffectKind.HIDDEN, provider=provider)
    return not decided.exists() or listed.rows().filter(provider=provider).exists()


def open_of(provider: str, now: dt.datetime | None = None) -> QuerySet[Note]:
    """A provider's notes as `open_notes` has them, heard or not."""
    own = Note.objects.filter(_shown(now), provider=provider, withdrawn_at=None)
    return own.order_by("-starts_at", "pk")


def open_notes(providers: Iterable[str], now: dt.datetime | None = None) -> QuerySet[Note]:
    """Notes that are to be shown: current, planned, and ended a moment ago, newest first."""
    own = Note.objects.filter(_shown(now), provider__in=list(providers), withdrawn_at=None)
    return own.filter(heard(now)).order_by("-starts_at", "pk")


def all_open(now: dt.datetime | None = None) -> QuerySet[Note]:
    """Over all providers (for the feed of changes): those that are going on or planned."""
    now = now or timezone.now()
    fresh = Q(ends_at__gt=now) | Q(ends_at=None, starts_at__gt=now - LONGEST)
    rows = Note.objects.filter(fresh, heard(now), withdrawn_at=None)
    return rows.order_by("starts_at", "pk")


def told(provider: str = "", now: tags.Moment | None = None) -> QuerySet[Note]:
    """Everything that was announced and neither withdrawn nor hidden, newest first; past notes
    too. `provider` "": by anybody."""
    rows = Note.objects.filter(heard(now), withdrawn_at=None)
    rows = rows.filter(provider=provider) if provider else rows
    return rows.order_by("-signed_at", "pk")


def of_feed(provider: str, most: int) -> QuerySet[Note]:
    """The newest `most` of `told`; without a `provider` MOST of each, so that nobody who announces
    much takes the place of others."""
    rows = told(provider)
    if not provider:
        place = Window(RowNumber(), partition_by="provider", order_by=("-signed_at", "pk"))
        rows = rows.annotate(place=place).filter(place__lte=MOST)
    return rows[:most]


def state_within(now: tags.Moment | None = None) -> QuerySet[Any, Any]:
    """One value that changes whenever a note is published, withdrawn, hidden, or its time to be
    shown is over, for a statement that reads more (0 queries)."""
    return tags.within(
        told(now=now),
        n=Count("pk"),
        at=tags.moments("signed_at"),
        shown=Count("pk", filter=_shown(now)),
        shown_at=Max("signed_at", filter=_shown(now)),
    )


def _shown(now: tags.Moment | None = None) -> Q:
    now = now or timezone.now()
    return Q(ends_at__gt=now - SHOWN_AFTER) | Q(ends_at=None, starts_at__gt=now - LONGEST)
