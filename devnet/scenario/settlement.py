"""How providers get paid: inference batches and fine-tuning tasks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from eth_account.signers.local import LocalAccount

from devnet import signatures
from devnet.scenario.base import HOUR, NAMES, ONE, Call
from devnet.scenario.ledger import LedgerActions


class SettlementActions(LedgerActions):
    """contracts.md 6.4 and 6.5."""

    def settle_inference(self) -> Call:
        """A batch in which every status of contracts.md 6.4 comes up now and then."""
        number = self.rng.choice((0, 0, 1, 1, 2, 2, 3, 4))
        provider = self.providers[number]
        page, _ = self.contracts.inference.view("getAccountsByProvider", provider.address, 0, 50)
        nonces = {account["user"]: account["nonce"] for account in page}
        balances = {account["user"]: account["balance"] for account in page}
        items = []
        for _ in range(self.rng.randint(1, 5)):
            known = bool(nonces) and self.rng.random() < 0.9
            user = self.rng.choice(sorted(nonces)) if known else self._user().address
            items.append(self._item(number, user, nonces, balances))
        return Call(provider, "inference", "settleFeesWithTEE", (items,))

    def _item(
        self, number: int, user: str, nonces: dict[str, int], balances: dict[str, int]
    ) -> dict[str, Any]:
        balance = balances.get(user, 0)
        draw = self.rng.random()
        fee = self.rng.randint(0, max(1, balance // 3))
        if draw < 0.08:
            fee = balance + self.rng.randint(1, ONE)  # partial
        elif draw < 0.12:
            fee = 0
        nonce = nonces.get(user, 0) + self.rng.randint(1, 10**6)
        if self.rng.random() < 0.12:
            nonce = self.rng.randint(0, nonces.get(user, 0))  # stale
        else:
            nonces[user] = nonce
        wrong_signer = self.rng.random() < 0.06
        wrong_provider = self.rng.random() < 0.04
        item = self._signed(number + wrong_signer, number + wrong_provider, user, fee, nonce)
        if self.rng.random() < 0.03:
            item["signature"] = item["signature"][:64]
        return item

    def _signed(
        self, signer: int, provider: int, user: str, fee: int, nonce: int
    ) -> dict[str, Any]:
        return signatures.settlement(
            self.domains["inference"],
            self.signers[signer % len(self.signers)],
            user=user,
            provider=self.providers[provider % len(self.providers)].address,
            fee=fee,
            nonce=nonce,
            requests_hash=self.rng.randbytes(32),
        )

    def layer_refunds(self) -> None:
        """Builds requests of different ages, charges more than is free, lets some mature."""
        kind = "inference" if self.rng.random() < 0.7 else "fine_tuning"
        account = self._some_account(kind)
        user = self._by_address(account["user"]) if account else None
        if account is None or user is None or not account["balance"]:
            return
        provider = account["provider"]
        ask = partial(Call, user, "ledger", "retrieveFund", ([provider], NAMES[kind]))
        cancel = partial(self._cancel_some, user, kind, provider)
        wait = partial(self.pass_time, 7 * HOUR)
        layers: list[Callable[[], Call | None]] = [ask, wait, cancel] * 3
        if kind == "inference":
            layers.append(partial(self._charge_more_than_free, user.address, provider))
        self.plan = [*layers, wait, ask, wait, wait, ask]

    def _charge_more_than_free(self, user: str, provider: str) -> Call | None:
        account = self._account("inference", user, provider)
        payee = self._by_address(provider)
        if account is None or payee is None:
            return None
        free = account["balance"] - account["pendingRefund"]
        fee = free + self.rng.randint(0, account["pendingRefund"])
        number = self.providers.index(payee)
        item = self._signed(number, number, user, fee, account["nonce"] + 1)
        return Call(payee, "inference", "settleFeesWithTEE", ([item],))

    def _pair(self) -> tuple[LocalAccount, LocalAccount, dict[str, Any]] | None:
        account = self._some_account("fine_tuning")
        if account is None:
            return None
        user, provider = self._by_address(account["user"]), self._by_address(account["provider"])
        if user is None or provider is None:
            return None
        details = self._account("fine_tuning", user.address, provider.address)
        return (user, provider, details) if details else None

    def add_deliverable(self) -> Call | None:
        pair = self._pair()
        if pair is None:
            return None
        user, provider, details = pair
        self.tasks += 1
        name = f"task-{self.tasks}"
        if details["deliverables"] and self.rng.random() < 0.1:
            name = details["deliverables"][0]["id"]  # again
        elif self.rng.random() < 0.03:
            name = self.rng.choice(("", "z" * 257))
        args = (user.address, name, self.rng.randbytes(32))
        return Call(provider, "fine_tuning", "addDeliverable", args)

    def _deliverable(self) -> tuple[LocalAccount, LocalAccount, dict[str, Any], str] | None:
        pair = self._pair()
        if pair is None or not pair[2]["deliverables"]:
            return None
        newest = self.rng.random() < 0.85
        chosen = pair[2]["deliverables"][-1 if newest else 0]["id"]
        return (*pair, chosen if self.rng.random() < 0.97 else "no such task")

    def acknowledge_deliverable(self) -> Call | None:
        found = self._deliverable()
        if found is None:
            return None
        user, provider, _, name = found
        return Call(user, "fine_tuning", "acknowledgeDeliverable", (provider.address, name))

    def abandon_deliverable(self) -> Call | None:
        found = self._deliverable()
        if found is None:
            return None
        user, provider, _, name = found
        return Call(provider, "fine_tuning", "abandonDeliverable", (user.address, name))

    def settle_fine_tuning(self) -> Call | None:
        found = self._deliverable()
        if found is None:
            return None
        user, provider, details, name = found
        number = self.providers.index(provider)
        known = {one["id"]: one for one in details["deliverables"]}
        item = known.get(name, {"modelRootHash": b"", "acknowledged": False})
        # Settling an unacknowledged result bricks the pair (contracts.md 6.5): be slow to do it.
        if not item["acknowledged"] and self.rng.random() < 0.7:
            return Call(user, "fine_tuning", "acknowledgeDeliverable", (provider.address, name))
        secret = self.rng.randbytes(113) if item["acknowledged"] else b""
        if self.rng.random() < 0.05:
            secret = b"" if secret else b"x"
        stale, wrong = self.rng.random() < 0.05, self.rng.random() < 0.05
        signed = signatures.verifier_input(
            self.domains["fine_tuning"],
            self.signers[(number + wrong) % len(self.signers)],
            user=user.address,
            deliverable=name,
            root=item["modelRootHash"] if self.rng.random() < 0.96 else b"other",
            secret=secret,
            fee=self._amount(details["balance"] // 2),
            nonce=details["nonce"] + (0 if stale else self.rng.randint(1, 9)),
        )
        return Call(provider, "fine_tuning", "settleFees", (signed,))
