"""Reads: what was decided about listings, for pages, lists and the API.

When something ends is judged here, by the clock of the reader: no job has to run for it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from accounts.models import User
from ledger import selectors as ledger
from ledger.records import Listing
from ledger.tags import Moment
from moderation import above, phrases
from moderation.models import Anyway, Effect, EffectKind
from moderation.subjects import Subject, SubjectKind

#: What the public is told of.
_PUBLIC = (EffectKind.HIDDEN, EffectKind.FLAGGED, EffectKind.LABEL)


def in_force(now: Moment | None = None) -> QuerySet[Effect]:
    now = now or timezone.now()
    return Effect.objects.filter(Q(until=None) | Q(until__gt=now))


# --- lists ----------------------------------------------------------------------------------------


def shown(now: Moment | None = None) -> Q:
    """The condition on `ledger.models.Service` for lists: nobody hid it (`ledger.listed`)."""
    # Each by itself: two anti-joins with a short list. "Not this or that" asks per service.
    whole, one = _about_row(EffectKind.HIDDEN, now)
    return Q(~Exists(whole)) & Q(~Exists(one))


def _about_row(kind: str, now: Moment | None, **more: Any) -> tuple[QuerySet[Effect], ...]:
    """Effects in force about a row's whole provider, and about its service."""
    rows = in_force(now).filter(kind=kind, provider=OuterRef("provider"), **more)
    # Plain equalities: PostgreSQL then looks once at a short list, not once per service.
    return rows.filter(serving=""), rows.filter(serving=OuterRef("serving"))


def version(now: Moment | None = None) -> tuple[str, Sequence[Any]]:
    """SQL that names the state of what is hidden: it changes with every act, and when one ends."""
    return _STATE, [now or timezone.now()]


_STATE = (
    "SELECT COALESCE((SELECT MAX(number) FROM moderation_act), 0) || '-' || "
    "(SELECT COUNT(*) FROM moderation_effect WHERE until > %s)"
)


def state(now: dt.datetime | None = None) -> tuple[Any, ...]:
    """Changes whenever something that is shown may change (1 query)."""
    sql, given = version(now)
    with connection.cursor() as cursor:
        cursor.execute(sql, given)
        return tuple(cursor.fetchone())


@dataclass(frozen=True)
class Labelled:
    """Services with a label in force, or flagged where the word is `FLAGGED_WORD`; `state` as in
    `attestation.selectors.Verified`."""

    word: str
    state: tuple[Any, ...]

    def q(self) -> Q:
        if self.word == FLAGGED_WORD:
            return _any(EffectKind.FLAGGED)
        return _any(EffectKind.LABEL, label=self.word)


#: `label=` of what moderators flagged; no label is spelled with an underscore.
FLAGGED_WORD = "_flagged"


def label_word(text: str) -> str:
    """A label in its one spelling (2 to 40 letters, digits, blanks, hyphens); empty for anything
    else."""
    word = " ".join(text.lower().split())
    fits = 2 <= len(word) <= 40 and all(c.isascii() and (c.isalnum() or c in " -") for c in word)
    return word if fits else ""


def _any(kind: str, **more: Any) -> Q:
    """Whether an effect is in force about a row's provider, service or model."""
    whole, one = _about_row(kind, None, **more)
    return Q(Exists(whole)) | Q(Exists(one)) | _of_model(kind, **more)


def _of_model(kind: str, **more: Any) -> Q:
    rows = in_force().filter(kind=kind, subject_kind=SubjectKind.MODEL, **more)
    return Q(model__in=rows.values("subject")) & ~Q(model="")


def words(now: dt.datetime | None = None) -> list[str]:
    """Labels in force about listings, A to Z (1 query)."""
    rows = in_force(now).filter(kind=EffectKind.LABEL).values_list("label", flat=True)
    return sorted(set(rows))


# --- one listing ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """One decision as the public sees it: declared by moderators, never checked by the site.

    `about`: `service`, `provider`, `model` or `share`, whichever it was decided about.
    """

    kind: str
    label: str
    text: str
    at: dt.datetime
    until: dt.datetime | None
    by: str
    number: int
    about: str


@dataclass(frozen=True)
class Decided:
    """What holds about one listing now."""

    hidden: Said | None = None
    flags: tuple[Said, ...] = ()
    labels: tuple[Said, ...] = ()

    @property
    def state(self) -> str:
        """`hidden`, `flagged`, `labelled`, or empty: nothing was decided."""
        if self.hidden:
            return "hidden"
        return "flagged" if self.flags else "labelled" if self.labels else ""

    @property
    def reason(self) -> str:
        """The public words of the gravest decision."""
        first = self.hidden or next(iter(self.flags or self.labels), None)
        return first.text or first.label if first else ""

    @property
    def any(self) -> bool:
        return bool(self.state)


NOTHING = Decided()
Key = tuple[str, str]


def of_listings(listings: Iterable[Listing], now: dt.datetime | None = None) -> dict[Key, Decided]:
    """By (serving, provider): what holds about each of a page's listings (1 query)."""
    asked = list(listings)
    if not asked:
        return {}
    providers = {listing.provider for listing in asked}
    models = {listing.model for listing in asked if listing.model}
    about = Q(provider__in=providers, subject_kind__in=(SubjectKind.SERVICE, SubjectKind.PROVIDER))
    about |= Q(subject_kind=SubjectKind.MODEL, subject__in=models)
    rows = list(in_force(now).filter(about, kind__in=_PUBLIC).order_by("-at", "-number"))
    return {
        (listing.serving, listing.provider): _decided(
            [row for row in rows if _is_about(row, listing)]
        )
        for listing in asked
    }


