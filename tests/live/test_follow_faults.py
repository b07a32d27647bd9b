"""One fault at a time: the follower waits, says why, and goes on; or stops and says why."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from chain.fetch import Fetcher
from chain.models import Head
from chain.rpc import RECEIPTS_AT_ONCE, Rpc
from devnet import accounts, refusals
from devnet.anvil import Anvil
from devnet.client import Chain
from devnet.deploy import Deployment, connect, deploy
from devnet.faults import HONEST, FaultPlan, FaultProxy
from devnet.scenario import run
from ledger import audit
from ledger.models import Movement
from tests.live.chaos import demands
from tests.live.chaos.child import AS_THEY_ARE, Follower
from tests.live.chaos.plan import Knobs
from tests.live.chaos.simulator import database
from tests.live.chaos.world import Chain as World

pytestmark = pytest.mark.django_db(transaction=True)

#: anvil calls this many blocks below its head final.
FINALITY = 4
KNOBS = Knobs(
    near=40, dense=20_000, dense_chunk=50, sparse_chunk=60, span=2_000, confirmations=FINALITY
)
SPARSE = Knobs(
    near=10, dense=0, dense_chunk=50, sparse_chunk=60, span=2_000, confirmations=FINALITY
)
NEAR = Knobs(
    near=300, dense=20_000, dense_chunk=50, sparse_chunk=60, span=2_000, confirmations=FINALITY
)


@contextmanager
def history() -> Iterator[tuple[Anvil, Deployment]]:
    """A node with a short history, some of it through a contract wallet."""
    with Anvil(args=("--slots-in-an-epoch", str(FINALITY // 2))) as anvil:
        deployment = deploy(anvil.url)
        run(7, 40, deployment, anvil.url)
        chain = World(7, deployment, anvil.url)
        for _ in range(5):
            chain.through_wallet()
        yield anvil, deployment


@pytest.fixture(scope="module")
def common() -> Iterator[tuple[Anvil, Deployment]]:
    with history() as made:
        yield made


@pytest.fixture
def node(common: tuple[Anvil, Deployment]) -> Iterator[Anvil]:
    """The node that the tests share, as it was found afterwards."""
    anvil, _ = common
    with Chain(anvil.url).rollback():
        yield anvil


@pytest.fixture
def alone() -> Iterator[Anvil]:
    """A node for the test that breaks what was final."""
    with history() as (anvil, _):
        yield anvil


@pytest.fixture
def world(common: tuple[Anvil, Deployment]) -> Deployment:
    return common[1]


@pytest.fixture
def proxy(node: Anvil) -> Iterator[FaultProxy]:
    with FaultProxy(node.url) as made:
        yield made


@pytest.fixture
def followers() -> Iterator[list[Follower]]:
    """Those started are killed in the end."""
    started: list[Follower] = []
    yield started
    for follower in started:
        follower.kill()


def until(ready: Callable[[], Any], followers: list[Follower], seconds: float = 60) -> None:
    """Wait until `ready()`; a follower that ends meanwhile is a failure."""
    deadline = time.monotonic() + seconds
    while not ready():
        for follower in followers:
            assert follower.process.exitcode is None, follower.problem()
        assert time.monotonic() < deadline, [f.said() for f in followers]
        time.sleep(0.02)


def once(url: str, knobs: Knobs = KNOBS) -> tuple[int | None, str]:
    """Exit code and words of `follow --once`."""
    follower = Follower.start(database(), (url,), knobs, "--once")
    try:
        follower.process.join(60)
        return follower.process.exitcode, follower.said()
    finally:
        follower.kill()


def indexed(node: Anvil) -> bool:
    head = Chain(node.url).block_number()
    return Head.objects.filter(indexed_block__gte=head).exists()


def assert_right(node: Anvil) -> None:
    found = list(demands.misses(node.url, settings.START_BLOCK))
    assert not found, "\n".join(found)


# --- answers that are none -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"too_many_requests": 1}, "429"),
        ({"server_error": 1}, "HTTP 50"),
        ({"hang": 1}, ""),
        ({"cut": 1}, ""),
        ({"not_json": 1}, ""),
        ({"call_refused": 1}, ""),
        ({"null_block": 1}, ""),
        ({"null_receipt": 1}, "receipt"),
        ({"other_block": 1}, ""),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_it_waits_says_why_and_goes_on(
    fault: dict[str, float],
    said: str,
    node: Anvil,
    world: Deployment,
    proxy: FaultProxy,
    followers: list[Follower],
) -> None:
    """Not a row is written on such answers; the reason stands in the head row until it is gone."""
    proxy.plan = FaultPlan(**fault)  # type: ignore[arg-type]
    followers.append(Follower.start(database(), (proxy.url,), KNOBS))
    until(lambda: proxy.counts[next(iter(fault))] >= 3, followers)
    until(lambda: Head.objects.exclude(error="").exists(), followers)
    head = Head.objects.get()
    assert head.indexed_block == -1
    assert not head.halted
    assert said in head.error
    proxy.plan = HONEST
    until(lambda: indexed(node) and not Head.objects.get().error, followers)
    assert_right(node)


def test_an_answer_about_another_block_is_no_reorganisation(
    node: Anvil, world: Deployment, proxy: FaultProxy, followers: list[Follower]
) -> None:
    """Only the final block's own number under another hash stops us."""
    followers.append(Follower.start(database(), (proxy.url,), NEAR))
    until(lambda: indexed(node), followers)
    proxy.plan = FaultPlan(other_block=1)
    until(lambda: proxy.counts["other_block"] >= 20, followers)
    until(lambda: Head.objects.exclude(error="").exists(), followers)
    proxy.plan = HONEST
    until(lambda: indexed(node) and not Head.objects.get().error, followers)
    assert_right(node)


