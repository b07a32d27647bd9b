"""Reads for pages and API: what is known about a service now, findings; runs are `history`'s.

Decided here, at reading: a verdict older than a day is shown as `expired`, one older than three
days, or about another listing than there is now, as `never` (attestation.md 13.5). A constant
number of queries each.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import JSONObject
from django.utils import timezone

from attestation.models import Finding, Standing, Verification
from ledger import tags
from ledger.models import Service

EXPIRED_AFTER = dt.timedelta(hours=24)
DROPPED_AFTER = dt.timedelta(hours=72)
EXPIRED, NEVER = "expired", "never"
DEVELOPMENT = "dev-"
#: What a verdict depends on of a listing, as `Standing.basis` holds it.
BASIS = (
    *("url", "model", "verifiability", "additional_info"),
    *("tee_signer", "tee_signer_acknowledged"),
)


class OfService(Protocol):
    """A row that says which service it is about."""

    @property
    def kind(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def service_name(self) -> str: ...


class ServiceKey(NamedTuple):
    """What a service is known by: interfaces.md 3."""

    kind: str
    provider: str
    service_name: str

    @classmethod
    def of(cls, row: OfService) -> ServiceKey:
        return cls(row.kind, row.provider, row.service_name)


@dataclass(frozen=True)
class EndpointView:
    """The newest word about one TD of a service; `error`: why the last attempt brought none."""

    endpoint: str
    overall: str
    verification_id: uuid.UUID | None
    checked_at: dt.datetime | None
    error: str


@dataclass(frozen=True)
class StandingView:
    """`overall` is the word to show: the engine's, `expired` or `never`. `judged` is the last
    verdict whatever its age, "" without one; `changed`: it was about another listing. `stale`:
    shown grey, because it expired or because the provider cannot be reached. `declared`: see
    `attestation.declared.Word`.
    """

    overall: str = NEVER
    judged: str = ""
    changed: bool = False
    questions: Mapping[str, str] = field(default_factory=dict)
    checked_at: dt.datetime | None = None
    verification_id: uuid.UUID | None = None
    unreachable_since: dt.datetime | None = None
    tried_at: dt.datetime | None = None
    error: str = ""
    development: bool = False
    stale: bool = False
    declared: str = ""
    endpoints: tuple[EndpointView, ...] = ()

    @property
    def failed(self) -> bool:
        """The last verdict about this listing, whatever its age: a failure does not wear off while
        its provider answers no more checks."""
        return not self.changed and self.judged.removeprefix(DEVELOPMENT) == "fail"

    @property
    def good(self) -> bool:
        """Passed, with warnings too; of development evidence also."""
        return self.overall.removeprefix(DEVELOPMENT) in ("pass", "warn")

    @property
    def holds_key(self) -> bool:
        """Good, and genuine hardware was seen to name the key: that a required part was not seen
        hides behind "with warnings" in the one word (attestation.md 11), in no answer of a service
        (`standings`)."""
        answers = (self.questions.get(name) for name in ("hardware", "key"))
        whole = self.overall.removeprefix(DEVELOPMENT) == "pass"
        return self.good and (whole or all(answer in ("pass", "warn") for answer in answers))

    @property
    def compared(self) -> bool:
        """Evidence that hardware signed can be held against others' (`attestation.findings`)."""
        return self.questions.get("hardware") in ("pass", "warn", "partial")

    @property
    def gpu_unproven(self) -> bool:
        """A good word that proves no GPU: a broker alone, evidence without one, or with one that
        could not be checked whole. It must not hide behind the CPU's (features.md C2).
        """
        return self.good and self.questions.get("gpu") not in ("pass", "warn")


#: What is said about a service that nobody has looked at.
UNKNOWN = StandingView()


def standing_of(key: ServiceKey) -> StandingView:
    """What is known about one service (1 query)."""
    return standings([key])[key]


def standings(
    keys: Iterable[ServiceKey], now: dt.datetime | None = None
) -> dict[ServiceKey, StandingView]:
    """What is known about each of a page's services (1 query); every key is in the answer."""
    return _standings(keys, now or timezone.now(), {})[0]


