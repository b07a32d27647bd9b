"""Every request a person made here: filtered, counted, set against what was settled on chain."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self
from urllib.parse import urlencode

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
from ledger.models import Settlement

PATH = "/playground/requests"
PAGE_SIZE = 50
#: A provider that has settled since the last answer, and not again within this, owes nothing more.
SETTLES_WITHIN = dt.timedelta(hours=1)
_COUNTED = (FeeKind.KNOWN, FeeKind.ESTIMATED)
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
    """One page of the log (10 queries)."""
    everything = Filter().rows(user, session_key)
    found = ledger.paginate(wanted.rows(user, session_key), number, PAGE_SIZE, lambda row: row)
    named = everything.order_by()
    return RequestsPage(
        rows=found.items,
        pager=pager(found, _("requests"), lambda n: f"{PATH}?{wanted.query(n)}"),
        filter=wanted,
        export=f"{PATH}.csv?{wanted.query()}".rstrip("?"),
        providers=_distinct(named, "provider"),
        models=_distinct(named, "model"),
        states=tuple(State.choices),
        verdicts=tuple(Verdict.values),
        tokens=tuple(
            named.exclude(token=None)
            .values_list("token_id", "token__label")
            .distinct()
            .order_by("token__label", "token_id")[:100]
        ),
        sorts=tuple((name, label) for name, (label, _order) in SORTS.items()),
        reconciled=reconcile(user, session_key),
    )


def _distinct(rows: QuerySet[Turn], name: str) -> tuple[str, ...]:
    values = rows.values_list(name, flat=True).distinct().order_by(name)
    return tuple(values[:100])


def reconcile(user: User, session_key: str | None) -> tuple[Reconciled, ...]:
    """Per provider, the fees counted here against the settlements on chain (2 queries).

    A settlement names no answer and no key, so single answers cannot be ticked off: totals can.
    """
    rows = access.turns_of(user, session_key).exclude(state=State.OPEN).order_by()
    counted = list(
        rows.values("provider", "serving").annotate(
            answers=Count("pk"),
            first=Min("created_at"),
            last=Max("ended_at"),
            least=Min("fee", filter=Q(fee__gt=0, fee_kind__in=_COUNTED)),
            known=Sum("fee", filter=Q(fee_kind=FeeKind.KNOWN)),
            estimated=Sum("fee", filter=Q(fee_kind=FeeKind.ESTIMATED)),
            unknown=Sum("fee", filter=Q(fee_kind=FeeKind.UNKNOWN)),
        )
    )
    since = {(x["provider"], x["serving"]): x["first"] for x in counted}
    settled: dict[tuple[str, str], int] = {}
    newest: dict[tuple[str, str], tuple[dt.datetime, int]] = {}
    mine = Settlement.objects.filter(user=user.address, provider__in={p for p, _ in since})
    items = mine.order_by("block", "pk").values_list(
        "provider", "serving", "at", "settled", "unsettled"
    )
    for provider, serving, at, paid, unpaid in items.iterator():
        key = (provider, serving)
        if key in since and at >= since[key] - dt.timedelta(seconds=60):
            settled[key] = settled.get(key, 0) + int(paid)
            newest[key] = (at, int(unpaid))
    found = []
    for counts in sorted(counted, key=lambda x: -x["answers"]):
        key = (counts["provider"], counts["serving"])
        found.append(_reconciled(counts, settled.get(key, 0), newest.get(key)))
    return tuple(found)


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
