"""Incidents and maintenance of this site, as staff announces them: on `/status`, in its feed, and
above every page while they last.

Pages read what is open from Redis, at most every few seconds in each process, so that a banner
costs them no query; whoever changes something, and a worker every minute, writes it there. Without
Redis pages are without that banner, and `/status` still has everything.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import redis
from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import escape
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from accounts import feeds as atoms
from accounts.days import moment_of, utc
from accounts.errors import Problem
from accounts.feeds import xml_text
from marketplace import presence
from marketplace.freshness import Banner
from marketplace.models import Announcement, AnnouncementKind, Update
from moderation import audit
from net.cache import tried

log = logging.getLogger(__name__)

KEY = "marketplace:announced"
PAGE = "/status"
#: A process believes what it read for this long (seconds).
BELIEVED = 5.0
#: Maintenance is said above every page this long before it begins.
AHEAD = dt.timedelta(hours=24)
SHOWN = dt.timedelta(days=90)
MOST_SHOWN, MOST_OPEN = 50, 10
#: The same words again within so long are one form that was sent twice.
TWICE = dt.timedelta(minutes=10)
TITLE, TEXT = 120, 2_000
FURTHEST, LONGEST = dt.timedelta(days=90), dt.timedelta(days=7)


@dataclass(frozen=True)
class Written:
    """A checked announcement with its first update; times in UTC."""

    kind: AnnouncementKind
    title: str
    text: str
    starts_at: dt.datetime
    ends_at: dt.datetime | None


def parse(typed: Mapping[str, str], now: dt.datetime) -> tuple[Written | None, dict[str, str]]:
    """What was typed, or what is wrong at each field. An incident begins now."""
    errors: dict[str, str] = {}
    kind = typed.get("kind", "")
    if kind not in AnnouncementKind.values:
        errors["kind"] = _("Choose which it is.")
    title, text = _line(typed.get("title", "")), _text(typed.get("text", ""))
    if not 3 <= len(title) <= TITLE:
        errors["title"] = _("Between 3 and %(most)s characters.") % {"most": TITLE}
    if problem := wrong(text):
        errors["text"] = problem
    starts, ends = now, None
    if kind == AnnouncementKind.MAINTENANCE:
        begins, ends = moment_of(typed.get("starts_at", "")), moment_of(typed.get("ends_at", ""))
        if begins is None or not now - LONGEST <= begins <= now + FURTHEST:
            errors["starts_at"] = _("A time like 2026-05-01T12:00, in the next 90 days, in UTC.")
        if (
            ends is None
            or ends <= now
            or begins is None
            or not dt.timedelta() < ends - begins <= LONGEST
        ):
            errors["ends_at"] = _("A time after the beginning, at most 7 days later, in UTC.")
        starts = begins or now
    if errors:
        return None, errors
    return Written(AnnouncementKind(kind), title, text, starts, ends), errors


def wrong(text: str) -> str:
    """What is wrong with the text of an update, or nothing."""
    return (
        "" if 1 <= len(text) <= TEXT else _("Between 1 and %(most)s characters.") % {"most": TEXT}
    )


def _line(text: str) -> str:
    return " ".join(_text(text).split())


def _text(text: str) -> str:
    return text.replace("\0", "").replace("\r\n", "\n").strip()


def announce(written: Written, now: dt.datetime) -> Announcement | None:
    """None where this stands already: a form that was sent twice says nothing twice to everybody.
    Raises Problem where too many are open already."""
    same: dict[str, Any] = {"kind": written.kind, "title": written.title}
    if written.kind == AnnouncementKind.MAINTENANCE:
        same |= {"starts_at": written.starts_at, "ends_at": written.ends_at}
    with transaction.atomic():
        audit.lock()  # as all that staff does, one at a time: so MOST_OPEN holds
        if unfinished(now).filter(**same, updates__text=written.text).exists():
            return None
        if unfinished(now).count() >= MOST_OPEN:
            raise Problem(
                "too_many_announcements",
                _("%(most)s announcements are open.") % {"most": MOST_OPEN},
                _("End one that is over."),
                status=409,
            )
        row = Announcement.objects.create(
            kind=written.kind,
            title=written.title,
            starts_at=written.starts_at,
            ends_at=written.ends_at,
        )
        Update.objects.create(announcement=row, at=now, text=written.text)
    transaction.on_commit(tell)
    return row


def add(row: Announcement, text: str, *, end: bool, now: dt.datetime) -> Update | None:
    """Say more, and `end` it; None where this was said a moment ago. Raises Problem: nothing to
    say, or over."""
    text = _text(text)
    if problem := wrong(text):
        raise Problem("wrong_text", problem, status=422)
    with transaction.atomic():
        held = Announcement.objects.select_for_update().get(pk=row.pk)
        if held.state(now) == "over":
            raise Problem(
                "announcement_over", _("It is over."), _("Announce a new one."), status=409
            )
        said = held.updates.filter(at__gt=now - TWICE).first()
        if not end and said is not None and said.text == text:
            return None
        if end:
            # What never began leaves no window behind.
            held.starts_at = min(held.starts_at, now)
            held.ends_at = now
            held.save(update_fields=["starts_at", "ends_at"])
        update = Update.objects.create(announcement=held, at=now, text=text)
    transaction.on_commit(tell)
    return update


def unfinished(now: dt.datetime) -> QuerySet[Announcement]:
    """Open and planned."""
    return Announcement.objects.filter(Q(ends_at=None) | Q(ends_at__gt=now)).order_by("-starts_at")


def shown(now: dt.datetime) -> tuple[Announcement, ...]:
    """What is open, planned, or ended lately, in this order, the newest first. SQL: two queries."""
    late = Q(ends_at=None) | Q(ends_at__gt=now - SHOWN)
    rows = Announcement.objects.filter(late).order_by("-starts_at", "-pk")
    found = rows.prefetch_related("updates")[:MOST_SHOWN]
    return tuple(sorted(found, key=lambda row: ("open", "planned", "over").index(row.state(now))))


# --- above every page -----------------------------------------------------------------------------

_believed: tuple[float, list[dict[str, Any]]] = (0.0, [])
_AWAY = object()


def tell() -> None:
    """Write what is unfinished where pages read it. Without Redis they go without."""
    global _believed
    _believed = (0.0, [])
    rows = [
        {
            "kind": row.kind,
            "title": row.title,
            "from": int(row.starts_at.timestamp()),
            "to": row.ends_at and int(row.ends_at.timestamp()),
        }
        for row in unfinished(timezone.now())[:MOST_OPEN]
    ]
    try:
        if rows:
            presence.client().set(KEY, orjson.dumps(rows))
        else:
            presence.client().delete(KEY)
    except redis.RedisError as error:
        log.warning("what is announced stands on /status only: %s", error)


def banner(now: dt.datetime | None = None) -> Banner | None:
    """An open incident, else maintenance that is under way or near. No SQL."""
    now = now or timezone.now()
    rows = sorted(_read(), key=lambda row: (row["kind"] != "incident", row["from"]))
    for row in rows:
        starts, ends = _time(row["from"]), row["to"] and _time(row["to"])
        if ends and ends <= now:
            continue
        if row["kind"] == "incident":
            text = _("Incident: %(title)s.") % {"title": row["title"].rstrip(".")}
            return Banner("bad", text, PAGE)
        if starts - AHEAD <= now:
            text = _("Maintenance from %(start)s to %(end)s: %(title)s.")
            said = {
                "start": utc(starts),
                "end": utc(ends),
                "title": row["title"].rstrip("."),
            }
            return Banner("warn", text % said, PAGE)
    return None


def _read() -> list[dict[str, Any]]:
    global _believed
    since, rows = _believed
    if not since or time.monotonic() - since > BELIEVED:
        raw = tried(lambda: presence.client().get(KEY), _AWAY)
        if raw is not _AWAY:  # else what was known stays, and Redis is asked again in a while
            rows = orjson.loads(raw) if raw else []
        _believed = (time.monotonic(), rows)
    return rows


def _time(unix: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(unix, dt.UTC)


# --- feed -----------------------------------------------------------------------------------------


@require_safe
def feed(request: HttpRequest) -> HttpResponse:
    """`/status.atom`: an entry for each, with everything that was said about it."""
    page = f"{settings.SITE_URL}{PAGE}"
    made = atoms.Feed("0G Market: incidents and maintenance", page, f"{page}.atom")
    for row in shown(timezone.now()):
        updates = list(row.updates.all())
        said = "".join(f"<p>{utc(one.at)}: {escape(one.text)}</p>" for one in updates)
        until = utc(row.ends_at) if row.ends_at else "not known yet"
        made.add_item(
            title=xml_text(f"{row.get_kind_display()}: {row.title}"),
            link=f"{page}#announcement-{row.pk}",
            description=xml_text(f"<p>{utc(row.starts_at)} to {until}</p>{said}"),
            unique_id=f"tag:0g-market,2026:{settings.CHAIN_ID}/announcement/{row.pk}",
            pubdate=row.starts_at,
            updateddate=max((one.at for one in updates), default=row.starts_at),
            categories=(row.kind,),
        )
    response = HttpResponse(made.written(), content_type=atoms.MEDIA)
    response["Cache-Control"] = "public, max-age=60"
    return response
