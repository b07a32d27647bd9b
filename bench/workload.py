"""A long, busy history on a real anvil: what the index has to read in `./run bench index`.

Transactions are sent unsigned (anvil impersonates) and mined by hand, so that a million logs take
minutes. The mix is that of a working market: mostly settlements, then refund rounds over many
providers, transfers, price changes.
"""

from __future__ import annotations

import random
import sys
import time
from dataclasses import dataclass
from typing import Any

import orjson
import requests
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from devnet import accounts
from devnet.anvil import Anvil
from devnet.deploy import connect, deploy
from protocol import abi
from protocol.abi import INFERENCE_SERVING, LEDGER_MANAGER
from protocol.digests import Settlement, address_of_key, settlement_digest, sign

ONE = 10**18
PROVIDERS, USERS = 20, 30
NAME = "inference-v1.0"
#: Logs per block, about: some twenty transactions. (anvil makes a receipt in time that grows with
#: the transactions of its block.)
LOGS_PER_BLOCK = 100
#: Items of a settlement batch (three logs each); the contract allows 50.
BATCH = 30
#: How often each action is drawn; logs per action: 90, 20, 1, 1.
WEIGHTS = {"settle": 8, "retrieve": 12, "transfer": 150, "update": 80}
#: Transactions per JSON-RPC batch.
SEND = 200
ANVIL_ARGS = (
    *("--no-mining", "--order", "fifo", "--slots-in-an-epoch", "1"),
    *("--gas-limit", "1000000000000", "--base-fee", "0", "--gas-price", "0"),
    # The states of old blocks, which views are asked at: a million logs are 8,000 blocks.
    *("--max-persisted-states", "20000"),
)


@dataclass(frozen=True, slots=True)
class History:
    """What was made: `logs` of our contracts in blocks 0..`last_block`, and who took part."""

    logs: int
    transactions: int
    last_block: int
    seconds: float
    ledger: str
    inference: str
    fine_tuning: str


