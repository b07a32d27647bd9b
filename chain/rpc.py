"""One JSON-RPC client for the chain: batches, several URLs, failover, typed errors.

Synchronous on purpose: one follower, few large answers, at most one thread that reads ahead.
Every answer is checked for shape before anybody uses it. Each URL has its own health and budget
(`chain.endpoint`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from chain import facts
from chain.endpoint import Endpoint
from chain.errors import (
    Halt,
    NodeBehind,
    NoState,
    RangeTooWide,
    RateLimited,
    Retry,
    Unavailable,
    WrongChain,
)
from chain.facts import Call
from chain.limits import is_pruned, is_rate_limit, log_limit

#: Numbers of logs at which some nodes end a list without saying so.
SILENT_LIMITS = frozenset((1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000))
#: Blocks whose receipts are asked for in one request.
RECEIPTS_AT_ONCE = 20
#: Bytes, or a balance: a number has as many digits as it needs.
_HEX = re.compile(r"0x[0-9a-fA-F]*\Z")
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


class Rpc:
    """The configured nodes as one: the first healthy URL answers (interfaces.md 2).

    A node of another chain than `chain_id` is set aside. Raises `WrongChain` when that leaves
    none, `Retry` subclasses when none of the nodes gives an answer now.
    """

    def __init__(self, urls: Iterable[str], chain_id: int, *, timeout: float = 20.0) -> None:
        self.endpoints = [Endpoint(url, timeout) for url in urls]
        self.chain_id = chain_id
        if not self.endpoints:
            raise ValueError("no RPC URL")
        #: The node that answered last.
        self.last: Endpoint | None = None
        self._pinning = False
        self._pinned: Endpoint | None = None

    def close(self) -> None:
        for endpoint in self.endpoints:
            endpoint.close()

    def __enter__(self) -> Rpc:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- one node at a time ----------------------------------------------------------------------

    @contextmanager
    def one_node(self) -> Iterator[None]:
        """Everything asked inside is answered by one node: the first that answers.

        When it fails later the error leaves the block, and the node rests: two nodes may be on
        different branches, so their answers are never mixed.
        """
        self._pinning, self._pinned = True, None
        try:
            yield
        except Retry as error:
            if self._pinned is not None and not self._pinned.rest_seconds:
                self._pinned.blame(error)
            raise
        else:
            if self._pinned is not None:
                self._pinned.blames = 0
        finally:
            self._pinning, self._pinned = False, None

    @property
    def node(self) -> Endpoint | None:
        """The node that answers everything inside `one_node`, once it has answered."""
        return self._pinned

    def set_aside(self, error: Halt) -> None:
        """Use another node than the one that just answered; raises `error` when none is left."""
        wrong = self._pinned or self.last
        self._pinned = None
        if wrong is not None:
            wrong.set_aside(error)
        if all(endpoint.aside for endpoint in self.endpoints):
            self._lift()
            raise error

    def _lift(self) -> None:
        for endpoint in self.endpoints:
            endpoint.lift()

    def _candidates(self) -> list[Endpoint]:
        """Whom to ask, in order: the pinned node, else all in good health, else the one that has
        rested longest (unless it told us when to come back)."""
        if self._pinned is not None:
            return [self._pinned]
        now = time.monotonic()
        for endpoint in self.endpoints:
            if endpoint.aside is not None and endpoint.aside_until <= now:
                endpoint.lift()
        usable = [e for e in self.endpoints if e.aside is None]
        if ready := [e for e in usable if e.rests_until <= now]:
            return ready
        soonest = sorted(usable, key=lambda e: (e.told_to_wait, e.rests_until))[:1]
        if soonest and soonest[0].told_to_wait:
            wait = soonest[0].rests_until - now
            raise RateLimited(f"{soonest[0].name} asks us to wait {wait:.0f} s more", wait)
        return soonest

    # --- transport -------------------------------------------------------------------------------

    def many(self, requests: Sequence[Request]) -> list[Any | Failure]:
        """The answers to `requests` in order, all from one node; errors of single calls inside."""
        if not requests:
            return []
        last: Retry | None = None
        wrong: WrongChain | None = None
        for endpoint in self._candidates():
            began = time.monotonic()
            try:
                answers = self._ask(endpoint, requests)
            except RangeTooWide:
                self.last = endpoint
                raise
            except WrongChain as error:
                endpoint.set_aside(error)
                wrong = error
                continue
            except Retry as error:
                endpoint.rest(error)
                last = error
                continue
            endpoint.answered(time.monotonic() - began)
            self.last = endpoint
            if self._pinning:
                self._pinned = endpoint
            return answers
        if last is None and (wrong or all(e.aside for e in self.endpoints)):
            found = wrong or next(e.aside for e in self.endpoints if e.aside)
            self._lift()
            raise found
        raise last or Unavailable("no node answers")

    def _ask(self, endpoint: Endpoint, requests: Sequence[Request]) -> list[Any | Failure]:
        if not endpoint.checked:
            found = facts.quantity(_required(self._exchange(endpoint, [Request("eth_chainId")])[0]))
            if found != self.chain_id:
                raise WrongChain(
                    f"{endpoint.name} serves chain {found}, not {self.chain_id}; "
                    "correct CHAIN_RPC_URLS, CHAIN_ID or NETWORK"
                )
            endpoint.checked = True
        answers: list[Any | Failure] = []
        while len(answers) < len(requests):
            part = requests[len(answers) : len(answers) + endpoint.width]
            answers.extend(self._exchange(endpoint, part))
        return answers

    def _exchange(self, endpoint: Endpoint, requests: Sequence[Request]) -> list[Any | Failure]:
        calls = [
            {"jsonrpc": "2.0", "id": i, "method": r.method, "params": list(r.params)}
            for i, r in enumerate(requests)
        ]
        try:
            raw = endpoint.post(orjson.dumps(calls if len(calls) > 1 else calls[0]), len(calls))
        except RangeTooWide:
            # Whether the question or the answer was too large: fewer calls help with both.
            endpoint.batch_refused(len(calls))
            raise
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
            endpoint.batch_refused(len(calls))
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
        found = [_required(answer) for answer in answers]
        if not all(raw is None or isinstance(raw, dict) for raw in found):
            raise Unavailable("the node sent a block that is no object")
        return found

    def logs(
        self, first: int, last: int, addresses: Sequence[str], *, again: bool = False
    ) -> list[facts.Log]:
        """Logs of `addresses` in a range of final blocks; `RangeTooWide` when it is too much.

        Asked together with the last block: a node that does not have it yet answers as far as it
        knows, without a word. As many logs as a well-known limit count as a list cut off there.
        `again`: the node has said that it has block `last`.
        """
        query = {"fromBlock": hex(first), "toBlock": hex(last), "address": list(addresses)}
        end = [] if again else [_block_request(last, False)]
        answer, *ends = self.many([Request("eth_getLogs", (query,)), *end])
        if isinstance(answer, Failure):
            limit = log_limit(answer.message)
            if limit is not None:
                raise RangeTooWide(answer.message, limit or None)
        found = facts.logs(_required(answer))
        if ends and _required(ends[0]) is None:
            raise NodeBehind(f"the node does not have block {last}")
        if len(found) in SILENT_LIMITS and first < last:
            raise RangeTooWide(f"exactly {len(found)} logs: the list may have been cut off there")
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

    def block_receipts(self, hashes: Sequence[str]) -> list[Any]:
        """All receipts of each block, in one question per block; [] where the node takes none."""
        found: list[Any] = []
        for start in range(0, len(hashes), RECEIPTS_AT_ONCE):
            part = hashes[start : start + RECEIPTS_AT_ONCE]
            answers = self.many(
                [Request("eth_getBlockReceipts", (h,), optional=True) for h in part]
            )
            if any(isinstance(answer, Failure) for answer in answers):
                # Not every node has this method; each has the one for a single transaction.
                if self.last is not None:
                    self.last.block_receipts = False
                return []
            found += answers
        return found

    def raw_receipts(self, hashes: Sequence[str]) -> list[Any]:
        answers = self.many([Request("eth_getTransactionReceipt", (h,)) for h in hashes])
        return [_required(answer) for answer in answers]

    # --- reads at a block ------------------------------------------------------------------------

    def views(self, block: BlockRef, calls: Sequence[Call]) -> list[str]:
        """What `calls` answer at `block`: 0x-hex, or `revert:0x…` (chain.models.RawCall)."""
        answers = self._at(block, lambda ref: [_view_request(call, ref) for call in calls])
        return [_view_answer(answer) for answer in answers]

    def _at(self, block: BlockRef, make: Callable[[Any], list[Request]]) -> list[Any | Failure]:
        """The answers to what `make` asks at a block.

        A node that does not take a hash there (EIP-1898) is asked by number, and has to hold the
        same block under that number before and after.
        """
        if not (isinstance(block, str) and len(block) == 66):
            return self.many(make(_reference(block)))
        if self.last is None or not self.last.by_number:
            answers = self.many(make(_reference(block)))
            if not any(isinstance(a, Failure) and not a.reverted for a in answers):
                return answers
        number = self._number_of(block)
        answers = self.many(make(hex(number)))
        self._number_of(block)
        if self.last is not None and not any(
            isinstance(a, Failure) and not a.reverted for a in answers
        ):
            self.last.by_number = True
        return answers

    def _number_of(self, block_hash: str) -> int:
        """The number of a block of the node's present chain; NodeBehind when it is none."""
        found = self.raw_blocks([block_hash], full=False)[0]
        number = facts.header(found).number if found is not None else -1
        held = self.raw_blocks([number], full=False)[0] if number >= 0 else None
        if held is None or facts.header(held).hash != block_hash:
            raise NodeBehind(f"block {block_hash} is not part of the node's chain now")
        return number

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
        asked = Call(address, "balance")
        answers = self.many([_view_request(asked, _reference(block)) for block in blocks])
        for index, (block, answer) in enumerate(zip(blocks, answers, strict=True)):
            if isinstance(block, str) and isinstance(answer, Failure):
                answers[index] = self.views(block, [asked])[0]
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
    if not isinstance(value, str) or not _HEX.match(value):
        raise Unavailable(f"the node answered a call with {str(value)[:40]!r}")
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
    if failure.code == 429 or is_rate_limit(text):
        raise RateLimited(f"{name}: {failure.message}")
    behind = ("header not found", "unknown block", "block not found", "blockoutofrange")
    if any(words in text for words in behind):
        raise NodeBehind(f"{name}: {failure.message}")


def _required(answer: Any) -> Any:
    if isinstance(answer, Failure) and is_pruned(answer.message):
        raise NoState(
            f"the node does not keep the state of that block ({answer.message}); "
            "a back-fill needs an archive node in CHAIN_RPC_URLS"
        )
    if isinstance(answer, Failure):
        raise Unavailable(f"the node refuses: {answer.message} ({answer.code})")
    return answer
