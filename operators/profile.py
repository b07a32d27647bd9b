"""Who a provider says it is: signed by its wallet, and where a domain says so too, proven by it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import limits
from accounts.errors import Problem
from accounts.models import User
from moderation import looking
from net import queue
from operators import notes, profile_signing, profile_words
from operators.models import Note, Profile
from operators.models_listing import DomainState
from operators.profile_signing import Prepared

WHAT = "profile"
FIELDS = ("name", "contact", "links", "domain")
PROVE_TASK = "operators.prove_domain"
#: A domain is looked at again after this; one that cannot be reached counts until `LOST_AFTER`.
EVERY, LOST_AFTER = dt.timedelta(hours=24), dt.timedelta(days=3)


@dataclass(frozen=True)
class Said:
    """What is shown of a provider's own words; `profile` None where it said nothing, or
    nobody is to hear it (`notes.heard`)."""

    profile: Profile | None = None
    notes: tuple[Note, ...] = ()


def said(provider: str, now: dt.datetime | None = None) -> Said:
    """A provider's profile and its notes of now (2 queries; 2 more where it said anything: whether
    that is heard is asked then only, since most say nothing)."""
    found = Profile.objects.filter(provider=provider, withdrawn_at=None).first()
    open_notes = tuple(notes.open_of(provider, now)[: notes.MOST])
    told = (found is not None or open_notes) and notes.is_heard(provider, now)
    return Said(found, open_notes) if told else Said()


def parse(typed: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The profile that was typed, or what is wrong at each field."""
    values: dict[str, Any] = {}
    errors: dict[str, str] = {}
    readers: dict[str, Callable[[str], Any]] = {
        "name": profile_words.name,
        "contact": profile_words.contact,
        "links": profile_words.links,
        "domain": lambda text: profile_words.domain(text, local=settings.ALLOW_PRIVATE_PROVIDERS),
    }
    for field, read in readers.items():
        try:
            values[field] = read(typed.get(field, ""))
        except ValueError as error:
            errors[field] = str(error)
    return values, errors


def prepare(
    request: HttpRequest, user: User, values: Mapping[str, Any], typed: Mapping[str, str]
) -> Prepared:
    """The statement to sign. Raises Problem."""
    limits.spend("operator-statements", user.address, limit=20, seconds=600)
    profile_signing.require_provider(user)
    _require_own_name(user.address, values["name"])
    shown = (
        ("Name", values["name"]),
        ("Contact", values["contact"] or "none"),
        ("Links", ", ".join(values["links"]) or "none"),
        ("Domain", values["domain"] or "none"),
    )
    return profile_signing.prepare(request, user, WHAT, "my profile", shown, dict(typed))


def _require_own_name(provider: str, name: str) -> None:
    """A name that another provider's domain vouches for is taken."""
    taken = Profile.objects.filter(
        name__iexact=name, domain_state=DomainState.PROVEN, withdrawn_at=None
    ).exclude(provider=provider)
    if taken.exists():
        raise Problem(
            "name_taken",
            _("Another provider has this name, and a domain that vouches for it."),
            _("Choose another name."),
        )


def publish(request: HttpRequest, user: User, signature: str) -> Profile:
    """Store the waiting profile in place of the last one. Raises Problem."""
    found = profile_signing.signed(request, user, WHAT, signature)
    values, errors = parse(found.fields)
    if errors:
        raise Problem("profile_refused", " ".join(errors.values()), _("Write it again."))
    _require_own_name(user.address, values["name"])
    try:
        with transaction.atomic():
            before = Profile.objects.filter(provider=user.address, withdrawn_at=None).first()
            shown = _line(before) if before else ""
            row = _write(user.address, found, signature, values)
            looking.published(user.address, WHAT, row.nonce, shown, _line(row))
    except IntegrityError:
        raise Problem("published_before", _("This was published before."), status=409) from None
    look_soon(row)
    profile_signing.done(request, WHAT)
    return row


def _line(row: Profile) -> str:
    """What is shown of it, for those who look at what providers say."""
    return "\n".join(filter(None, (row.name, row.contact, *row.links, row.domain)))


def _write(provider: str, found: Prepared, signature: str, values: dict[str, Any]) -> Profile:
    row = Profile.objects.select_for_update().filter(provider=provider).first()
    row = row or Profile(provider=provider)
    # Nobody looks while it is withdrawn: what was proven before is not proven without a gap.
    if row.withdrawn_at is not None or row.domain != values["domain"]:
        row.domain_state = DomainState.WAITING if values["domain"] else DomainState.NONE
        row.domain_since = row.domain_checked_at = None
        row.domain_note = ""
    for name, value in values.items():
        setattr(row, name, value)
    row.message, row.signature, row.nonce = found.message, signature, found.nonce
    row.signed_at, row.withdrawn_at = found.at, None
    row.save()
    return row


def withdraw(user: User) -> None:
    """Show nothing of it any more."""
    own = Profile.objects.filter(provider=user.address, withdrawn_at=None)
    own.update(withdrawn_at=timezone.now())
    looking.withdrawn(user.address, WHAT)


def look_soon(row: Profile) -> None:
    """Have the worker look at the domain; beat does it anyway."""
    if row.domain:
        queue.put(PROVE_TASK, row.pk, expires=300)


def ask_again(user: User) -> None:
    """Look at the domain now because its owner asks. Raises TooMany."""
    limits.spend("operator-domain", user.address, limit=6, seconds=600)
    row = Profile.objects.filter(provider=user.address, withdrawn_at=None).first()
    if row is not None:
        look_soon(row)


def due(now: dt.datetime) -> QuerySet[Profile]:
    """Profiles whose domain is to be looked at, the longest waiting first."""
    old = Q(domain_checked_at=None) | Q(domain_checked_at__lte=now - EVERY)
    rows = Profile.objects.filter(old, withdrawn_at=None).exclude(domain="")
    return rows.order_by(F("domain_checked_at").asc(nulls_first=True), "pk")