def test_a_state_of_another_block_stops_nobody_before_it_is_final(
    node: Anvil, world: Deployment, proxy: FaultProxy, followers: list[Follower]
) -> None:
    """A busy node answers about its newest block with what the next one does; asked again it is
    right."""
    followers.append(Follower.start(database(), (proxy.url,), NEAR))
    until(lambda: indexed(node), followers)
    before = Head.objects.get().indexed_block
    proxy.plan = FaultPlan(other_balance=1)
    World(9, world, node.url).through_wallet()
    until(lambda: Head.objects.filter(error__contains="disagree").exists(), followers)
    head = Head.objects.get()
    assert not head.halted and head.indexed_block == before
    proxy.plan = HONEST
    until(lambda: indexed(node) and not Head.objects.get().error, followers)
    assert_right(node)


@pytest.mark.parametrize("knobs", [KNOBS, NEAR], ids=["ranges", "single blocks"])
def test_a_log_list_that_ends_early_is_noticed(
    knobs: Knobs, node: Anvil, world: Deployment, proxy: FaultProxy, followers: list[Follower]
) -> None:
    """Blooms and receipts tell; also for transactions that name none of our contracts."""
    followers.append(Follower.start(database(), (proxy.url,), knobs))
    if knobs is NEAR:
        until(lambda: indexed(node), followers)
    proxy.plan = FaultPlan(truncated_logs=1)
    chain = World(8, world, node.url)
    for _ in range(4):
        chain.through_wallet()
    chain.mine(3 * FINALITY)
    until(lambda: proxy.counts["truncated_logs"] >= 5, followers)
    proxy.plan = HONEST
    until(lambda: indexed(node), followers)
    assert_right(node)


def test_a_node_that_lags_is_waited_for(
    node: Anvil, world: Deployment, proxy: FaultProxy, followers: list[Follower]
) -> None:
    """Every second answer comes from a node that is some blocks behind."""
    proxy.plan = FaultPlan(lag=0.2, lag_blocks=6, lag_requests=4, head_back=0.3)
    followers.append(Follower.start(database(), (proxy.url,), NEAR))
    for times in range(100):  # a busy machine's follower asks seldom
        if times >= 10 and proxy.counts["lag"] >= 3:
            break
        run(8, 3, world, node.url)
        time.sleep(0.05)
    assert proxy.counts["lag"] >= 3
    proxy.plan = HONEST
    until(lambda: indexed(node), followers)
    assert_right(node)


