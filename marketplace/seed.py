"""A little real history for the local devnet: deposits, transfers, questions, a refund.

It speaks JSON-RPC, the site's own API and the providers' public API, as any user's program would;
nothing is written into the database. Only for chain id 31337, whose keys are public.
"""

from __future__ import annotations

import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_typing import Hash32

from chain.rpc import Rpc
from protocol import keys
from protocol.abi import LEDGER_MANAGER, encode_call

#: The mnemonic every local chain funds. Account 0 owns the contracts, 1 is left untouched for the
#: newcomer, providers begin at 5.
MNEMONIC = "test test test test test test test test test test test junk"
ZEROG = 10**18
DEVNET_CHAIN_ID = 31337
GAS_PRICE = 2 * 10**9


class SeedError(Exception):
    """The history could not be made; the text says why."""


@dataclass(frozen=True)
class Plan:
    """What one user does: deposit, then per provider (by position in the list) fund and ask."""

    account: int
    deposit: int
    transfers: tuple[tuple[int, int], ...]
    questions: tuple[str, ...] = ()
    retrieves: tuple[int, ...] = ()


PLANS = (
    Plan(
        account=2,
        deposit=10 * ZEROG,
        transfers=((0, 3 * ZEROG), (1, 2 * ZEROG)),
        questions=("How do I get my money back?", "What does the verdict altered mean?"),
    ),
    Plan(
        account=3,
        deposit=25 * ZEROG,
        transfers=((0, 2 * ZEROG), (1, 4 * ZEROG), (2, 2 * ZEROG)),
        questions=("Why does a call need more than 1 0G?",),
        retrieves=(2,),
    ),
    Plan(
        account=4,
        deposit=8 * ZEROG,
        transfers=((0, 5 * ZEROG // 2),),
        questions=("Who answers in the demo?",),
    ),
    # The site's own wallet (SITE_WALLET_KEY): pays for speed probes and key challenges.
    Plan(
        account=13,
        deposit=10 * ZEROG,
        transfers=((0, 2 * ZEROG), (1, 2 * ZEROG), (2, 2 * ZEROG), (3, 2 * ZEROG)),
    ),
)


def seed(
    rpc_urls: Sequence[str], site: str, ledger: str, at_least: int, leave_out: Collection[str]
) -> int:
    """Carry out every plan whose account has no ledger yet, at `at_least` chat services; returns
    how many were. `leave_out`: models that nobody asks, as their providers do not always answer.
    """
    services = listed(site, "kind=inference&type=chatbot", at_least, leave_out)

    def carry_out(plan: Plan) -> bool:
        with Rpc(rpc_urls, DEVNET_CHAIN_ID) as rpc:
            return User(rpc, ledger, plan.account).carry_out(plan, services)

    with ThreadPoolExecutor(len(PLANS)) as pool:
        return sum(pool.map(carry_out, PLANS))


def listed(
    site: str, wanted: str, at_least: int, leave_out: Collection[str] = ()
) -> list[dict[str, Any]]:
    """What the site lists of this machine (other listings of a devnet may be made up), the oldest
    first; waited for up to a minute. Raises SeedError."""
    url = f"{site}/api/v1/services?{wanted}&q=127.0.0.1&page_size=50"
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                found: list[dict[str, Any]] = json.load(response)["items"]
            items = [item for item in found if item.get("model") not in leave_out]
            problem = f"lists {len(items)} services, {at_least} are needed"
            if len(items) >= at_least:
                return sorted(items, key=lambda i: (i["created_block"], i["provider"]))
        except (OSError, ValueError, KeyError) as error:
            problem = f"does not answer: {error}"
        if time.monotonic() > deadline:
            raise SeedError(f"{url} {problem}")
        time.sleep(0.1)


class User:
    """One account of the test mnemonic at work."""

    def __init__(self, rpc: Rpc, ledger: str, number: int) -> None:
        self.rpc = rpc
        self.ledger = ledger
        Account.enable_unaudited_hdwallet_features()
        path = f"m/44'/60'/0'/0/{number}"
        self.account: LocalAccount = Account.from_mnemonic(MNEMONIC, account_path=path)

    def carry_out(self, plan: Plan, services: list[dict[str, Any]]) -> bool:
        """The whole plan; False when this account already has a ledger."""
        known = encode_call(LEDGER_MANAGER, "getLedger", self.account.address)
        if not self.rpc.call(self.ledger, known).startswith("revert:"):
            return False
        self.send("depositFund", value=plan.deposit)
        for position, amount in plan.transfers:
            service = services[position % len(services)]
            self.send("transferFund", service["provider"], service["service_name"], amount)
        for number, question in enumerate(plan.questions):
            position = plan.transfers[number % len(plan.transfers)][0]
            self.ask(services[position % len(services)], question)
        for position in plan.retrieves:
            service = services[position % len(services)]
            self.send("retrieveFund", [service["provider"]], service["service_name"])
        return True

    def send(self, function: str, *arguments: Any, value: int = 0) -> None:
        """One transaction to the LedgerManager, waited for. Raises SeedError when it reverts."""
        self.transact(self.ledger, LEDGER_MANAGER, function, *arguments, value=value)

    def transact(
        self, to: str, contract: str, function: str, *arguments: Any, value: int = 0
    ) -> None:
        """One transaction to any of the contracts, waited for. Raises SeedError when it
        reverts."""
        sender = self.account.address
        transaction: dict[str, Any] = {
            "to": to,
            "data": encode_call(contract, function, *arguments),
            "value": value,
            "chainId": DEVNET_CHAIN_ID,
            "nonce": int(self.rpc.ask("eth_getTransactionCount", sender, "pending"), 16),
            "gas": 2_000_000,
            "gasPrice": GAS_PRICE,
        }
        raw = "0x" + self.account.sign_transaction(transaction).raw_transaction.hex()
        tx_hash = self.rpc.ask("eth_sendRawTransaction", raw)
        deadline = time.monotonic() + 30
        while (receipt := self.rpc.ask("eth_getTransactionReceipt", tx_hash)) is None:
            if time.monotonic() > deadline:
                raise SeedError(f"transaction {tx_hash} was not included in 30 s")
            time.sleep(0.05)
        if int(receipt["status"], 16) != 1:
            raise SeedError(f"{function} of {sender} reverted ({tx_hash})")

    def ask(self, service: dict[str, Any], question: str) -> None:
        """One paid question at the provider, with a key that lives five minutes."""
        fields = keys.build(
            address=self.account.address,
            provider=service["provider"],
            now_ms=int(time.time() * 1000),
            lifetime_ms=300_000,
            nonce=secrets.token_hex(16),
            generation=0,
            token_id=keys.EPHEMERAL_TOKEN_ID,
        )
        raw = keys.raw_message(fields)
        digest = Hash32(keys.signing_digest(raw))
        signature = self.account.unsafe_sign_hash(digest).signature
        body = {
            "model": service["model"],
            "messages": [{"role": "user", "content": question}],
            "max_tokens": 80,
        }
        request = urllib.request.Request(
            f"{service['url']}/v1/proxy/chat/completions",
            json.dumps(body).encode(),
            {
                "Content-Type": "application/json",
                "Authorization": keys.authorization(keys.encode(raw, bytes(signature))),
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                response.read()
        except urllib.error.HTTPError as error:
            raise SeedError(
                f"{service['url']}: {error.read(500).decode(errors='replace')}"
            ) from None
        except OSError as error:
            raise SeedError(f"{service['url']} does not answer: {error}") from None
