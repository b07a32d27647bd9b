"""How long things are kept: one table, which `manage.py prune` (and beat, daily), the page "Your
data" and docs/reference.md read. A table of the database that is in no rule fails a test.

Chain facts and verdicts on messages are kept for good, evidence as long as a report rests on it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db.models import Model, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts import sessions
from accounts.models import Erasure, Export, ProviderKey, SignIn
from alerts import places
from alerts.models import Delivery, Notification
from attestation import retention as attestation
from finetune.models import Dataset, DatasetState, StoredFile
from inference import conversations
from inference import retention as inference
from ledger.models import Reconciliation
from marketplace.models import ComponentDay, Look
from probes import retention as probes
from protocol.keys import EPHEMERAL_TOKEN_ID

#: Comparisons of our rows with the contracts' are kept this long.
KEPT_RECONCILIATIONS = dt.timedelta(days=90)
KEPT_INBOX = dt.timedelta(days=365)
KEPT_DELIVERIES = dt.timedelta(days=90)
#: Keys of no use any more.
KEPT_EXPIRED_KEYS = dt.timedelta(days=30)
KEPT_UPLOADS = dt.timedelta(days=7)
KEPT_LOOSE_FILES = dt.timedelta(days=1)
KEPT_ERASURES = dt.timedelta(days=365)
KEPT_LOOKS, KEPT_COMPONENT_DAYS = dt.timedelta(days=8), dt.timedelta(days=400)

#: Rows deleted in one statement.
AT_ONCE = 5_000

PRUNE, SWEEP = "marketplace.prune", "inference.sweep"


@dataclass(frozen=True)
class Rule:
    """Rows of `models` (`app.model`) are kept as long as `kept` says; `job` is the Celery task that
    deletes them, empty where nothing does. `old`: what `prune` deletes."""

    what: str
    models: tuple[str, ...]
    kept: str
    job: str = ""
    old: Callable[[dt.datetime], QuerySet[Any]] | None = None


@dataclass(frozen=True)
class Pruned:
    """How many rows of one kind were too old."""

    what: str
    rows: int


def prune(*, dry_run: bool = False, now: dt.datetime | None = None) -> tuple[Pruned, ...]:
    """Delete what is old, or only count it. Idempotent."""
    now = now or timezone.now()
    done = [_gone(what, rows, dry_run) for what, rows in old(now)]
    if not dry_run:
        done.append(Pruned("deleted and unkept chats", conversations.purge()))
        places.seal()
    return tuple(done)


def old(now: dt.datetime) -> Iterator[tuple[str, QuerySet[Any]]]:
    """What may go, by name."""
    for rule in RULES:
        if rule.old is not None:
            yield rule.what, rule.old(now)


def words(model: type[Model]) -> str:
    """How long rows of a model are kept, for a page in its language."""
    label = model._meta.label_lower
    found = (_(rule.kept) for rule in RULES if label in rule.models)
    return "; ".join(dict.fromkeys(found))


def covered() -> dict[type[Model], tuple[Rule, ...]]:
    """The rules of every model that some rule names."""
    found: dict[type[Model], tuple[Rule, ...]] = {}
    for rule in RULES:
        for label in rule.models:
            model = apps.get_model(label)
            found[model] = (*found.get(model, ()), rule)
    return found


# --- what prune deletes ---------------------------------------------------------------------------


def _sign_ins(now: dt.datetime) -> QuerySet[Any]:
    return SignIn.objects.exclude(sessions.living(now))


def _keys(now: dt.datetime) -> QuerySet[Any]:
    """Of the site's own slot alone: rows of lasting keys remember which slots were given out."""
    before = now - KEPT_EXPIRED_KEYS
    return ProviderKey.objects.filter(token_id=EPHEMERAL_TOKEN_ID, expires_at__lt=before)


def _uploads(now: dt.datetime) -> QuerySet[Any]:
    return Dataset.objects.filter(
        state=DatasetState.UPLOADING, created_at__lt=now - KEPT_UPLOADS, places=None
    )


def _loose_files(now: dt.datetime) -> QuerySet[Any]:
    """Bytes that no dataset and no task knows of."""
    loose = Q(dataset=None, task=None, part_of=None)
    return StoredFile.objects.filter(loose, created_at__lt=now - KEPT_LOOSE_FILES)


def _gone(what: str, rows: QuerySet[Any], dry_run: bool) -> Pruned:
    if dry_run:
        return Pruned(what, rows.count())
    # Some at a time: a delete with a correlated condition first reads every row into memory. Each
    # time only what is still old: an upload may have ended, and a report been relied on, meanwhile.
    keys = list(rows.order_by().values_list("pk", flat=True))
    label, gone = rows.model._meta.label, 0
    for first in range(0, len(keys), AT_ONCE):
        _, deleted = rows.filter(pk__in=keys[first : first + AT_ONCE]).delete()
        gone += deleted.get(label, 0)
    return Pruned(what, gone)


