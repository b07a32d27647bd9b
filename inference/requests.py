"""Every request a person made here: filtered, counted, set against what was settled on chain."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self
from urllib.parse import urlencode

from django.db import connection
from django.db.models import Count, Max, Min, Q, QuerySet, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts import money
from accounts.days import day_of, end_of, start_of
from accounts.models import User
from accounts.pages_parts import Pager, pager
from inference import access
from inference.models import FeeKind, State, Turn, Verdict
from ledger import selectors as ledger
from ledger.records import Page

PATH = "/playground/requests"
PAGE_SIZE = 50
#: A provider that has settled since the last answer, and not again within this, owes nothing more.
SETTLES_WITHIN = dt.timedelta(hours=1)
_COUNTED = (FeeKind.KNOWN, FeeKind.ESTIMATED)
#: Choices of a filter.
_MOST_NAMED = 100
_Group = Mapping[str, Any]
COLUMNS = (
    "asked_at", "provider", "model", "state", "failure", "prompt_tokens", "completion_tokens",
    "fee_neuron", "fee_kind", "first_token_ms", "total_ms", "verdict", "verdict_reason",
    "request_sha256", "response_sha256", "answer_id", "signer", "quantity", "token_label",
)  # fmt: skip
#: Orders beside the newest first, each from the most.
SORTS: Mapping[str, tuple[str, str]] = {
    "cost": (gettext_noop("Costliest first"), "-fee"),
    "tokens": (gettext_noop("Most tokens first"), "-counted_tokens"),
    "first": (gettext_noop("Slowest first token first"), "-first_token_ms"),
}
#: What is asked of a number; in the address it is written with so many digits at most.
_DIGITS = 12


#: Whether anything came back that could be signed: without it no verdict says anything.
_CAME = (
    Q(state=State.ANSWERED)
    | ~Q(answer_id="")
    | ~Q(answer_sealed=b"")
    | ~Q(calls_sealed=b"")
    | Q(state=State.STOPPED, response_bytes__gt=0)
)


@dataclass(frozen=True)
class Filter:
    """What the address asks for; words that are not in the lists count as not given."""

    provider: str = ""
    model: str = ""
    state: str = ""
    verdict: str = ""
    since: dt.date | None = None
    until: dt.date | None = None
    #: The program's token that asked; 0: any, and the playground.
    token: int = 0
    #: At least so much: 0G as it is written, tokens in and out, milliseconds to the first token.
    cost: str = ""
    tokens: int = 0
    first: int = 0
    sort: str = ""

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Self:
        state, verdict = given.get("state", ""), given.get("verdict", "")
        least = _neuron(given.get("cost", ""))
        return cls(
            provider=ledger.address_of(given.get("provider", "")) or "",
            model=given.get("model", "").replace("\x00", "")[:200],
            state=state if state in State.values else "",
            verdict=verdict if verdict in Verdict.values else "",
            since=day_of(given.get("since", "")),
            until=day_of(given.get("until", "")),
            token=_whole(given.get("token", "")),
            cost=money.exact(least) if least else "",
            tokens=_whole(given.get("tokens", "")),
            first=_whole(given.get("first", "")),
            sort=given.get("sort", "") if given.get("sort") in SORTS else "",
        )

    @property
    def narrows(self) -> bool:
        """Whether some requests are left out."""
        return self != type(self)(sort=self.sort)

    def query(self, page: int = 1) -> str:
        """The same filter as an address's query."""
        given = {**self.__dict__, "page": page if page > 1 else ""}
        return urlencode({name: value for name, value in given.items() if value})

    def rows(self, user: User, session_key: str | None) -> QuerySet[Turn]:
        """The turns that match, newest first; conversations that are not kept are not listed."""
        rows = access.turns_of(user, session_key).exclude(chat__key_sealed="")
        counted = Coalesce("prompt_tokens", 0) + Coalesce("completion_tokens", 0)
        rows = rows.annotate(came=_CAME, counted_tokens=counted).select_related("token")
        exact = {
            "provider": self.provider, "model": self.model, "state": self.state,
            "token": self.token, "fee__gte": _neuron(self.cost),
            "counted_tokens__gte": self.tokens, "first_token_ms__gte": self.first,
        }  # fmt: skip
        rows = rows.filter(**{name: value for name, value in exact.items() if value})
        if self.verdict:
            rows = rows.filter(_CAME, verdict=self.verdict)
        if self.since:
            rows = rows.filter(created_at__gte=start_of(self.since))
        if self.until:
            rows = rows.filter(created_at__lt=end_of(self.until))
        if self.sort:
            rows = rows.order_by(SORTS[self.sort][1], "-pk")
        return rows.only(*_LISTED)