def standings_at(
    keys: Iterable[ServiceKey],
) -> tuple[dict[ServiceKey, StandingView], tuple[Any, ...]]:
    """The same, and the state that it was read in (1 query): for numbers beside these rows. Empty
    where nothing is known about any of them."""
    now = timezone.now()
    return _standings(keys, now, {"state": Subquery(state_within(now))})


def _standings(
    keys: Iterable[ServiceKey], now: dt.datetime, more: Mapping[str, Subquery]
) -> tuple[dict[ServiceKey, StandingView], tuple[Any, ...]]:
    wanted = dict.fromkeys(keys, UNKNOWN)
    found: dict[str, Any] = {}
    if not wanted:
        return {}, ()
    as_listed = listed().annotate(now=JSONObject(**{name: F(name) for name in BASIS}))
    rows = Standing.objects.filter(provider__in={key.provider for key in wanted})
    other = Exists(as_listed.filter(~Q(now=OuterRef("basis"))))
    for row in rows.annotate(changed=other, **more):
        found = getattr(row, "state", {})
        key = ServiceKey.of(row)
        if key in wanted:
            wanted[key] = _view(row, now, changed=bool(row.basis) and row.changed)
    return wanted, tuple(found.items())


def listed() -> QuerySet[Any]:
    """What is offered now of the service that a row of an outer query is about, by its `serving`
    and `provider`.
    """
    return Service.current.filter(
        removed=False, serving=OuterRef("serving"), provider=OuterRef("provider")
    )


def judged_since(since: dt.datetime) -> QuerySet[Standing]:
    """What was judged since then about a row of an outer query of `ledger.models.Service`, as it
    is listed now."""
    same = Q(basis=JSONObject(**{name: OuterRef(name) for name in BASIS})) | Q(basis={})
    rows = Standing.objects.filter(serving=OuterRef("serving"), provider=OuterRef("provider"))
    return rows.filter(same, checked_at__gt=since).exclude(overall="")


def verified_filter(word: str) -> Q:
    """A condition on `ledger.models.Service` for `verified=` (interfaces.md 3): one EXISTS.

    A plain word also finds its `dev-` form: those exist on a devnet only, and say so themselves.
    """
    now = timezone.now()
    kept = judged_since(now - DROPPED_AFTER)
    if word == NEVER:
        return ~Q(Exists(kept))
    if word == EXPIRED:
        return Q(Exists(kept.filter(checked_at__lte=now - EXPIRED_AFTER)))
    fresh = judged_since(now - EXPIRED_AFTER)
    return Q(Exists(fresh.filter(overall__in=(word, DEVELOPMENT + word))))


@dataclass(frozen=True)
class Verified:
    """`verified=word` as `ledger.selectors.ServiceQuery.where`; `state` is what it was asked at, so
    that a list kept for one state is not taken for another's.
    """

    word: str
    state: tuple[Any, ...]

    def q(self) -> Q:
        return verified_filter(self.word)


def verified(word: str) -> Verified | None:
    """The condition for a `verified=` value, None for "" (at most 1 query)."""
    return Verified(word, state()) if word else None


def state(now: dt.datetime | None = None) -> tuple[Any, ...]:
    """Changes whenever what `standings` or `verified_filter` say changes (1 query).

    The counts move when a verdict expires or is dropped, which no write marks.
    """
    return tuple(Standing.objects.aggregate(**_counted(now or timezone.now())).values())


def state_within(now: tags.Moment | None = None) -> QuerySet[Any, Any]:
    """The same as one value, for a statement that reads more (0 queries)."""
    return tags.within(Standing.objects.all(), **_counted(now or timezone.now()))


def _counted(now: tags.Moment) -> dict[str, Any]:
    fresh = Q(checked_at__gt=now - EXPIRED_AFTER)
    kept = Q(checked_at__gt=now - DROPPED_AFTER)
    return {
        "written": tags.moments("updated_at"),
        "fresh": Count("pk", filter=fresh),
        "kept": Count("pk", filter=kept),
    }


