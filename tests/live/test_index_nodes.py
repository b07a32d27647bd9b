"""Several nodes, and nodes that are ill: over real HTTP, before a real chain where it matters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import call_command

from chain import endpoint, sync
from chain.endpoint import Budget, retry_after
from chain.errors import NodeBehind, RateLimited, Unavailable
from chain.facts import Call
from chain.fetch import Fetcher
from chain.models import Head
from chain.rpc import Request, Rpc
from devnet.anvil import Anvil
from devnet.deploy import Deployment
from devnet.scenario import run
from ledger import services
from protocol.abi import checksum
from tests.db.test_chain_rpc import ADDRESS, Node, error, log, nodes
from tests.live.branches import reorganise
from tests.live.chaos.demands import empty_index
from tests.live.test_index import ask, contracts, differences, mine, node

pytestmark = pytest.mark.django_db(transaction=True)
__all__ = ["contracts", "node", "nodes"]


class Front(Node):
    """A node in front of anvil; `tamper(method, params, answer)` may replace any answer."""

    def __init__(self, anvil: Anvil) -> None:
        super().__init__()
        self.tamper: Callable[[str, list[Any], Any], Any] = lambda method, params, answer: answer
        self.rpc = Rpc([anvil.url], 31337)

        def forward(method: str, params: list[Any]) -> Any:
            with Rpc([anvil.url], 31337) as rpc:
                answer = rpc.many([Request(method, tuple(params), optional=True)])[0]
            found = self.tamper(method, params, answer)
            if hasattr(found, "message"):
                return error(found.code, found.message, found.data)
            return found

        self.behaviour = forward


@pytest.fixture
def front(node: Anvil) -> Iterator[Front]:
    made = Front(node)
    yield made
    made.server.shutdown()
    made.server.server_close()


# --- health --------------------------------------------------------------------------------------


def test_a_node_may_say_how_long_to_wait(
    nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retry-After is obeyed even when there is nobody else to ask, and the budget is halved."""
    nodes[0].behaviour = lambda method, params: (429, b"")
    monkeypatch.setattr(endpoint, "retry_after", lambda value: 60)
    with Rpc([nodes[0].url], 31337) as rpc:
        with pytest.raises(RateLimited):
            rpc.ask("eth_blockNumber")
        asked = nodes[0].requests
        with pytest.raises(RateLimited, match="asks us to wait"):
            rpc.ask("eth_blockNumber")
        assert nodes[0].requests == asked, "not even a probe"
        assert rpc.endpoints[0].budget.rate == 1000
        assert rpc.endpoints[0].state == "resting"
        nodes[0].behaviour = lambda method, params: "0x1"
        rpc.endpoints[0].rests_until = 0.0
        assert rpc.ask("eth_blockNumber") == "0x1"
        assert rpc.endpoints[0].state == "ok"


def test_retry_after() -> None:
    for header, low, high in (
        ("7", 7, 7),
        ("Fri, 20 Nov 2099 12:00:00 GMT", 1e9, 1e10),
        ("x", None, None),
        (None, None, None),
    ):
        found = retry_after(header)
        good = found is None if low is None or high is None else low <= (found or 0) <= high
        assert good, (header, found)


def test_a_rest_ends_with_one_small_probe(nodes: list[Node]) -> None:
    """Half open: a node that failed is asked for its chain id before it gets real work."""
    nodes[0].behaviour = lambda method, params: (500, b"{}")
    nodes[1].behaviour = lambda method, params: "0x7"
    with Rpc([n.url for n in nodes], 31337) as rpc:
        rpc.many([Request("eth_blockNumber")] * 50)
        assert rpc.endpoints[0].state == "resting"
        rpc.endpoints[0].rests_until = 0.0
        nodes[0].chain_id, nodes[0].methods = 1, []
        rpc.many([Request("eth_blockNumber")] * 50)
        assert nodes[0].methods == ["eth_chainId"], "a probe, then nothing"
        assert rpc.endpoints[0].state == "set aside"
        assert "serves chain 1" in rpc.endpoints[0].reason
        assert [e.name for e in rpc.endpoints] == [n.url for n in nodes]


