"""What others said that somebody is told of: moderators about a report, a service or a shared
conversation of theirs, providers about maintenance and incidents. Reads only, as in `conditions`.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from django.db.models import Q

from accounts.addresses import short
from alerts import words
from alerts.conditions import (
    Found,
    Hit,
    by_provider,
    newest,
    oldest,
    providers_of,
    scopes,
    since_made,
)
from alerts.models import Rule
from inference import shared_links
from ledger import selectors as ledger
from ledger.models import Service
from ledger.records import Contract
from moderation import services as moderation
from moderation.fold import Action
from moderation.models import Act, Outcome, Report
from moderation.state import AREA
from moderation.subjects import Subject, SubjectKind
from operators import notes
from operators.models import Note
from operators.models_listing import NoteKind

# --- reports ------------------------------------------------------------------------------------


def report(rules: Sequence[Rule], now: dt.datetime) -> Found:
    """Reports that moderators answered since the rule was made (1 query)."""
    found = reports_since({rule.user_id for rule in rules}, oldest(rules, now))
    return {rule.pk: since_made(rule, found.get(rule.user_id, ())) for rule in rules}


def reports_since(users: Iterable[int], since: dt.datetime) -> Mapping[int, list[Hit]]:
    """Answers by their reader, newest first (1 query). Raises Crowded."""
    readers = set(users)
    rows = Report.objects.filter(reporter__in=readers, closed_at__gt=since)
    found: dict[int, list[Hit]] = defaultdict(list)
    for row in newest(rows.exclude(outcome="").order_by("-closed_at"), len(readers)):
        found[row.reporter_id].append(
            Hit(
                subject=str(row.pk),
                occurrence=f"report:{row.pk}",
                title=words.ANSWERED.format(outcome=str(Outcome(row.outcome).label).lower()),
                text=row.answer,
                path="/account/reports",
                provider=row.about.address,
                at=row.closed_at,
            )
        )
    return found


# --- decisions about what is one's own ------------------------------------------------------------


def decided(rules: Sequence[Rule], now: dt.datetime) -> Found:
    """Decisions since the rule was made whose author can no longer take them back (4 queries)."""
    owners = {rule.user.address for rule in rules}
    found = decided_since(owners, oldest(rules, now), now)
    return {rule.pk: since_made(rule, found.get(rule.user.address, ())) for rule in rules}


def decided_since(
    owners: Iterable[str], since: dt.datetime, now: dt.datetime
) -> Mapping[str, list[Hit]]:
    """What moderators did about services, wallets, models and shared conversations of these owners,
    newest first (4 queries). Raises Crowded."""
    known = ledger.contracts()
    wallets = set(owners)
    keys = wallets | {Subject.service(at, owner).key for at in known for owner in wallets}
    links = shared_links.of_owners(wallets)
    models: dict[str, dict[str, str]] = defaultdict(dict)  # with a service of each that offers it
    offered = Service.current.filter(provider__in=wallets, removed=False).exclude(model="")
    for model, owner, serving in offered.values_list("model", "provider", "serving"):
        models[model][owner] = serving
    about_these = Q(
        subject_kind__in=(SubjectKind.SERVICE, SubjectKind.PROVIDER, SubjectKind.SHARE),
        subject__in=keys | set(links),
    )
    about_these |= Q(subject_kind=SubjectKind.MODEL, subject__in=models)
    rows = Act.objects.filter(
        about_these,
        area=AREA,
        action__in=(*words.DECIDED, Action.UNDO),
        at__gt=since,
    )
    acts = newest(rows.order_by("-number"), len(wallets))
    undone = {act.said.get("answers") for act in acts if act.action == Action.UNDO}
    found: dict[str, list[Hit]] = defaultdict(list)
    for act in acts:
        settled = act.at <= now - moderation.UNDO_FOR
        if act.action != Action.UNDO and act.number not in undone and settled:
            if act.subject_kind == SubjectKind.MODEL:
                for owner, serving in models[act.subject].items():
                    # An appeal is its owner's, and nobody owns a model's name.
                    found[owner].append(_decided(act, Subject.service(serving, owner), known))
                continue
            owner = act.about.address or links[act.subject]
            found[owner].append(_decided(act, act.about, known))
    return found


_APPEALED = (Action.FLAG, Action.HIDE, Action.END, Action.END_BY_HOST)


def _decided(act: Act, about: Subject, known: Mapping[str, Contract]) -> Hit:
    """`about`: what its owner can appeal for."""
    contract = known.get(about.serving)
    name = contract.service_name[:60] if contract else about.serving
    what = words.YOUR_SERVICE.format(service=name) if about.serving else words.YOUR_SERVICES
    if act.subject_kind == SubjectKind.MODEL:
        what = words.YOUR_MODEL.format(model=act.subject[:60])
    sentence = words.DECIDED[Action(act.action)]
    return Hit(
        subject=f"act:{act.number}",
        occurrence=f"act:{act.number}",
        title=sentence.format(what=what, label=str(act.said.get("label", ""))[:60]),
        text=act.public_text,
        path=about.report_path if act.action in _APPEALED else "/moderation/log",
        provider=about.address,
        at=act.at,
    )


# --- what providers announce ----------------------------------------------------------------------


def note(rules: Sequence[Rule], now: dt.datetime) -> Found:
    """Notes that were published since the rule was made (4 queries)."""
    about = scopes(rules)
    hits = announced_since(providers_of(about), oldest(rules, now), len(rules))
    return by_provider(rules, about, hits)


def announced_since(providers: Iterable[str], since: dt.datetime, sharers: int = 1) -> list[Hit]:
    """What these providers announced and did not withdraw, newest first (1 query). Raises
    Crowded."""
    rows = notes.told().filter(provider__in=set(providers), signed_at__gt=since)
    return [_announced(row) for row in newest(rows, sharers)]


def _announced(row: Note) -> Hit:
    sentence = words.FROM_TO if row.ends_at else words.FROM
    end = words.moment(row.ends_at) if row.ends_at else ""
    title = words.ANNOUNCED[NoteKind(row.kind)]
    if row.kind == NoteKind.INCIDENT and row.ends_at and row.ends_at <= row.signed_at:
        title = words.ENDED
    return Hit(
        subject=str(row.pk),
        occurrence=f"note:{row.pk}",
        title=title.format(provider=short(row.provider)),
        text=sentence.format(start=words.moment(row.starts_at), end=end, text=row.text),
        path=f"/providers/{row.provider}",
        provider=row.provider,
        at=row.signed_at,
    )
