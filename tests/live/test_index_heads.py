"""New blocks are announced over a websocket; polling does without. The state of nodes is shown."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections

from chain.heads import Heads, websocket_url
from chain.models import Head, NodeState
from devnet.anvil import Anvil
from devnet.deploy import Deployment
from devnet.scenario import run
from ledger import services
from tests.db.test_chain_rpc import Node, nodes
from tests.live.test_index import contracts, mine, node
from tests.live.test_index_nodes import Front, front

pytestmark = pytest.mark.django_db(transaction=True)
__all__ = ["contracts", "front", "node", "nodes"]


class Following:
    """`services.follow` in a thread; stops and joins at the end."""

    error: Exception | None = None
    stop = False

    def __enter__(self) -> Following:
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        return self

    def _run(self) -> None:
        try:
            services.follow(stopping=lambda: self.stop)
        except Exception as error:
            self.error = error
        finally:
            connections.close_all()

    def until(self, met: Any, seconds: float) -> float:
        """How long it took until `met()`."""
        began = time.monotonic()
        while not met():
            assert self.thread.is_alive(), self.error
            assert time.monotonic() - began < seconds, "not within the time"
            time.sleep(0.01)
        return time.monotonic() - began

    def __exit__(self, *_: object) -> None:
        self.stop = True
        self.thread.join(10)
        assert not self.thread.is_alive()


def indexed() -> int:
    return Head.objects.values_list("indexed_block", flat=True).get()


def test_a_block_is_heard_of_long_before_the_next_poll(
    node: Anvil, contracts: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "poll_seconds", lambda: 30.0)
    monkeypatch.setattr(services, "listening_seconds", lambda: 30.0)
    run(1, 5, contracts, node.url)
    services.follow(once=True)
    with Following() as following:
        following.until(lambda: NodeState.objects.filter(websocket=True).exists(), 20)
        for _ in range(3):
            before = indexed()
            mine(node, 1)
            following.until(lambda b=before: indexed() > b, 5)
    state = NodeState.objects.get()
    assert (state.state, state.name, state.head_block) == ("ok", node.url, indexed())
    assert state.calls_per_second is None, "no budget on loopback"


def test_without_a_websocket_we_poll(front: Front, contracts: Deployment, settings: Any) -> None:
    """The node in front speaks plain HTTP only."""
    settings.CHAIN_RPC_URLS = (front.url,)
    services.follow(once=True)
    with Following() as following:
        before = indexed()
        front.rpc.ask("anvil_mine", "0x2")
        following.until(lambda: indexed() >= before + 2, 10)
        assert not NodeState.objects.get().websocket


def test_a_listed_websocket_is_tried_first(node: Anvil, nodes: list[Node]) -> None:
    """A listed URL that refuses is passed over; one that dies is noticed and tried again."""
    heads = Heads([websocket_url(nodes[0].url), websocket_url(node.url)])
    try:
        deadline = time.monotonic() + 20
        while not heads.live and time.monotonic() < deadline:
            heads.wait(0.1, lambda: False)
        assert heads.live == websocket_url(node.url)
        mine(node, 1)
        assert heads.wait(5, lambda: False)
        assert heads.number >= 1
        for _ in range(3):
            heads.missed()
        while heads.live and time.monotonic() < deadline:
            time.sleep(0.01)
        assert heads.live is None, "a silent connection is closed"
        while not heads.live and time.monotonic() < deadline:
            time.sleep(0.01)
        mine(node, 1)
        assert heads.wait(5, lambda: False)
    finally:
        heads.close()
    assert heads.live is None


def test_what_is_wrong_with_a_node_is_written_down(
    front: Front, node: Anvil, contracts: Deployment, settings: Any
) -> None:
    settings.CHAIN_RPC_URLS = (front.url + "/secret-key", node.url)
    front.behaviour = lambda method, params: (503, b"overloaded")
    services.follow(once=True)
    first, second = NodeState.objects.order_by("position")
    assert (first.name, first.state, second.state) == (front.url, "resting", "ok")
    assert "HTTP 503" in first.reason
    assert "secret" not in first.reason
    settings.CHAIN_RPC_URLS = (node.url,)
    services.follow(once=True)
    assert NodeState.objects.get().name == node.url, "a URL that is gone is forgotten"


def test_progress_is_told(
    node: Anvil, contracts: Deployment, capsys: Any, monkeypatch: Any
) -> None:
    """Blocks, events per second and the time to go, on the terminal and in the head row."""
    from chain import sync
    from ledger.management.commands import follow

    monkeypatch.setattr(follow, "SHOW_SECONDS", 0.0)
    monkeypatch.setattr(sync, "NEAR", 5)
    monkeypatch.setattr(sync, "DENSE_CHUNK", 20)
    run(3, 80, contracts, node.url)
    call_command("follow", "--once")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 3
    assert "blocks/s" in lines[1] and "events/s" in lines[1] and "to go" in lines[1]
    head = Head.objects.get()
    assert head.blocks_per_second > 0
    assert head.events_per_second > 0