def of_listing(listing: Listing, now: dt.datetime | None = None) -> Decided:
    """What holds about one listing (1 query)."""
    return of_listings([listing], now)[listing.serving, listing.provider]


def bearing_on(
    subject: Subject, listings: Iterable[Listing], now: dt.datetime | None = None
) -> list[Effect]:
    """All that is in force about a subject, newest first, and what was decided about its whole
    provider, one of that provider's services or the model, since this stands on its listings, too
    (1 query)."""
    about = Q(subject_kind=subject.kind, subject=subject.key)
    for one in listings:
        wider = Q(provider=one.provider, serving__in=("", one.serving))
        wider &= Q(subject_kind__in=(SubjectKind.SERVICE, SubjectKind.PROVIDER))
        if one.model:
            wider |= Q(subject_kind=SubjectKind.MODEL, subject=one.model)
        about |= Q(wider, kind__in=_PUBLIC)
    return list(in_force(now).filter(about).order_by("-number"))


def of_subject(subject: Subject) -> Decided:
    """What was decided about a whole provider or model, and holds (1 query)."""
    rows = in_force().filter(subject_kind=subject.kind, subject=subject.key, kind__in=_PUBLIC)
    return _decided(list(rows.order_by("-at", "-number")))


def is_hidden(serving: str, provider: str, now: dt.datetime | None = None) -> bool:
    """Whether lists leave a service out (1 query)."""
    rows = in_force(now).filter(kind=EffectKind.HIDDEN, provider=provider)
    return rows.filter(serving__in=("", serving)).exists()


def unconfirmed(user: User, serving: str, provider: str) -> bool:
    """Whether a service is hidden and the person has not said to ask it all the same (1 query)."""
    said = Anyway.objects.filter(user=user, number=OuterRef("number"))
    rows = in_force().filter(kind=EffectKind.HIDDEN, provider=provider)
    return rows.filter(~Exists(said), serving__in=("", serving)).exists()


def _is_about(row: Effect, listing: Listing) -> bool:
    if row.subject_kind == SubjectKind.MODEL:
        return bool(listing.model) and row.subject == listing.model
    return row.provider == listing.provider and row.serving in ("", listing.serving)


def _said(row: Effect) -> Said:
    return Said(
        kind=row.kind,
        label=row.label,
        text=phrases.public(row.public_text),
        at=row.at,
        until=row.until,
        by=row.actor,
        number=row.number,
        about=row.subject_kind,
    )


def _decided(rows: Sequence[Effect]) -> Decided:
    said = [_said(row) for row in rows]
    return Decided(
        hidden=max(
            (one for one in said if one.kind == EffectKind.HIDDEN),
            key=lambda one: (one.until is None, one.until),
            default=None,
        ),
        flags=tuple(one for one in said if one.kind == EffectKind.FLAGGED),
        labels=tuple(one for one in said if one.kind == EffectKind.LABEL),
    )


def is_of(address: str, subject: Subject) -> bool:
    """Whether a subject is a wallet's own: its listing, its link, or a model that it offers, whose
    labels and flags stand on its listing."""
    if subject.kind == SubjectKind.MODEL:
        offered = ledger.matching(ledger.ServiceQuery(model=subject.key, everything=True))
        return offered.filter(provider=address).exists()
    return address == above.owner(subject)


def is_decided(subject: Subject, now: dt.datetime | None = None) -> bool:
    """Whether something that the public reads holds about a listing, or about a link (1 query)."""
    if subject.address:
        return in_force(now).filter(provider=subject.address, kind__in=_PUBLIC).exists()
    about = in_force(now).filter(subject_kind=subject.kind, subject=subject.key)
    return about.filter(kind=EffectKind.ENDED).exists()


def is_blocked(address: str, now: dt.datetime | None = None) -> bool:
    """Whether a wallet may not report (1 query)."""
    rows = in_force(now).filter(subject_kind=SubjectKind.USER, subject=address)
    return rows.filter(kind=EffectKind.BLOCKED).exists()


def ended(keys: Collection[str], now: dt.datetime | None = None) -> dict[str, Said]:
    """Links to shared conversations that staff ended, by their keys (1 query)."""
    rows = in_force(now).filter(kind=EffectKind.ENDED, subject_kind=SubjectKind.SHARE)
    return {row.subject: _said(row) for row in rows.filter(subject__in=keys)}


def api_body(decided: Decided) -> Mapping[str, Any] | None:
    """`moderation` of a service in the API (interfaces.md 3); None: nothing was decided."""
    if not decided.any:
        return None
    ends = decided.hidden or next(iter(decided.flags), None)
    return {
        "state": decided.state,
        "reason": decided.reason,
        "until": ends.until if ends else None,
        "labels": [
            {"label": one.label, "author": one.by, "at": one.at, "until": one.until}
            for one in decided.labels
        ],
    }
