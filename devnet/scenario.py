"""A seeded stream of everything people, providers and the owner can do to the contracts.

    steps = run(seed=7, steps=400, deployment=deployment, rpc_url=node.url)

The same seed on a fresh chain gives the same actions; only block times follow the clock. Most
actions succeed; some fail on purpose, and some of those are sent anyway, so that the chain holds
failed transactions with plausible calldata.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from eth_account.signers.local import LocalAccount

from devnet import accounts, signatures
from devnet.client import Contract, Log, Reverted, contract
from devnet.deploy import Contracts, Deployment, connect

ONE = 10**18  # neuron in one 0G
HOUR = 3600
# Users 1-4 and four funded accounts without a role; the second half pairs with few providers.
USER_INDEXES = (1, 2, 3, 4, 10, 11, 12, 13)
NAMES = {"inference": "inference-v1.0", "fine_tuning": "fine-tuning-v1.0"}
MODELS = ("alpha-7b", "beta-70b", "gamma-vl", "größe-α", "")
SENT_ANYWAY = 0.15  # share of refused calls that are sent as failing transactions
FAILING_GAS = 2_000_000


@dataclass(frozen=True, slots=True)
class Call:
    """One transaction to make."""

    by: LocalAccount
    contract: str  # "ledger", "inference", "fine_tuning" or "puppet"
    function: str
    args: tuple[Any, ...] = ()
    value: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """What was done. `error` names the contract's refusal; then `tx_hash` is None unless the
    failing transaction was sent. `timestamp` is that of the block, or of the latest one."""

    number: int
    sender: str
    contract: str
    function: str
    args: tuple[Any, ...]
    value: int
    error: str | None
    error_args: tuple[Any, ...]
    tx_hash: str | None
    block: int
    timestamp: int
    logs: tuple[Log, ...]

    @property
    def ok(self) -> bool:
        return self.error is None


def run(
    seed: int,
    steps: int,
    deployment: Deployment,
    rpc_url: str,
    *,
    on_step: Callable[[Step], None] | None = None,
) -> list[Step]:
    """Does `steps` transactions (time travel between them is not counted) and lists them."""
    world = World(random.Random(seed), connect(rpc_url, deployment))
    done: list[Step] = []
    for call in world.opening():
        if len(done) < steps:
            done.append(world.perform(len(done), call, on_step))
    while len(done) < steps:
        chosen = world.next_call()
        if chosen is not None:
            done.append(world.perform(len(done), chosen, on_step))
    return done


class World:
    """Chooses the next plausible call by looking at the chain."""

    def __init__(self, rng: random.Random, contracts: Contracts) -> None:
        self.rng = rng
        self.contracts = contracts
        self.users = [accounts.account(i) for i in USER_INDEXES]
        self.providers = [accounts.provider(i + 1) for i in range(accounts.PROVIDERS)]
        self.signers = [accounts.signer(i + 1) for i in range(accounts.PROVIDERS)]
        self.tasks = 0
        self.puppet: Contract | None = None
        self.plan: list[Callable[[], Call | None]] = []  # goes before the menu
        self.domains = {
            "inference": signatures.Domain(contracts.chain.chain_id, contracts.inference.address),
            "fine_tuning": signatures.Domain(
                contracts.chain.chain_id, contracts.fine_tuning.address
            ),
        }
        self.menu: tuple[tuple[int, Callable[[], Call | None]], ...] = (
            (8, self.deposit),
            (3, self.deposit_for),
            (2, self.deposit_through_contract),
            (2, self.add_ledger),
            (16, self.transfer),
            (12, self.retrieve),
            (5, self.withdraw),
            (1, self.delete_ledger),
            (2, self.update_info),
            (4, self.inference_service),
            (3, self.fine_tuning_service),
            (1, self.remove_service),
            (9, self.owner_decision),
            (2, self.user_acknowledgement),
            (4, self.revoke_tokens),
            (18, self.settle_inference),
            (6, self.add_deliverable),
            (4, self.acknowledge_deliverable),
            (1, self.abandon_deliverable),
            (6, self.settle_fine_tuning),
            (1, self.lock_time),
            (1, self.penalty),
            (4, self.pass_time),
            (2, self.leave),
        )

    def contract(self, name: str) -> Contract:
        """A proxy, or the contract wallet of this run, which is deployed when first needed."""
        if name != "puppet":
            found: Contract = getattr(self.contracts, name)
            return found
        if self.puppet is None:
            chain = self.contracts.chain
            address = chain.deploy(accounts.account(USER_INDEXES[-1]), "Puppet")
            self.puppet = contract(chain, "Puppet", address)
        return self.puppet

    # ---- doing -----------------------------------------------------------------------------

    def opening(self) -> list[Call]:
        """Providers register and users fund accounts, so that what follows has something to do."""
        calls: list[Call] = []
        for number in range(3):
            calls += [self._inference_service(number), self._fine_tuning_service(number)]
            for kind in NAMES:
                calls.append(self._acknowledge(kind, number))
        for user in self.users[:5]:
            calls.append(Call(user, "ledger", "depositFund", (), self.rng.randint(20, 80) * ONE))
            for name in NAMES.values():
                provider = self.rng.choice(self.providers[:3]).address
                amount = self.rng.randint(ONE, 6 * ONE)
                calls.append(Call(user, "ledger", "transferFund", (provider, name, amount)))
        return calls

    def next_call(self) -> Call | None:
        """None when the chosen action has no target now, or only passed time."""
        if self.plan:
            return self.plan.pop(0)()
        weights = [weight for weight, _ in self.menu]
        return self.rng.choices([action for _, action in self.menu], weights)[0]()

    def perform(self, number: int, call: Call, on_step: Callable[[Step], None] | None) -> Step:
        target = self.contract(call.contract)
        error: str | None = None
        error_args: tuple[Any, ...] = ()
        receipt = None
        send_anyway = self.rng.random() < SENT_ANYWAY
        try:
            receipt = target.send(call.by, call.function, *call.args, value=call.value)
        except Reverted as refusal:
            error, error_args = refusal.error, refusal.args_
            if send_anyway:
                receipt = target.send(
                    call.by, call.function, *call.args, value=call.value, gas=FAILING_GAS
                )
        block = receipt.block if receipt else self.contracts.chain.block_number()
        step = Step(
            number=number,
            sender=call.by.address,
            contract=call.contract,
            function=call.function,
            args=call.args,
            value=call.value,
            error=error,
            error_args=error_args,
            tx_hash=receipt.tx_hash if receipt else None,
            block=block,
            timestamp=self.contracts.chain.timestamp(block),
            logs=receipt.logs if receipt else (),
        )
        if on_step is not None:
            on_step(step)
        return step

    # ---- looking ---------------------------------------------------------------------------

    def _user(self) -> LocalAccount:
        return self.rng.choice(self.users)

    def _kind(self) -> str:
        return "inference" if self.rng.random() < 0.65 else "fine_tuning"

    def _ledger(self, user: LocalAccount) -> dict[str, Any] | None:
        return self._view("ledger", "getLedger", user.address)

    def _account(self, kind: str, user: str, provider: str) -> dict[str, Any] | None:
        return self._view(kind, "getAccount", user, provider)

    def _view(self, name: str, function: str, *args: Any) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self.contract(name).view(function, *args)
        except Reverted:
            return None
        return found

    def _some_account(self, kind: str) -> dict[str, Any] | None:
        """One random existing pair of a serving contract."""
        _, total = self.contract(kind).view("getAllAccounts", 0, 1)
        if not total:
            return None
        page, _ = self.contract(kind).view("getAllAccounts", self.rng.randrange(total), 1)
        found: dict[str, Any] = page[0]
        return found

    def _by_address(self, address: str) -> LocalAccount | None:
        """The key of a user or provider of ours; None on a chain that others use too."""
        known = [*self.users, *self.providers]
        return next((one for one in known if one.address == address), None)

    def _amount(self, whole: int) -> int:
        """Everything, nothing, a part with odd neuron, or more than there is."""
        draw = self.rng.random()
        if draw < 0.15:
            return whole
        if draw < 0.2:
            return 0
        if draw < 0.27:
            return whole + self.rng.randint(1, ONE)
        return self.rng.randint(0, whole)

    # ---- ledgers ---------------------------------------------------------------------------

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
        collect = [lambda kind=kind: self._retrieve_all(user, kind) for kind in NAMES]
        wait = [lambda: self.pass_time(8 * 24 * HOUR)]
        self.plan = [*wait, *collect, *wait, *collect, lambda: self._withdraw_all(user)]

    def _retrieve_all(self, user: LocalAccount, kind: str) -> Call:
        page, _ = self.contract(kind).view("getAccountsByUser", user.address, 0, 20)
        providers = [account["provider"] for account in page]
        return Call(user, "ledger", "retrieveFund", (providers, NAMES[kind]))

    def _withdraw_all(self, user: LocalAccount) -> Call | None:
        ledger = self._ledger(user)
        return Call(user, "ledger", "refund", (ledger["availableBalance"],)) if ledger else None

    # ---- providers and the owner -----------------------------------------------------------

    def _stake(self, kind: str, number: int) -> int:
        if self._view(kind, "getService", self.providers[number].address) is not None:
            return ONE if self.rng.random() < 0.1 else 0
        return 99 * ONE if self.rng.random() < 0.1 else 100 * ONE + self.rng.randint(0, 5)

    def _inference_service(self, number: int) -> Call:
        rng = self.rng
        params = {
            "serviceType": "chatbot" if rng.random() < 0.95 else "text-to-image",
            "url": f"http://127.0.0.1:{9000 + number}/{rng.randint(0, 3)}",
            "model": MODELS[number % 5] if rng.random() < 0.9 else rng.choice(MODELS),
            "verifiability": "TeeML" if rng.random() < 0.95 else "",
            "inputPrice": rng.randint(0, 10**12),
            "outputPrice": rng.randint(0, 10**13),
            "additionalInfo": "{}" if rng.random() < 0.95 else '{"dev": true}',
            "teeSignerAddress": self.signers[number].address,
        }
        by = self.providers[number]
        value = self._stake("inference", number)
        return Call(by, "inference", "addOrUpdateService", (params,), value)

    def inference_service(self) -> Call:
        return self._inference_service(self.rng.randrange(len(self.providers)))

    def _fine_tuning_service(self, number: int) -> Call:
        rng = self.rng
        quota = {
            "cpuCount": rng.randint(1, 64),
            "nodeMemory": rng.randint(1, 512),
            "gpuCount": rng.randint(0, 8),
            "nodeStorage": rng.randint(1, 4000),
            "gpuType": rng.choice(("H100", "H200")),
        }
        models = rng.sample([m for m in MODELS if m], rng.randint(0, 3))
        args = (
            f"http://127.0.0.1:{9100 + number}",
            quota,
            rng.randint(0, 10**12),
            rng.random() < 0.3,
            models,
            self.signers[number].address,
        )
        by = self.providers[number]
        value = self._stake("fine_tuning", number)
        return Call(by, "fine_tuning", "addOrUpdateService", args, value)

    def fine_tuning_service(self) -> Call:
        return self._fine_tuning_service(self.rng.randrange(len(self.providers)))

    def remove_service(self) -> Call:
        return Call(self.rng.choice(self.providers), self._kind(), "removeService")

    def _acknowledge(self, kind: str, number: int) -> Call:
        provider = self.providers[number].address
        return Call(accounts.owner(), kind, "acknowledgeTEESignerByOwner", (provider,))

    def owner_decision(self) -> Call:
        number, kind = self.rng.randrange(len(self.providers)), self._kind()
        if self.rng.random() < 0.9:
            return self._acknowledge(kind, number)
        provider = self.providers[number].address
        return Call(accounts.owner(), kind, "revokeTEESignerAcknowledgement", (provider,))

    def lock_time(self) -> Call:
        seconds = self.rng.choice((HOUR, 6 * HOUR, 24 * HOUR, 48 * HOUR, 10))
        return Call(accounts.owner(), self._kind(), "updateLockTime", (seconds,))

    def penalty(self) -> Call:
        value = self.rng.choice((0, 10, 30, 50, 100, 101))
        return Call(accounts.owner(), "fine_tuning", "updatePenaltyPercentage", (value,))

    def pass_time(self, seconds: int = 0) -> None:
        choices = (60, HOUR, 7 * HOUR, 25 * HOUR)
        self.contracts.chain.travel(seconds or self.rng.choice(choices))

    # ---- pairs -----------------------------------------------------------------------------

    def user_acknowledgement(self) -> Call:
        args = (self.rng.choice(self.providers).address, self.rng.random() < 0.5)
        return Call(self._user(), self._kind(), "acknowledgeTEESigner", args)

    def revoke_tokens(self) -> Call:
        provider = self.rng.choice(self.providers).address
        draw = self.rng.random()
        if draw < 0.5:
            token = self.rng.randint(0, 255)
            return Call(self._user(), "inference", "revokeToken", (provider, token))
        if draw < 0.8:
            tokens = [self.rng.randint(0, 255) for _ in range(self.rng.randint(0, 5))]
            return Call(self._user(), "inference", "revokeTokens", (provider, tokens))
        return Call(self._user(), "inference", "revokeAllTokens", (provider,))

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
        item = signatures.settlement(
            self.domains["inference"],
            self.signers[(number + wrong_signer) % len(self.signers)],
            user=user,
            provider=self.providers[(number + wrong_provider) % len(self.providers)].address,
            fee=fee,
            nonce=nonce,
            requests_hash=self.rng.randbytes(32),
        )
        if self.rng.random() < 0.03:
            item["signature"] = item["signature"][:64]
        return item

    # ---- fine-tuning -----------------------------------------------------------------------

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
