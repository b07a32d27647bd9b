"""A place to try the broker in: a chain of its own, real broker processes, a scripted upstream, and
a JSON-RPC relay that can cut the power at a chosen call."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import requests
import uvicorn
import yaml
from eth_account import Account
from eth_account.signers.local import LocalAccount

from devnet import accounts
from devnet.deploy import Contracts
from protocol import fees, keys
from protocol.digests import sign
from protocol.fees import Tariff, Usage
from provider import config as configs
from provider import tee as tees
from provider.chain import Chain
from provider.debts import Debts
from provider.metrics import Metrics
from provider.settle import Settler
from provider.store import Store
from runner.processes import free_port
from tests import forks

ROOT = Path(__file__).resolve().parents[2]
ONE = 10**18
INPUT_PRICE, OUTPUT_PRICE = 100_000_000_000, 400_000_000_000
MODEL = "lab-model"
SERVICE = "inference-v1.0"
#: Ends a hopeless wait; how long things take is not what the tests are about.
START_SECONDS = 120
#: What the scripted upstream's plain answer costs.
FEE = fees.chat_fee(Tariff(INPUT_PRICE, OUTPUT_PRICE), Usage(11, 7))


@dataclass
class Person:
    """A wallet of the test's own, so that tests do not meet each other on chain."""

    wallet: LocalAccount = field(default_factory=lambda: Account.create())

    @property
    def address(self) -> str:
        return str(self.wallet.address)

    @property
    def key(self) -> bytes:
        return bytes(self.wallet.key)

    def provider_key(self, provider: str, **changes: Any) -> str:
        """An `Authorization` header value; `changes` override fields of the key."""
        now = int(time.time() * 1000)
        made: dict[str, Any] = {
            "address": self.address,
            "provider": provider,
            "timestamp": now,
            "expires_at": now + 3_600_000,
            "nonce": secrets.token_hex(16),
            "generation": 0,
            "token_id": 255,
        }
        raw = keys.raw_message(keys.KeyFields(**{**made, **changes}))
        return keys.authorization(keys.encode(raw, sign(keys.signing_digest(raw), self.key)))


class Lab:
    """The chain and everything that is done to it directly."""

    def __init__(self, contracts: Contracts, rpc: str, folder: Path) -> None:
        self.contracts = contracts
        self.rpc = rpc
        self.folder = folder
        self.brokers: list[Broker] = []

    def close(self) -> None:
        """End what a failed test left running."""
        for broker in self.brokers:
            if broker.alive:
                broker.stop(signal.SIGKILL)

    def person(self, coins: int = 1000) -> Person:
        """Somebody with `coins` 0G in the wallet."""
        person = Person()
        self.contracts.chain.rpc.call("anvil_setBalance", person.address, hex(coins * ONE))
        return person

    def fund(self, user: Person, provider: str, amount: int = 2 * ONE) -> None:
        """Give `user` a sub-account of `amount` neuron."""
        ledger = self.contracts.ledger
        ledger.send(user.wallet, "depositFund", value=max(amount, 3 * ONE))
        ledger.send(user.wallet, "transferFund", provider, SERVICE, amount)

    def acknowledge(self, provider: str) -> None:
        """What the contract owner does for a provider it trusts."""
        self.contracts.inference.send(accounts.owner(), "acknowledgeTEESignerByOwner", provider)

    def account(self, user: Person, provider: str) -> dict[str, Any]:
        found: dict[str, Any] = self.contracts.inference.view("getAccount", user.address, provider)
        return found

    def service(self, provider: str) -> dict[str, Any]:
        found: dict[str, Any] = self.contracts.inference.view("getService", provider)
        return found


def spawned(config: Path) -> forks.Forked:
    """A broker's process; its log is beside `config`."""
    with (config.parent / "log").open("a") as log:
        return forks.PROVIDER.start(
            *("provider", "--verbose", "--config", str(config)),
            env=os.environ,
            stdout=subprocess.PIPE,
            stderr=log,
        )


