"""Reading ahead in a process of its own: the same rows, whatever becomes of that process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from chain import prefetch, sync
from chain.endpoint import Endpoint
from chain.errors import Unavailable
from chain.helper import ROOT, Helper
from devnet.anvil import CHAIN_ID, Anvil
from devnet.deploy import deploy
from devnet.scenario import run
from ledger import services
from runner.processes import free_port
from tests.live.chaos import demands

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def lively() -> Iterator[Anvil]:
    """A chain with something in most of its blocks."""
    with Anvil() as anvil:
        run(11, 90, deploy(anvil.url), anvil.url)
        anvil.rpc.call("anvil_mine", "0x40")
        # What is compared in the end is at its head: no block may come in between.
        anvil.rpc.call("evm_setIntervalMining", 0)
        yield anvil


def until_ready(helper: Helper | None) -> Helper:
    assert helper is not None
    deadline = time.monotonic() + 30
    while not helper.ready and time.monotonic() < deadline:
        time.sleep(0.02)
    assert helper.ready
    return helper


def follow(*, kill: bool = False) -> list[int]:
    """Steps up to the final block; the processes that read ahead."""
    follower = services.make_follower()
    seen: list[int] = []
    try:
        while True:
            step = follower.step()
            helper = follower.prefetch._helper
            if helper is not None and helper.pid not in seen:
                seen.append(until_ready(helper).pid)
                if kill and len(seen) == 1:
                    os.kill(helper.pid, signal.SIGKILL)
            if not step.more:
                return seen
    finally:
        follower.close()


def test_the_same_rows_with_and_without(
    lively: Anvil, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CHAIN_RPC_URLS = (lively.url,)
    monkeypatch.setattr(sync, "NEAR", 10)
    monkeypatch.setattr(sync, "DENSE_CHUNK", 20)
    assert follow() == []
    alone = demands.rows()
    assert alone["Settlement"]
    for kill in (False, True):
        demands.empty_index()
        monkeypatch.setattr(prefetch, "MUCH", 1)
        helpers = follow(kill=kill)
        assert len(helpers) == (2 if kill else 1)
        assert demands.rows() == alone
        assert list(demands.misses(lively.url, 0)) == []
        assert not any(psutil.pid_exists(pid) for pid in helpers)


def test_a_node_that_does_not_answer() -> None:
    helper = Helper()
    try:
        node = Endpoint(f"http://127.0.0.1:{free_port()}", 2)
        until_ready(helper)
        for _ in range(2):
            with pytest.raises(Unavailable):
                helper.range(node, CHAIN_ID, 0, 5, [], dense=True)
        assert helper.alive
    finally:
        helper.close()


def test_it_ends_with_its_owner() -> None:
    source = "from chain.helper import Helper; it = Helper(); print(it.pid, flush=True); input()"
    owner = subprocess.Popen(
        [sys.executable, "-c", source], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert owner.stdout is not None
    with owner.stdout as said:
        process = psutil.Process(int(said.readline()))
    owner.kill()
    owner.wait()
    process.wait(20)