_LISTED = (
    "chat__owner", "chat__key_sealed", "created_at", "ended_at", "provider", "model", "state",
    "failure", "prompt_tokens", "completion_tokens", "fee", "fee_kind", "first_token_ms",
    "total_ms", "verdict", "verdict_reason", "request_sha256", "response_sha256", "answer_id",
    "signer", "quantity", "token__label",
)  # fmt: skip


def _whole(text: str) -> int:
    """A number of a filter; 0 where it is none."""
    good = text.isascii() and text.isdecimal() and len(text) <= _DIGITS
    return int(text) if good else 0


def _neuron(text: str) -> int:
    """An amount of a filter, written in 0G; 0 where it is none."""
    try:
        return money.parse(text) if len(text) < 3 * _DIGITS else 0
    except ValueError:
        return 0


@dataclass(frozen=True)
class Reconciled:
    """One provider: what the answers here cost by count (`known`), by estimate, and at most where
    nobody counted (`unknown`), against what it settled on chain since the first of them. Neuron.

    `complete`: the settlements hold all of these answers, so what is missing was never charged.
    """

    provider: str
    answers: int
    known: int
    estimated: int
    unknown: int
    settled: int
    complete: bool = False

    @property
    def open(self) -> int:
        """Counted here and not settled yet; 0 where more, or all of it, was settled."""
        return 0 if self.complete else max(0, self.known + self.estimated - self.settled)

    @property
    def less(self) -> int:
        """Counted here and never charged: all is settled, for less."""
        return max(0, self.known + self.estimated - self.settled) if self.complete else 0

    @property
    def beyond(self) -> int:
        """Settled beyond what was counted here."""
        return max(0, self.settled - self.known - self.estimated)


@dataclass(frozen=True)
class RequestsPage:
    """The log."""

    rows: tuple[Turn, ...]
    pager: Pager
    filter: Filter
    export: str
    providers: tuple[str, ...]
    models: tuple[str, ...]
    states: tuple[tuple[str, str], ...]
    verdicts: tuple[str, ...]
    tokens: tuple[tuple[int, str], ...]
    sorts: tuple[tuple[str, str], ...]
    reconciled: tuple[Reconciled, ...]


def page(user: User, session_key: str | None, wanted: Filter, number: int) -> RequestsPage:
    """One page of the log (5 queries)."""
    rows = wanted.rows(user, session_key)
    groups = _groups(user, session_key)
    named = [one for one in groups if one["kept"]]
    count = None if wanted.narrows else sum(one["requests"] for one in named)
    # Numbers first, so that what lies before a page, or is only put in order, is not read whole.
    numbers = ledger.paginate(rows.values_list("pk", flat=True), number, PAGE_SIZE, int, count)
    shown = rows.in_bulk(numbers.items) if numbers.items else {}
    found = Page(
        tuple(shown[pk] for pk in numbers.items if pk in shown),
        numbers.count,
        numbers.number,
        numbers.size,
    )
    tokens = {(one["token__label"], one["token"]) for one in named if one["token"]}
    return RequestsPage(
        rows=found.items,
        pager=pager(found, _("requests"), lambda n: f"{PATH}?{wanted.query(n)}"),
        filter=wanted,
        export=f"{PATH}.csv?{wanted.query()}".rstrip("?"),
        providers=_distinct(named, "provider"),
        models=_distinct(named, "model"),
        states=tuple(State.choices),
        verdicts=tuple(Verdict.values),
        tokens=tuple((token, label) for label, token in sorted(tokens)[:_MOST_NAMED]),
        sorts=tuple((name, label) for name, (label, _order) in SORTS.items()),
        reconciled=_against(user, groups),
    )


def _distinct(groups: Sequence[_Group], name: str) -> tuple[str, ...]:
    return tuple(sorted({one[name] for one in groups})[:_MOST_NAMED])


