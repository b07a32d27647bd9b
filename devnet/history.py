"""`python -m devnet history`: 90 days of a large market on a chain whose clock began that long ago.

Real transactions from accounts that the node lets anybody use: registrations over the first two
thirds, price changes, moves of endpoints with and without the owner's renewed word, withdrawals,
and daily settlements of a few busy providers. Endpoints are names under `.example`, where nobody
is. Start anvil with `Anvil(args=history.args(days))`; afterwards its clock is right.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from eth_account import Account
from eth_account.signers.local import LocalAccount

from devnet import accounts, signatures
from devnet.anvil import DEVNET_ARGS
from devnet.client import Contract
from devnet.deploy import Contracts
from devnet.signatures import Domain

ONE = 10**18
DAY = 86_400
#: Days after which nobody registers any more, out of all.
ARRIVING = 2 / 3
_GAS = hex(3_000_000)
#: Above what a burst of transactions can drive the base fee to: none may be left waiting.
_FEE = hex(10**12)
_NAME = "inference-v1.0"
BUSY, USERS = 8, 5

#: (model, type, usual prices in neuron per token, image or second)
MODELS: tuple[tuple[str, str, int, int], ...] = (
    ("llama-3.3-70b-instruct", "chatbot", 120 * 10**9, 400 * 10**9),
    ("llama-3.1-8b-instruct", "chatbot", 20 * 10**9, 60 * 10**9),
    ("qwen/qwen-2.5-7b-instruct", "chatbot", 50 * 10**9, 100 * 10**9),
    ("qwen/qwen3-32b", "chatbot", 100 * 10**9, 300 * 10**9),
    ("qwen/qwen3-235b-a22b", "chatbot", 200 * 10**9, 800 * 10**9),
    ("deepseek-ai/DeepSeek-R1", "chatbot", 550 * 10**9, 2_190 * 10**9),
    ("deepseek-ai/DeepSeek-V3", "chatbot", 270 * 10**9, 1_100 * 10**9),
    ("openai/gpt-oss-120b", "chatbot", 90 * 10**9, 450 * 10**9),
    ("openai/gpt-oss-20b", "chatbot", 40 * 10**9, 150 * 10**9),
    ("google/gemma-3-27b-it", "chatbot", 90 * 10**9, 170 * 10**9),
    ("mistralai/mistral-small-3.2-24b", "chatbot", 60 * 10**9, 180 * 10**9),
    ("microsoft/phi-4", "chatbot", 60 * 10**9, 140 * 10**9),
    ("zai-org/GLM-4.5-Air", "chatbot", 140 * 10**9, 860 * 10**9),
    ("flux-turbo", "text-to-image", 3 * 10**15, 3 * 10**15),
    ("stable-diffusion-3.5-large", "text-to-image", 5 * 10**15, 5 * 10**15),
    ("whisper-large-v3", "speech-to-text", 10**13, 10**13),
)
_GPUS = ("H100", "H200", "B200")


class HistoryError(Exception):
    """The chain does not hold what was done on it."""


@dataclass(frozen=True)
class Report:
    """What was made."""

    services: int
    transactions: int
    seconds: float


@dataclass
class Offer:
    """One listing as it stands."""

    number: int
    provider: str
    signer: LocalAccount
    model: str
    type: str
    url: str
    input_price: int
    output_price: int
    info: str


@dataclass
class Writer:
    """Sends transactions from anybody's account; the node signs nothing and asks nobody."""

    contracts: Contracts
    sent: int = 0
    waiting: list[str] = field(default_factory=list)

    def send(self, by: str, to: Contract, function: str, *args: object, value: int = 0) -> None:
        tx_hash = self.contracts.chain.rpc.call(
            "eth_sendTransaction",
            {
                "from": by,
                "to": to.address,
                "data": "0x" + to.encode(function, *args).hex(),
                "value": hex(value),
                "gas": _GAS,
                "maxFeePerGas": _FEE,
                "maxPriorityFeePerGas": "0x0",
            },
        )
        self.waiting.append(tx_hash)

    def done(self) -> None:
        """Wait until everything sent is in a block. Raises HistoryError for what was refused."""
        for tx_hash in self.waiting:
            if not self.contracts.chain.wait(tx_hash).ok:
                raise HistoryError(f"transaction {tx_hash} was refused")
        self.sent += len(self.waiting)
        self.waiting.clear()

    def fund(self, address: str, amount: int) -> None:
        self.contracts.chain.rpc.call("anvil_setBalance", address, hex(amount))

    def pass_time(self, seconds: int) -> None:
        self.contracts.chain.rpc.call("evm_increaseTime", hex(seconds))


