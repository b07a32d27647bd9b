"""Reads for staff: the queue, the evidence beside it, a subject's acts, the whole record.

Only doors that ask for a role read from here: reasons and reports are private.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Q, QuerySet, Sum
from django.utils.translation import gettext as _

from accounts import links, money
from accounts.addresses import short
from attestation import selectors as attestation
from attestation import words
from attestation.selectors import ServiceKey, StandingView
from ledger import selectors as ledger
from ledger import words as ledger_words
from ledger.models import Service, SubAccount
from ledger.records import ChangeEntry, Listing, Page
from ledger.stored import fields, integer
from moderation import above, facts, risk, selectors, state
from moderation.models import Act, Effect, Item, ItemKind, Report
from moderation.subjects import Subject, SubjectKind
from probes.selectors import HealthView, health_of

SHOWN, SHOWN_ACTS, SHOWN_CHANGES = 50, 30, 8
#: Letters of what a change was from and to.
_MOST_SAID = 300
#: Letters of a search, and services whose model has them.
MOST_TYPED, MOST_NAMED = 80, 1_000


@dataclass(frozen=True)
class Filter:
    """What of the queue is asked for; empty means any. `text`: a part of an address, or of what a
    model is called."""

    kind: str = ""
    mine: bool = False
    closed: bool = False
    text: str = ""

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> Filter:
        kind = given.get("kind", "")
        return cls(
            kind if kind in ItemKind.values else "",
            given.get("mine") == "1",
            given.get("closed") == "1",
            given.get("q", "").replace("\0", "").strip()[:MOST_TYPED],
        )


@dataclass(frozen=True)
class Row:
    """A line of the queue. `tone`: how much of its time is over (`risk.tone`)."""

    item: Item
    title: str
    kind: str
    due: dt.datetime
    tone: str
    claimed: bool

    @property
    def why(self) -> list[str]:
        """The parts of its risk, in the reader's language."""
        return [risk.spoken(part) for part in self.item.why]


def rows(asked: Filter, who: str, now: dt.datetime, page: int = 1) -> Page[Row]:
    """One page of the queue by risk, then age (4 queries at most)."""
    found = Item.objects.filter(closed_at__isnull=not asked.closed)
    if asked.kind:
        found = found.filter(kind=asked.kind)
    if asked.mine:
        found = found.filter(claimed_by=who)
    if asked.text:
        found = found.filter(_about(asked.text))
    order = ("-closed_at", "-pk") if asked.closed else ("-risk", "opened_at", "pk")
    items: Page[Item] = ledger.paginate(found.order_by(*order), page, SHOWN, lambda item: item)
    names = titles([item.concerns for item in items.items])
    shown = tuple(row(item, names, now) for item in items.items)
    return Page(shown, items.count, items.number, items.size)


def _about(text: str) -> Q:
    """Items whose subject is called like this: an address, a model, a service by its model."""
    named = Service.current.filter(model__icontains=text).values_list("serving", "provider")
    keys = [Subject.service(*pair).key for pair in named[:MOST_NAMED]]
    return Q(subject__icontains=text) | Q(subject_kind=SubjectKind.SERVICE, subject__in=keys)


def row(item: Item, names: Mapping[Subject, str], now: dt.datetime) -> Row:
    fresh = item.claimed_at is not None and now - item.claimed_at < CLAIM_FOR
    return Row(
        item=item,
        title=names.get(item.concerns, ""),
        kind=str(ItemKind(item.kind).label),
        due=risk.due(item.opened_at, item.risk),
        tone="" if item.closed_at else risk.tone(item.opened_at, item.risk, now),
        claimed=bool(item.claimed_by) and fresh,
    )


#: A claim that nobody followed up is none.
CLAIM_FOR = dt.timedelta(hours=4)


def counts() -> dict[str, int]:
    """Open items by kind (1 query)."""
    open_ones = Item.objects.filter(closed_at=None).order_by()
    return dict(open_ones.values_list("kind").annotate(n=Count("pk")))


