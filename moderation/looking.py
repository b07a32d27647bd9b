"""The sweep: what a moderator should look at, found by comparing. Repeating it finds nothing twice,
and what no longer holds leaves the queue."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Sum, TextField, Value
from django.db.models.functions import Cast, Concat
from django.utils import timezone

from attestation import selectors as attestation
from attestation.models import Fact, Finding
from attestation.selectors import ServiceKey
from ledger import selectors as ledger
from ledger.models import Service, ServiceChange, SubAccount
from moderation import above, facts, risk, selectors
from moderation.models import EffectKind, Item, ItemKind, Outcome, Report
from moderation.subjects import Subject, SubjectKind

#: So many new items a sweep; the others come with the next.
MOST = 500
#: So many listings that nobody looked at wait at most: a queue is for people.
MOST_NEW = 2_000
#: Of what a provider said, kept with the item.
MOST_WORDS = 1_500
#: Changes of a key older than this are history.
RECENT = dt.timedelta(days=30)
FINDINGS: Mapping[str, ItemKind] = {
    Fact.URL_CHANGED: ItemKind.URL,
    Fact.SIGNER_DIFFERS: ItemKind.SIGNER,
    Fact.SAME_PPID: ItemKind.HARDWARE,
    Fact.SAME_GPU: ItemKind.HARDWARE,
    Fact.SIGNER_REUSED: ItemKind.HARDWARE,
    Fact.IDENTICAL_EVIDENCE: ItemKind.HARDWARE,
    Fact.REGRESSION: ItemKind.REGRESSION,
    Fact.COMPOSE_CHANGED: ItemKind.REGRESSION,
}


def sweep(now: dt.datetime | None = None) -> int:
    """Find, close what ended, weigh what is open; the number of new items (about 15 queries)."""
    now = now or timezone.now()
    with transaction.atomic():
        found = [*_new_listings(now), *_findings(), *_signer_changes(now)]
        made = Item.objects.bulk_create(found, ignore_conflicts=True)
        _end(now)
        weigh()
    return len(made)


def _item(
    kind: ItemKind, subject: Subject, occurrence: str, at: dt.datetime, about: dict[str, Any]
) -> Item:
    return Item(
        kind=kind,
        subject_kind=subject.kind,
        subject=subject.key,
        occurrence=occurrence[:200],
        about=about,
        opened_at=at,
    )


def published(provider: str, name: str, version: str, before: str, after: str) -> None:
    """A provider says something new about itself: somebody should read it. `name` is of what it
    said, `version` of this time; while nobody decided, a newer one takes the place of the last, as
    another item: whoever reads the last one must not approve the newer one unread."""
    subject, named = Subject.provider_of(provider), f"{name}:{provider}:"
    waiting = Item.objects.filter(kind=ItemKind.WORDS, occurrence__startswith=named, closed_at=None)
    now = timezone.now()
    about = {"before": before[:MOST_WORDS], "after": after[:MOST_WORDS]}
    made = _item(ItemKind.WORDS, subject, named + version, now, about)
    with transaction.atomic():
        last = waiting.exclude(occurrence=made.occurrence)
        row = last.select_for_update().order_by("opened_at").first()
        if row is not None:  # it waits since then, and what was approved is what was before
            made.opened_at, about["before"] = row.opened_at, row.about["before"]
            last.update(closed_at=now)
        Item.objects.bulk_create([made], ignore_conflicts=True)


def withdrawn(provider: str, name: str) -> None:
    """What nobody sees any more needs nobody."""
    waiting = Item.objects.filter(kind=ItemKind.WORDS, closed_at=None)
    waiting.filter(occurrence__startswith=f"{name}:{provider}:").update(closed_at=timezone.now())


_NEW = Concat(
    Value("new:"), "serving", Value(":"), "provider", Value(":"),
    Cast("created_block", TextField()), output_field=TextField(),
)  # fmt: skip
_FOUND, _PROPOSAL = (
    Concat(Value(prefix), Cast(field, TextField()), output_field=TextField())
    for prefix, field in (("finding:", "pk"), ("proposal:", "number"))
)


def _new_listings(now: dt.datetime) -> Iterable[Item]:
    """Listings in final blocks that were never in the queue."""
    room = MOST_NEW - Item.objects.filter(kind=ItemKind.NEW, closed_at=None).count()
    rows = Service.current.filter(removed=False, pending=False).annotate(named=_NEW)
    known = Item.objects.filter(occurrence=OuterRef("named"))
    fresh = rows.filter(~Exists(known)).order_by("-created_block", "serving", "provider")
    for serving, provider, block, named in fresh.values_list(
        "serving", "provider", "created_block", "named"
    )[: max(0, min(MOST, room))]:
        subject = Subject.service(serving, provider)
        yield _item(ItemKind.NEW, subject, named, now, {"block": block})


def _open_findings() -> Any:
    return Finding.objects.filter(closed_at=None).annotate(named=_FOUND)


def _findings() -> Iterable[Item]:
    named = {contract.service_name: contract.address for contract in ledger.contracts().values()}
    rows = _open_findings().filter(kind__in=FINDINGS)
    known = Item.objects.filter(occurrence=OuterRef("named"))
    for row in rows.filter(~Exists(known)).order_by("-opened_at")[:MOST]:
        serving = named.get(row.service_name)
        subject = (
            Subject.service(serving, row.provider) if serving else Subject.provider_of(row.provider)
        )
        about = {
            "finding": row.pk,
            "fact": row.kind,
            "other": row.other_provider,
            "report": str(row.verification_id) if row.verification_id else "",
            "detail": {str(k)[:40]: facts.text(v) for k, v in list(row.detail.items())[:8]},
        }
        yield _item(FINDINGS[row.kind], subject, f"finding:{row.pk}", row.opened_at, about)


def _signer_changes(now: dt.datetime) -> Iterable[Item]:
    rows = ServiceChange.objects.filter(pending=False, change="signer", at__gt=now - RECENT)
    known = set(
        Item.objects.filter(kind=ItemKind.SIGNER, opened_at__gt=now - RECENT).values_list(
            "occurrence", flat=True
        )
    )
    for row in rows.order_by("-block", "-sequence")[:MOST]:
        about = {
            "before": str((row.before or {}).get("tee_signer", ""))[:300],
            "after": str((row.after or {}).get("tee_signer", ""))[:300],
            "block": row.block,
            "tx": row.tx_hash or "",
        }
        named = f"signer:{row.serving}:{row.provider}:{row.block}:{row.sequence}"
        if named not in known:
            subject = Subject.service(row.serving, row.provider)
            yield _item(ItemKind.SIGNER, subject, named, row.at, about)


def _end(now: dt.datetime) -> None:
    """What no longer holds needs nobody: findings that ended, listings that are gone, proposals
    that nobody answered in time, reports whose authors were erased, links that have ended."""
    waiting = Item.objects.filter(closed_at=None)
    proposed = selectors.in_force(now).filter(kind=EffectKind.PROPOSED)
    for which, still in (
        (Q(kind=ItemKind.NEW), Service.current.filter(removed=False).annotate(named=_NEW)),
        (Q(occurrence__startswith="finding:"), _open_findings()),
        (Q(kind=ItemKind.PROPOSAL), proposed.annotate(named=_PROPOSAL)),
    ):
        holds = Exists(still.filter(named=OuterRef("occurrence")))
        waiting.filter(which, ~holds).update(closed_at=now)
    said = (ItemKind.REPORT, ItemKind.APPEAL)
    waiting.filter(kind__in=said, reports=None).update(closed_at=now)
    for kind in above.kinds():
        _end_with_subject(waiting.filter(subject_kind=kind), kind, now)


def _end_with_subject(waiting: QuerySet[Item], kind: str, now: dt.datetime) -> None:
    """What is gone for good needs nobody, and who reported it is told so (2 queries, and 2 where
    something ended). Deleting and bringing back does not shake reports off."""
    about = set(waiting.values_list("subject", flat=True))
    gone = about - set(above.owners(kind, about))
    if not gone:
        return
    waiting.filter(subject__in=gone).update(closed_at=now)
    said = Report.objects.filter(subject_kind=kind, subject__in=gone, closed_at=None)
    said.update(outcome=Outcome.GONE, closed_at=now)


def weigh() -> None:
    """The risk of everything open, by the rule of `moderation.risk` (5 queries)."""
    items = list(
        Item.objects.filter(closed_at=None).annotate(
            persons=Count("reports__reporter", distinct=True, filter=Q(reports__closed_at=None))
        )
    )
    providers = {item.concerns.address for item in items} - {""}
    held: dict[str, int] = dict(
        SubAccount.current.filter(provider__in=providers, live=True)
        .values_list("provider")
        .annotate(Sum("balance"))
    )
    contracts = ledger.contracts()
    keys = {
        item.pk: ServiceKey(contract.kind, item.concerns.address, contract.service_name)
        for item in items
        if (contract := contracts.get(item.concerns.serving)) is not None
    }
    judged = attestation.standings(keys.values())
    failed = {pk for pk, key in keys.items() if judged[key].failed}
    changed = []
    for item in items:
        there = 0 if item.subject_kind == SubjectKind.USER else held.get(item.concerns.address, 0)
        found = risk.of(item.kind, int(there), item.persons, failed=item.pk in failed)
        if (item.risk, item.why) != (found.points, list(found.why)):
            item.risk, item.why = found.points, list(found.why)
            changed.append(item)
    Item.objects.bulk_update(changed, ["risk", "why"], batch_size=500)