def ready(process: forks.Forked, config: Path) -> str:
    """Its first line, which says where it is. Raises RuntimeError with the end of the log."""
    assert process.stdout is not None
    watchdog = threading.Timer(START_SECONDS, process.kill)
    watchdog.start()
    line = process.stdout.readline().strip()
    watchdog.cancel()
    if not line:
        log = (config.parent / "log").read_text()
        raise RuntimeError(f"the broker did not start:\n{log[-2000:]}")
    return line


def health_path() -> str:
    """What the image's health check asks for."""
    dockerfile = (ROOT / "deploy" / "provider" / "Dockerfile").read_text()
    return dockerfile.partition("http://127.0.0.1:8080")[2].partition("'")[0]


class Broker:
    """One broker process; its files survive `kill`."""

    def __init__(self, lab: Lab, owner: Person, upstream: str, /, **settings: Any) -> None:
        self.lab = lab
        self.owner = owner
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = lab.folder / owner.address
        self.folder.mkdir(exist_ok=True)
        document: dict[str, Any] = {
            "service": {
                "model": MODEL,
                "input_price": str(INPUT_PRICE),
                "output_price": OUTPUT_PRICE,
            },
            "upstream": {"url": upstream, "key": "upstream-secret"},
            "chain": {
                "rpc": lab.rpc,
                "chain_id": 31337,
                "inference": lab.contracts.inference.address,
                "cache_seconds": 60,
            },
            "wallet_key": "0x" + owner.key.hex(),
            "listen": {"port": self.port},
            "state": "state",
            "settlement": {"interval_seconds": 3600},
        }
        for section, values in settings.items():
            document[section] = {**document.get(section, {}), **values}
        self.config = self.folder / "provider.yaml"
        self.config.write_text(yaml.safe_dump(document))
        self.process: forks.Forked | None = None
        self.ready = ""
        lab.brokers.append(self)

    @property
    def address(self) -> str:
        return self.owner.address

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def set(self, section: str, **values: Any) -> None:
        """Change the configuration for the next start."""
        document = yaml.safe_load(self.config.read_text())
        document[section] = {**document.get(section, {}), **values}
        self.config.write_text(yaml.safe_dump(document))

    def start(self) -> Broker:
        self.process = spawned(self.config)
        self.ready = ready(self.process, self.config)
        return self

    def stop(self, number: int = signal.SIGTERM) -> float:
        """End the process; returns the seconds it took."""
        assert self.process is not None and self.process.stdout is not None
        started = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(START_SECONDS)
        self.process.stdout.close()
        return time.monotonic() - started

    def wait_dead(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        self.process.wait(START_SECONDS)
        self.process.stdout.close()

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def memory(self) -> int:
        """Resident bytes."""
        assert self.process is not None
        return int(psutil.Process(self.process.pid).memory_info().rss)

    @contextmanager
    def memory_peak(self) -> Iterator[list[int]]:
        """Fills the list with the most that was resident during the block, in bytes."""
        assert self.process is not None
        folder = Path(f"/proc/{self.process.pid}")
        (folder / "clear_refs").write_text("5")  # proc(5): forget the peak
        found: list[int] = []
        yield found
        (line,) = (x for x in (folder / "status").read_text().splitlines() if "VmHWM" in x)
        found.append(int(line.split()[1]) * 1024)

    def ask(self, authorization: str | None, body: Any = None, **options: Any) -> requests.Response:
        """One chat completion; `body` may be a dict, bytes or None for a small question."""
        if body is None:
            body = {"model": MODEL, "messages": [{"role": "user", "content": "plain"}]}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **options.pop("headers", {})}
        if authorization is not None:
            headers["Authorization"] = authorization
        return requests.post(
            self.url + options.pop("path", "/v1/proxy/chat/completions"),
            data=data,
            headers=headers,
            timeout=30,
            **options,
        )

    def owes(self, user: Person) -> int:
        """What the broker says the user owes, in neuron."""
        answer = requests.get(
            f"{self.url}/v1/user/{user.address}/unsettledfee",
            headers={"Authorization": user.provider_key(self.address)},
            timeout=10,
        )
        return int(answer.json()["unsettledFee"])