def titles(subjects: list[Subject]) -> dict[Subject, str]:
    """What each subject is called: a stranger's words, still to be escaped (1 query)."""
    providers = {one.address for one in subjects if one.kind == SubjectKind.SERVICE}
    found = Service.current.filter(provider__in=providers)
    models = {
        (serving, provider): model or (trained[0] if trained else "")
        for serving, provider, model, trained in found.values_list(
            "serving", "provider", "model", "model_list"
        )
    }
    named = {}
    for one in subjects:
        if one.kind == SubjectKind.SERVICE:
            model = str(models.get((one.serving, one.address), ""))[:80]
            named[one] = _("%(model)s by %(provider)s") % {
                "model": model or _("Service"),
                "provider": short(one.address),
            }
        elif one.address:
            provider = one.kind == SubjectKind.PROVIDER
            text = _("Provider %(address)s") if provider else _("Wallet %(address)s")
            named[one] = text % {"address": short(one.address)}
        elif one.kind == SubjectKind.SHARE:
            named[one] = _("Shared conversation %(key)s") % {"key": one.key[:8]}
        else:
            named[one] = one.key[:80]
    return named


# --- evidence -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Offered:
    """One listing that an item is about, with what was checked and measured."""

    listing: Listing
    path: str
    standing: StandingView
    health: HealthView


@dataclass(frozen=True)
class Changed:
    """A line of a listing's history on chain. `words`: what changed, in the reader's language;
    `before` and `after`, as the chain has them. `since` the first report: what people wrote about
    may be gone.
    """

    words: str
    entry: ChangeEntry
    since: bool
    before: str = ""
    after: str = ""

    @classmethod
    def of(cls, entry: ChangeEntry, reported: dt.datetime | None) -> Changed:
        said = ledger_words.change(entry.change, entry.after) or entry.change
        since = reported is not None and entry.at > reported
        old, new = fields(entry.before), fields(entry.after)
        if not (old and new):
            return cls(said, entry, since)
        moved = [name for name in new if old.get(name) != new[name]]
        return cls(said, entry, since, _values(old, moved), _values(new, moved))


def _values(said: Mapping[str, Any], names: list[str]) -> str:
    return ", ".join(_valued(name, str(said.get(name, ""))) for name in names)[:_MOST_SAID]


def _valued(name: str, value: str) -> str:
    if value.isascii() and value.isdigit() and ("price" in name or name == "stake"):
        number = integer(value)
        value = f"{money.told(number)} 0G" if name == "stake" else f"{number:,} neuron"
    return f"{name.replace('_', ' ')} {value}"


@dataclass(frozen=True)
class Finding:
    title: str
    text: str
    other: str
    report: str
    detail: tuple[tuple[str, str], ...]
    before: str
    after: str
    #: Both are verdicts.
    judged: bool


@dataclass(frozen=True)
class Evidence:
    """Everything a moderator needs on one page. `held`: neuron of users there."""

    subject: Subject
    title: str
    item: Row | None
    finding: Finding | None
    before: str
    after: str
    reports: tuple[Report, ...]
    proposal: Act | None
    offers: tuple[Offered, ...]
    held: int
    holders: int
    changes: tuple[Changed, ...]
    acts: tuple[Act, ...]
    #: Without the proposal, each with what else it was decided about, by name.
    force: tuple[tuple[Effect, str], ...]
    others: tuple[Row, ...]
    #: Where staff reads what was reported; empty where nothing is open about it.
    shown_path: str = ""
    #: Of a shared conversation: its link's time is over, or its owner ended it.
    gone: bool = False
    #: Whether moderators lift what is in force.
    can_lift: bool = True

    @property
    def moved(self) -> tuple[Changed, ...]:
        """What changed since the first report."""
        return tuple(one for one in self.changes if one.since)

    @property
    def can_end(self) -> bool:
        """Whether ending it can be proposed: neither it nor a proposal is in force."""
        ended = any(one.kind == "ended" for one, about in self.force)
        return not (self.gone or ended or self.proposal)