@pytest.mark.parametrize(
    "fault", ["socket_refused", "socket_cut", "socket_silent", "socket_nonsense"]
)
def test_announcements_are_hints_and_nothing_else(
    fault: str, node: Anvil, world: Deployment, proxy: FaultProxy, followers: list[Follower]
) -> None:
    """A websocket that refuses, breaks, falls silent or talks nonsense costs time, not facts."""
    always = fault in ("socket_refused", "socket_silent")
    proxy.plan = FaultPlan(**{fault: 1 if always else 0.5})  # type: ignore[arg-type]
    followers.append(Follower.start(database(), (proxy.url,), AS_THEY_ARE))
    until(lambda: indexed(node), followers)
    began = time.monotonic()
    while not proxy.counts[fault] and time.monotonic() < began + 30:
        run(8, 1, world, node.url)
        time.sleep(0.1)
    assert proxy.counts[fault]
    run(9, 3, world, node.url)
    until(lambda: indexed(node), followers)
    assert_right(node)


def test_receipts_come_by_the_block_where_the_node_has_them(
    node: Anvil, world: Deployment, proxy: FaultProxy
) -> None:
    """The same rows with and without, and in fewer calls."""
    chain = World(9, world, node.url)
    for _ in range(12):
        chain.crowd()
    chain.mine(2 * FINALITY)
    asked, found = [], []
    for missing in (0, 1):
        demands.empty_index()
        proxy.calls.clear()
        proxy.plan = FaultPlan(no_block_receipts=missing)
        code, said = once(proxy.url)
        assert code == 0, said
        assert_right(node)
        asked.append(proxy.calls["eth_getTransactionReceipt"])
        found.append(demands.rows())
    refused = proxy.counts["no_block_receipts"]
    assert 0 < refused == proxy.calls["eth_getBlockReceipts"] <= RECEIPTS_AT_ONCE, "one request"
    assert asked[0] < asked[1]
    assert found[0] == found[1]


# --- limits --------------------------------------------------------------------------------------


#: A plan for each way in which a node tells that it will not answer.
LIMITS = (
    *(FaultPlan(width=7, refusal=number) for number in range(len(refusals.TOO_WIDE))),
    *(
        FaultPlan(most=9, refusal=number)
        for number in range(len(refusals.TOO_MANY) + len(refusals.TOO_LARGE))
    ),
)


def test_a_limit_in_any_words(node: Anvil, world: Deployment, proxy: FaultProxy) -> None:
    addresses = [world.ledger, world.inference, world.fine_tuning]
    last = Chain(node.url).block_number()
    with Rpc([node.url], settings.CHAIN_ID) as rpc:
        true = rpc.logs(0, last, addresses)
    assert len(true) > 50
    for plan in LIMITS:
        proxy.plan, before = plan, proxy.counts.total()
        with Rpc([proxy.url], settings.CHAIN_ID) as rpc:
            assert Fetcher(rpc).logs(0, last, addresses) == true, plan
        assert proxy.counts.total() > before, plan


@pytest.mark.parametrize(
    "limit",
    [{"width": 7}, {"most": 9}, {"silent_most": 12}, {"silent_most": 20}],
    ids=str,
)
def test_a_limit_costs_no_log(
    limit: dict[str, int], node: Anvil, world: Deployment, proxy: FaultProxy
) -> None:
    """Silent ones too: read sparsely, no bloom of a block without logs is seen, and lists are
    asked to their end."""
    proxy.plan = FaultPlan(**limit)  # type: ignore[arg-type]
    code, said = once(proxy.url, SPARSE)
    assert code == 0, said
    assert proxy.counts[next(iter(limit))] >= 1
    assert_right(node)