class Writer:
    """Sends transactions of any sender to one anvil, without keys."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False
        self.waiting: list[dict[str, Any]] = []
        self.sent = 0
        self.nonces: dict[str, int] = {}

    def batch(self, calls: list[tuple[str, list[Any]]]) -> list[Any]:
        body = [
            {"jsonrpc": "2.0", "id": i, "method": m, "params": p} for i, (m, p) in enumerate(calls)
        ]
        answer = self.session.post(
            self.url,
            data=orjson.dumps(body),
            headers={"content-type": "application/json"},
            timeout=600,
        )
        found = {item["id"]: item for item in orjson.loads(answer.content)}
        for item in found.values():
            if "error" in item:
                raise RuntimeError(f"anvil refuses: {item['error']}")
        return [found[i]["result"] for i in range(len(calls))]

    def call(self, method: str, *params: Any) -> Any:
        return self.batch([(method, list(params))])[0]

    def send(self, by: str, to: str, data: str, value: int = 0) -> None:
        # With all of it stated anvil estimates nothing, and may take a batch in any order.
        if by not in self.nonces:
            self.nonces[by] = int(self.call("eth_getTransactionCount", by, "latest"), 16)
        nonce = self.nonces[by]
        self.nonces[by] = nonce + 1
        self.waiting.append(
            {
                "from": by, "to": to, "data": data, "value": hex(value), "gas": hex(30_000_000),
                "gasPrice": "0x0", "nonce": hex(nonce),
            }
        )  # fmt: skip

    def mine(self) -> None:
        """Send what waits and put it all into one block."""
        for start in range(0, len(self.waiting), SEND):
            part = self.waiting[start : start + SEND]
            self.batch([("eth_sendTransaction", [tx]) for tx in part])
        self.sent += len(self.waiting)
        self.waiting.clear()
        self.call("evm_mine")


class Market:
    """Providers and users with open accounts, and what they do."""

    def __init__(self, url: str) -> None:
        self.writer = Writer(url)
        self.random = random.Random(1)
        self.deployment = deploy(url)
        self.chain_id = self.deployment.chain_id
        self.signer_key = keccak(b"bench signer")
        self.signer = address_of_key(self.signer_key)
        self.providers = [_address("provider", i) for i in range(PROVIDERS)]
        self.users = [_address("user", i) for i in range(USERS)]
        self.nonce = 0
        self.logs = 0

    def open(self) -> None:
        """Everybody funded, every provider listed and acknowledged, every pair open."""
        write, to = self.writer, self.deployment
        write.call("anvil_autoImpersonateAccount", True)
        people = [*self.providers, *self.users]
        write.batch([("anvil_setBalance", [who, hex(10**6 * ONE)]) for who in people])
        for provider in self.providers:
            write.send(provider, to.inference, self._service(provider), 100 * ONE)
            data = abi.encode_call(INFERENCE_SERVING, "acknowledgeTEESignerByOwner", provider)
            write.send(accounts.owner().address, to.inference, data)
        write.mine()
        for user in self.users:
            data = abi.encode_call(LEDGER_MANAGER, "depositFund")
            write.send(user, to.ledger, data, 10**5 * ONE)
        write.mine()
        for user in self.users:
            for provider in self.providers:
                write.send(user, to.ledger, self._transfer(provider, 100 * ONE))
            write.mine()
        self.logs += 2 * PROVIDERS + USERS * PROVIDERS

    def block(self, logs: int) -> None:
        """One block of about `logs` logs."""
        goal = self.logs + logs
        names, weights = list(WEIGHTS), list(WEIGHTS.values())
        while self.logs < goal:
            getattr(self, self.random.choices(names, weights)[0])()
        self.writer.mine()

    # --- actions ---------------------------------------------------------------------------------

    def settle(self) -> None:
        provider = self.random.choice(self.providers)
        items = [self._item(provider) for _ in range(BATCH)]
        data = abi.encode_call(INFERENCE_SERVING, "settleFeesWithTEE", items)
        self.writer.send(provider, self.deployment.inference, data)
        self.logs += 3 * BATCH

    def _item(self, provider: str) -> dict[str, Any]:
        self.nonce += 1
        item = Settlement(
            user=self.random.choice(self.users),
            provider=provider,
            total_fee=self.random.randrange(1, 10**10),
            requests_hash=self.random.randbytes(32),
            nonce=self.nonce,
        )
        digest = settlement_digest(item, chain_id=self.chain_id, contract=self.deployment.inference)
        return {
            "user": item.user,
            "provider": provider,
            "totalFee": item.total_fee,
            "requestsHash": item.requests_hash,
            "nonce": item.nonce,
            "signature": sign(digest, self.signer_key),
        }

    def retrieve(self) -> None:
        user = self.random.choice(self.users)
        data = abi.encode_call(LEDGER_MANAGER, "retrieveFund", self.providers, NAME)
        self.writer.send(user, self.deployment.ledger, data)
        self.logs += PROVIDERS

    def transfer(self) -> None:
        user, provider = self.random.choice(self.users), self.random.choice(self.providers)
        amount = self.random.randrange(ONE // 100, ONE)
        self.writer.send(user, self.deployment.ledger, self._transfer(provider, amount))
        self.logs += 1

    def update(self) -> None:
        provider = self.random.choice(self.providers)
        self.writer.send(provider, self.deployment.inference, self._service(provider))
        self.logs += 1

    def _transfer(self, provider: str, amount: int) -> str:
        return abi.encode_call(LEDGER_MANAGER, "transferFund", provider, NAME, amount)

    def _service(self, provider: str) -> str:
        number = self.providers.index(provider)
        params = {
            "serviceType": "chatbot",
            "url": f"https://provider-{number}.example.org",
            "model": f"family/model-{number % 7}-instruct",
            "verifiability": "TeeML",
            "inputPrice": self.random.randrange(10**11),
            "outputPrice": self.random.randrange(10**12),
            "additionalInfo": '{"ProviderType":"decentralized"}',
            "teeSignerAddress": self.signer,
        }
        return abi.encode_call(INFERENCE_SERVING, "addOrUpdateService", params)


def make(node: Anvil, events: int, *, log: bool = True) -> History:
    """About `events` logs on `node` (started with `ANVIL_ARGS`); the last is final."""
    started = time.perf_counter()
    node.rpc.call("evm_setAutomine", True)  # deploying waits for its receipts
    market = Market(node.url)
    node.rpc.call("evm_setAutomine", False)
    market.open()
    told = started
    while market.logs < events:
        market.block(LOGS_PER_BLOCK)
        if log and time.perf_counter() - told > 10:
            told = time.perf_counter()
            print(f"  made {market.logs:,} of {events:,} logs", file=sys.stderr, flush=True)
    last = int(market.writer.call("eth_blockNumber"), 16)
    market.writer.call("anvil_mine", "0x28")  # all of it final, to Ponder (30 blocks) too
    _check(node, market)
    there = market.deployment
    return History(
        market.logs,
        market.writer.sent,
        last,
        time.perf_counter() - started,
        there.ledger,
        there.inference,
        there.fine_tuning,
    )


def _check(node: Anvil, market: Market) -> None:
    """A settlement that fails is no settlement: the last block's transactions must have worked."""
    contracts = connect(node.url, market.deployment)
    pages = contracts.inference.view("getAllAccounts", 0, 50)
    if pages[1] != USERS * PROVIDERS or not any(account["nonce"] for account in pages[0]):
        raise RuntimeError("the history has no settlements: they fail")


def _address(role: str, number: int) -> str:
    return str(to_checksum_address(keccak(text=f"bench {role} {number}")[-20:]))
