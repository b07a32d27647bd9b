"""Death at any moment: of the follower, of its rival, of the database, of the disk's space."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from chain.models import Coverage, Head, RawBlock, RawLog
from chain.rpc import Rpc
from devnet.anvil import Anvil
from devnet.client import Chain
from devnet.deploy import Deployment
from devnet.scenario import run
from ledger.models import Projection
from tests.live.chaos import demands, failpoints
from tests.live.chaos.child import Follower, spawn
from tests.live.chaos.own_database import own_database
from tests.live.chaos.plan import Knobs
from tests.live.chaos.simulator import database
from tests.live.test_follow_faults import (
    KNOBS,
    NEAR,
    assert_right,
    followers,
    history,
    indexed,
    once,
    until,
)

pytestmark = pytest.mark.django_db(transaction=True)
__all__ = ["followers"]
ROOT = Path(__file__).resolve().parents[2]
#: More points than any step has.
TOO_MANY = 2000


@pytest.fixture
def made() -> Iterator[tuple[Anvil, Deployment]]:
    with history() as found:
        yield found


@pytest.fixture
def node(made: tuple[Anvil, Deployment]) -> Anvil:
    return made[0]


@pytest.fixture
def world(made: tuple[Anvil, Deployment]) -> Deployment:
    return made[1]


# --- kill -9 at every statement ------------------------------------------------------------------


def assert_whole(node: Anvil) -> None:
    """What the database holds after a crash contradicts neither itself nor the node."""
    head, projection = Head.objects.first(), Projection.objects.first()
    if head is not None and projection is not None:
        assert head.final_block == projection.final_block
    blocks = set(RawBlock.objects.values_list("hash", flat=True))
    assert set(RawLog.objects.values_list("block_hash", flat=True)) <= blocks
    with Rpc([node.url], settings.CHAIN_ID) as rpc:
        for held in Coverage.objects.all():
            theirs = rpc.logs(held.from_block, held.to_block, [held.source])
            ours = RawLog.objects.filter(
                address=held.source,
                block_number__gte=held.from_block,
                block_number__lte=held.to_block,
            )
            found = {(g.block_hash, g.log_index, g.data) for g in ours}
            assert found == {(g.block_hash, g.log_index, g.data) for g in theirs}


def die_everywhere(node: Anvil, knobs: Knobs) -> list[dict[str, list[str]]]:
    """One process per point at which to die, until one survives; the states the rows were in."""
    states = [demands.rows(pending=True)]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        for point in range(1, TOO_MANY):
            child = spawn(failpoints.step, database(), (node.url,), knobs, str(log), point)
            child.join(60)
            assert child.exitcode in (0, -9), log.read_text()
            assert_whole(node)
            if (state := demands.rows(pending=True)) != states[-1]:
                states.append(state)
            if child.exitcode == 0:
                assert point > 30, "hardly any point was reached"
                return states
    raise AssertionError("it never came through")


def test_killed_at_every_statement_of_a_back_fill(node: Anvil, world: Deployment) -> None:
    """Ranges of final blocks, new contracts on the way, and the window at the head."""
    die_everywhere(node, KNOBS)
    assert_right(node)
    before = demands.rows(pending=True)
    assert list(demands.replay_differs()) == []
    assert once(node.url, NEAR)[0] == 0
    assert demands.rows(pending=True) == before


def test_killed_at_every_statement_at_the_head(node: Anvil, world: Deployment) -> None:
    """Pending rows give way to final ones, after a reorganisation: all at once or not at all."""
    assert once(node.url, NEAR)[0] == 0
    node.rpc.call("anvil_reorg", 3, [])
    run(9, 6, world, node.url)
    states = die_everywhere(node, NEAR)
    assert len(states) == 2, "the rows of a step become visible together"
    assert_right(node)
    assert list(demands.replay_differs()) == []


# --- rivals and the database ---------------------------------------------------------------------


def test_two_started_at_once(node: Anvil, world: Deployment, followers: list[Follower]) -> None:
    """One works, the other waits and takes over."""
    for _ in range(2):
        followers.append(Follower.start(database(), (node.url,), NEAR))
    until(lambda: indexed(node), followers)
    for _ in range(2):
        followers.pop(0).kill()
        followers.append(Follower.start(database(), (node.url,), NEAR))
        run(11, 3, world, node.url)
        until(lambda: indexed(node), followers)
    assert_right(node)
    for follower in followers:
        follower.kill()
    assert list(demands.replay_differs()) == []


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="zgm-own-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_the_database_restarts(
    folder: Path, node: Anvil, world: Deployment, followers: list[Follower]
) -> None:
    """The follower says so, waits, and goes on where it was."""
    with own_database(folder / "pg") as server:
        followers.append(Follower.start(database(), (node.url,), NEAR))
        until(lambda: indexed(node), followers)
        for number in range(2):
            connection.close()
            server.stop()
            run(20 + number, 3, world, node.url)
            server.start()
            until(lambda: indexed(node), followers)
        assert followers[0].problem() is None
        assert "database" in followers[0].said()
        Chain(node.url).mine(3)
        until(lambda: indexed(node), followers)
        assert_right(node)
        followers.pop().kill()


def test_the_disk_fills_up() -> None:
    """In a mount namespace of its own, with the database on a tmpfs that has no room left."""
    private = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Urm"]
    done = subprocess.run(
        [*private, sys.executable, "-m", "tests.live.chaos.full_disk"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("nothing lost\n")
