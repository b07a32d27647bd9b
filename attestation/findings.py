"""Facts that only somebody who looks at the whole market can see (attestation.md 10, end).

Opened when first seen, closed when no longer true, never rewritten. Called inside the transaction
that writes the run.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from django.db.models import BigIntegerField, Exists, OuterRef, QuerySet
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast

from attestation.engine.verdicts import told_overall
from attestation.findings_chain import Seen, said, signer_differs, signer_reused, url_changed
from attestation.models import (
    Fact,
    Finding,
    Identity,
    Outcome,
    Trait,
    Turn,
    VerdictChange,
    Verification,
)
from attestation.selectors import DEVELOPMENT, ServiceKey
from ledger import selectors as ledger
from ledger.models import Service, ServiceChange
from ledger.records import Listing

#: Something that happened, not something that holds: closed by the first run after so long.
EVENT_STAYS = dt.timedelta(days=7)
#: Verdicts that are looked at for one that says how bad it was.
MAX_GAPS = 40
#: Of those who show the same thing, how many are looked at for one whose it is.
MOST_ASKED = 8
_SHARED = {
    Trait.PPID: Fact.SAME_PPID,
    Trait.GPU: Fact.SAME_GPU,
    Trait.SIGNER: Fact.SIGNER_REUSED,
    Trait.EVIDENCE: Fact.IDENTICAL_EVIDENCE,
}
_GPUS = "gpu.present"
_SEVERITY = {"pass": 0, "warn": 1, "not_provided": 2, "fail": 3}


def of_run(run: Verification, previous: Verification | None) -> None:
    """Facts that follow from one verdict and the verdict of the same endpoint before it."""
    if run.outcome == Outcome.UNREACHABLE:
        return
    now = run.finished_at
    _regression(run, previous)
    if run.outcome != Outcome.JUDGED:
        return
    _events(run, previous)
    shared = [seen for trait, value in _remember(run) for seen in _shared(run, trait, value)]
    if previous is not None and run.body_id and _evidence(previous) == _evidence(run):
        detail = {"previous": str(previous.pk)}
        shared.append(Seen(Fact.IDENTICAL_EVIDENCE, _evidence(run), detail=detail))
    _replace(ServiceKey.of(run), set(_SHARED.values()), shared, run, now, endpoint=run.endpoint)
    _let_go(run.provider, now)


def of_listing(listing: Listing, run: Verification | None, now: dt.datetime) -> None:
    """Facts that follow from the listing's own history on chain."""
    key = ServiceKey.of(listing)
    seen = [*url_changed(listing), *signer_differs(listing), *signer_reused(listing)]
    facts = {Fact.URL_CHANGED, Fact.SIGNER_DIFFERS, Fact.SIGNER_REUSED}
    _replace(key, facts, seen, run, now, endpoint="")
    _signer_given_up(listing.provider, now)


def retire(key: ServiceKey, now: dt.datetime, kept: Collection[str] = ()) -> None:
    """The service is gone, or has no other machines any more than `kept`: what it shared with
    others, and they with it, ends.
    """
    _known_by(key).exclude(endpoint__in=kept).delete()
    held = _open(key)
    if kept:  # without an endpoint: read from the chain and not from evidence
        held = held.filter(detail__has_key="endpoint").exclude(detail__endpoint__in=kept)
    held.update(closed_at=now)
    _let_go(key.provider, now)
    _signer_given_up(key.provider, now)


# --- verdicts -------------------------------------------------------------------------------------


def severity(overall: str, rows: Iterable[Mapping[str, Any]]) -> int | None:
    """How bad a verdict is for somebody with money there; None where only we lack something."""
    level = _SEVERITY.get(overall.removeprefix(DEVELOPMENT))
    withheld = any(row["verdict"] == "not_provided" and row["required"] for row in rows)
    # A warning does not make up for what is not handed over.
    return max(level or 0, _SEVERITY["not_provided"]) if withheld else level