def args(days: int) -> tuple[str, ...]:
    """Options of an anvil whose clock is so many days behind."""
    return (*DEVNET_ARGS, "--timestamp", str(int(time.time()) - days * DAY))


def make(contracts: Contracts, services: int, seed: int = 7) -> Report:
    """Play the history on a chain whose clock is at least a day behind; it is right afterwards.

    Raises HistoryError where it is not behind, or when not all services are listed at the end.
    """
    began = time.monotonic()
    behind = int(time.time()) - contracts.chain.timestamp()
    if behind < DAY:
        raise HistoryError(
            "the chain's clock is not behind: start anvil with --timestamp of that long ago"
        )
    market = Market(contracts, services, behind, random.Random(seed))
    market.play()
    return Report(market.listed(), market.writer.sent, time.monotonic() - began)


class Market:
    """The state of the market while its history is made."""

    def __init__(
        self, contracts: Contracts, services: int, behind: int, rng: random.Random
    ) -> None:
        """`behind`: seconds that the chain's clock has to catch up."""
        self.contracts, self.rng = contracts, rng
        self.behind, self.days = behind, behind // DAY
        self.wanted = services
        self.writer = Writer(contracts)
        self.owner = str(accounts.owner().address)
        self.domain = Domain(contracts.chain.chain_id, contracts.inference.address)
        self.offers: list[Offer] = []
        self.users = [_person(f"user {n}").address for n in range(USERS)]
        self.nonces = 0

    def play(self) -> None:
        rpc = self.contracts.chain.rpc
        rpc.call("anvil_autoImpersonateAccount", True)
        for user in self.users:
            self.writer.fund(user, 10_000 * ONE)
            self.writer.send(user, self.contracts.ledger, "depositFund", value=5_000 * ONE)
        self.writer.done()
        left = self.behind
        for day in range(self.days):
            for happening in self._of_day(day):
                step = int(DAY * self.rng.uniform(0.1, 0.3))
                left -= step
                self.writer.pass_time(step)
                happening()
                self.writer.done()
            rest = left - (self.days - 1 - day) * DAY
            left -= rest
            self.writer.pass_time(rest)
        self.writer.pass_time(left)
        # Clocks of node and machine agree again: the work's own time passed on both.
        rpc.call("evm_mine")
        if self.listed() < self.wanted:
            raise HistoryError(f"{self.listed()} of {self.wanted} services are listed")

    def listed(self) -> int:
        """Inference services on chain."""
        page = self.contracts.inference.view("getAllServices", 0, 50)
        return int(page[1])

    def _of_day(self, day: int) -> list[Callable[[], None]]:
        return [
            lambda: self._arrivals(day),
            self._changes,
            self._settlements,
        ]

    def _arrivals(self, day: int) -> None:
        last = int(self.days * ARRIVING)
        due = self.wanted if day >= last else self.wanted * (day + 1) // (last + 1)
        while len(self.offers) < due:
            self._register()

    def _register(self) -> None:
        number = len(self.offers)
        rng = self.rng
        # The busy ones are there first, and have a model that many ask for.
        model, kind, low, high = MODELS[number % 13] if number < BUSY else rng.choice(MODELS)
        factor = rng.uniform(0.5, 2.0)
        person = _person(f"provider {number}")
        offer = Offer(
            number=number,
            provider=person.address,
            signer=_person(f"signer {number}"),
            model=model,
            type=kind,
            url=f"https://p{number:04d}.history.example",
            input_price=round(low * factor) // 10**6 * 10**6,
            output_price=round(high * factor) // 10**6 * 10**6,
            info=_info(rng),
        )
        self.offers.append(offer)
        self.writer.fund(offer.provider, 1_000 * ONE)
        self._put(offer, value=(100 + rng.choice((0, 0, 0, 50, 400))) * ONE)
        if number < BUSY or rng.random() < 0.85:
            self._acknowledge(offer)
        if number < BUSY:
            for user in self.users:
                self.writer.send(
                    user, self.contracts.ledger, "transferFund", offer.provider, _NAME, 100 * ONE
                )

    def _put(self, offer: Offer, value: int = 0) -> None:
        params = {
            "serviceType": offer.type,
            "url": offer.url,
            "model": offer.model,
            "verifiability": "TeeML",
            "inputPrice": offer.input_price,
            "outputPrice": offer.output_price,
            "additionalInfo": offer.info,
            "teeSignerAddress": offer.signer.address,
        }
        inference = self.contracts.inference
        self.writer.send(offer.provider, inference, "addOrUpdateService", params, value=value)

    def _acknowledge(self, offer: Offer) -> None:
        self.writer.send(
            self.owner, self.contracts.inference, "acknowledgeTEESignerByOwner", offer.provider
        )

    def _changes(self) -> None:
        """A few listings a day: mostly prices, sometimes the endpoint or the signer."""
        rng = self.rng
        for offer in rng.sample(self.offers, min(len(self.offers), rng.randint(6, 16))):
            draw = rng.random()
            changed = offer
            if draw < 0.9:
                factor = rng.choice((0.7, 0.8, 0.9, 0.95, 1.05, 1.1, 1.25))
                changed = replace(
                    offer,
                    input_price=max(10**6, round(offer.input_price * factor) // 10**6 * 10**6),
                    output_price=max(10**6, round(offer.output_price * factor) // 10**6 * 10**6),
                )
            elif draw < 0.97:
                changed = replace(
                    offer, url=f"https://p{offer.number:04d}-{rng.randint(2, 9)}.history.example"
                )
            elif offer.number >= BUSY:
                changed = replace(
                    offer, signer=_person(f"signer {offer.number} {rng.randint(2, 99)}")
                )
            self.offers[offer.number] = changed
            self._put(changed)
            if draw >= 0.9 and rng.random() < 0.5:
                self._acknowledge(changed)

    def _settlements(self) -> None:
        for offer in self.offers[:BUSY]:
            items = []
            for user in self.rng.sample(self.users, self.rng.randint(1, 3)):
                self.nonces += 1
                items.append(
                    signatures.settlement(
                        self.domain,
                        offer.signer,
                        user=user,
                        provider=offer.provider,
                        fee=self.rng.randint(10**15, ONE // 3),
                        nonce=self.nonces,
                        requests_hash=self.rng.randbytes(32),
                    )
                )
            self.writer.send(offer.provider, self.contracts.inference, "settleFeesWithTEE", items)


def _person(name: str) -> LocalAccount:
    made: LocalAccount = Account.from_key(hashlib.sha256(f"history {name}".encode()).digest())
    return made


def _info(rng: random.Random) -> str:
    """What a provider declares about itself."""
    info: dict[str, object] = {
        "ProviderType": rng.choice(("decentralized", "decentralized", "centralized")),
        "TEEVerifier": rng.choice(("dstack", "dstack", "cryptopilot")),
        "TargetSeparated": False,
        "gpu": rng.choice(_GPUS),
    }
    if rng.random() < 0.4:
        info["cacheTokenBilling"] = {"divisor": rng.choice((2, 4, 10))}
    return json.dumps(info, sort_keys=True, separators=(",", ":"))
