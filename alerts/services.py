"""Writes: rules, and the sweep that turns what they find into notifications."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from django.db import IntegrityError, transaction
from django.db.models import Count, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.addresses import short
from accounts.errors import Problem
from accounts.models import User
from alerts import (
    conditions,
    listing_changes,
    others,
    own_service,
    places,
    schedule,
    words,
    works,
)
from alerts.conditions import Found, Hit
from alerts.kinds import CHANGES, LASTING, SORTS, Kind
from alerts.models import Channels, Held, Hook, Notification, Rule, new_token
from ledger.models import Projection
from net import layer

MOST_RULES = 50
#: A rule tells at most so much in a day: somebody who changes a price every minute floods nobody.
MOST_A_DAY = 20
BATCH = 200
#: A deleted rule can be brought back for so long.
UNDO_FOR = dt.timedelta(minutes=10)
_DAY = dt.timedelta(days=1)

Reader = Callable[[Sequence[Rule], dt.datetime], Found]
READERS: dict[Kind, Reader] = {
    Kind.LOW_BALANCE: conditions.low_balance,
    Kind.LOW_AVAILABLE: conditions.low_available,
    Kind.IDLE: conditions.idle,
    Kind.REFUND_UNLOCKED: conditions.refund_unlocked,
    Kind.PROVIDER_DOWN: conditions.provider_down,
    Kind.VERIFICATION: conditions.verification,
    Kind.LOCK_TIME: conditions.lock_time,
    Kind.TASK: works.task,
    Kind.DEADLINE: works.deadline,
    Kind.WORK: works.work,
    Kind.REPORT: others.report,
    Kind.DECIDED: others.decided,
    Kind.NOTE: others.note,
    Kind.TOKEN: conditions.token,
    Kind.CERTIFICATE: own_service.certificate,
    Kind.UNPAID: own_service.unpaid,
    Kind.LOW_GAS: own_service.low_gas,
    Kind.UNSETTLED: own_service.unsettled,
}


# --- rules ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wish:
    """A rule as somebody asks for it, already read from a form (`alerts.forms`)."""

    kind: Kind
    provider: str = ""
    threshold: int | None = None
    percent: int | None = None
    by_email: bool = False
    by_hook: bool = False

    def rule(self, user: User) -> Rule:
        """The rule it would be, not stored."""
        return Rule(user=user, **vars(self))


def channels_of(user: User) -> Channels:
    return Channels.objects.get_or_create(user=user, defaults=places.feed(new_token()))[0]


def add(user: User, wish: Wish) -> Rule:
    """A rule from now on. Raises Problem where there is one for the same, or too many."""
    rule = wish.rule(user)
    rule.created_at, rule.after_block = timezone.now(), _final_block()
    try:
        with transaction.atomic():
            _require_room(user)
            rule.save()
    except IntegrityError:
        said = _(SORTS[wish.kind].label)
        raise Problem(
            "rule_exists",
            _("There is a rule “%(said)s” for this already.") % {"said": said},
            _("Delete it first."),
        ) from None
    return rule


def _require_room(user: User) -> None:
    """Hold the person's rules, in a transaction. Raises Problem where there is no room for one
    more."""
    User.objects.select_for_update().get(pk=user.pk)
    if user.alert_rules.filter(deleted_at=None).count() >= MOST_RULES:
        raise Problem(
            "too_many_rules",
            _("At most %(most)s rules.") % {"most": MOST_RULES},
            _("Delete one first."),
        )


def delete(rule: Rule) -> None:
    Rule.objects.filter(pk=rule.pk, deleted_at=None).update(deleted_at=timezone.now())


def restore(rule: Rule) -> None:
    """Undo of `delete`. Raises Problem when it is too late, when there is another one for the same
    now, or as many as there may be."""
    fresh = Q(deleted_at__gt=timezone.now() - UNDO_FOR)
    try:
        with transaction.atomic():
            _require_room(rule.user)
            done = Rule.objects.filter(fresh, pk=rule.pk).update(deleted_at=None)
    except IntegrityError:
        done = 0
    if not done:
        raise Problem("too_late", _("This rule cannot be brought back."), _("Make it again."))


def snooze(rule: Rule, until: dt.datetime | None) -> None:
    """Quiet until then (None: no longer quiet)."""
    Rule.objects.filter(pk=rule.pk).update(snoozed_until=until)


def send_by(rule: Rule, *, email: bool, hook: bool, only: Hook | None = None) -> None:
    """`only`: one webhook of theirs instead of all."""
    Rule.objects.filter(pk=rule.pk).update(by_email=email, by_hook=hook, hook=only)


def renumber(rule: Rule, wish: Wish) -> None:
    """Another number for the same rule. What holds by both is no news; what holds only by the new
    one is."""
    Rule.objects.filter(pk=rule.pk, deleted_at=None).update(
        threshold=wish.threshold, percent=wish.percent
    )


def read(user: User, notification: str | None = None, *, until: dt.datetime | None = None) -> int:
    """Mark one as read, or all until a moment; how many were not."""
    rows = user.notifications.filter(read_at=None)
    if notification is not None:
        rows = rows.filter(pk=notification)
    if until is not None:
        rows = rows.filter(at__lte=until)
    done = rows.update(read_at=timezone.now())
    if done:
        _tell([user.pk])
    return done


# --- the sweep ------------------------------------------------------------------------------------


def sweep(now: dt.datetime | None = None) -> int:
    """Look at every rule once; the number of new notifications.

    Repeating it, or two at once, tells nothing twice: a notification is unique, and so is what a
    rule holds.
    """
    now = now or timezone.now()
    final = _final_block()
    _forget_deleted(now)
    told = 0
    asked = set(Rule.objects.order_by().values_list("kind", flat=True).distinct())
    for kind in Kind:
        for rules in _batches(kind) if kind in asked else ():
            told += _look(kind, rules, now, final)
    return told


def _forget_deleted(now: dt.datetime) -> None:
    """Held while it is deleted: one that is brought back this moment stays, or is too late."""
    old = Rule.objects.filter(deleted_at__lt=now - UNDO_FOR)
    if old.exists():
        with transaction.atomic():
            Rule.objects.filter(pk__in=[rule.pk for rule in old.select_for_update()]).delete()


def _batches(kind: Kind) -> Iterator[list[Rule]]:
    last = 0
    while True:
        rows = Rule.objects.filter(kind=kind, deleted_at=None, pk__gt=last, user__is_active=True)
        batch = list(rows.select_related("user").order_by("pk")[:BATCH])
        if batch:
            yield batch
        if len(batch) < BATCH:
            return
        last = batch[-1].pk


def _look(kind: Kind, batch: list[Rule], now: dt.datetime, final: int) -> int:
    quiet = [rule for rule in batch if rule.snoozed_until and rule.snoozed_until > now]
    awake = [rule for rule in batch if rule not in quiet]
    if kind in CHANGES:
        # What happens while a rule sleeps is on the page of changes, and no news afterwards.
        Rule.objects.filter(pk__in=[r.pk for r in quiet], after_block__lt=final).update(
            after_block=final
        )
        return _tell_changes(kind, awake, now, final)
    if not awake:
        return 0
    found = _found(kind, awake, now)
    with transaction.atomic():
        hits = _newly_held(kind, awake, found, now) if _holds(kind) else found
        return _notify(awake, hits, now)


def _found(kind: Kind, rules: Sequence[Rule], now: dt.datetime) -> Found:
    try:
        return READERS[kind](rules, now)
    except conditions.Crowded:
        half = len(rules) // 2
        parts = (_found(kind, part, now) for part in (rules[:half], rules[half:]))
        return {rule: hits for part in parts for rule, hits in part.items()}


def _holds(kind: Kind) -> bool:
    return kind in LASTING or kind == Kind.LOCK_TIME


def _tell_changes(kind: Kind, rules: list[Rule], now: dt.datetime, final: int) -> int:
    behind = [rule for rule in rules if rule.after_block < final]
    if not behind:
        return 0
    after = min(rule.after_block for rule in behind)
    found, upto = listing_changes.changes(kind, behind, after, final)
    with transaction.atomic():
        told = _notify(behind, found, now)
        Rule.objects.filter(pk__in=[r.pk for r in behind], after_block__lt=upto).update(
            after_block=upto
        )
    return told


def _newly_held(kind: Kind, rules: list[Rule], found: Found, now: dt.datetime) -> Found:
    """What began (or changed its value) since the last look, and what ended, remembered."""
    rows = Held.objects.select_for_update().filter(rule__in=rules)
    held = {(row.rule_id, row.subject): row for row in rows}
    news: dict[int, list[Hit]] = {}
    made, moved = [], []
    for rule in rules:
        news[rule.pk] = []
        for hit in found.get(rule.pk, ()):
            row = held.pop((rule.pk, hit.subject), None)
            if row is None:
                made.append(Held(rule=rule, subject=hit.subject, value=hit.value, since=now))
                # A value is only known from now on; a condition that holds already is news.
                if kind in LASTING:
                    news[rule.pk].append(hit)
            elif row.value != hit.value:
                row.value = hit.value
                moved.append(row)
                news[rule.pk].append(hit)
    Held.objects.bulk_create(made, ignore_conflicts=True)
    Held.objects.bulk_update(moved, ["value"])
    Held.objects.filter(pk__in=[row.pk for row in held.values()]).delete()
    if kind == Kind.PROVIDER_DOWN:
        back = conditions.answering((subject for _, subject in held), now)
        for (rule_id, subject), row in held.items():
            if subject in back:
                news[rule_id].append(_back(subject, row))
    return news


def _back(provider: str, row: Held) -> Hit:
    return Hit(
        subject=provider,
        occurrence=f"{provider}:back:{row.pk}",
        title=words.BACK.format(provider=short(provider)),
        text=words.BACK_SINCE.format(moment=words.moment(row.since)),
        path=f"/providers/{provider}",
        provider=provider,
    )


def _notify(rules: list[Rule], found: Found, now: dt.datetime) -> int:
    """Rows for what was not told yet, and deliveries for them."""
    wanted = [(rule, hit) for rule in rules for hit in found.get(rule.pk, ())]
    if not wanted:
        return 0
    ids = {rule.pk for rule, _ in wanted}
    known = Notification.objects.filter(
        rule__in=ids, occurrence__in=[hit.occurrence for _, hit in wanted]
    ).values_list("rule_id", "occurrence")
    told = set(known)
    today = dict(
        Notification.objects.filter(rule__in=ids, at__gt=now - _DAY)
        .values_list("rule_id")
        .annotate(n=Count("pk"))
    )
    rows = []
    for rule, hit in wanted:
        count = today.get(rule.pk, 0)
        if (rule.pk, hit.occurrence) in told or count >= MOST_A_DAY:
            continue
        today[rule.pk] = count + 1
        rows.append(_row(rule, hit, now, last=count + 1 == MOST_A_DAY))
    made = Notification.objects.bulk_create(rows, ignore_conflicts=True)
    written = set(
        Notification.objects.filter(pk__in=[row.pk for row in made]).values_list("pk", flat=True)
    )
    fresh = [row for row in made if row.pk in written]
    schedule.deliveries(fresh, {rule.pk: rule for rule in rules}, now)
    users = {row.user_id for row in fresh}
    if users:
        transaction.on_commit(lambda: _tell(sorted(users)))
    return len(fresh)


def _row(rule: Rule, hit: Hit, now: dt.datetime, *, last: bool) -> Notification:
    more = " " + words.QUIET_TODAY.format(count=MOST_A_DAY)
    return Notification(
        user=rule.user,
        rule=rule,
        kind=rule.kind,
        occurrence=hit.occurrence[:200],
        title=hit.title[:200],
        text=hit.text + (more if last else ""),
        path=hit.path[:400],
        provider=hit.provider,
        at=now,
    )


def _final_block() -> int:
    row = Projection.objects.filter(name="ledger").values_list("final_block", flat=True).first()
    return -1 if row is None else row


def group_of(user_id: int) -> str:
    """The channel-layer group of a person's open inboxes."""
    return f"inbox.{user_id}"


def _tell(users: list[int]) -> None:
    """Open pages are told to ask again; where one cannot be told, none can."""
    for user_id in users:
        if not layer.tell(group_of(user_id), "inbox.changed"):
            return


def renew_feed(user: User) -> str:
    """A new secret address for the private feed: its token."""
    token = new_token()
    Channels.objects.filter(pk=channels_of(user).pk).update(**places.feed(token))
    return token


def renew_feeds() -> int:
    """The same for everybody; how many there were."""
    ways = Channels.objects.all()
    known = list(ways.values_list("pk", flat=True))
    return sum(ways.filter(pk=pk).update(**places.feed(new_token())) for pk in known)
