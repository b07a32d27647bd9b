"""The words of a preview: effects, plans, predicted refusals, and the money of a wallet before and
after. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from accounts.facts import Facts, Purse, Serving, SubAccount
from protocol import abi

Value = int | bool | str | None


class Predicted(Exception):
    """The contract will refuse: its error name and arguments, in its own order of checks."""

    def __init__(self, name: str, *arguments: Any) -> None:
        super().__init__(name)
        self.name = name
        self.arguments_ = arguments


@dataclass(frozen=True)
class Effect:
    """One value that changes. `what` is the closed list of interfaces.md 3; `who` the provider or
    recipient concerned.
    """

    what: str
    before: Value
    after: Value
    who: str = ""

    def to_json(self) -> dict[str, Any]:
        body = {"what": self.what, "before": _json(self.before), "after": _json(self.after)}
        return {**body, "who": self.who} if self.who else body


def _json(value: Value) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


@dataclass(frozen=True)
class Plan:
    """What accepting the call changes, and what a person should know before signing it."""

    effects: tuple[Effect, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class After:
    """The wallet's money after the transaction, as far as it changes."""

    wallet: int
    purse: Purse
    refunding: int
    accounts: dict[str, SubAccount]

    @property
    def locked(self) -> int:
        """At providers and not on its way back; with the other two it sums to the total."""
        return self.purse.total - self.purse.available - self.refunding


def purse_of(facts: Facts) -> Purse:
    if facts.purse is None:
        raise Predicted("LedgerNotExists", facts.sender)
    return facts.purse


def serving_of(facts: Facts) -> Serving:
    if facts.serving is None:
        raise Predicted("ServiceNotFound", abi.ZERO_ADDRESS)
    return facts.serving


def target_of(facts: Facts) -> Serving:
    """The serving contract that is called directly: it must speak an ABI we know."""
    serving = serving_of(facts)
    if not serving.contract:
        raise Predicted("ServiceNotFound", abi.ZERO_ADDRESS)
    return serving


def account_of(facts: Facts, provider: str) -> SubAccount:
    target_of(facts)
    account = facts.accounts.get(provider)
    if account is None:
        raise Predicted("AccountNotExists", facts.sender, provider)
    return account


def start(facts: Facts) -> After:
    return After(facts.wallet, facts.purse or Purse(0, 0), facts.refunding, {})


def money_effects(facts: Facts, after: After) -> tuple[Effect, ...]:
    """The effects on the four numbers of the funds page and on each sub-account, unchanged ones
    left out.
    """
    before = start(facts)
    rows = [
        Effect("wallet", before.wallet, after.wallet),
        Effect("available", before.purse.available, after.purse.available),
        Effect("locked", before.locked, after.locked),
        Effect("refunding", before.refunding, after.refunding),
    ]
    for provider, account in after.accounts.items():
        held = facts.accounts.get(provider)
        rows.append(Effect("sub_account", held.balance if held else 0, account.balance, provider))
    return tuple(row for row in rows if row.before != row.after)


def acknowledgement(provider: str, before: bool, after: bool) -> tuple[Effect, ...]:
    return () if before == after else (Effect("signer_acknowledged", before, after, who=provider),)