def test_one_step_never_mixes_two_nodes(nodes: list[Node]) -> None:
    """A node that fails in the middle ends the step; the next step asks the other one."""
    nodes[0].behaviour = lambda method, params: "0xa"
    nodes[1].behaviour = lambda method, params: "0xb"
    with Rpc([n.url for n in nodes], 31337) as rpc:
        with pytest.raises(Unavailable), rpc.one_node():
            assert rpc.ask("eth_blockNumber") == "0xa"
            nodes[0].behaviour = lambda method, params: (500, b"{}")
            rpc.ask("eth_blockNumber")
        with rpc.one_node():
            assert [rpc.ask("eth_blockNumber") for _ in range(2)] == ["0xb"] * 2
        assert nodes[1].methods.count("eth_blockNumber") == 2


def test_a_late_node_gives_way_to_the_next(nodes: list[Node]) -> None:
    """An error that only we can see (NodeBehind) makes a node rest as well."""
    nodes[0].behaviour = lambda method, params: "0xa"
    nodes[1].behaviour = lambda method, params: "0xb"
    with Rpc([n.url for n in nodes], 31337) as rpc:
        with pytest.raises(NodeBehind), rpc.one_node():
            rpc.ask("eth_blockNumber")
            raise NodeBehind("it is at block 10")
        assert rpc.ask("eth_blockNumber") == "0xb"


def test_the_budget_bounds_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    budget, waits = Budget(200, restart=50, slowest=2, fastest=1000), list[float]()
    clock = SimpleNamespace(monotonic=lambda: 100 + sum(waits), sleep=waits.append)
    monkeypatch.setattr(endpoint, "time", clock)
    for _ in range(7):
        budget.take(100, patience=5)
    assert waits == [0.5] * 4, "a second's worth at once, and one to come; then 200 a second"
    with pytest.raises(RateLimited, match="our own budget"):
        budget.take(100, patience=0)
    budget.slow_down()
    assert budget.rate == 100
    budget.speed_up()
    assert budget.rate == 105


# --- log ranges ----------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["exceed maximum block range: 700", "block range is too wide"])
def test_every_log_arrives_under_a_limit(words: str, nodes: list[Node]) -> None:
    """A node that serves 700 blocks per query; with a number it takes one refusal to know. Other
    words: test_follow_faults.py."""
    refused = 0

    def answer(method: str, params: list[Any]) -> Any:
        nonlocal refused
        if method != "eth_getLogs":
            return {}  # the range's last block: it is there
        first, last = (int(params[0][side], 16) for side in ("fromBlock", "toBlock"))
        if last - first + 1 > 700:
            refused += 1
            return error(-32000, words)
        every = range(first + -first % 100, last + 1, 100)
        return [log(blockNumber=hex(n), blockHash=f"0x{n:064x}") for n in every]

    nodes[0].behaviour = answer
    with Rpc([nodes[0].url], 31337) as rpc:
        found = Fetcher(rpc).logs(0, 20_000, [ADDRESS])
    assert [g.block_number for g in found] == list(range(0, 20_001, 100))
    assert refused <= 8


# --- nodes that disagree -------------------------------------------------------------------------


def test_a_node_on_another_branch_is_set_aside(
    front: Front, node: Anvil, contracts: Deployment, settings: Any
) -> None:
    """It contradicts a block that was final; the other URL agrees: we go on with that one."""
    settings.CHAIN_RPC_URLS = (front.url, node.url)
    run(91, 20, contracts, node.url)
    mine(node, 3)
    services.follow(once=True)
    final = Head.objects.get().final_block

    def other(method: str, params: list[Any], answer: Any) -> Any:
        if method == "eth_getBlockByNumber" and params[0] == hex(final):
            return {**answer, "hash": "0x" + "77" * 32}
        return answer

    front.tamper = other
    run(92, 10, contracts, node.url)
    follower = services.make_follower()
    follower.step()
    assert [e.state for e in follower.rpc.endpoints] == ["set aside", "ok"]
    assert "was final as" in follower.rpc.endpoints[0].reason
    assert not Head.objects.get().error
    asked = front.requests
    run(93, 10, contracts, node.url)
    follower.step()
    assert front.requests == asked, "nothing it says is used"
    assert differences() == []


def test_all_nodes_on_another_branch_stop_us(
    front: Front, node: Anvil, contracts: Deployment, settings: Any
) -> None:
    settings.CHAIN_RPC_URLS = (front.url, node.url)
    run(94, 20, contracts, node.url)
    mine(node, 3)
    services.follow(once=True)
    reorganise(node.rpc, Head.objects.get().indexed_block - 7)
    with pytest.raises(SystemExit) as stopped:
        for _ in range(5):
            call_command("follow", "--once")
            mine(node, 3)
    assert stopped.value.code == 2
    assert Head.objects.get().halted


# --- nodes that lack something -------------------------------------------------------------------


