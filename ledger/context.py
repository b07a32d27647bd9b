"""Where the fold stands inside a block, and the few ways it may change a balance. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from chain.facts import Call, Header, Transaction
from ledger import reads
from ledger.state import (
    Account,
    Change,
    Ledger,
    Movement,
    Place,
    Service,
    Serving,
    Settlement,
    State,
)

#: Marks text that was not storable as it stood on chain: two such strings may differ unseen.
LOSSY = "\ufffd"


@dataclass(slots=True)
class Previous:
    """The log before this one in the same transaction."""

    address: str
    log_index: int
    event: Any


@dataclass(slots=True)
class Context:
    """One block being folded; `wants` collects the views that logs and calldata cannot replace."""

    state: State
    ledger_address: str
    header: Header
    wants: dict[Call, None] = field(default_factory=dict)
    sequence: int = 0
    source: str = "event"
    tx: Transaction | None = None
    log_index: int | None = None
    call: tuple[str, dict[str, Any]] | None = None
    previous: Previous | None = None
    items: list[dict[str, Any]] | None = None
    #: The event logged directly after this one; only for contracts of the older code.
    following: Any = None
    #: What the last BalanceUpdated took for a settlement; None where it was something else.
    charged: int | None = None
    opening: bool = False

    # --- places and questions --------------------------------------------------------------------

    def place(self) -> Place:
        self.sequence += 1
        tx_hash = self.tx.hash if self.tx else None
        header = self.header
        return Place(header.number, header.timestamp, tx_hash, self.log_index, self.sequence)

    def before(self, address: str) -> Any:
        """The event that this contract logged directly before this one (logIndex - 1), if any."""
        previous = self.previous
        if previous is None or self.log_index is None or previous.address != address:
            return None
        return previous.event if previous.log_index == self.log_index - 1 else None

    def want_ledger(self, user: str) -> None:
        self.wants[reads.ledger(self.ledger_address, user)] = None

    def want_account(self, serving: Serving, user: str, provider: str) -> None:
        if serving.audited and serving.kind in reads.CONTRACT_OF:
            self.wants[reads.account(serving.address, serving.kind, user, provider)] = None

    def want_service(self, serving: Serving, provider: str) -> None:
        if serving.audited and serving.kind in reads.CONTRACT_OF:
            self.wants[reads.service(serving.address, serving.kind, provider)] = None

    # --- entities to change ----------------------------------------------------------------------

    def ledger(self, user: str) -> Ledger:
        """The user's ledger, made when we never saw it (its creation logs nothing)."""
        found = self.state.ledgers.edit(user, self.header.number)
        if found is None:
            found = self.state.ledgers.add(user, Ledger(user, self.header.number, exists=False))
        return found

    def account(self, serving: Serving, user: str, provider: str) -> Account:
        key = (serving.address, user, provider)
        found = self.state.accounts.edit(key, self.header.number)
        if found is None:
            found = self.state.accounts.add(key, Account(*key, block=self.header.number))
        return found

    def service(self, serving: Serving, provider: str) -> Service:
        key = (serving.address, provider)
        found = self.state.services.edit(key, self.header.number)
        if found is None:
            found = self.state.services.add(
                key,
                Service(
                    serving.address,
                    provider,
                    serving.kind,
                    created_block=self.header.number,
                    block=self.header.number,
                ),
            )
        return found

    def serving(self, address: str) -> Serving:
        """A known serving contract, to change."""
        found = self.state.servings.edit(address, self.header.number)
        if found is None:
            raise KeyError(address)
        return found

    # --- money -----------------------------------------------------------------------------------

    def move_available(
        self,
        ledger: Ledger,
        amount: int,
        kind: str,
        *,
        serving: str | None = None,
        provider: str | None = None,
    ) -> None:
        """Change a ledger's available balance by `amount` (signed) and record why."""
        ledger.available += amount
        self.state.available += amount
        self.state.movements.append(
            Movement(
                self.place(),
                ledger.user,
                kind,
                "available",
                serving,
                provider,
                amount,
                ledger.available,
                0,
                self.source,
            )
        )

    def deposit_in_time(self, ledger: Ledger, amount: int, kind: str) -> None:
        """A deposit that only a view shows, at the end of its block: it came before the first
        movement of the block that could not have been without it."""
        rows, block = self.state.movements, self.header.number
        first = len(rows)
        for index in range(len(rows) - 1, -1, -1):
            row = rows[index]
            if row.place.block != block:
                break
            if (row.user, row.balance) == (ledger.user, "available") and row.balance_after < 0:
                first = index
        if first == len(rows):
            return self.move_available(ledger, amount, kind)
        place = rows[first].place
        self._make_room(place)
        for index in range(first, len(rows)):
            row = rows[index]
            if (row.user, row.balance) == (ledger.user, "available"):
                rows[index] = row._replace(balance_after=row.balance_after + amount)
        before = rows[first].balance_after - rows[first].amount
        here = Place(block, place.timestamp, None, None, place.sequence)
        rows.insert(
            first,
            Movement(
                here, ledger.user, kind, "available", None, None, amount, before, 0, self.source
            ),
        )
        ledger.available += amount
        self.state.available += amount
        return None

    def _make_room(self, place: Place) -> None:
        """The rows of this block from `place` on move up by one, and so does what follows them."""
        self.sequence += 1
        for rows in (self.state.movements, self.state.settlements, self.state.changes):
            _move_up(rows, place)

    def move_locked(
        self, account: Account, amount: int, kind: str, *, pending_change: int = 0
    ) -> None:
        """Change a sub-account's balance by `amount` (signed, may be 0) and record why."""
        account.balance += amount
        account.pending_refund += pending_change
        self.state.movements.append(
            Movement(
                self.place(),
                account.user,
                kind,
                "sub_account",
                account.serving,
                account.provider,
                amount,
                account.balance,
                pending_change,
                self.source,
            )
        )

    def settle(
        self, serving: Serving, provider: str, user: str, status: str, settled: int, unsettled: int
    ) -> None:
        self.state.settlements.append(
            Settlement(self.place(), serving.address, provider, user, status, settled, unsettled)
        )

    def change(self, service: Service, change: str, before: Any, after: Any) -> None:
        self.state.changes.append(
            Change(self.place(), service.serving, service.provider, change, before, after)
        )


def _move_up(rows: list[Any], place: Place) -> None:
    for index in range(len(rows) - 1, -1, -1):
        at = rows[index].place
        if at.block != place.block or at.sequence < place.sequence:
            return
        rows[index] = rows[index]._replace(place=at._replace(sequence=at.sequence + 1))