def _word(overall: str, checked_at: dt.datetime | None, now: dt.datetime, changed: bool) -> str:
    """What is left of a verdict now."""
    age = now - checked_at if checked_at and overall and not changed else DROPPED_AFTER
    return NEVER if age >= DROPPED_AFTER else EXPIRED if age >= EXPIRED_AFTER else overall


def _view(row: Standing, now: dt.datetime, *, changed: bool) -> StandingView:
    shown = _word(row.overall, row.checked_at, now, changed)
    kept = shown != NEVER
    return StandingView(
        overall=shown,
        judged=row.overall,
        changed=changed,
        questions=row.questions if kept else {},
        checked_at=row.checked_at if kept else None,
        verification_id=row.verification_id,
        unreachable_since=row.unreachable_since,
        tried_at=row.tried_at,
        error=row.error,
        development=row.development and kept,
        stale=shown == EXPIRED or (kept and row.unreachable_since is not None),
        declared=row.declared,
        endpoints=tuple(
            _endpoint(name, said, now, changed) for name, said in sorted(row.endpoints.items())
        ),
    )


def _endpoint(name: str, said: Mapping[str, Any], now: dt.datetime, changed: bool) -> EndpointView:
    id, at = said.get("verification"), said.get("checked_at")
    checked_at = dt.datetime.fromisoformat(at) if at else None
    return EndpointView(
        endpoint=name,
        overall=_word(said.get("overall", ""), checked_at, now, changed),
        verification_id=uuid.UUID(id) if id else None,
        checked_at=checked_at,
        error=said.get("error", ""),
    )


# --- runs -----------------------------------------------------------------------------------------


def failed(ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, frozenset[str]]:
    """The ids of the rows that failed, by run (1 query)."""
    runs = Verification.objects.filter(pk__in=list(ids)).values_list("pk", "rows")
    return {
        pk: frozenset(row["id"] for row in rows if row["verdict"] == "fail") for pk, rows in runs
    }


def images(id: uuid.UUID) -> tuple[str, ...]:
    """The container images that the evidence of a run names, a stranger's texts (1 query)."""
    facts = Verification.objects.filter(pk=id).values_list("facts", flat=True).first() or {}
    return tuple(str(image.get("ref", "")) for image in facts.get("images") or ())


# --- findings -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FindingView:
    """A fact across the market; `kind` is one of `attestation.models.Fact`."""

    id: int
    kind: str
    provider: str
    other_provider: str
    service: ServiceKey
    subject: str
    verification_id: uuid.UUID | None
    opened_at: dt.datetime
    closed_at: dt.datetime | None
    detail: Mapping[str, Any]


def findings(provider: str, *, open_only: bool = False) -> tuple[FindingView, ...]:
    """Facts about a provider, the open ones first (1 query)."""
    rows = Finding.objects.filter(Q(provider=provider) | Q(other_provider=provider))
    if open_only:
        rows = rows.filter(closed_at__isnull=True)
    newest = map(finding_view, rows.order_by("-opened_at", "-pk")[:200])
    return tuple(sorted(newest, key=lambda view: view.closed_at is not None))


def findings_for(providers: Iterable[str]) -> dict[str, tuple[FindingView, ...]]:
    """Open facts of several providers: for whoever holds a balance there (1 query)."""
    wanted: dict[str, list[FindingView]] = {provider: [] for provider in providers}
    if not wanted:
        return {}
    about = Q(provider__in=wanted) | Q(other_provider__in=wanted)
    rows = Finding.objects.filter(about, closed_at__isnull=True).order_by("-opened_at", "-pk")
    for view in map(finding_view, rows[:1000]):
        for provider in {view.provider, view.other_provider} & wanted.keys():
            wanted[provider].append(view)
    return {provider: tuple(views) for provider, views in wanted.items()}


def finding_view(row: Finding) -> FindingView:
    return FindingView(
        id=row.pk,
        kind=row.kind,
        provider=row.provider,
        other_provider=row.other_provider,
        service=ServiceKey(row.service_kind, row.provider, row.service_name),
        subject=row.subject,
        verification_id=row.verification_id,
        opened_at=row.opened_at,
        closed_at=row.closed_at,
        detail=row.detail,
    )
