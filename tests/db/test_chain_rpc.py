"""The RPC client against nodes that misbehave, over real HTTP (a stub node on loopback)."""

from __future__ import annotations

import functools
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from chain import endpoint, facts
from chain.errors import NodeBehind, RangeTooWide, RateLimited, Unavailable, WrongChain
from chain.facts import Call
from chain.fetch import Fetcher
from chain.rpc import Request, Rpc

ADDRESS = "0x9fE46736679d2D9a65F0992F2272dE9f3c7fa6e0"
#: (method, params) -> a result, or {"error": …}; bytes and ints replace the whole HTTP answer.
Behaviour = Callable[[str, list[Any]], Any]


class Node:
    """A node with one behaviour; counts the HTTP requests and the calls it got."""

    def __init__(self) -> None:
        self.behaviour: Behaviour = lambda method, params: None
        self.chain_id, self.requests, self.methods, self.size = 31337, 0, list[str](), 0
        node = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, content = node.answer(body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        serve = functools.partial(self.server.serve_forever, poll_interval=0.01)
        threading.Thread(target=serve, daemon=True).start()

    def answer(self, body: Any) -> tuple[int, bytes]:
        self.requests += 1
        batch = body if isinstance(body, list) else [body]
        self.size = len(batch)
        answers = []
        for call in batch:
            self.methods.append(call["method"])
            if call["method"] == "eth_chainId":
                result: Any = hex(self.chain_id)
            else:
                result = self.behaviour(call["method"], call["params"])
            if isinstance(result, bytes):
                return 200, result
            if isinstance(result, tuple):
                return result
            if isinstance(result, dict) and "error" in result:
                answers.append({"id": call["id"], **result})
            else:
                answers.append({"id": call["id"], "result": result})
        # Batches may be answered in any order.
        answers.reverse()
        return 200, json.dumps(answers if isinstance(body, list) else answers[0]).encode()


@pytest.fixture
def nodes() -> Iterator[list[Node]]:
    made = [Node(), Node()]
    yield made
    for node in made:
        node.server.shutdown()
        node.server.server_close()


def error(code: int, message: str, data: Any = None) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "data": data}}


def test_batches_are_split_and_put_back_in_order(nodes: list[Node]) -> None:
    nodes[0].behaviour = lambda method, params: params[0]
    with Rpc([nodes[0].url], 31337) as rpc:
        found = rpc.many([Request("echo", (i,)) for i in range(250)])
    assert found == list(range(250))
    assert nodes[0].requests == 1 + 3  # chain id, then three batches on one connection


def test_another_chain_is_refused(nodes: list[Node]) -> None:
    nodes[0].chain_id = 1
    with Rpc([nodes[0].url], 31337) as rpc, pytest.raises(WrongChain, match="serves chain 1"):
        rpc.ask("eth_blockNumber")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((429, b""), RateLimited),
        ((503, b"{}"), Unavailable),
        ((200, b"<html>"), Unavailable),
        ((404, b"not here"), Unavailable),
        (b"[]", Unavailable),
        (b'{"id": 7, "result": 1}', Unavailable),
        (error(-32005, "Too Many Requests, slow down"), RateLimited),
        (error(-32000, "header not found"), NodeBehind),
        (error(-32601, "the method does not exist"), Unavailable),
    ],
)
def test_bad_answers_have_names(answer: Any, expected: type[Exception], nodes: list[Node]) -> None:
    nodes[0].behaviour = lambda method, params: answer
    with Rpc([nodes[0].url], 31337) as rpc, pytest.raises(expected):
        rpc.ask("eth_blockNumber")


def test_a_sick_node_rests_and_the_next_one_answers(nodes: list[Node]) -> None:
    nodes[0].behaviour = lambda method, params: (500, b"{}")
    nodes[1].behaviour = lambda method, params: "0x7"
    with Rpc([n.url for n in nodes], 31337) as rpc:
        assert [rpc.ask("eth_blockNumber") for _ in range(3)] == ["0x7"] * 3
        assert nodes[0].methods.count("eth_blockNumber") == 1, "it is left alone for a while"
        nodes[0].behaviour = lambda method, params: "0x8"
        rpc.endpoints[0].rests_until = 0.0
        assert rpc.ask("eth_blockNumber") == "0x8", "the first healthy URL wins again"