def _regression(run: Verification, previous: Verification | None) -> None:
    """Open when it gets worse, closed when it is as good as it was; worse still is a new one."""
    held = _open(ServiceKey.of(run), {Fact.REGRESSION}).filter(subject=run.endpoint).first()
    verdicts = _verdicts(previous) if previous is not None else {}
    now, level = run.finished_at, severity(run.overall, run.rows)
    if _withdrawn(run, held.detail.get("rows_before", {}) if held else verdicts):
        level = max(level or 0, _SEVERITY["not_provided"])
    if level is None:
        return
    if held is not None:
        first, worst = held.detail.get("from_level", 0), held.detail.get("to_level", 0)
        if level <= first:
            _close([held], now)
            _turned(run, Turn.RECOVERED, held.detail["to"])
        # What an earlier version stored as less bad is no worse now than it was.
        before = severity(previous.overall, previous.rows) if previous is not None else None
        if level <= max(worst, before or 0):
            return
        _close([held], now)
        _regressed(run, held.detail["to"], _worse(run, held.detail, level))
        return
    known = None if previous is None else _newest_known(previous)
    if known is None:
        return
    first = severity(known.overall, known.rows) or 0
    if level > first:
        was = {"from": _word(known), "from_level": first, "rows_before": _verdicts(known)}
        _regressed(run, _word(known), _worse(run, was, level))


def _newest_known(run: Verification) -> Verification | None:
    """The newest verdict up to this one that says how bad it is: what only we lacked in between
    does not hide that something got worse (at most 1 query).
    """
    if severity(run.overall, run.rows) is not None:
        return run
    older = _runs(run).exclude(overall="").filter(started_at__lt=run.started_at)
    newest = older.only("overall", "rows").order_by("-started_at")[:MAX_GAPS]
    return next((row for row in newest if severity(row.overall, row.rows) is not None), None)


def _regressed(run: Verification, before: str, detail: Mapping[str, Any]) -> None:
    _add(run, Seen(Fact.REGRESSION, run.endpoint, detail=detail), run.finished_at)
    _turned(run, Turn.WORSE, before, detail["rows"])


def _turned(run: Verification, turn: Turn, before: str, checks: Sequence[str] = ()) -> None:
    VerdictChange.objects.create(
        change=turn,
        kind=run.kind,
        provider=run.provider,
        service_name=run.service_name,
        before={"overall": before},
        after={"overall": _word(run), "checks": list(checks)},
        block=run.block or 0,
        at=run.finished_at,
        verification=run,
    )


def _word(run: Verification) -> str:
    """As the service is called by it."""
    return told_overall(run.overall, run.rows)


def _withdrawn(run: Verification, before: Mapping[str, str]) -> bool:
    """Whether GPUs that were shown before are not shown any more: no required row would say so."""
    now = _verdicts(run).get(_GPUS)
    return before.get(_GPUS) == "pass" and now == "not_provided"


def _worse(run: Verification, was: Mapping[str, Any], level: int) -> dict[str, Any]:
    before = was.get("rows_before", {})
    worse = [
        row["id"]
        for row in run.rows
        if row["verdict"] in ("fail", "warn", "not_provided")
        and before.get(row["id"]) != row["verdict"]
    ]
    return {
        "from": was["from"],
        "from_level": was["from_level"],
        "rows_before": before,
        "to": _word(run),
        "to_level": level,
        "rows": worse[:50],
    }


def _verdicts(run: Verification) -> dict[str, str]:
    return {row["id"]: row["verdict"] for row in run.rows[:200]}


def _events(run: Verification, previous: Verification | None) -> None:
    """The software became another one: true at that moment, shown for a week."""
    now = run.finished_at
    held = _open(ServiceKey.of(run), {Fact.COMPOSE_CHANGED})
    held.filter(opened_at__lt=now - EVENT_STAYS).update(closed_at=now)
    if previous is None or not run.compose_hash:
        return
    if not previous.compose_hash:  # it showed none then: a change is one all the same
        shown = _runs(run).exclude(compose_hash="").filter(started_at__lt=previous.started_at)
        previous = shown.order_by("-started_at").first()
    if previous is not None and run.compose_hash != previous.compose_hash:
        detail = {"before": previous.compose_hash, "after": run.compose_hash}
        detail |= {"endpoint": run.endpoint, "previous": str(previous.pk)}
        held.update(closed_at=now)
        _add(run, Seen(Fact.COMPOSE_CHANGED, run.compose_hash, detail=detail), now)


