"""The way to a closed account: retrieve, wait, collect, withdraw (contracts.md 3.4, 6.3). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from django.utils.translation import gettext as _

from accounts import links, money
from accounts.addresses import short
from ledger.records import Account


@dataclass(frozen=True)
class Todo:
    """One line of the checklist; `state` is done, current or next. `links` are (label, path)."""

    label: str
    state: str
    note: str = ""
    links: tuple[tuple[str, str], ...] = ()
    unlocks_at_unix: int = 0


def checklist(account: Account, now: int, lead: int = 0) -> tuple[Todo, ...]:
    """What is left to do; the first open line is the current one. `lead`: how far the chain's clock
    is ahead of ours, seconds.
    """
    free = [p for p in account.positions if p.spendable > 0]
    waiting = [r for p in account.positions for r in p.refunds if r.unlocks_at_unix > now]
    unlocked = sum(p.unlocked(now) for p in account.positions)
    held = sum(p.balance for p in account.positions)
    available = account.ledger.available if account.ledger else 0
    retrieve = tuple(
        (
            _("Retrieve %(amount)s 0G from %(provider)s")
            % {"amount": money.short(p.spendable), "provider": short(p.provider)},
            links.form("retrieve", p),
        )
        for p in free
    )
    last = max((r.unlocks_at_unix for r in waiting), default=0)
    collect = ((_("Collect all"), "/account/refunds/collect"),) if unlocked else ()
    withdraw = urlencode({"action": "withdraw", "amount": money.exact(available)})
    everything = ((_("Withdraw everything"), f"/account?{withdraw}"),)
    total = account.ledger.total if account.ledger else 0
    steps = (
        (not free, _("Retrieve everything from providers"), "", retrieve, 0),
        (not free and not waiting, _("Wait until it is unlocked"), "", (), last and last - lead),
        (not held, _("Collect it"), "", collect, 0),
        (
            not total,
            _("Withdraw everything"),
            _("Taking out the last neuron closes the account by itself."),
            everything if available and not held else (),
            0,
        ),
    )
    found, open_before = [], False
    for done, label, note, ways, unlocks in steps:
        state = "done" if done and not open_before else "next" if open_before else "current"
        open_before = open_before or not done
        found.append(Todo(label, state, note, ways, unlocks if not done else 0))
    return tuple(found)
