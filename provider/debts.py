"""Who owes what right now, and what answers in flight may still cost; amounts in neuron.

In memory only: `owed` is loaded from the store at start and follows it, `reserved` dies with the
requests it stands for. All calls come from the event loop, so check and reserve are one step.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from protocol import fees
from protocol.fees import Shortfall


class Debts:
    """Debts and reservations by user (EIP-55)."""

    def __init__(self, owed: Mapping[str, int]) -> None:
        self._owed: defaultdict[str, int] = defaultdict(int, owed)
        self._reserved: defaultdict[str, int] = defaultdict(int)
        self._paid_at: dict[str, float] = {}

    def owed(self, user: str) -> int:
        """Fees of delivered answers that the chain has not settled."""
        return self._owed.get(user, 0)

    def debtors(self) -> dict[str, int]:
        """What each user owes who owes anything."""
        return dict(self._owed)

    def reserved(self) -> int:
        """What answers under way may cost, all users together."""
        return sum(self._reserved.values())

    def committed(self, user: str) -> int:
        """Debt and reservations together: what must not be spent twice."""
        return self.owed(user) + self._reserved.get(user, 0)

    def shortfall(self, user: str, balance: int, pending: int, estimate: int) -> Shortfall | None:
        """None if the sub-account covers another answer of that estimated cost."""
        return fees.shortfall(
            balance=balance,
            pending_refund=pending,
            unsettled=self.committed(user),
            request_fee=estimate,
        )

    def reserve(self, user: str, estimate: int) -> None:
        """Hold `estimate` back until it is released: an answer is under way."""
        self._reserved[user] += estimate

    def release(self, user: str, estimate: int) -> None:
        """The end of a reservation."""
        self._reserved[user] -= estimate
        if not self._reserved[user]:
            del self._reserved[user]

    @contextmanager
    def reserving(self, user: str, estimate: int) -> Iterator[None]:
        """A reservation for as long as the block runs."""
        self.reserve(user, estimate)
        try:
            yield
        finally:
            self.release(user, estimate)

    def charge(self, user: str, fee: int) -> None:
        """An answer was delivered and its charge is on disk."""
        self._owed[user] += fee

    def paid_at(self, user: str) -> float:
        """When a debt of the user was last taken off (monotonic seconds): a balance that was read
        before still contains what paid it."""
        return self._paid_at.get(user, float("-inf"))

    def settled(self, user: str, amount: int) -> None:
        """The chain paid `amount`, and that is on disk."""
        self._paid_at[user] = time.monotonic()
        self._owed[user] -= amount
        if not self._owed[user]:
            del self._owed[user]
