"""LedgerManager: contracts.md 3 and 6.1-6.3."""

from __future__ import annotations

from typing import Any

from eth_utils.address import to_checksum_address

from tests.live.oracle.core import Core
from tests.live.oracle.state import KINDS, Pair, Refusal

ZERO = "0x" + "00" * 20


class LedgerOracle(Core):
    def _ledger(self, user: str) -> dict[str, Any]:
        if user not in self.state.ledgers:
            raise Refusal("LedgerNotExists", user)
        return self.state.ledgers[user]

    def _minimum(self, amount: int) -> None:
        if amount < self.minimum:
            raise Refusal("MinimumDepositRequired", amount, self.minimum)

    def _info(self, info: str) -> None:
        if len(info.encode()) > 4096:
            raise Refusal("AdditionalInfoTooLong", len(info.encode()), 4096)

    def _open(self, user: str, value: int, info: str) -> None:
        self.state.ledgers[user] = {"available": value, "total": value, "info": info}
        self.state.ledger_order.append(user)

    def ledger_addLedger(self, sender: str, value: int, info: str) -> None:
        self._minimum(value)
        self._info(info)
        if sender in self.state.ledgers:
            raise Refusal("LedgerExists", sender)
        self._open(sender, value, info)

    def ledger_depositFund(self, sender: str, value: int) -> None:
        if value == 0:
            raise Refusal("ZeroAmountNotAllowed")
        if sender not in self.state.ledgers:
            self._minimum(value)
            self._open(sender, value, "")
            return
        self.state.ledgers[sender]["available"] += value
        self.state.ledgers[sender]["total"] += value

    def ledger_depositFundFor(self, sender: str, value: int, recipient: str) -> None:
        if int(recipient, 16) == 0:
            raise Refusal("ZeroAddressNotAllowed")
        self.ledger_depositFund(recipient, value)

    def ledger_refund(self, sender: str, value: int, amount: int) -> None:
        ledger = self._ledger(sender)
        if ledger["available"] < amount:
            raise Refusal("InsufficientBalance", sender)
        if ledger["available"] > amount:
            self._minimum(ledger["available"] - amount)
        ledger["available"] -= amount
        ledger["total"] -= amount
        if ledger["total"] == 0:
            self._forget(sender)

    def ledger_deleteLedger(self, sender: str, value: int) -> None:
        total = self._ledger(sender)["total"]
        if total:
            raise Refusal("MustWithdrawAllFundsFirst", total)
        self._forget(sender)

    def _forget(self, user: str) -> None:
        for kind in ("inference", "fine_tuning"):
            side = self.state.sides[kind]
            for provider in self.state.paired.pop((user, kind), []):
                pair = side.pairs[user, provider]
                if not pair.live:
                    continue
                side.order.take_out((user, provider))
                self._log(
                    kind,
                    "AccountDeleted",
                    user=user,
                    provider=provider,
                    refundedAmount=pair.balance,
                )
                side.pairs[user, provider] = Pair(
                    user, provider, nonce=pair.nonce, generation=pair.generation
                )
        del self.state.ledgers[user]
        self.state.ledger_order.take_out(user)

    def ledger_updateAdditionalInfo(self, sender: str, value: int, info: str) -> None:
        self._info(info)
        self._ledger(sender)["info"] = info
        self._log("ledger", "LedgerInfoUpdated", user=sender, additionalInfo=info)

    def ledger_transferFund(
        self, sender: str, value: int, provider: str, name: str, amount: int
    ) -> None:
        ledger = self._ledger(sender)
        if name not in KINDS:
            raise Refusal("ServiceNotFound", to_checksum_address(ZERO))
        side = self.state.sides[KINDS[name]]
        pair = side.pairs.setdefault((sender, provider), Pair(sender, provider))
        known = self.state.paired.setdefault((sender, side.kind), [])
        if not pair.live:
            if amount < self.first_transfer:
                raise Refusal("MinimumDepositRequired", amount, self.first_transfer)
            if len(known) >= 50:
                raise Refusal("TooManyProvidersForService", 50, 50)
        cancel = min(amount, pair.pending)
        moved = amount - cancel
        if ledger["available"] < moved:
            raise Refusal("InsufficientAvailableBalance", ledger["available"], moved)
        if side.kind == "inference" and provider == sender:
            raise Refusal("CallFailed")
        ledger["available"] -= moved
        if not pair.live:
            known.append(provider)
            side.order.append((sender, provider))
            pair.live, pair.info = True, ledger["info"]
        self._cancel(pair, cancel)
        pair.balance += moved
        pair.acknowledged = True
        self._balance_log(side, pair)

    def ledger_retrieveFund(self, sender: str, value: int, providers: list[str], name: str) -> None:
        if len(providers) > 20:
            raise Refusal("TooManyProviders", len(providers), 20)
        if name not in KINDS:
            raise Refusal("ServiceNotFound", to_checksum_address(ZERO))
        ledger = self._ledger(sender)
        side = self.state.sides[KINDS[name]]
        for provider in providers:
            pair = side.pairs.get((sender, provider))
            if pair is None or not pair.live:
                continue
            matured = [r for r in pair.refunds if self.now >= r[1] + side.lock_time]
            pair.refunds = [r for r in pair.refunds if self.now < r[1] + side.lock_time]
            paid = sum(amount for amount, _ in matured)
            if paid:
                pair.balance -= paid
                ledger["available"] += paid
                self._balance_log(side, pair)
            free = pair.balance - pair.pending
            if free:
                if len(pair.refunds) == 5:
                    raise Refusal("TooManyRefunds", sender, provider)
                pair.refunds.append((free, self.now))
            if pair.refunds:
                self._log(
                    side.kind,
                    "RefundRequested",
                    user=sender,
                    provider=provider,
                    index=len(pair.refunds) - 1,
                    timestamp=self.now,
                )