# --- the same thing elsewhere ---------------------------------------------------------------------

_Traits = set[tuple[str, str]]
#: Hex digits of a SHA-256 and of half a signature.
_QUOTE_NAME = 128


def _evidence(run: Verification) -> str:
    """What a recording is known by, however it is wrapped: its signed bytes and their signature;
    the body where nothing genuine is in it.
    """
    name = f"{run.signed_range_hash}{run.facts.get('signature_r', '')}"
    genuine = run.signed_range_hash and len(name) == _QUOTE_NAME
    return name if genuine else run.body_id or ""


def _remember(run: Verification) -> _Traits:
    """Write down what this evidence is known by, forget what the one before was."""
    held = _known_by(ServiceKey.of(run)).filter(endpoint=run.endpoint)
    before = set(held.values_list("trait", "value"))
    now: _Traits = {(Trait.GPU.value, serial[:160]) for serial in run.gpu_serials}
    for trait, value in (
        (Trait.PPID, run.ppid),
        (Trait.SIGNER, run.attested_signer),
        (Trait.COMPOSE, run.compose_hash),
        (Trait.EVIDENCE, _evidence(run)),
    ):
        if value:
            now.add((trait.value, value))
    for trait_value, value in before - now:
        held.filter(trait=trait_value, value=value).delete()
    Identity.objects.bulk_create(
        [
            Identity(
                trait=trait_value,
                value=value,
                provider=run.provider,
                service_kind=run.kind,
                service_name=run.service_name,
                endpoint=run.endpoint,
                verification=run,
                since=run.finished_at,
            )
            for trait_value, value in sorted(now - before)
        ],
        ignore_conflicts=True,
    )
    return now


def _shared(run: Verification, trait: str, value: str) -> list[Seen]:
    """With whom: the provider that had it first, so that n of them make n facts and not n²."""
    fact = _SHARED.get(Trait(trait))
    if fact is None:
        return []
    others = Identity.objects.filter(trait=trait, value=value).exclude(provider=run.provider)
    others = others.order_by("since", "pk")
    if _is_its_own(run):
        # Anybody can pass on what another's machine answers: that is said of whoever does.
        found = (one for one in others[:MOST_ASKED] if _is_its_own(_newest_of(one)))
        first = next(found, None)
    else:
        first = others.first()
    if first is None:
        return []
    if said(fact, first.provider, run.provider, value):
        return []
    detail = {"other_service": [first.service_kind, first.service_name], "endpoint": run.endpoint}
    detail["other_since"] = first.since.isoformat()
    return [Seen(fact, value, first.provider, detail)]


def _is_its_own(run: Verification | None) -> bool:
    """Whether the chain names the key in this evidence as its provider's, and the owner of the
    contract accepted it."""
    rows = {} if run is None else _verdicts(run)
    return rows.get("bind.onchain") == rows.get("bind.ack") == "pass"


def _newest_of(one: Identity) -> Verification | None:
    """The newest verdict on the machine that is known by this (1 query)."""
    rows = Verification.objects.filter(
        provider=one.provider, kind=one.service_kind, service_name=one.service_name
    )
    judged = rows.filter(endpoint=one.endpoint, outcome=Outcome.JUDGED).only("rows")
    return judged.order_by("-started_at").first()


def _let_go(provider: str, now: dt.datetime) -> None:
    """Facts that others hold about this provider end when it no longer shows that identity."""
    known = set(Identity.objects.filter(provider=provider).values_list("value", flat=True))
    held = Finding.objects.filter(
        other_provider=provider, kind__in=set(_SHARED.values()), closed_at__isnull=True
    )
    # Without an endpoint: read from the chain and not from evidence.
    gone = [row for row in held if row.detail.get("endpoint") and row.subject not in known]
    _close(gone, now)