def test_time_and_size_are_bounded(nodes: list[Node], monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(method: str, params: list[Any]) -> Any:
        time.sleep(0.6)
        return "0x1"

    nodes[0].behaviour = slow
    with Rpc([nodes[0].url], 31337, timeout=0.2) as rpc, pytest.raises(Unavailable):
        rpc.ask("eth_blockNumber")
    monkeypatch.setattr(endpoint, "MAX_ANSWER", 1000)
    nodes[1].behaviour = lambda method, params: "x" * 5000
    with Rpc([nodes[1].url], 31337) as rpc, pytest.raises(RangeTooWide):
        rpc.ask("eth_getLogs")


@pytest.mark.parametrize("refusal", [(413, b""), b'{"error": {"code": -32600, "message": "no"}}'])
def test_a_refused_batch_is_halved_and_widened_again(refusal: Any, nodes: list[Node]) -> None:
    """One refusal that was a mood does not cost the speed of batches for good."""
    most, node = 30, nodes[0]
    node.behaviour = lambda method, params: refusal if node.size > most else params[0]
    with Rpc([node.url], 31337) as rpc:
        first, found = rpc.endpoints[0], None
        for _ in range(4):
            first.rests_until = 0.0
            try:
                found = rpc.many([Request("echo", (i,)) for i in range(100)])
            except (Unavailable, RangeTooWide):
                continue
        assert found == list(range(100))
        assert first.batch == 25
        most = 1000
        for _ in range(100):
            rpc.ask("echo", 1)
        assert first.batch == endpoint.BATCH


def test_a_budget_that_shrank_is_waited_for(
    nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After complaints a whole batch takes longer than a request may wait: no step would end."""
    clock = [1_000.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr(endpoint, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))
    nodes[0].behaviour = lambda method, params: params[0]
    with Rpc([nodes[0].url], 31337, timeout=20) as rpc:
        rpc.endpoints[0].budget.rate = 2.0
        found = rpc.many([Request("echo", (i,)) for i in range(250)])
    assert found == list(range(250))
    assert clock[0] > 1_050


def test_log_limits_come_with_their_suggestion(nodes: list[Node]) -> None:
    text = "block range is too wide, limited to a 500 block range"
    nodes[0].behaviour = lambda method, params: error(-32602, text)
    with Rpc([nodes[0].url], 31337) as rpc, pytest.raises(RangeTooWide) as caught:
        rpc.logs(0, 10_000, [ADDRESS])
    assert caught.value.suggested == 500


def test_reverts_are_answers(nodes: list[Node]) -> None:
    nodes[0].behaviour = lambda method, params: error(3, "execution reverted", "0x7d2d536b")
    with Rpc([nodes[0].url], 31337) as rpc:
        assert rpc.views(5, [Call(ADDRESS, "0x00")]) == ["revert:0x7d2d536b"]
        assert rpc.call(ADDRESS, "0x00") == "revert:0x7d2d536b"


def log(**changes: Any) -> dict[str, Any]:
    return {
        "blockNumber": "0x5",
        "blockHash": "0x" + "aa" * 32,
        "logIndex": "0x0",
        "transactionHash": "0x" + "bb" * 32,
        "transactionIndex": "0x0",
        "address": ADDRESS.lower(),
        "topics": ["0x" + "cc" * 32],
        "data": "0x",
        **changes,
    }


@pytest.mark.parametrize(
    "logs",
    [
        None,
        {},
        [{}],
        [log(), log()],
        [log(removed=True)],
        [log(blockNumber="0x63")],
        [log(address="0x" + "11" * 20)],
        [log(topics=["0x00"])],
        [log(topics="0x")],
        [log(data="0x1")],
        [log(data="\x00")],
        [log(logIndex=-1)],
        [log(logIndex="0x" + "f" * 70)],
        [log(logIndex="0x80000000")],
        [log(transactionIndex="0x80000000")],
        [log(blockHash="0x" + "AA" * 32)],
    ],
)
def test_malformed_logs_are_refused(logs: Any, nodes: list[Node]) -> None:
    nodes[0].behaviour = lambda method, params: logs
    with Rpc([nodes[0].url], 31337) as rpc, pytest.raises(Unavailable):
        rpc.logs(0, 10, [ADDRESS])


@pytest.mark.parametrize("block", [5, "0x5", [], True])
def test_what_is_no_block_is_refused(block: Any, nodes: list[Node]) -> None:
    """An error outside of `chain.errors` would end the follower."""
    nodes[0].behaviour = lambda method, params: block
    with Rpc([nodes[0].url], 31337) as rpc, pytest.raises(Unavailable, match="no object"):
        rpc.raw_blocks([5], full=True)


@pytest.mark.parametrize(
    "wrong", [{"number": hex(2**63)}, {"timestamp": hex(253_402_300_800)}, {"timestamp": {}}]
)
def test_numbers_that_no_row_holds_are_refused(wrong: dict[str, Any]) -> None:
    """A block number beyond the database's, a time after the year 9999: no page could show it."""
    most = {"number": hex(2**63 - 1), "timestamp": hex(253_402_300_799)}
    hashes = {"hash": "0x" + "aa" * 32, "parentHash": "0x" + "bb" * 32}
    assert facts.header({**most, **hashes}).number == 2**63 - 1
    with pytest.raises(Unavailable, match="number"):
        facts.header({**most, **hashes, **wrong})


@pytest.mark.parametrize("answer", ["0xzz", "0x-1", "0x1 ", "00", 7, None])
def test_an_answer_that_is_no_hex_is_refused(answer: Any, nodes: list[Node]) -> None:
    nodes[0].behaviour = lambda method, params: answer
    with Rpc([nodes[0].url], 31337) as rpc, pytest.raises(Unavailable):
        rpc.views(5, [Call(ADDRESS, "0x00")])


def test_a_log_names_the_number_of_its_block(nodes: list[Node]) -> None:
    """Rows are found by number: one under another's would be lost to a replay."""
    hashes = {"hash": "0x" + "aa" * 32, "parentHash": "0x" + "bb" * 32}
    block = {"number": "0x5", "timestamp": "0x1", "transactions": [], **hashes}
    with Rpc([nodes[0].url], 31337) as rpc:
        for number in ("0x4", "0x6"):
            with pytest.raises(NodeBehind):
                Fetcher(rpc).complete([block], facts.logs([log(blockNumber=number)]), [ADDRESS])


def test_connections_are_closed_by_two_at_once() -> None:
    """Both threads of a step may meet the end of the node."""
    one = endpoint.Endpoint("http://127.0.0.1:1", 1.0)

    class Raced(list[Any]):
        """Another thread takes the last one between the look and the grip."""

        def __bool__(self) -> bool:
            return True

    one._free = Raced()
    one.close()


def test_good_logs_are_sorted(nodes: list[Node]) -> None:
    nodes[0].behaviour = lambda method, params: [log(logIndex="0x2"), log(logIndex="0x1")]
    with Rpc([nodes[0].url], 31337) as rpc:
        assert [g.log_index for g in rpc.logs(0, 10, [ADDRESS])] == [1, 2]
