"""What users do with their ledgers."""

from __future__ import annotations

from functools import partial

from eth_account.signers.local import LocalAccount

from devnet.scenario.base import HOUR, NAMES, ONE, Base, Call


class LedgerActions(Base):
    """contracts.md 3 and 6.1-6.3."""

    def deposit(self) -> Call:
        small = self.rng.random() < 0.2
        value = self.rng.randint(0, 2) if small else self.rng.randint(ONE // 2, 20 * ONE)
        return Call(self._user(), "ledger", "depositFund", (), value)

    def deposit_for(self) -> Call:
        value = self.rng.randint(ONE, 9 * ONE)
        return Call(self._user(), "ledger", "depositFundFor", (self._user().address,), value)

    def deposit_through_contract(self) -> Call:
        """Leaves no log and no calldata to the ledger: only its views show it."""
        ledger, value = self.contracts.ledger, self.rng.randint(3 * ONE, 9 * ONE)
        data = ledger.encode("depositFundFor", self._user().address)
        return Call(self._user(), "puppet", "execute", (ledger.address, value, data), value)

    def add_ledger(self) -> Call:
        info = self.rng.choice(("", "note", "ü" * 30, "x" * 4097))
        return Call(self._user(), "ledger", "addLedger", (info,), self.rng.randint(2, 9) * ONE)

    def transfer(self) -> Call:
        user, kind = self._user(), self._kind()
        provider = self.rng.choice(self.providers).address
        ledger = self._ledger(user)
        available = ledger["availableBalance"] if ledger else ONE
        account = self._account(kind, user.address, provider)
        if account and account["pendingRefund"] and self.rng.random() < 0.5:
            amount = self._amount(account["pendingRefund"])
        else:
            amount = self._amount(min(available, 8 * ONE))
        return Call(user, "ledger", "transferFund", (provider, NAMES[kind], amount))

    def retrieve(self) -> Call | None:
        kind = self._kind()
        account = self._some_account(kind)
        user = self._by_address(account["user"]) if account else None
        if user is None:
            return None
        chosen = self.rng.sample(self.providers, self.rng.randint(0, 3))
        providers = [account["provider"], *(one.address for one in chosen)] if account else []
        if self.rng.random() < 0.05:
            providers = providers * 21
        return Call(user, "ledger", "retrieveFund", (providers, NAMES[kind]))

    def withdraw(self) -> Call:
        user = self._user()
        ledger = self._ledger(user)
        return Call(
            user, "ledger", "refund", (self._amount(ledger["availableBalance"] if ledger else 0),)
        )

    def delete_ledger(self) -> Call:
        return Call(self._user(), "ledger", "deleteLedger")

    def update_info(self) -> Call:
        info = self.rng.choice(("", "<b>bold</b>", "日本語", "y" * 4097))
        return Call(self._user(), "ledger", "updateAdditionalInfo", (info,))

    def leave(self) -> None:
        """Empties a user's accounts, which takes two lock times, so that a ledger gets deleted."""
        user = self._user()
        if self._ledger(user) is None:
            return
        collect = [partial(self._retrieve_all, user, kind) for kind in NAMES]
        wait = partial(self.pass_time, 8 * 24 * HOUR)
        self.plan = [wait, *collect, wait, *collect, partial(self._withdraw_all, user)]

    def _cancel_some(self, user: LocalAccount, kind: str, provider: str) -> Call | None:
        """A transfer of less than is pending, which only frees it again."""
        account = self._account(kind, user.address, provider)
        if account is None or not account["pendingRefund"]:
            return None
        amount = self.rng.randint(1, account["pendingRefund"])
        return Call(user, "ledger", "transferFund", (provider, NAMES[kind], amount))

    def _retrieve_all(self, user: LocalAccount, kind: str) -> Call:
        page, _ = self.contract(kind).view("getAccountsByUser", user.address, 0, 20)
        providers = [account["provider"] for account in page]
        return Call(user, "ledger", "retrieveFund", (providers, NAMES[kind]))

    def _withdraw_all(self, user: LocalAccount) -> Call | None:
        ledger = self._ledger(user)
        return Call(user, "ledger", "refund", (ledger["availableBalance"],)) if ledger else None