def _groups(user: User, session_key: str | None) -> list[_Group]:
    """Every request of a person, counted in one pass (1 query): by whom and what was asked, by
    which token, and whether its conversation is kept."""
    rows = access.turns_of(user, session_key).order_by()
    over = ~Q(state=State.OPEN)
    return list(
        rows.values(
            "provider", "serving", "model", "token", "token__label", kept=~Q(chat__key_sealed="")
        ).annotate(
            requests=Count("pk"),
            answers=Count("pk", filter=over),
            first=Min("created_at", filter=over),
            last=Max("ended_at", filter=over),
            least=Min("fee", filter=over & Q(fee__gt=0, fee_kind__in=_COUNTED)),
            known=Sum("fee", filter=over & Q(fee_kind=FeeKind.KNOWN)),
            estimated=Sum("fee", filter=over & Q(fee_kind=FeeKind.ESTIMATED)),
            unknown=Sum("fee", filter=over & Q(fee_kind=FeeKind.UNKNOWN)),
        )
    )


#: What each pair settled since its first request, and its newest such settlement.
_SETTLED = """
WITH mine AS (
    SELECT s.provider, s.serving, s.block, s.id, s.at, s.settled, s.unsettled
    FROM ledger_settlement s JOIN unnest(
        %(providers)s::text[], %(servings)s::text[], %(since)s::timestamptz[]
    ) AS pair (provider, serving, since)
        ON s.provider = pair.provider AND s.serving = pair.serving AND s.at >= pair.since
    WHERE s."user" = %(user)s
), sums AS (
    SELECT provider, serving, SUM(settled) AS settled, MAX(block) AS block FROM mine GROUP BY 1, 2
)
SELECT DISTINCT ON (provider, serving) provider, serving, sums.settled, mine.at, mine.unsettled
FROM sums JOIN mine USING (provider, serving, block) ORDER BY provider, serving, mine.id DESC
"""


def _against(user: User, groups: Sequence[_Group]) -> tuple[Reconciled, ...]:
    """Groups of requests, put together by pair, against what was settled (1 query).

    A settlement names no answer and no key, so single answers cannot be ticked off: totals can.
    """
    pairs: dict[tuple[str, str], list[_Group]] = {}
    for one in groups:
        if one["answers"]:
            pairs.setdefault((one["provider"], one["serving"]), []).append(one)
    counted = {pair: _together(found) for pair, found in pairs.items()}
    given: dict[str, Any] = {
        "user": user.address,
        "providers": [provider for provider, _serving in counted],
        "servings": [serving for _provider, serving in counted],
        "since": [sums["first"] - dt.timedelta(seconds=60) for sums in counted.values()],
    }
    with connection.cursor() as cursor:
        cursor.execute(_SETTLED, given)
        settled = {(row[0], row[1]): row[2:] for row in cursor.fetchall()}
    found = []
    for pair, sums in sorted(counted.items(), key=lambda one: -one[1]["answers"]):
        paid, at, unpaid = settled.get(pair, (0, None, 0))
        newest = None if at is None else (at, int(unpaid))
        found.append(_reconciled({**sums, "provider": pair[0]}, int(paid), newest))
    return tuple(found)


def _together(groups: Sequence[_Group]) -> dict[str, Any]:
    """The counts of several groups as those of one."""
    sums: dict[str, Any] = {
        name: sum(int(one[name] or 0) for one in groups)
        for name in ("answers", "known", "estimated", "unknown")
    }
    for name, best in (("first", min), ("last", max), ("least", min)):
        values = [one[name] for one in groups if one[name] is not None]
        sums[name] = best(values) if values else None
    return sums


def _reconciled(
    counted: Mapping[str, Any], settled: int, newest: tuple[dt.datetime, int] | None
) -> Reconciled:
    """`newest`: when the last settlement was, and what of it could not be paid."""
    found = Reconciled(
        provider=counted["provider"],
        answers=counted["answers"],
        known=int(counted["known"] or 0),
        estimated=int(counted["estimated"] or 0),
        unknown=int(counted["unknown"] or 0),
        settled=settled,
    )
    last = counted["last"]
    if newest is None or newest[1] or last is None or newest[0] < last.replace(microsecond=0):
        return found
    # A settlement holds all that the provider had counted by then. An answer that ended just before
    # may have missed it: then all of its fee is missing, and the next settlement comes soon.
    whole = found.open < int(counted["least"] or 0) or timezone.now() - newest[0] > SETTLES_WITHIN
    return replace(found, complete=whole)


def csv_rows(rows: QuerySet[Turn]) -> Iterator[list[Any]]:
    """The log as rows of COLUMNS. What was said is not among them."""
    yield list(COLUMNS)
    for turn in rows.iterator(chunk_size=500):
        label = turn.token.label if turn.token else ""
        values = {
            **turn.__dict__, "asked_at": turn.created_at, "fee_neuron": turn.fee,
            "token_label": label,
        }  # fmt: skip
        yield [values[name] for name in COLUMNS]