def test_blocks_that_no_list_of_logs_shows(
    node: Anvil, world: Deployment, proxy: FaultProxy
) -> None:
    """Left out again and again in the middle of a sparse range: what moved money is found by the
    contracts' own balances, read whole, and proven; a node that hides it there too is not
    believed. Of what moved none the line in the history is missing, but what it set is read when
    the sparse part ends."""
    contracts, owner = connect(node.url, world), accounts.owner()
    contracts.inference.send(owner, "updateLockTime", 7200)
    contracts.ledger.send(owner, "addLedger", "before", value=5 * 10**18)
    provider = contracts.inference.view("getAllServices", 0, 50)[0][0]["provider"]
    contracts.ledger.send(owner, "transferFund", provider, "inference-v1.0", 10**18)
    contracts.inference.send(owner, "acknowledgeTEESignerByOwner", provider)
    quiet = [
        contracts.inference.send(owner, "revokeToken", provider, 7).block,
        contracts.inference.send(owner, "revokeTEESignerAcknowledgement", provider).block,
        contracts.inference.send(owner, "updateLockTime", 7201).block,
        contracts.inference.send(owner, "transferOwnership", accounts.user(3).address).block,
        contracts.ledger.send(owner, "updateAdditionalInfo", "after").block,
    ]
    Chain(node.url).mine(80)
    assert once(proxy.url, SPARSE)[0] == 0
    moved = Movement.objects.filter(balance="sub_account", pending=False).exclude(amount=0)
    hidden = {*moved.values_list("block", flat=True)}
    assert len(hidden) >= 5 and "settlement" in moved.values_list("kind", flat=True)
    proxy.plan = FaultPlan(hidden=tuple(sorted(hidden)))
    rows = demands.rows()
    demands.empty_index()
    code, said = once(proxy.url, SPARSE)
    assert code == 0, said
    assert proxy.counts["hidden"] >= 1
    assert_right(node)
    assert demands.rows() == rows

    demands.empty_index()
    proxy.plan, before = FaultPlan(hidden=tuple(quiet)), proxy.counts["hidden"]
    assert once(proxy.url, SPARSE)[0] == 0
    assert proxy.counts["hidden"] > before
    with Rpc([node.url], settings.CHAIN_ID) as rpc:
        assert audit.compare(rpc).differences == []

    demands.empty_index()
    proxy.plan = FaultPlan(hidden=tuple(sorted(hidden)), hidden_alone=True)
    follower = Follower.start(database(), (proxy.url,), SPARSE)
    try:
        heads = Head.objects.filter(error__regex="left out the logs|logs and receipt")
        until(lambda: heads.all().exists(), [follower])
    finally:
        follower.kill()


@pytest.mark.parametrize("seed", range(3))
def test_a_batch_limit(seed: int, node: Anvil, world: Deployment, proxy: FaultProxy) -> None:
    """Refused with 200, 400 or 413: smaller batches, and it goes on."""
    proxy.plan = FaultPlan(seed=seed, batch=3)
    proxy.rng.seed(seed)
    code, said = once(proxy.url)
    assert code == 0, said
    assert proxy.counts["batch"] >= 1
    assert_right(node)


# --- finality ------------------------------------------------------------------------------------


def test_finality_with_an_odd_tag(node: Anvil, world: Deployment, proxy: FaultProxy) -> None:
    """Then CONFIRMATIONS below the head are final. Without any: test_index_nodes.py."""
    Chain(node.url).mine(20)
    proxy.plan = FaultPlan(odd_finalized=1)
    code, said = once(proxy.url)
    assert code == 0, said
    assert proxy.counts["odd_finalized"] >= 1
    head = Head.objects.get()
    # An odd one may be the first block, which is not impossible on a young chain.
    assert head.final_block in {head.indexed_block - FINALITY, 0}
    proxy.plan = HONEST
    assert once(proxy.url)[0] == 0
    assert_right(node)


def test_a_reorganisation_below_finality_stops_and_the_site_stays(
    alone: Anvil, client: Client, followers: list[Follower]
) -> None:
    """Exit code 2 and one sentence; every page still answers, and says that it is old."""
    Chain(alone.url).mine(10)
    followers.append(Follower.start(database(), (alone.url,), NEAR))
    until(lambda: indexed(alone), followers)
    before = demands.rows()
    final = Head.objects.get().final_block
    alone.rpc.call("anvil_reorg", FINALITY + 5, [])
    followers[0].process.join(60)
    assert followers[0].process.exitcode == 2, followers[0].said()
    said = followers[0].said().splitlines()[-1]
    assert said.startswith(f"stopped: block {final} was final as 0x"), said
    assert "replay" in said
    head = Head.objects.get()
    assert head.halted
    assert head.error in said
    assert demands.rows() == before
    for path in ("/", "/status", "/providers", "/changes"):
        answer = client.get(path, follow=True)
        assert answer.status_code == 200, path
        assert "Indexing has stopped" in answer.content.decode(), path
    again, said = once(alone.url)
    assert again == 2, said


def test_another_chain_is_refused(proxy: FaultProxy) -> None:
    proxy.plan = FaultPlan(chain_id=16_661)
    code, said = once(proxy.url)
    assert code == 2
    assert "serves chain 16661, not 31337" in said
    assert Head.objects.get().halted