def customer(lab: Lab, broker: Broker, amount: int = 2 * ONE) -> Person:
    user = lab.person()
    lab.fund(user, broker.address, amount)
    return user


def buy(broker: Broker, user: Person, answers: int) -> int:
    """Ask `answers` times; returns the debt."""
    key = user.provider_key(broker.address)
    for _ in range(answers):
        answer = broker.ask(key)
        assert answer.status_code == 200, answer.text
    return answers * FEE


def transactions(broker: Broker) -> int:
    count = broker.lab.contracts.chain.rpc.call("eth_getTransactionCount", broker.address, "latest")
    return int(count, 16)


@asynccontextmanager
async def settling(broker: Broker) -> AsyncIterator[tuple[Settler, Store, Debts]]:
    """The broker's own settlement, on its own state, one round at a time."""
    config = configs.load(broker.config)
    store = Store(config.state)
    async with aiohttp.ClientSession() as session:
        chain = Chain(session, config.network.rpc, config.network.inference, config.wallet_key)
        debts, tee = Debts(store.owed()), tees.load(config.tee, config.state)
        given = (store, chain, tee, debts, config.settlement)
        yield Settler(*given, chain_id=31337, metrics=Metrics()), store, debts
    store.close()


@contextmanager
def served(app: Any) -> Iterator[str]:
    """An ASGI app on a loopback port, in a thread of this process."""
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host="127.0.0.1",
            port=port,
            lifespan="off",
            log_level="error",
            ws="none",
            timeout_graceful_shutdown=1,
        )
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(5)


