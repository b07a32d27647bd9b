"""One JSON-RPC client for the chain: batches, several URLs, deadlines, size limits, typed errors.

Synchronous on purpose: one follower, one thread, few large answers. A node is a stranger: every
answer is bounded in time and bytes and checked for shape before anybody uses it.
"""

from __future__ import annotations

import base64
import http.client
import ssl
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson

from chain import facts
from chain.errors import (
    ChainError,
    NodeBehind,
    RangeTooWide,
    RateLimited,
    Retry,
    Unavailable,
    WrongChain,
)
from chain.facts import Call
from chain.limits import log_limit

#: An answer larger than this is refused (bytes).
MAX_ANSWER = 192 << 20
#: Calls per HTTP request; public nodes refuse more than 100 to 1000.
BATCH = 100
FIRST_REST_SECONDS, LAST_REST_SECONDS = 0.5, 30.0
#: A block to read at: a number (final blocks) or a 0x-hash (blocks that may still go away).
BlockRef = int | str


@dataclass(frozen=True, slots=True)
class Request:
    """One call; with `optional` a node that lacks what it asks for still counts as healthy."""

    method: str
    params: tuple[Any, ...] = ()
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """A JSON-RPC error object of one call in a batch."""

    code: int
    message: str
    data: Any = None

    @property
    def reverted(self) -> bool:
        return self.code == 3 or "revert" in self.message.lower()


