"""Paths that open a form of the funds page with a sub-account chosen, and pages of services and
tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol
from urllib.parse import quote, urlencode

from accounts.models import User
from ledger.records import ChangeEntry, Contract, Listing, Position

#: Pages of a person's fine-tuning tasks by provider and its name for the task, from the app above
#: that has them (`finetune.apps`).
TASK_PAGES: list[Callable[[User], Mapping[tuple[str, str], str]]] = []


class Pair(Protocol):
    """What names a sub-account, or a service to open one at."""

    @property
    def service_name(self) -> str: ...
    @property
    def provider(self) -> str: ...


def pair(of: Pair) -> str:
    """How the form names it: `service_name:provider`."""
    return f"{of.service_name}:{of.provider}"


def form(action: str, of: Pair, **more: object) -> str:
    """The form of an action with the pair chosen, and `more` of its fields filled in."""
    return "/account?" + urlencode({"action": action, "account": pair(of), **more})


def spendable(position: Position) -> str:
    """The page that says how much of a position can be spent now."""
    return "/account/spendable?" + urlencode({"account": pair(position)})


def service(listing: Listing, tab: str = "") -> str:
    """The public page of a listing, or a tab of it."""
    return service_at(listing, listing.provider, tab)


def service_at(contract: ChangeEntry | Contract | Listing, provider: str, tab: str = "") -> str:
    """The same of what a provider has in a contract. Of two contracts of a kind an address alone
    means the recommended one."""
    return service_of(contract.kind, provider, tab, other_name(contract))


def other_name(contract: ChangeEntry | Contract | Listing) -> str:
    """What an address says of a contract as `service_name`: nothing of the recommended one."""
    return "" if contract.recommended else contract.service_name


def service_of(kind: str, provider: str, tab: str = "", service_name: str = "") -> str:
    """The same; `service_name` only where it is not the recommended contract's."""
    path = f"/services/{quote(kind, safe='')}/{provider}" + (f"/{tab}" if tab else "")
    return path + (f"?{urlencode({'service_name': service_name})}" if service_name else "")