def completion(text: str, usage: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    found = {"id": "x", "object": "chat.completion", "created": 1, "model": MODEL}
    return {**found, "choices": [choice], **({} if usage is None else {"usage": usage})}


def chunk(text: str | None, usage: Any = None) -> bytes:
    found: dict[str, Any] = {"id": "x", "object": "chat.completion.chunk", "created": 1}
    delta = [] if text is None else [{"index": 0, "delta": {"content": text}}]
    found |= {"model": MODEL, "choices": delta, **({} if usage is None else {"usage": usage})}
    return b"data: " + json.dumps(found).encode() + b"\n\n"


USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


class Upstream:
    """An OpenAI-compatible server that behaves as the last message's first word tells it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.sent = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if scope["method"] == "GET":  # the broker looks whether we are there
            await self._json(send, 200, b'{"object":"list","data":[{"id":"lab-model"}]}')
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.bodies.append(body)
        self.headers.append({k.decode(): v.decode() for k, v in scope["headers"]})
        self.sent = 0
        document = json.loads(body)
        content = document["messages"][-1]["content"]
        words = content if isinstance(content, str) else content[0]["text"]
        behave = getattr(self, "do_" + words.split()[0])
        await behave(send, bool(document.get("stream")))

    async def _start(self, send: Any, status: int, kind: str, **headers: str) -> None:
        pairs = [(b"content-type", kind.encode())]
        pairs += [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": pairs})

    async def _body(self, send: Any, body: bytes, *, more: bool = False) -> None:
        await send({"type": "http.response.body", "body": body, "more_body": more})
        self.sent += len(body)

    async def _json(self, send: Any, status: int, body: bytes, **headers: str) -> None:
        await self._start(send, status, "application/json", **headers)
        await self._body(send, body)

    async def do_plain(self, send: Any, stream: bool, usage: Any = USAGE) -> None:
        if not stream:
            body = json.dumps(completion("seven words are in this short answer", usage))
            await self._json(send, 200, body.encode())
            return
        await self._start(send, 200, "text/event-stream")
        for word in ("seven ", "words ", "are ", "in ", "this ", "short ", "answer"):
            await self._body(send, chunk(word), more=True)
            await asyncio.sleep(0.01)
        if usage is not None:
            await self._body(send, chunk(None, usage), more=True)
        await self._body(send, b"data: [DONE]\n\n")

    async def do_nousage(self, send: Any, stream: bool) -> None:
        await self.do_plain(send, stream, None)

    async def do_absurd(self, send: Any, stream: bool) -> None:
        usage = {"prompt_tokens": -5, "completion_tokens": 10**30}
        await self.do_plain(send, stream, usage)

    async def do_slowly(self, send: Any, stream: bool) -> None:
        """Forty chunks in two seconds."""
        await self._start(send, 200, "text/event-stream")
        for _ in range(40):
            await self._body(send, chunk("drip "), more=True)
            await asyncio.sleep(0.05)
        await self._body(send, chunk(None, USAGE) + b"data: [DONE]\n\n")

    async def do_dripping(self, send: Any, stream: bool) -> None:
        """Two thousand chunks in a hundred seconds: nobody waits for its end."""
        await self._start(send, 200, "text/event-stream")
        for _ in range(2000):
            await self._body(send, chunk("drip "), more=True)
            await asyncio.sleep(0.05)

    async def do_silent(self, send: Any, stream: bool) -> None:
        await asyncio.sleep(20)

    async def do_stuck(self, send: Any, stream: bool) -> None:
        await self._start(send, 200, "text/event-stream")
        await self._body(send, chunk("two words"), more=True)
        await asyncio.sleep(20)

    async def do_lingering(self, send: Any, stream: bool) -> None:
        """Says [DONE] and never closes the body."""
        await self._start(send, 200, "text/event-stream")
        await self._body(send, chunk("word", USAGE) + b"data: [DONE]\n\n", more=True)
        await asyncio.sleep(20)

    async def do_huge(self, send: Any, stream: bool) -> None:
        if not stream:
            await self._json(send, 200, b'{"x":"' + b"y" * (11 * 1024 * 1024) + b'"}')
            return
        await self._start(send, 200, "text/event-stream")
        for _ in range(100):
            await self._body(send, b"data: " + b"z" * (1024 * 1024), more=True)

    async def do_garbage(self, send: Any, stream: bool) -> None:
        if not stream:
            await self._json(send, 200, b"<html>not JSON</html>")
            return
        await self._start(send, 200, "text/event-stream")
        await self._body(send, b"data: {not json\n\n: comment\n\ndata: [1]\n\n" + chunk("one two"))

    async def do_error(self, send: Any, stream: bool) -> None:
        await self._json(send, 500, b'{"error":{"message":"upstream exploded"}}')

    async def do_busy(self, send: Any, stream: bool) -> None:
        await self._json(send, 429, b'{"error":{"message":"later"}}')

    async def do_denied(self, send: Any, stream: bool) -> None:
        await self._json(send, 401, b'{"error":{"message":"bad key upstream-secret"}}')

    async def do_elsewhere(self, send: Any, stream: bool) -> None:
        await self._json(send, 302, b"", location="http://127.0.0.1:9/")

    async def do_foreign(self, send: Any, stream: bool) -> None:
        await self._start(send, 200, "application/json; charset=\N{SNOWMAN}")
        await self._body(send, json.dumps(completion("seven words", USAGE)).encode())

    async def do_zipped(self, send: Any, stream: bool) -> None:
        await self._json(send, 200, b"\x1f\x8b", content_encoding="gzip")


class ChaosRpc:
    """Relays JSON-RPC to a node; `before` and `after` see each call by method name."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.before: Callable[[str], None] = lambda method: None
        self.after: Callable[[str], None] = lambda method: None
        self.calls: list[str] = []
        self.lies: dict[str, Any] = {}
        self.refused: tuple[str, ...] = ()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        message = await receive()
        method = json.loads(message["body"])["method"]
        self.calls.append(method)
        self.before(method)
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.target, data=message["body"], headers=_JSON) as answer,
        ):
            body = await answer.read()
        self.after(method)
        if method in self.refused:
            error = {"code": -32005, "message": "more than this node gives"}
            body = json.dumps({"jsonrpc": "2.0", "id": 1, "error": error}).encode()
        elif method in self.lies:
            body = json.dumps({"jsonrpc": "2.0", "id": 1, "result": self.lies[method]}).encode()
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"application/json")],
            }
        )
        await send({"type": "http.response.body", "body": body})


_JSON = {"Content-Type": "application/json"}
