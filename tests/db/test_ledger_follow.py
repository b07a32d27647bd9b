"""`manage.py follow` where it cannot work: one line that says what and how to fix."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from chain.heads import Heads
from chain.models import Head, RawBlock, RawLog
from chain.sync import Step
from ledger import services
from ledger.models import Projection
from ledger.project import VERSION
from protocol import abi
from tests import factories
from tests.db.test_chain_rpc import Node, nodes

pytestmark = pytest.mark.django_db(transaction=True)
__all__ = ["nodes"]


def test_an_unreachable_node(
    settings: Any, free_port: int, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "ONCE_TRIES", 2)
    settings.CHAIN_RPC_URLS = (f"http://127.0.0.1:{free_port}",)
    with pytest.raises(SystemExit) as stopped:
        call_command("follow", "--once")
    assert stopped.value.code == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"127.0.0.1:{free_port}" in said
    assert "CHAIN_RPC_URLS" in said
    head = Head.objects.get()
    assert "refused" in head.error
    assert not head.halted
    assert head.indexed_block == -1


def test_a_node_that_says_what_no_row_can_hold(
    settings: Any, nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port of https that is asked by http answers with zero bytes, too."""
    monkeypatch.setattr(services, "ONCE_TRIES", 1)
    said = {"error": {"code": -32005, "message": "slow\0down, too many requests"}}
    nodes[0].behaviour = lambda method, params: said
    settings.CHAIN_RPC_URLS = (nodes[0].url,)
    with pytest.raises(SystemExit) as stopped:
        call_command("follow", "--once")
    assert stopped.value.code == 1
    assert "slow\ufffddown" in Head.objects.get().error


def test_a_view_in_another_shape(
    settings: Any, nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be the node's fault: nothing is believed, nothing ends, the next one is asked."""
    monkeypatch.setattr(services, "ONCE_TRIES", 1)
    hashes = {"hash": "0x" + "aa" * 32, "parentHash": "0x" + "bb" * 32}
    block = {"number": "0x0", "timestamp": "0x1", "transactions": [], **hashes}
    active = abi.encode_call(abi.LEDGER_MANAGER, "getAllActiveServices")

    def behave(method: str, params: list[Any]) -> Any:
        if method == "eth_call":
            none = "0x" + f"{32:064x}" + "0" * 64
            return none if params[0]["data"] == active else "0x1234"
        return {"eth_getLogs": [], "eth_getBalance": "0x7"}.get(method, block)

    nodes[0].behaviour = behave
    settings.CHAIN_RPC_URLS = (nodes[0].url,)
    with pytest.raises(SystemExit) as stopped:
        call_command("follow", "--once")
    assert stopped.value.code == 1
    assert "another shape" in Head.objects.get().error
    Head.objects.update(indexed_block=0, indexed_hash=hashes["hash"])
    with pytest.raises(CommandError, match="cut off") as not_compared:
        call_command("check_index")
    assert not_compared.value.returncode == 2


def test_an_announced_head_is_looked_for_a_few_times() -> None:
    """Whoever announces blocks that our node never has must not make us ask it without a pause."""
    heads, last = Heads([]), Step(False, True, 5, 5, 3)
    for number in (6, 7):
        heads._hear("s", {"params": {"subscription": "s", "result": {"number": hex(number)}}})
        for look in range(20):
            assert heads.looks == min(look, services.LOOKS)
            services.wait_for_head(heads, last, lambda: True)


def test_a_database_that_takes_no_rows_for_a_while() -> None:
    """A primary that has become a standby, or ends whoever holds a transaction for long."""
    waited: list[str] = []
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
    services.follow_alone(stopping=lambda: bool(waited), on_wait=waited.append)
    assert "read-only" in waited[0]


def test_another_chain(settings: Any, nodes: list[Node], capsys: Any) -> None:
    nodes[0].chain_id = 16_602
    settings.CHAIN_RPC_URLS = (nodes[0].url,)
    with pytest.raises(SystemExit) as stopped:
        call_command("follow", "--once")
    assert stopped.value.code == 2
    said = "serves chain 16602, not 31337; correct CHAIN_RPC_URLS, CHAIN_ID or NETWORK"
    assert said in capsys.readouterr().err
    assert Head.objects.get().halted


@pytest.mark.parametrize("head", [None, 7, "soon", "0x", {"number": 1}])
def test_a_head_that_is_none_beside_a_running_follower(
    head: Any, settings: Any, nodes: list[Node], capsys: Any
) -> None:
    """Whoever waits for another follower's work asks the node how far that is."""
    nodes[0].behaviour = lambda method, params: head
    settings.CHAIN_RPC_URLS = (nodes[0].url,)
    rival = connection.copy()
    try:
        with rival.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [services.LOCK])
        with pytest.raises(SystemExit) as stopped:
            call_command("follow", "--once")
    finally:
        rival.close()
    assert stopped.value.code == 1
    assert "where a number belongs" in capsys.readouterr().err


def test_rows_of_another_version_must_be_replayed(settings: Any, capsys: Any) -> None:
    Projection.objects.create(name="ledger", version=0)
    with pytest.raises(SystemExit) as stopped:
        call_command("follow", "--once")
    assert stopped.value.code == 2
    assert "manage.py replay" in capsys.readouterr().err
    call_command("replay")
    assert Projection.objects.get().version == VERSION
    # Where the stored facts are none, it says so, and leaves everything as it was.
    factories.head(final_block=1, indexed_block=1)
    place = {"hash": factories.tx_hash("a block"), "parent_hash": factories.tx_hash("before")}
    RawBlock.objects.create(number=1, timestamp=1, **place)
    RawLog.objects.create(
        block_hash=place["hash"], block_number=1, log_index=0, tx_hash=factories.tx_hash("none"),
        tx_index=0, address=settings.LEDGER_ADDRESS, topics=[], data="0x",
    )  # fmt: skip
    with pytest.raises(CommandError, match=r"nothing was changed: block 1: logs of") as failed:
        call_command("replay")
    assert failed.value.returncode == 2 and Head.objects.get().indexed_block == 1
