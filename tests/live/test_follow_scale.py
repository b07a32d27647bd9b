"""Cost follows the logs, not the blocks; memory follows neither."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from bench.workload import ANVIL_ARGS, Market, make
from chain.fetch import Fetcher
from chain.models import Coverage, Head, RawBlock, RawLog
from chain.rpc import Rpc
from devnet.anvil import CHAIN_ID, Anvil
from devnet.deploy import FINE_TUNING, INFERENCE, LEDGER
from devnet.faults import HONEST, FaultPlan, FaultProxy
from tests.live.chaos import demands
from tests.live.chaos.child import AS_THEY_ARE, Follower
from tests.live.chaos.plan import Knobs
from tests.live.chaos.simulator import database
from tests.live.chaos.stretch import Stretched

pytestmark = pytest.mark.django_db(transaction=True)
#: About, a hundred in each block; some transactions of the workload fail.
EVENTS = 20_000
#: Twenty ranges of ten blocks; by its own constants the follower takes so few in one.
NARROW = Knobs(near=8, dense=20_000, dense_chunk=10, sparse_chunk=10, span=10, confirmations=0)


@pytest.fixture(scope="module")
def busy() -> Iterator[Anvil]:
    """A chain with about a thousand logs in about a hundred blocks."""
    with Anvil(args=ANVIL_ARGS) as node:
        node.rpc.call("evm_setAutomine", True)
        market = Market(node.url)
        node.rpc.call("evm_setAutomine", False)
        market.open()
        while market.logs < 1000:
            market.block(5)
        yield node


def index(url: str) -> float:
    """Seconds that a real `follow --once` takes."""
    began = time.monotonic()
    follower = Follower.start(database(), (url,), AS_THEY_ARE, "--once")
    try:
        follower.process.join(240)
        assert follower.process.exitcode == 0, follower.said()
    finally:
        follower.kill()
    return time.monotonic() - began


def test_ten_million_blocks_with_a_thousand_logs(busy: Anvil) -> None:
    """Ten times the blocks: the same rows and hardly more questions."""
    true = int(busy.rpc.call("eth_blockNumber"), 16)
    asked: dict[int, int] = {}
    rows: dict[int, tuple[int, int, int]] = {}
    for blocks in (1_000_000, 10_000_000):
        demands.empty_index()
        with Stretched(busy.url, blocks // true, HONEST) as node:
            seconds = index(node.url)
            asked[blocks] = sum(node.calls.values())
            assert node.requests < 1500
            assert list(demands.misses(node.url, settings.START_BLOCK)) == []
        assert seconds < 120
        assert Head.objects.get().indexed_block >= blocks
        rows[blocks] = (RawLog.objects.count(), RawBlock.objects.count(), Coverage.objects.count())
    few, many = rows[1_000_000], rows[10_000_000]
    assert (few[0], few[2]) == (many[0], many[2])
    assert 1000 <= many[0] < 1500
    # A header of some ranges' last block is kept for the answers that were read there.
    assert many[1] < few[1] + 40
    assert asked[10_000_000] - asked[1_000_000] < 9_000_000 // 30_000, "a question per 30,000"


def test_a_list_cut_at_a_round_number_is_asked_again(busy: Anvil) -> None:
    """A node that sends a thousand logs at most, and does not say so."""
    last = int(busy.rpc.call("eth_blockNumber"), 16)
    addresses = [LEDGER, INFERENCE, FINE_TUNING]
    plan = FaultPlan(silent_most=1000)
    with FaultProxy(busy.url, plan) as proxy, Rpc([proxy.url], CHAIN_ID) as rpc:
        found = Fetcher(rpc).logs(0, last, addresses)
        assert proxy.counts["silent_most"] >= 1
    with Rpc([busy.url], CHAIN_ID) as rpc:
        assert found == rpc.logs(0, last, addresses)
    assert len(found) > 1000


def test_memory_stays_flat_in_a_long_back_fill() -> None:
    """What a follower holds after a quarter of the history and at its end, in MiB."""
    with Anvil(args=ANVIL_ARGS) as node:
        make(node, EVENTS, log=False)
        follower = Follower.start(database(), (node.url,), NARROW, "--once")
        try:
            early, late, steps = watch(follower)
            assert follower.process.exitcode == 0, follower.said()
        finally:
            follower.kill()
    assert RawLog.objects.count() > 0.9 * EVENTS
    assert steps >= 3, "all at once tells nothing about what stays"
    assert late < early + 10, (early, late)
    assert late < 400


def watch(follower: Follower) -> tuple[float, float, int]:
    """The largest resident set (MiB) up to a quarter of the events, and over all; and how many
    numbers of events were seen on the way from there."""
    early, late, seen = 0.0, 0.0, set[int]()
    while follower.process.exitcode is None:
        late = max(late, resident(follower.process.pid))
        if (stored := RawLog.objects.count()) < EVENTS // 4:
            early = late
        else:
            seen.add(stored)
        time.sleep(0.05)
    assert early, "the first quarter went by unseen"
    return early, late, len(seen)


def resident(pid: int | None) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")]
    return int(found[0]) / 1024 if found else 0.0