def evidence(subject: Subject, item: Item | None, now: dt.datetime) -> Evidence:
    """One subject, with the item that brought it here (about 15 queries)."""
    about = item.about if item else {}
    found = _offers(subject)
    address = subject.address
    held, holders = _held(subject)
    waiting = Item.objects.filter(
        closed_at=None, subject_kind=subject.kind, subject=subject.key
    ).order_by("-risk", "opened_at")
    if item:
        waiting = waiting.exclude(pk=item.pk)
    reports = tuple(_reports(subject, item))
    reported = min((one.at for one in reports), default=None)
    force = selectors.bearing_on(subject, [one.listing for one in found], now)
    proposals = [one.number for one in force if one.kind == "proposed"]
    names = titles([subject, *(one.about for one in force)])
    changes = (
        ledger.timeline(address, subject.serving, page_size=SHOWN_CHANGES)
        if address and subject.kind != SubjectKind.USER
        else None
    )
    return Evidence(
        subject=subject,
        title=names.get(subject, ""),
        item=row(item, names, now) if item else None,
        finding=_finding(about),
        before=str(about.get("before", "")),
        after=str(about.get("after", "")),
        reports=reports,
        proposal=Act.objects.filter(pk__in=proposals).first() if proposals else None,
        offers=found,
        held=held,
        holders=holders,
        changes=tuple(Changed.of(one, reported) for one in changes.items) if changes else (),
        acts=tuple(state.acts_of(subject).reverse()[:SHOWN_ACTS]),
        force=tuple(
            (one, names[one.about] if one.about != subject else "")
            for one in force
            if one.kind not in ("approved", "proposed")
        ),
        others=tuple(row(one, names, now) for one in waiting[:10]),
        shown_path=above.path(subject) if is_readable(subject) else "",
        gone=subject.kind in above.kinds() and not above.lives(subject),
        can_lift=not any(one.by_host for one in state.in_force(subject, now).values()),
    )


def is_readable(subject: Subject) -> bool:
    """Whether staff may read what a link shows: only while it lives, and only because somebody
    reported it or its owner appeals (2 queries)."""
    said = Item.objects.filter(
        closed_at=None,
        kind__in=(ItemKind.REPORT, ItemKind.APPEAL),
        subject_kind=subject.kind,
        subject=subject.key,
    )
    return subject.kind in above.kinds() and said.exists() and above.lives(subject)


def _offers(subject: Subject) -> tuple[Offered, ...]:
    if not subject.address or subject.kind == SubjectKind.USER:
        return ()
    listings = [
        listing
        for listing in ledger.services_of(subject.address, include_removed=True)
        if subject.serving in ("", listing.serving)
    ][:10]
    keys = [ServiceKey.of(listing) for listing in listings]
    known, measured = attestation.standings(keys), health_of(keys)
    return tuple(
        Offered(listing, links.service(listing), known[key], measured[key])
        for listing, key in zip(listings, keys, strict=True)
    )


def _held(subject: Subject) -> tuple[int, int]:
    """What users hold there, and how many do (1 query)."""
    if not subject.address or subject.kind == SubjectKind.USER:
        return 0, 0
    rows = SubAccount.current.filter(provider=subject.address, live=True, balance__gt=0)
    if subject.serving:
        rows = rows.filter(serving=subject.serving)
    found = rows.aggregate(held=Sum("balance"), holders=Count("user", distinct=True))
    return int(found["held"] or 0), found["holders"]


def _finding(about: Mapping[str, Any]) -> Finding | None:
    if "fact" not in about:
        return None
    title, text = words.finding(about["fact"])
    detail = about.get("detail") or {}
    before, after = facts.turn(detail)
    return Finding(
        title=title,
        text=text,
        other=about.get("other", ""),
        report=about.get("report", ""),
        detail=facts.pairs(detail),
        before=before,
        after=after,
        judged=facts.judged(detail),
    )


def _reports(subject: Subject, item: Item | None) -> QuerySet[Report]:
    rows = Report.objects.select_related("reporter").order_by("-at")
    if item and item.kind in (ItemKind.REPORT, ItemKind.APPEAL):
        return rows.filter(item=item)[:SHOWN]
    about = Q(subject_kind=subject.kind, subject=subject.key)
    if subject.kind == SubjectKind.USER:
        about = Q(reporter__address=subject.key)
    return rows.filter(about)[:SHOWN]


# --- acts -----------------------------------------------------------------------------------------


def record(area: str = "", actor: str = "") -> QuerySet[Act]:
    """The whole record for staff, newest first."""
    rows = Act.objects.order_by("-number")
    if area:
        rows = rows.filter(area=area)
    return rows.filter(actor=actor) if actor else rows
