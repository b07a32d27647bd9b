"""What may be deleted because it is old, over all apps: `manage.py prune`, and daily by beat.

Chain facts, verdicts on messages and the documents behind reports are not among it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from accounts.models import SignIn
from attestation.models import (
    Finding,
    Identity,
    Outcome,
    Standing,
    VerdictChange,
    Verification,
)
from inference import conversations
from ledger.models import Reconciliation
from probes import retention as probes

#: Comparisons of our rows with the contracts' are kept this long.
KEPT_RECONCILIATIONS = dt.timedelta(days=90)
#: Attempts that brought no evidence say little after a while.
KEPT_SILENCE = dt.timedelta(days=90)


@dataclass(frozen=True)
class Pruned:
    """How many rows of one kind were too old."""

    what: str
    rows: int


def prune(*, dry_run: bool = False, now: dt.datetime | None = None) -> tuple[Pruned, ...]:
    """Delete what is old, or only count it. Idempotent."""
    now = now or timezone.now()
    done = [_gone(what, rows, dry_run) for what, rows in old(now)]
    if not dry_run:
        done.append(Pruned("deleted and unkept chats", conversations.purge()))
    return tuple(done)


def old(now: dt.datetime) -> Iterator[tuple[str, QuerySet[Any]]]:
    """What may go, by name."""
    yield from probes.old(now)
    ended = Session.objects.filter(session_key=OuterRef("session_key"), expire_date__gt=now)
    yield "sign-ins of ended sessions", SignIn.objects.exclude(Exists(ended))
    yield "ended sessions", Session.objects.filter(expire_date__lt=now)
    yield "reconciliations", Reconciliation.objects.filter(at__lt=now - KEPT_RECONCILIATIONS)
    yield "verifications", _verifications(now)


def _verifications(now: dt.datetime) -> QuerySet[Verification]:
    """Runs that nothing rests on: attempts without evidence after a while, and reports only where
    the operator says so (VERIFICATIONS_KEEP_DAYS): they are permanent links."""
    rows = Verification.objects.filter(started_at__lt=now - KEPT_SILENCE)
    rows = rows.exclude(outcome=Outcome.JUDGED)
    if settings.VERIFICATIONS_KEEP_DAYS:
        kept = dt.timedelta(days=settings.VERIFICATIONS_KEEP_DAYS)
        rows = rows | Verification.objects.filter(started_at__lt=now - kept)
    for model in (Standing, Finding, Identity, VerdictChange):
        rows = rows.exclude(Exists(model.objects.filter(verification=OuterRef("pk"))))
    return rows


def _gone(what: str, rows: QuerySet[Any], dry_run: bool) -> Pruned:
    if dry_run:
        return Pruned(what, rows.count())
    # By key: a delete with a correlated condition would first read every row into memory.
    keys = list(rows.order_by().values_list("pk", flat=True))
    for first in range(0, len(keys), 5_000):
        rows.model._default_manager.filter(pk__in=keys[first : first + 5_000]).delete()
    return Pruned(what, len(keys))
