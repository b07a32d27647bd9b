"""How urgent an item of the queue is: a stated rule, each part of which is shown. Pure.

Points of the kind, plus points for evidence that failed, plus points for the money that users hold
at the provider, plus points for each further person who reported the same; at most 100. The time to
decide follows from the points.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_

from moderation.models import ItemKind

ONE = 10**18
POINTS: dict[str, tuple[int, str]] = {
    ItemKind.PROPOSAL: (90, N_("a colleague proposed it")),
    ItemKind.APPEAL: (70, N_("its owner appeals")),
    ItemKind.URL: (60, N_("it moved, and its acknowledgement is of before")),
    ItemKind.SIGNER: (55, N_("another key signs its answers")),
    ItemKind.HARDWARE: (50, N_("its evidence is another one’s too, or was shown before")),
    ItemKind.REGRESSION: (45, N_("its verification became worse")),
    ItemKind.REPORT: (40, N_("a user reported it")),
    ItemKind.WORDS: (30, N_("it says something new about itself")),
    ItemKind.NEW: (20, N_("nobody looked at it yet")),
}
#: A listing that failed from its first check on never became worse.
FAILED = (25, N_("its evidence failed our check"))
#: What users hold there, neuron, and the points of that.
MONEY = ((1_000 * ONE, 15), (100 * ONE, 10), (ONE, 5))
EACH_REPORTER, MOST_REPORTERS = 8, 24
#: Points from which on a decision is due within so many hours.
DUE = ((60, 4), (40, 24), (0, 72))


_HELD = N_("users hold %(amount)s 0G or more there")
_REPORTERS = N_("%(count)s persons report it")


@dataclass(frozen=True)
class Risk:
    """`why`: what each part is for, in English; kept so, and read by `spoken`."""

    points: int
    why: tuple[str, ...]


def spoken(part: str) -> str:
    """One of `Risk.why` in the reader's language."""
    points, _colon, said = part.partition(": ")
    for message, name in ((_HELD, "amount"), (_REPORTERS, "count")):
        before, after = message.split(f"%({name})s")
        if said.startswith(before) and said.endswith(after):
            value = said.removeprefix(before).removesuffix(after)
            return f"{points}: {_(message) % {name: value}}"
    return f"{points}: {_(said)}" if said else part


def of(kind: str, held: int, reporters: int = 0, *, failed: bool = False) -> Risk:
    """`held`: neuron of users at the provider; `reporters`: persons who reported the same;
    `failed`: our verdict on its evidence is that."""
    points, said = POINTS[kind]
    parts = [(points, said), *([FAILED] if failed else [])]
    for least, more in MONEY:
        if held >= least:
            parts.append((more, _HELD % {"amount": f"{least // ONE:,}"}))
            break
    if reporters > 1:
        more = min(EACH_REPORTER * (reporters - 1), MOST_REPORTERS)
        parts.append((more, _REPORTERS % {"count": reporters}))
    total = min(100, sum(part for part, _ in parts))
    return Risk(total, tuple(f"{part}: {words}" for part, words in parts))


def due(opened_at: dt.datetime, points: int) -> dt.datetime:
    """When an item of so many points should be decided."""
    hours = next(hours for least, hours in DUE if points >= least)
    return opened_at + dt.timedelta(hours=hours)


def tone(opened_at: dt.datetime, points: int, now: dt.datetime) -> str:
    """`ok`, `warn` in the second half of the time, `bad` when it is over."""
    end = due(opened_at, points)
    if now >= end:
        return "bad"
    return "warn" if now >= opened_at + (end - opened_at) / 2 else "ok"
