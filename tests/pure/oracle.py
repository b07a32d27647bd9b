"""The money rules of contracts.md 3 and 6 once more, in memory, logging what the contracts log.

Independent of `ledger.fold` on purpose: it acts (requests, pays, charges) where the fold infers.
Only inference; everything succeeds or is refused before anything changes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from chain.facts import Block, Header, Log, Transaction
from protocol import abi, events
from protocol.events import Shape

LEDGER = abi.checksum("0x" + "11" * 20)
SERVING = abi.checksum("0x" + "22" * 20)
MINIMUM, FIRST_TRANSFER, MAX_REFUNDS = 30, 10, 5
SHAPES: dict[type[Any], Shape] = {s.event: s for s in events.SHAPES}


@dataclass
class Pair:
    balance: int = 0
    refunds: list[list[int]] = field(default_factory=list)  # [amount, created_at]
    nonce: int = 0
    live: bool = False
    info: str = ""
    acknowledged: bool = False
    generation: int = 0
    bitmap: int = 0

    @property
    def pending(self) -> int:
        return sum(amount for amount, _ in self.refunds)

    def cancel(self, amount: int) -> None:
        while amount:
            taken = min(amount, self.refunds[-1][0])
            self.refunds[-1][0] -= taken
            amount -= taken
            if self.refunds[-1][0] == 0:
                self.refunds.pop()


class World:
    """The contracts; every action is one transaction in a block of its own."""

    def __init__(self) -> None:
        self.available: dict[str, int] = {}
        self.info: dict[str, str] = {}
        self.pairs: dict[tuple[str, str], Pair] = {}
        self.now, self.number, self.lock = 1_000_000, 10, 3600
        self.blocks: list[Block] = []
        self.logs: list[tuple[str, Any]] = []

    def total(self, user: str) -> int:
        return self.available[user] + sum(
            p.balance for (u, _), p in self.pairs.items() if u == user
        )

    # --- actions ---------------------------------------------------------------------------------

    def deposit(self, user: str, amount: int, info: str | None) -> None:
        if user not in self.available:
            if amount < MINIMUM:
                return
            self.available[user], self.info[user] = 0, info or ""
        elif info is not None:
            return  # LedgerExists
        self.available[user] += amount
        call = ("addLedger", info) if info is not None else ("depositFund",)
        self._mine(user, LEDGER, abi.LEDGER_MANAGER, *call, value=amount)

    def deposit_for(self, sender: str, user: str, amount: int) -> None:
        if not amount or (user not in self.available and amount < MINIMUM):
            return
        self.info.setdefault(user, "")
        self.available[user] = self.available.get(user, 0) + amount
        self._mine(sender, LEDGER, abi.LEDGER_MANAGER, "depositFundFor", user, value=amount)

    def transfer(self, user: str, provider: str, amount: int) -> None:
        if user not in self.available or user == provider:
            return
        pair = self.pairs.setdefault((user, provider), Pair())
        cancelled = min(amount, pair.pending)
        moved = amount - cancelled
        if moved > self.available[user] or (not pair.live and amount < FIRST_TRANSFER):
            return
        if not pair.live:
            pair.live, pair.info, pair.bitmap = True, self.info[user], 0
        pair.cancel(cancelled)
        self.available[user] -= moved
        pair.balance += moved
        pair.acknowledged = True
        self._balance(user, provider, pair)
        call = ("transferFund", provider, "inference-v1.0", amount)
        self._mine(user, LEDGER, abi.LEDGER_MANAGER, *call)

    def retrieve(self, user: str, providers: list[str]) -> None:
        pairs = [(p, self.pairs[user, p]) for p in providers if (user, p) in self.pairs]
        pairs = [(p, pair) for p, pair in pairs if pair.live]
        if user not in self.available or any(
            p.balance > p.pending and len(self._kept(p)) >= MAX_REFUNDS for _, p in pairs
        ):
            return
        for provider, pair in pairs:
            kept = self._kept(pair)
            paid = pair.pending - sum(amount for amount, _ in kept)
            pair.refunds = kept
            pair.balance -= paid
            self.available[user] += paid
            if paid:
                self._balance(user, provider, pair)
            free = pair.balance - pair.pending
            if free:
                pair.refunds.append([free, self.now])
            if pair.refunds:
                index = len(pair.refunds) - 1
                self._log(SERVING, events.RefundRequested(user, provider, index, self.now))
        self._mine(user, LEDGER, abi.LEDGER_MANAGER, "retrieveFund", providers, "inference-v1.0")

    def _kept(self, pair: Pair) -> list[list[int]]:
        return [list(r) for r in pair.refunds if self.now < r[1] + self.lock]

    def settle(self, provider: str, items: list[tuple[str, int, int]]) -> None:
        """Items are (user, fee, nonce); signatures count as good."""
        for user, fee, nonce in items:
            pair = self.pairs.get((user, provider))
            if pair is None or not pair.live:
                self._log(SERVING, events.TEESettlementResult(user, 5, fee))
                continue
            if not pair.acknowledged:
                self._log(SERVING, events.TEESettlementResult(user, 3, fee))
                continue
            if nonce <= pair.nonce:
                self._log(SERVING, events.TEESettlementResult(user, 4, fee))
                continue
            pair.nonce = nonce
            charged = min(fee, pair.balance)
            if charged:
                pair.cancel(max(0, charged - (pair.balance - pair.pending)))
                pair.balance -= charged
                self._log(LEDGER, events.FundSpent(user, SERVING, charged))
                self._balance(user, provider, pair)
            status = 1 if fee > charged else 0
            self._log(SERVING, events.TEESettlementResult(user, status, fee - charged))
        batch = [
            {
                "user": user,
                "provider": provider,
                "totalFee": fee,
                "requestsHash": b"\0" * 32,
                "nonce": nonce,
                "signature": b"",
            }
            for user, fee, nonce in items
        ]
        self._mine(provider, SERVING, abi.INFERENCE_SERVING, "settleFeesWithTEE", batch)

    def withdraw(self, user: str, amount: int) -> None:
        rest = self.available.get(user, -1) - amount
        if rest < 0 or 0 < rest < MINIMUM:
            return
        self.available[user] = rest
        if self.total(user) == 0:
            self._erase(user)
        self._mine(user, LEDGER, abi.LEDGER_MANAGER, "refund", amount)

    def leave(self, user: str) -> None:
        """Everything out, over and over: ends in a deleted ledger."""
        if user not in self.available:
            return
        mine = [provider for owner, provider in self.pairs if owner == user]
        self.retrieve(user, mine)
        self.now += self.lock - 7  # to the second: the next block is 7 s later
        self.retrieve(user, mine)
        self.withdraw(user, self.available.get(user, 0))

    def _erase(self, user: str) -> None:
        del self.available[user], self.info[user]
        for (owner, provider), pair in self.pairs.items():
            if owner == user and pair.live:
                self.pairs[owner, provider] = Pair(nonce=pair.nonce, generation=pair.generation)
                self._log(SERVING, events.AccountDeleted(user, provider, 0))

    def acknowledge(self, user: str, provider: str, value: bool) -> None:
        pair = self.pairs.get((user, provider))
        if pair is None or not pair.live or (not value and pair.balance):
            return
        pair.acknowledged = value
        call = ("acknowledgeTEESigner", provider, value)
        self._mine(user, SERVING, abi.INFERENCE_SERVING, *call)

    def revoke(self, user: str, provider: str, tokens: list[int] | None) -> None:
        """Some tokens, or with None all of them."""
        pair = self.pairs.get((user, provider))
        if pair is None or not pair.live:
            return
        if tokens is None:
            pair.generation, pair.bitmap = pair.generation + 1, 0
            self._log(SERVING, events.AllTokensRevoked(user, provider, pair.generation))
            self._mine(user, SERVING, abi.INFERENCE_SERVING, "revokeAllTokens", provider)
            return
        for token in tokens:
            pair.bitmap |= 1 << token
        self._log(SERVING, events.TokensRevoked(user, provider, tokens))
        self._mine(user, SERVING, abi.INFERENCE_SERVING, "revokeTokens", provider, tokens)

    def set_lock(self, seconds: int) -> None:
        self._log(SERVING, events.LockTimeUpdated(self.lock, seconds))
        self.lock = seconds
        self._mine(LEDGER, SERVING, abi.INFERENCE_SERVING, "updateLockTime", seconds)

    # --- logging ---------------------------------------------------------------------------------

    def _balance(self, user: str, provider: str, pair: Pair) -> None:
        self._log(SERVING, events.BalanceUpdated(user, provider, pair.balance, pair.pending))

    def _log(self, address: str, event: Any) -> None:
        self.logs.append((address, event))

    def _mine(
        self, sender: str, to: str, contract: str, function: str, *args: Any, value: int = 0
    ) -> None:
        number, block_hash = self.number, f"0x{self.number:064x}"
        tx_hash = f"0x{self.number:063x}1"
        data = abi.encode_call(contract, function, *args)
        header = Header(number, block_hash, f"0x{number - 1:064x}", self.now)
        transaction = Transaction(tx_hash, block_hash, number, 0, sender, to, value, data, 1)
        logs = tuple(
            _raw(number, block_hash, tx_hash, i, address, event)
            for i, (address, event) in enumerate(self.logs)
        )
        self.blocks.append(Block(header, (transaction,), logs))
        self.logs = []
        self.number += 1
        self.now += 7


def _raw(number: int, block_hash: str, tx_hash: str, index: int, address: str, event: Any) -> Log:
    shape = SHAPES[type(event)]
    topics, plain = [shape.topic], []
    for argument, name in zip(shape.arguments, type(event).__slots__, strict=True):
        value = getattr(event, name)
        if argument.indexed:
            topics.append("0x" + abi.CODEC.encode([argument.type], [value]).hex())
        else:
            plain.append((argument.type, value))
    data = abi.CODEC.encode([t for t, _ in plain], [v for _, v in plain])
    return Log(number, block_hash, index, tx_hash, 0, address, tuple(topics), "0x" + data.hex())
