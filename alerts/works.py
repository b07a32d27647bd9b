"""What was made for somebody while they looked elsewhere. Reads only, as in `conditions`."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from django.db.models import Exists, F, OuterRef, Subquery

from accounts.addresses import short
from alerts import words
from alerts.conditions import Found, Hit, newest, oldest, since_made
from alerts.models import Rule
from inference.media.models import File, Role
from inference.models import Medium, State, Turn

#: From the first request of a work to the end of its last; what is quicker somebody sees coming.
LONG_WORK = dt.timedelta(minutes=1)


def work(rules: Sequence[Rule], now: dt.datetime, now_unix: int) -> Found:
    """Long works that ended since the rule was made, of the last day: each is told at once, and
    found again it is told no more (1 query)."""
    since = max(oldest(rules, now), now - dt.timedelta(days=1))
    found = works_since({rule.user_id for rule in rules}, since)
    return {rule.pk: since_made(rule, found.get(rule.user_id, ())) for rule in rules}


def works_since(users: Iterable[int], since: dt.datetime) -> Mapping[int, list[Hit]]:
    """The same by user, newest first (1 query). What was said is in none of it. Raises Crowded."""
    owners = set(users)
    siblings = Turn.objects.filter(chat=OuterRef("chat")).order_by("pk")
    pieces = File.objects.filter(chat=OuterRef("chat"), role=Role.SPOKEN)
    rows = Turn.objects.filter(
        chat__owner__in=owners,
        chat__medium__in=words.READY,
        chat__deleted_at=None,
        ended_at__gt=since,
    )
    rows = rows.exclude(chat__key_sealed="").exclude(state__in=(State.OPEN, State.STOPPED))
    rows = rows.annotate(
        begun=Subquery(siblings.values("created_at")[:1]),
        more=Exists(siblings.filter(pk__gt=OuterRef("pk"))),
        # Between two pieces of a recording nothing is being asked, and it is not ready.
        lacking=Exists(pieces.filter(~Exists(_ANSWERED))),
    ).filter(more=False, ended_at__gte=F("begun") + LONG_WORK)
    found: dict[int, list[Hit]] = defaultdict(list)
    for row in newest(rows.select_related("chat").order_by("-ended_at"), len(owners)):
        if row.state == State.ANSWERED and row.lacking:
            continue
        medium = Medium(row.chat.medium)
        said = words.READY if row.state == State.ANSWERED else words.NOT_READY
        found[row.chat.owner_id].append(
            Hit(
                subject=str(row.chat_id),
                occurrence=f"work:{row.pk}",
                title=said[medium],
                text=words.MADE_AT.format(provider=short(row.provider)),
                path=f"{_PLACES[medium]}/{row.chat_id}",
                provider=row.provider,
                at=row.ended_at,
            )
        )
    return found


_ANSWERED = Turn.objects.filter(state=State.ANSWERED, job__piece=OuterRef("pk"))
_PLACES = {
    Medium.IMAGES: "/playground/images",
    Medium.SPEECH: "/playground/audio",
    Medium.EMBED: "/playground/embeddings",
}
