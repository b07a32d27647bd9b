"""How fast a service answered the people who let their times count: sums only, never one of them.

Computed when it is read, so that whoever takes the choice back, or deletes a conversation, is out
of it at once.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from django.db.models import (
    Aggregate,
    BigIntegerField,
    Count,
    Exists,
    ExpressionWrapper,
    F,
    OuterRef,
    Q,
)
from django.db.models.functions import NullIf
from django.utils import timezone

from inference.models import State, Turn
from probes.models import Sharer
from probes.selectors import Spread

SINCE = dt.timedelta(days=7)
#: An answer that came within fewer was sent as one piece, which does not tell how it was written.
SHORTEST_MS = 100
#: Below these nothing is told: few answers say little, few people would be recognised.
LEAST_ANSWERS, LEAST_PEOPLE = 10, 3


class _Percentile(Aggregate):
    """A value that was measured (PostgreSQL's `PERCENTILE_DISC`)."""

    function = "PERCENTILE_DISC"
    template = "%(function)s(%(share)s) WITHIN GROUP (ORDER BY %(expressions)s)"

    def __init__(self, expression: Any, share: str, **options: Any) -> None:
        super().__init__(expression, share=share, output_field=BigIntegerField(), **options)


@dataclass(frozen=True)
class Timings:
    """Milliseconds to the first token, and tokens per 10 s, of the last 7 days; None where too few
    answers or people shared theirs."""

    first_token: Spread | None = None
    tokens: Spread | None = None


def timings(serving: str, provider: str) -> Timings:
    """What shared answers of a service say (1 query)."""
    shared = Sharer.objects.filter(
        user=OuterRef("chat__owner_id"), since__lte=OuterRef("created_at")
    )
    rows = Turn.objects.filter(
        Exists(shared),
        provider=provider,
        serving=serving,
        created_at__gt=timezone.now() - SINCE,
        state=State.ANSWERED,
        first_token_ms__gt=0,
    )
    fast = Q(completion_tokens__gt=1, total_ms__gte=F("first_token_ms") + SHORTEST_MS)
    speed = ExpressionWrapper(
        (F("completion_tokens") - 1) * 10_000 / NullIf(F("total_ms") - F("first_token_ms"), 0),
        output_field=BigIntegerField(),
    )
    found = rows.aggregate(
        answers=Count("pk"),
        people=Count("chat__owner", distinct=True),
        first_p50=_Percentile("first_token_ms", "0.5"),
        first_p95=_Percentile("first_token_ms", "0.95"),
        told=Count("pk", filter=fast),
        tellers=Count("chat__owner", distinct=True, filter=fast),
        speed_p50=_Percentile(speed, "0.5", filter=fast),
        speed_p5=_Percentile(speed, "0.05", filter=fast),
    )
    first = Spread(found["first_p50"] or 0, found["first_p95"] or 0, found["answers"])
    tokens = Spread(found["speed_p50"] or 0, found["speed_p5"] or 0, found["told"])
    return Timings(
        first_token=first if _enough(found["answers"], found["people"]) else None,
        tokens=tokens if _enough(found["told"], found["tellers"]) else None,
    )


def _enough(answers: int, people: int) -> bool:
    return answers >= LEAST_ANSWERS and people >= LEAST_PEOPLE
