"""One frozen dataclass per page: the template's whole context."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from accounts import money
from accounts.addresses import short
from accounts.pages_parts import Option, Pager, tabs
from accounts.pages_transaction import Link
from alerts import deliver, selectors, telegram
from alerts.conditions import Hit
from alerts.forms import Typed
from alerts.kinds import OPERATORS, SORTS, Kind, Sort, sentence
from alerts.models import Channels, Delivery, Hook, Notification, Rule
from alerts.telegram import Invitation

#: Kinds that are about the person's own money there: watching a listing does not matter to them.
OWN = frozenset({Kind.LOW_BALANCE, Kind.IDLE, Kind.REFUND_UNLOCKED})


@dataclass(frozen=True)
class RuleRow:
    rule: Rule
    sentence: str
    hint: str
    quiet: bool
    #: Of its number, with the number as somebody would type it; "" for a rule that has none.
    unit: str = ""
    number: str = ""


def _everywhere(kind: Kind) -> str:
    """As the sentence needs it: some languages tell who acts from whom something is about."""
    if kind in OWN:
        return _("each provider where I hold money")
    if SORTS[kind].sentence.startswith("{where}"):
        return pgettext("who acts", "each provider where I hold money or that I watch")
    return _("each provider where I hold money or that I watch")


def rule_row(rule: Rule, now: dt.datetime) -> RuleRow:
    where = short(rule.provider) if rule.provider else _everywhere(Kind(rule.kind))
    least = rule.threshold or 0
    number = str(rule.percent) if rule.percent is not None else money.exact(least)
    said = sentence(rule.kind, where, number if rule.percent is not None else money.told(least))
    quiet = rule.snoozed_until is not None and rule.snoozed_until > now
    sort = SORTS[Kind(rule.kind)]
    return RuleRow(rule, said, _(sort.hint), quiet, sort.unit, number if sort.unit else "")


@dataclass(frozen=True)
class KindOption:
    """A kind to choose: its hint, and what its number is, empty where it takes none."""

    value: str
    label: str
    selected: bool
    hint: str
    number: str


@dataclass(frozen=True)
class RuleForm:
    """The form as it was typed; `past` is what the rule would have told in the last `days`, None:
    cannot be told."""

    typed: Typed
    kinds: tuple[KindOption, ...]
    providers: tuple[Option, ...]
    error: str = ""
    previewed: bool = False
    says: str = ""
    past: tuple[Hit, ...] | None = None
    days: int = 0


def kind_options(chosen: str, *, operator: bool = False) -> tuple[KindOption, ...]:
    shown = [s for s in SORTS.values() if operator or s.kind not in OPERATORS or s.kind == chosen]
    return tuple(
        KindOption(
            sort.kind.value, _(sort.label), sort.kind == chosen, _(sort.hint), _number_hint(sort)
        )
        for sort in shown
    )


def _number_hint(sort: Sort) -> str:
    if sort.unit == "%":
        return _("Whole percent. Empty: every change.")
    if not sort.unit:
        return ""
    if not sort.default:
        return _("An amount of 0G. It has to be named.")
    return _("An amount of 0G. Empty: %(default)s 0G.") % {"default": sort.default}


@dataclass(frozen=True)
class AlertsPage:
    rules: tuple[RuleRow, ...]
    form: RuleForm
    channels: Channels
    hooks: tuple[Hook, ...]
    deliveries: tuple[Delivery, ...]
    #: Empty without a fresh signature: the address carries news away.
    feed_url: str
    #: No key of today opens the address.
    feed_lost: bool = False
    undo: int | None = None
    #: A mail address as it was typed, and why it was not taken.
    mail: str = ""
    mail_error: str = ""
    #: The person offers a service, and has no rule about it yet.
    operator: bool = False
    tabs: tuple[Link, ...] = field(default_factory=lambda: tabs("/account/alerts"))
    mail_works: bool = field(default_factory=deliver.mail_works)
    telegram_works: bool = field(default_factory=telegram.works)


@dataclass(frozen=True)
class HookPage:
    """`secret` only right after it was made; `overlaps`: one of before signs as well; `unused`: no
    rule tells it anything."""

    hook: Hook
    deliveries: tuple[Delivery, ...]
    secret: str = ""
    overlaps: bool = False
    unused: bool = False
    tabs: tuple[Link, ...] = field(default_factory=lambda: tabs("/account/alerts"))

    @property
    def delete(self) -> str:
        return f"/account/alerts/hooks/{self.hook.pk}/act"


@dataclass(frozen=True)
class InboxPage:
    """`unread` as the bell says it; `until`: the moment of the newest of them, as a form has it."""

    rows: tuple[Notification, ...]
    pager: Pager
    unread: str
    only_unread: bool
    until: str
    tabs: tuple[Link, ...] = field(default_factory=lambda: tabs("/account/inbox"))


@dataclass(frozen=True)
class Bell:
    """What the header's bell says; `label` is read aloud."""

    unread: int

    @property
    def shown(self) -> str:
        most = selectors.MOST_COUNTED
        return (
            "" if not self.unread else f"{most - 1}+" if self.unread >= most else str(self.unread)
        )

    @property
    def label(self) -> str:
        return _("Inbox, %(count)s unread") % {"count": self.shown} if self.unread else _("Inbox")


@dataclass(frozen=True)
class HookForm:
    url: str
    formats: tuple[Option, ...]
    error: str
    tabs: tuple[Link, ...] = field(default_factory=lambda: tabs("/account/alerts"))


@dataclass(frozen=True)
class TelegramPage:
    """`invitation` once a code was asked for."""

    invitation: Invitation | None = None
    error: str = ""
    minutes: int = int(telegram.CODE_LIVES.total_seconds()) // 60
    tabs: tuple[Link, ...] = field(default_factory=lambda: tabs("/account/alerts"))


@dataclass(frozen=True)
class UnsubscribePage:
    email: str
    ended: bool