# --- the table ------------------------------------------------------------------------------------

_YOURS = gettext_noop("until you delete it or erase your account")
_FOR_GOOD = gettext_noop("for good")
_REBUILT = gettext_noop("for good; it can be rebuilt from the chain")
_REPLACED = gettext_noop("until a newer value replaces it")

RULES: tuple[Rule, ...] = (
    Rule(
        gettext_noop("probes"),
        ("probes.probe",),
        gettext_noop("8 days"),
        PRUNE,
        probes.probes,
    ),
    Rule(
        gettext_noop("buckets of probes"),
        ("probes.bucket",),
        gettext_noop("quarters of an hour 9 days, hours 35 days, days 3 years"),
        PRUNE,
        probes.buckets,
    ),
    Rule(
        gettext_noop("health of removed services"),
        ("probes.health",),
        gettext_noop("90 days after the last probe"),
        PRUNE,
        probes.health,
    ),
    Rule(
        gettext_noop("prices of 0G in dollars"),
        ("probes.exchangerate",),
        gettext_noop("30 days"),
        PRUNE,
        probes.rates,
    ),
    Rule(
        gettext_noop("sign-ins of ended sessions"),
        ("accounts.signin",),
        gettext_noop("until the session ends: 7 days at most"),
        PRUNE,
        _sign_ins,
    ),
    Rule(
        gettext_noop("ended sessions"),
        ("sessions.session",),
        gettext_noop("until the session ends: 7 days at most"),
        PRUNE,
        sessions.over,
    ),
    Rule(
        gettext_noop("reconciliations"),
        ("ledger.reconciliation",),
        gettext_noop("90 days, the newest 100"),
        PRUNE,
        lambda now: Reconciliation.objects.filter(at__lt=now - KEPT_RECONCILIATIONS),
    ),
    Rule(
        gettext_noop("verifications"),
        ("attestation.verification",),
        gettext_noop(
            "reports for good, unless VERIFICATIONS_KEEP_DAYS is set; attempts without evidence "
            "90 days"
        ),
        PRUNE,
        attestation.verifications,
    ),
    Rule(
        gettext_noop("answers of Intel and NVIDIA"),
        ("attestation.retrieval",),
        gettext_noop("90 days, longer while they are valid"),
        PRUNE,
        attestation.retrievals,
    ),
    Rule(
        gettext_noop("documents that no report rests on"),
        ("attestation.document",),
        gettext_noop("as long as a report or an answer of Intel or NVIDIA rests on them"),
        PRUNE,
        attestation.documents,
    ),
    Rule(
        gettext_noop("expired provider keys"),
        ("accounts.providerkey",),
        gettext_noop("30 days after it expires; a lasting key’s slot until you erase your account"),
        PRUNE,
        _keys,
    ),
    Rule(
        gettext_noop("access tokens"),
        ("accounts.accesstoken",),
        gettext_noop(
            "30 days after it ends, of more than 300 the newest; one that asked a model until you "
            "erase your account"
        ),
        PRUNE,
        inference.tokens,
    ),
    Rule(
        gettext_noop("notifications"),
        ("alerts.notification",),
        gettext_noop("a year"),
        PRUNE,
        lambda now: Notification.objects.filter(at__lt=now - KEPT_INBOX),
    ),
    Rule(
        gettext_noop("deliveries"),
        ("alerts.delivery", "alerts.attempt"),
        gettext_noop("90 days"),
        PRUNE,
        lambda now: Delivery.objects.filter(created_at__lt=now - KEPT_DELIVERIES).exclude(
            state="waiting"
        ),
    ),
    Rule(
        gettext_noop("unfinished uploads"),
        ("finetune.dataset",),
        gettext_noop("unfinished uploads 7 days, datasets until you delete them"),
        PRUNE,
        _uploads,
    ),
    Rule(
        gettext_noop("files of nothing"),
        ("finetune.storedfile", "finetune.piece"),
        gettext_noop("until you delete what they belong to"),
        PRUNE,
        _loose_files,
    ),
    Rule(
        gettext_noop("personal files past their time"),
        ("accounts.export", "accounts.exportpiece"),
        gettext_noop("24 hours"),
        PRUNE,
        lambda now: Export.objects.filter(expires_at__lt=now),
    ),
    Rule(
        gettext_noop("erasures that are done"),
        ("accounts.erasure",),
        gettext_noop("a year"),
        PRUNE,
        lambda now: Erasure.objects.filter(done_at__lt=now - KEPT_ERASURES),
    ),
    Rule(
        gettext_noop("conversations"),
        ("inference.chat", "inference.turn", "inference.file", "inference.job"),
        gettext_noop(
            "until you delete them, then a minute for an undo; those not kept end with the session"
        ),
        SWEEP,
    ),
    Rule(
        gettext_noop("links to conversations"),
        ("inference.share",),
        gettext_noop("until they end, you end them, or you delete the conversation"),
        SWEEP,
    ),
    Rule(
        gettext_noop("saved settings"),
        ("inference.ownpreset", "inference.presetversion"),
        gettext_noop(
            "until you delete them, then a minute for an undo; the last 20 earlier texts of each"
        ),
        SWEEP,
    ),
    Rule(
        gettext_noop("alert rules"),
        ("alerts.rule", "alerts.held"),
        gettext_noop("until you delete them, then 10 minutes for an undo"),
        "alerts.sweep",
    ),
    Rule(
        gettext_noop("requests for a run of checks"),
        ("attestation.request",),
        gettext_noop("until a worker made it, 10 minutes at most"),
        "attestation.sweep",
    ),
    Rule(
        gettext_noop("reviewed transactions"),
        ("accounts.intent",),
        gettext_noop(
            "the newest 50 that were not sent or that the chain never showed; others until you "
            "erase your account"
        ),
    ),
    Rule(
        gettext_noop("settings and drafts of an account"),
        (
            "accounts.watch",
            "alerts.channels",
            "alerts.hook",
            "finetune.place",
            "moderation.anyway",
            "operators.listingdraft",
            "operators.note",
            "operators.profile",
            "probes.sharer",
        ),
        _YOURS,
    ),
    Rule(
        gettext_noop("fine-tuning drafts"),
        ("finetune.draft",),
        gettext_noop("the newest 20, until you send or delete them, then a minute for an undo"),
        "finetune.sweep",
    ),
    Rule(
        gettext_noop("fine-tuning tasks"),
        ("finetune.task", "finetune.passage", "finetune.logpart", "finetune.deployment"),
        gettext_noop("until you erase your account"),
    ),
    Rule(
        gettext_noop("runs of setup checks"),
        ("operators.setuprun", "operators.selftest"),
        gettext_noop("the newest 20"),
    ),
    Rule(
        gettext_noop("reports of users"),
        ("moderation.report",),
        gettext_noop("until you erase your account"),
    ),
    Rule(
        gettext_noop("accounts"),
        ("accounts.user", "ops.passwordaccount"),
        gettext_noop("until you erase your account"),
    ),
    Rule(
        gettext_noop("looks at the site’s parts"),
        ("marketplace.look",),
        gettext_noop("8 days"),
        PRUNE,
        lambda now: Look.objects.filter(at__lt=now - KEPT_LOOKS),
    ),
    Rule(
        gettext_noop("days of the site’s parts"),
        ("marketplace.componentday",),
        gettext_noop("400 days"),
        PRUNE,
        lambda now: ComponentDay.objects.filter(day__lt=(now - KEPT_COMPONENT_DAYS).date()),
    ),
    Rule(
        gettext_noop("incidents and maintenance of the site"),
        ("marketplace.announcement", "marketplace.update"),
        _FOR_GOOD,
    ),
    Rule(
        gettext_noop("failed background tasks"),
        ("ops.failedtask",),
        gettext_noop("the newest 1,000"),
    ),
    Rule(gettext_noop("commands of staff"), ("ops.job",), gettext_noop("the newest 200")),
    Rule(
        gettext_noop("decisions of staff"),
        ("moderation.act", "moderation.effect", "moderation.item"),
        gettext_noop("for good: a chain of hashes that nothing can be taken out of"),
    ),
    Rule(
        gettext_noop("evidence and verdicts on services"),
        (
            "attestation.finding",
            "attestation.identity",
            "attestation.payment",
            "attestation.verdictchange",
        ),
        _FOR_GOOD,
    ),
    Rule(
        gettext_noop("what stands now"),
        (
            "attestation.standing",
            "chain.coverage",
            "chain.head",
            "chain.nodestate",
            "finetune.providerfacts",
            "ledger.projection",
            "operators.debt",
        ),
        _REPLACED,
    ),
    Rule(
        gettext_noop("facts of the chain"),
        (
            "chain.rawblock",
            "chain.rawcall",
            "chain.rawlog",
            "chain.rawtransaction",
            "ledger.ledger",
            "ledger.movement",
            "ledger.service",
            "ledger.servicechange",
            "ledger.servicetotal",
            "ledger.servingcontract",
            "ledger.settlement",
            "ledger.subaccount",
            "operators.batchgas",
        ),
        _REBUILT,
    ),
    Rule(
        gettext_noop("names of roles and tables"),
        (
            "admin.logentry",
            "auth.group",
            "auth.permission",
            "contenttypes.contenttype",
        ),
        gettext_noop("as long as the site runs; nothing is written there in daily use"),
    ),
)
