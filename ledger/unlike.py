"""What leaves neither a log, nor a transaction to our contracts, nor a sum that is wrong: found by
the contracts' own lists beside our state, at the end of a block. Pure.

Each function gives the questions whose answers put our state right: only these answers are kept as
facts. A list of everybody's would be, again and again, for what one stranger does in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any, TypeVar

from chain.facts import Call, Header
from chain.projection import Reader
from ledger import compared, reads
from ledger.state import Serving, State

Key = TypeVar("Key", str, tuple[str, str])
#: What owners set, and the view of each.
_SET = (
    ("lock_time_seconds", reads.lock_time),
    ("owner", reads.owner),
    ("penalty_percentage", reads.penalty),
)


def any_of(address: str, state: State, header: Header, read: Reader, *, whole: bool) -> list[Call]:
    """Ledgers that contracts filled from others, and what owners set; with `whole` accounts and
    listings too, whose logs a node can have left out. [] while older code may run, which answers
    in other shapes."""
    known = sorted(state.servings.values(), key=lambda serving: serving.address)
    servings = [s for s in known if s.audited and s.kind in reads.CONTRACT_OF]
    if not servings:
        return []
    found = ledgers(address, state, header, read)
    for serving in servings:
        found += _settings(serving, header, read)
        if whole:
            found += _accounts(serving, state, header, read)
            found += _services(serving, state, header, read)
    return found


def ledgers(address: str, state: State, header: Header, read: Reader) -> list[Call]:
    """Every ledger of the LedgerManager beside ours."""
    page = partial(reads.all_ledgers, address)
    listed, complete = _listed("ledger", page, reads.LEDGER_PAGE, header, read)
    theirs = {entry["user"]: compared.chain_ledger(entry) for entry in listed}
    ours = {x.user: compared.our_ledger(x) for x in state.ledgers.values() if x.exists}
    users = theirs.keys() | ours.keys() if complete else theirs.keys()
    return [reads.ledger(address, user) for user in _differing(users, theirs, ours)]


def _settings(serving: Serving, header: Header, read: Reader) -> list[Call]:
    calls = [view(serving.address) for _, view in _SET]
    found = []
    for (name, _), call, answer in zip(_SET, calls, read.views(header, calls), strict=True):
        said = reads.value(serving.kind, call, answer)
        if said not in (None, getattr(serving, name)):
            found.append(call)
    return found


def _accounts(serving: Serving, state: State, header: Header, read: Reader) -> list[Call]:
    """Of fine-tuning all: its list does not say what was delivered."""
    ours = {
        (account.user, account.provider): compared.our_account(account, serving.kind)
        for account in state.accounts.values()
        if account.live and account.serving == serving.address
    }
    page = partial(reads.all_accounts, serving.address, serving.kind)
    listed, complete = _listed(serving.kind, page, reads.PAGE, header, read)
    theirs = {(e["user"], e["provider"]): compared.chain_account(e) for e in listed}
    pairs: Collection[tuple[str, str]] = sorted(theirs.keys() | ours.keys())
    if complete and serving.kind == "inference":
        pairs = _differing(pairs, theirs, ours)
    return [reads.account(serving.address, serving.kind, *pair) for pair in pairs]


def _services(serving: Serving, state: State, header: Header, read: Reader) -> list[Call]:
    """Those we list: that one came or went moves a stake, which is not overlooked."""
    page = partial(reads.all_services, serving.address, serving.kind)
    listed, complete = _listed(serving.kind, page, reads.PAGE, header, read)
    theirs = {e["provider"]: compared.chain_service(serving.kind, e) for e in listed}
    names = next(iter(theirs.values()), {}).keys()
    ours = {
        s.provider: compared.fields(s, names)
        for s in state.services.values()
        if s.serving == serving.address and not s.removed
    }
    providers = _differing(ours, theirs, ours) if complete else sorted(ours)
    return [reads.service(serving.address, serving.kind, one) for one in providers]


def _listed(
    kind: str, page: Callable[[int, int], Call], size: int, header: Header, read: Reader
) -> tuple[list[Any], bool]:
    """The entries of a list, and whether these are all."""

    def ask(call: Call) -> Any:
        return reads.value(kind, call, read.views(header, [call])[0])

    found, total = reads.whole_list(page, ask, size)
    return found, len(found) == total


def _differing(keys: Collection[Key], theirs: dict[Key, Any], ours: dict[Key, Any]) -> list[Key]:
    return sorted(key for key in keys if theirs.get(key) != ours.get(key))