@dataclass
class Endpoint:
    """One URL: its connection, and how long it rests after a failure."""

    url: str
    timeout: float
    connection: http.client.HTTPConnection | None = None
    checked: bool = False
    rest_seconds: float = 0.0
    rests_until: float = 0.0
    batch: int = BATCH
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"not an http(s) URL: {self.url}")
        self.headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if parts.username:
            token = base64.b64encode(f"{parts.username}:{parts.password or ''}".encode())
            self.headers["Authorization"] = "Basic " + token.decode()

    @property
    def name(self) -> str:
        """The URL without credentials or path: paths of hosted nodes hold API keys."""
        parts = urlsplit(self.url)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname}{port}"

    def post(self, body: bytes) -> bytes:
        """The answer to one HTTP POST; Unavailable or RateLimited otherwise."""
        deadline = time.monotonic() + self.timeout
        try:
            return self._post(body, deadline)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unavailable(f"{self.name}: {type(error).__name__}: {error}") from error
        except ChainError:
            self.close()
            raise

    def _post(self, body: bytes, deadline: float) -> bytes:
        parts = urlsplit(self.url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        for attempt in (1, 2):
            fresh = self.connection is None
            connection = self.connection or self._connect()
            try:
                connection.request("POST", path, body, self.headers)
                response = connection.getresponse()
                break
            except (ConnectionError, http.client.RemoteDisconnected):
                # A kept-alive connection that the node has closed meanwhile: once, try a new one.
                self.close()
                if fresh or attempt == 2:
                    raise
        if response.status == 429:
            raise RateLimited(f"{self.name}: HTTP 429")
        chunks, size = [], 0
        while chunk := response.read1(1 << 20):
            size += len(chunk)
            if size > MAX_ANSWER:
                raise RangeTooWide(f"{self.name}: an answer over {MAX_ANSWER >> 20} MiB")
            if time.monotonic() > deadline:
                raise Unavailable(f"{self.name}: no complete answer in {self.timeout:g} s")
            chunks.append(chunk)
        # http.client (3.11) does not notice the end of a body read by read1: without this the
        # kept-alive connection refuses its next answer (ResponseNotReady).
        response.close()
        content = b"".join(chunks)
        if response.status != 200 and content.lstrip()[:1] not in (b"{", b"["):
            raise Unavailable(f"{self.name}: HTTP {response.status}")
        if response.status >= 500:
            raise Unavailable(f"{self.name}: HTTP {response.status}")
        return content

    def _connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        if parts.scheme == "https":
            context = ssl.create_default_context()
            self.connection = http.client.HTTPSConnection(
                host, parts.port, timeout=self.timeout, context=context
            )
        else:
            self.connection = http.client.HTTPConnection(host, parts.port, timeout=self.timeout)
        return self.connection

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
        self.connection = None
        self.checked = False

    def rest(self) -> None:
        """Leave this node alone for a while, longer each time."""
        doubled = self.rest_seconds * 2 or FIRST_REST_SECONDS
        self.rest_seconds = min(doubled, LAST_REST_SECONDS)
        self.rests_until = time.monotonic() + self.rest_seconds


class Rpc:
    """The configured nodes as one: the first healthy URL answers (interfaces.md 2).

    Raises `WrongChain` when a node serves another chain than `chain_id`, `Retry` subclasses when
    none of the nodes gives an answer now.
    """

    def __init__(self, urls: Iterable[str], chain_id: int, *, timeout: float = 20.0) -> None:
        self.endpoints = [Endpoint(url, timeout) for url in urls]
        self.chain_id = chain_id
        if not self.endpoints:
            raise ValueError("no RPC URL")

    def close(self) -> None:
        for endpoint in self.endpoints:
            endpoint.close()

    def __enter__(self) -> Rpc:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- transport -------------------------------------------------------------------------------

    def many(self, requests: Sequence[Request]) -> list[Any | Failure]:
        """The answers to `requests` in order, all from one node; errors of single calls inside."""
        if not requests:
            return []
        last: Retry = Unavailable("no node")
        now = time.monotonic()
        ready = [e for e in self.endpoints if e.rests_until <= now] or sorted(
            self.endpoints, key=lambda e: e.rests_until
        )[:1]
        for endpoint in ready:
            try:
                answers = self._ask(endpoint, requests)
            except RangeTooWide:
                raise
            except Retry as error:
                endpoint.rest()
                last = error
                continue
            endpoint.rest_seconds = 0.0
            return answers
        raise last

    def _ask(self, endpoint: Endpoint, requests: Sequence[Request]) -> list[Any | Failure]:
        if not endpoint.checked:
            found = facts.quantity(self._exchange(endpoint, [Request("eth_chainId")])[0])
            if found != self.chain_id:
                raise WrongChain(
                    f"{endpoint.name} serves chain {found}, not {self.chain_id}; "
                    "fix CHAIN_RPC_URLS or NETWORK"
                )
            endpoint.checked = True
        answers: list[Any | Failure] = []
        while len(answers) < len(requests):
            part = requests[len(answers) : len(answers) + endpoint.batch]
            answers.extend(self._exchange(endpoint, part))
        return answers

    def _exchange(self, endpoint: Endpoint, requests: Sequence[Request]) -> list[Any | Failure]:
        calls = [
            {"jsonrpc": "2.0", "id": i, "method": r.method, "params": list(r.params)}
            for i, r in enumerate(requests)
        ]
        raw = endpoint.post(orjson.dumps(calls if len(calls) > 1 else calls[0]))
        try:
            answer = orjson.loads(raw)
        except orjson.JSONDecodeError:
            raise Unavailable(f"{endpoint.name}: the answer is not JSON") from None
        if isinstance(answer, dict) and len(calls) == 1:
            answer = [answer]
        if isinstance(answer, dict) and "error" in answer:
            # A whole batch refused: most often rate limits or too large a batch.
            failure = _failure(answer["error"])
            _raise_transient(endpoint.name, failure)
            if len(requests) > 1:
                endpoint.batch = max(1, len(requests) // 2)
            raise Unavailable(f"{endpoint.name}: {failure.message}")
        if not isinstance(answer, list) or len(answer) != len(requests):
            raise Unavailable(f"{endpoint.name}: the answer does not match the batch")
        results: list[Any | Failure] = [None] * len(requests)
        seen = set()
        for item in answer:
            if not isinstance(item, dict) or not isinstance(item.get("id"), int):
                raise Unavailable(f"{endpoint.name}: the answer does not match the batch")
            index = item["id"]
            if index in seen or not 0 <= index < len(requests):
                raise Unavailable(f"{endpoint.name}: the answer does not match the batch")
            seen.add(index)
            if item.get("error") is not None:
                results[index] = _failure(item["error"])
                if not requests[index].optional:
                    _raise_transient(endpoint.name, results[index])
            else:
                results[index] = item.get("result")
        return results

    def ask(self, method: str, *params: Any) -> Any:
        """One answer; a JSON-RPC error becomes `Unavailable`."""
        return _required(self.many([Request(method, params)])[0])

    # --- blocks and logs -------------------------------------------------------------------------

    def raw_blocks(self, refs: Sequence[BlockRef], *, full: bool) -> list[dict[str, Any] | None]:
        """Blocks by number, tag or hash as the node sends them; None where it has none."""
        answers = self.many([_block_request(ref, full) for ref in refs])
        return [_required(answer) for answer in answers]

    def logs(self, first: int, last: int, addresses: Sequence[str]) -> list[facts.Log]:
        """Logs of `addresses` in a range of final blocks; `RangeTooWide` when it is too much."""
        query = {"fromBlock": hex(first), "toBlock": hex(last), "address": list(addresses)}
        answer = self.many([Request("eth_getLogs", (query,))])[0]
        if isinstance(answer, Failure):
            limit = log_limit(answer.message)
            if limit is not None:
                raise RangeTooWide(answer.message, limit or None)
        found = facts.logs(_required(answer))
        wanted = set(addresses)
        for log in found:
            if not first <= log.block_number <= last or log.address not in wanted:
                raise Unavailable("the node sent logs nobody asked for")
        return found

    def logs_of(self, hashes: Sequence[str], addresses: Sequence[str]) -> list[list[facts.Log]]:
        """Logs of `addresses` in each of the blocks, asked for by hash."""
        answers = self.many(
            [
                Request("eth_getLogs", ({"blockHash": h, "address": list(addresses)},))
                for h in hashes
            ]
        )
        found = [facts.logs(_required(a)) for a in answers]
        for wanted, logs in zip(hashes, found, strict=True):
            if any(log.block_hash != wanted for log in logs):
                raise Unavailable("the node sent logs of another block")
        return found

    def raw_receipts(self, hashes: Sequence[str]) -> list[Any]:
        answers = self.many([Request("eth_getTransactionReceipt", (h,)) for h in hashes])
        return [_required(answer) for answer in answers]

    # --- reads at a block ------------------------------------------------------------------------

    def views(self, block: BlockRef, calls: Sequence[Call]) -> list[str]:
        """What `calls` answer at `block`: 0x-hex, or `revert:0x…` (chain.models.RawCall)."""
        ref = _reference(block)
        answers = self.many([_view_request(call, ref) for call in calls])
        return [_view_answer(answer) for answer in answers]

    def call(
        self, to: str, data: str, block: BlockRef | str = "latest", sender: str | None = None
    ) -> str:
        """One `eth_call`, optionally `from` a sender: 0x-hex, or `revert:0x…`."""
        request: dict[str, str] = {"to": to, "data": data}
        if sender:
            request["from"] = sender
        return _view_answer(self.many([Request("eth_call", (request, _reference(block)))])[0])

    def balances(self, address: str, blocks: Sequence[BlockRef]) -> list[int]:
        """The native balance (neuron) of `address` at each block."""
        answers = self.many(
            [Request("eth_getBalance", (address, _reference(block))) for block in blocks]
        )
        return [facts.quantity(_required(answer)) for answer in answers]


def _block_request(ref: BlockRef, full: bool) -> Request:
    if isinstance(ref, str) and len(ref) == 66:
        return Request("eth_getBlockByHash", (ref, full))
    return Request("eth_getBlockByNumber", (hex(ref) if isinstance(ref, int) else ref, full))


def _reference(block: BlockRef) -> Any:
    if isinstance(block, int):
        return hex(block)
    return {"blockHash": block} if len(block) == 66 else block


def _view_request(call: Call, ref: Any) -> Request:
    if call.data == "balance":
        return Request("eth_getBalance", (call.to, ref))
    if call.data.startswith("storage:"):
        return Request("eth_getStorageAt", (call.to, call.data.removeprefix("storage:"), ref))
    return Request("eth_call", ({"to": call.to, "data": call.data}, ref))


def _view_answer(answer: Any) -> str:
    if isinstance(answer, Failure) and answer.reverted:
        data = answer.data
        if isinstance(data, dict):
            data = data.get("data")
        return "revert:" + (facts.data(data) if data else "0x")
    value = _required(answer)
    if not isinstance(value, str) or not value.startswith("0x"):
        raise Unavailable("the node answered a call without data")
    return value


def _failure(raw: Any) -> Failure:
    if not isinstance(raw, dict):
        return Failure(0, str(raw)[:200])
    code = raw.get("code")
    return Failure(
        code if isinstance(code, int) else 0, str(raw.get("message"))[:500], raw.get("data")
    )


def _raise_transient(name: str, failure: Failure) -> None:
    text = failure.message.lower()
    if failure.code == 429 or "rate limit" in text or "too many requests" in text:
        raise RateLimited(f"{name}: {failure.message}")
    behind = ("header not found", "unknown block", "block not found", "blockoutofrange")
    if any(words in text for words in behind):
        raise NodeBehind(f"{name}: {failure.message}")


def _required(answer: Any) -> Any:
    if isinstance(answer, Failure):
        raise Unavailable(f"the node refuses: {answer.message} ({answer.code})")
    return answer