# --- the chain's own history ----------------------------------------------------------------------


def vouched(now: dt.datetime) -> None:
    """Endpoints whose signer the owner acknowledged again since they moved: that changes nothing of
    a listing, so that no run is due which would see it (1 query, 3 for each that may be one).
    """
    held = Finding.objects.filter(kind=Fact.URL_CHANGED, closed_at__isnull=True)
    moved = held.annotate(block=Cast(KeyTextTransform("block", "detail"), BigIntegerField()))
    later = ServiceChange.objects.filter(
        provider=OuterRef("provider"), change="acknowledged", block__gt=OuterRef("block")
    )
    for row in moved.filter(Exists(later)):
        key = ServiceKey(row.service_kind, row.provider, row.service_name)
        for listing in ledger.services_of(row.provider):
            if ServiceKey.of(listing) == key and not url_changed(listing):
                _close([row], now)


def _signer_given_up(provider: str, now: dt.datetime) -> None:
    """What others hold about a key that this provider no longer names."""
    named = Service.current.filter(provider=provider, removed=False).values_list("tee_signer")
    held = Finding.objects.filter(
        other_provider=provider, kind=Fact.SIGNER_REUSED, closed_at__isnull=True
    )
    gone = held.exclude(subject__in=named)
    _close([row for row in gone if not row.detail.get("endpoint")], now)


# --- rows -----------------------------------------------------------------------------------------


def _replace(
    key: ServiceKey,
    facts: set[Fact],
    seen: Iterable[Seen],
    run: Verification | None,
    now: dt.datetime,
    *,
    endpoint: str,
) -> None:
    """Open what is new, close what is no longer so. Of two endpoints each closes only its own."""
    wanted = {(one.fact.value, one.other, one.subject): one for one in seen}
    gone = []
    for row in _open(key, facts):
        place = (row.kind, row.other_provider, row.subject)
        if place in wanted:
            del wanted[place]
        elif row.detail.get("endpoint", endpoint) == endpoint:
            gone.append(row)
    _close(gone, now)
    for one in wanted.values():
        _create(key, one, run, now, endpoint)


def _runs(run: Verification) -> QuerySet[Verification]:
    """Of the same endpoint of the same service."""
    rows = Verification.objects.filter(provider=run.provider, endpoint=run.endpoint)
    return rows.filter(kind=run.kind, service_name=run.service_name)


def _known_by(key: ServiceKey) -> QuerySet[Identity]:
    return Identity.objects.filter(
        service_kind=key.kind, provider=key.provider, service_name=key.service_name
    )


def _open(key: ServiceKey, facts: Collection[Fact] = tuple(Fact)) -> QuerySet[Finding]:
    rows = Finding.objects.filter(kind__in=facts, closed_at__isnull=True)
    return rows.filter(service_kind=key.kind, provider=key.provider, service_name=key.service_name)


def _add(run: Verification, seen: Seen, now: dt.datetime) -> None:
    _create(ServiceKey.of(run), seen, run, now, run.endpoint)


def _create(
    key: ServiceKey, seen: Seen, run: Verification | None, now: dt.datetime, endpoint: str
) -> None:
    detail = {"endpoint": endpoint, **(seen.detail or {})} if endpoint else (seen.detail or {})
    Finding.objects.bulk_create(
        [
            Finding(
                kind=seen.fact,
                provider=key.provider,
                other_provider=seen.other,
                service_kind=key.kind,
                service_name=key.service_name,
                subject=seen.subject,
                verification=run,
                opened_at=now,
                detail=detail,
            )
        ],
        ignore_conflicts=True,
    )


def _close(rows: Iterable[Finding], now: dt.datetime) -> None:
    Finding.objects.filter(pk__in=[row.pk for row in rows], closed_at__isnull=True).update(
        closed_at=now
    )