NO_FINALIZED: tuple[Any, ...] = (
    {"error": {"code": -32602, "message": "invalid tag: finalized"}},
    None,
    {"number": None},
    {"number": "0xffffff", "hash": "0x" + "11" * 32, "parentHash": "0x" + "12" * 32,
     "timestamp": "0x1"},
)  # fmt: skip


def test_without_a_plausible_finalized_tag(
    front: Front, node: Anvil, contracts: Deployment, settings: Any
) -> None:
    """CONFIRMATIONS decides where the node has no `finalized`, or nonsense under it."""
    settings.CHAIN_RPC_URLS, settings.CONFIRMATIONS = (front.url,), 5
    for number, finalized in enumerate(NO_FINALIZED):

        def lying(method: str, params: list[Any], answer: Any, said: Any = finalized) -> Any:
            return said if params and params[0] == "finalized" else answer

        front.tamper = lying
        run(95 + number, 8, contracts, node.url)
        empty_index()
        services.follow(once=True)
        head = Head.objects.get()
        assert head.final_block == head.indexed_block - 5, finalized
        assert differences() == [], finalized


def test_without_eip_1898(front: Front, node: Anvil, contracts: Deployment, settings: Any) -> None:
    """A node that reads state by number only: the hash is checked around each read."""
    settings.CHAIN_RPC_URLS = (front.url,)
    refused = 0

    def by_number_only(method: str, params: list[Any], answer: Any) -> Any:
        nonlocal refused
        if len(params) > 1 and isinstance(params[-1], dict) and "blockHash" in params[-1]:
            refused += 1
            return error(-32602, "invalid argument 1: json: cannot unmarshal object into string")
        return answer

    front.tamper = by_number_only
    run(96, 40, contracts, node.url)
    services.follow(once=True)
    assert Head.objects.get().indexed_block > Head.objects.get().final_block
    assert differences() == []
    assert refused
    blocks = [ask(node, "eth_getBlockByNumber", tag, False) for tag in ("latest", "0x1")]
    hashes = [block["hash"] for block in blocks]
    with Rpc([front.url], 31337) as rpc:
        call = Call(contracts.ledger, "balance")
        now, then = (rpc.views(h, [call])[0] for h in hashes)
        assert int(now, 16) > int(then, 16) == 0
        assert rpc.balances(contracts.ledger, hashes) == [int(now, 16), 0]
        reorganise(node.rpc, int(blocks[0]["number"], 16))
        with pytest.raises(NodeBehind, match="not part of"):
            rpc.views(hashes[0], [call])


def test_without_the_state_of_old_blocks(
    front: Front,
    node: Anvil,
    contracts: Deployment,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A pruned node cannot feed a back-fill and says why; an archive node beside it does."""
    monkeypatch.setattr(sync, "NEAR", 5)
    monkeypatch.setattr(sync, "DENSE_CHUNK", 20)
    monkeypatch.setattr(services, "ONCE_TRIES", 2)
    run(97, 60, contracts, node.url)
    head = int(ask(node, "eth_blockNumber"), 16)

    def pruned(method: str, params: list[Any], answer: Any) -> Any:
        block: Any = params[-1] if params else None
        state = method in ("eth_getBalance", "eth_call") and isinstance(block, str)
        if state and block.startswith("0x") and int(block, 16) < head - 10:
            return error(-32000, "missing trie node 1a2b (path ) state is not available")
        return answer

    front.tamper = pruned
    settings.CHAIN_RPC_URLS = (front.url,)
    with pytest.raises(Unavailable, match="archive node in CHAIN_RPC_URLS"):
        services.follow(once=True)
    settings.CHAIN_RPC_URLS = (front.url, node.url)
    monkeypatch.setattr(services, "ONCE_TRIES", 20)
    services.follow(once=True)
    assert differences() == []


# --- the wrong contract --------------------------------------------------------------------------


def test_another_contract_at_the_address(contracts: Deployment, settings: Any, capsys: Any) -> None:
    for address, words in (
        ("0x" + "12" * 20, "there is no contract at LEDGER_ADDRESS 0x1212"),
        (contracts.inference, "is no LedgerManager"),
    ):
        settings.NETWORK = replace(settings.NETWORK, ledger_address=checksum(address))
        with pytest.raises(SystemExit) as stopped:
            call_command("follow", "--once")
        assert stopped.value.code == 2
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert words in said
        assert "fix LEDGER_ADDRESS" in said
        assert Head.objects.get().halted
        empty_index()
