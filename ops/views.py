"""Doors of `/ops`. Everything works without a script; with one, what changes is asked for again."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts import limits, roles, sessions
from accounts.errors import Problem
from accounts.http import unless_fresh, user_of
from accounts.models import User
from accounts.roles import Role
from moderation import audit
from ops import failures, jobs, pages
from ops.models import FailedTask, Job

LOOK = (Role.ADMIN, Role.AUDITOR)


@require_GET
@never_cache
@roles.require(*LOOK)
def ops(request: HttpRequest) -> HttpResponse:
    """`/ops`; `?part=live` is what a page asks for again every few seconds."""
    page = pages.ops_page(timezone.now(), may_act=Role.ADMIN in roles.of(request.user))
    part = request.GET.get("part") == "live" and request.headers.get("HX-Request")
    return render(request, "ops/live.html" if part else "ops/ops.html", {"page": page})


@require_POST
@roles.require(Role.ADMIN)
def start(request: HttpRequest) -> HttpResponse:
    """`name`, `typed`: start a command. Every press is recorded, the refused ones too."""
    user = presses(request)
    name = request.POST.get("name", "")[:40]
    typed = request.POST.get("typed", "")[:40]
    asked = unless_fresh(request, _("Operations"), "/ops") if jobs.destroys(name, typed) else None
    if asked is not None:
        _record(request, "command_refused", ("command", name), {"why": sessions.STALE})
        return asked

    def record(job: Job) -> None:
        _record(request, "command_started", ("command", name), {"job": str(job.pk)})

    try:
        job = jobs.start(name, user, typed, record)
    except Problem as problem:
        _record(request, "command_refused", ("command", name), {"why": problem.code})
        raise
    return HttpResponseRedirect(f"/ops/jobs/{job.pk}")


@require_GET
@never_cache
@roles.require(*LOOK)
def job(request: HttpRequest, job_id: uuid.UUID) -> HttpResponse:
    row = get_object_or_404(Job.objects.select_related("started_by"), pk=job_id)
    page = pages.JobPage(pages.job_row(row, timezone.now()), jobs.BUTTONS.get(row.name))
    part = request.headers.get("HX-Request") and request.GET.get("part") == "output"
    return render(request, "ops/job_output.html" if part else "ops/job.html", {"page": page})


@require_POST
@roles.require(Role.ADMIN)
def failure(request: HttpRequest, failure_id: int) -> HttpResponse:
    """`act`: `retry` or `dismiss`."""
    user = presses(request)
    row = get_object_or_404(FailedTask, pk=failure_id)
    act, about = request.POST.get("act", ""), {"failure": row.pk, "times": row.times}

    def record() -> None:
        _record(request, f"failure_{act}", ("task", row.name), about)

    if act == "retry":  # recorded first: what is in the queue is not taken back
        with _refusals(request, row.name):
            failures.retry(row, user, record)
    elif act == "dismiss":
        with transaction.atomic():
            record()
            failures.dismiss(row, user)
    else:
        raise Problem("unknown_act", _("Retry or dismiss."), status=422)
    return HttpResponseRedirect("/ops#failures")


@require_POST
@roles.require(Role.ADMIN)
def all_failures(request: HttpRequest) -> HttpResponse:
    """`act`: `retry` or `dismiss` every failure that was open at `seen`, to the microsecond."""
    user = presses(request)
    act, given = request.POST.get("act", ""), request.POST.get("seen", "")
    seen = re.fullmatch(r"([0-9]{1,10})\.([0-9]{6})", given)
    if act not in ("retry", "dismiss") or seen is None:
        raise Problem("unknown_act", _("Retry or dismiss."), status=422)
    at = datetime.fromtimestamp(int(seen[1]), UTC).replace(microsecond=int(seen[2]))

    def record(number: int) -> None:
        _record(request, f"failures_{act}", ("task", "*"), {"number": number})

    if act == "retry":
        with _refusals(request, "*"):
            failures.retry_all(user, at, record)
    else:
        with transaction.atomic():
            record(failures.dismiss_all(user, at))
    return HttpResponseRedirect("/ops#failures")


@contextmanager
def _refusals(request: HttpRequest, task: str) -> Iterator[None]:
    """The press is recorded before the queue is asked, so what that refuses is, too."""
    try:
        yield
    except Problem as problem:
        if problem.code == "queue_unreachable":
            _record(request, "command_refused", ("task", task), {"why": problem.code})
        raise


def presses(request: HttpRequest) -> User:
    """Who presses a button, at most so often. Raises TooMany, PermissionDenied for who may only
    look."""
    user = request.user
    if Role.ADMIN not in roles.of(user) or not isinstance(user, User):
        raise PermissionDenied(roles.needed(Role.ADMIN))
    limits.spend("ops", user.address, limit=30, seconds=60)
    return user


def _record(
    request: HttpRequest, action: str, subject: tuple[str, str], after: Mapping[str, str | int]
) -> None:
    audit.record(user_of(request), action, subject, area="ops", after=after, request=request)
