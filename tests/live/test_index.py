"""The index on a real chain: whatever happens there, our rows are what the contracts say."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import connection, models

from chain.errors import ChainError
from chain.models import Head, RawCall, RawLog
from chain.rpc import Request, Rpc
from devnet.anvil import Anvil
from devnet.deploy import Deployment, deploy
from devnet.scenario import run
from ledger import audit, services
from ledger.models import (
    Ledger,
    Movement,
    Service,
    ServiceChange,
    ServingContract,
    Settlement,
    SubAccount,
)
from protocol import abi
from tests.forks import SITE
from tests.live.branches import reorganise

pytestmark = pytest.mark.django_db(transaction=True)
DERIVED: tuple[type[models.Model], ...] = (
    ServingContract,
    Ledger,
    SubAccount,
    Service,
    Movement,
    Settlement,
    ServiceChange,
)


@pytest.fixture
def node(settings: Any) -> Iterator[Anvil]:
    """A chain of its own for every test: these tests reorganise and rewind it."""
    with Anvil() as anvil:
        settings.CHAIN_RPC_URLS = (anvil.url,)
        yield anvil


@pytest.fixture
def contracts(node: Anvil) -> Deployment:
    return deploy(node.url)


def differences(*, final: bool = False) -> list[str]:
    with Rpc(django_settings.CHAIN_RPC_URLS, django_settings.CHAIN_ID) as rpc:
        report = audit.compare(rpc, final=final)
    assert sum(report.compared.values()) > 0
    return [str(d) for d in report.differences]


def final_rows() -> dict[str, list[str]]:
    """Every final row of every derived table, without database ids."""
    found = {}
    for model in DERIVED:
        names = [f.name for f in model._meta.fields if f.name not in ("id", "shadowed")]
        rows = model._default_manager.filter(pending=False).values(*names)
        found[model.__name__] = sorted(json.dumps(r, default=str, sort_keys=True) for r in rows)
    return found


def ask(node: Anvil, method: str, *params: Any) -> Any:
    with Rpc([node.url], 31337) as rpc:
        return rpc.ask(method, *params)


def mine(node: Anvil, blocks: int) -> None:
    ask(node, "anvil_mine", hex(blocks))


def assert_movements_add_up() -> None:
    """Movements per account sum to its balance, exactly, and each states the balance after it."""
    sums: dict[tuple[Any, ...], int] = {}
    for m in Movement.objects.order_by("block", "sequence"):
        key = (m.user, m.balance, *((m.serving, m.provider) if m.balance != "available" else ()))
        sums[key] = sums.get(key, 0) + m.amount
        assert sums[key] == m.balance_after, (key, m.block, m.kind)
    for ledger in Ledger.current.all():
        assert sums.get((ledger.user, "available"), 0) == ledger.available
        locked = SubAccount.current.filter(user=ledger.user)
        assert ledger.total == ledger.available + sum(a.balance for a in locked)
    for a in SubAccount.current.all():
        assert sums.get((a.user, "sub_account", a.serving, a.provider), 0) == a.balance


def test_following_live_equals_replay(node: Anvil, contracts: Deployment) -> None:
    """Steps at random moments, restarts, pending rows at the head; then the same from raw facts.
    More seeds, and a follower that dies: test_chaos.py."""
    rng = random.Random(11)
    follower = services.make_follower()
    checked = 0

    def on_step(_: object) -> None:
        nonlocal follower, checked
        if rng.random() < 0.35:
            follower.step()
        if rng.random() < 0.02:
            follower = services.make_follower()
        if rng.random() < 0.04:
            follower.step()
            assert differences() == []
            checked += 1

    run(11, 260, contracts, node.url, on_step=on_step)
    follower.step()
    assert checked
    assert differences() == [], chr(10).join(differences())
    assert differences(final=True) == []
    assert_movements_add_up()
    assert Head.objects.get().indexed_block > Head.objects.get().final_block

    mine(node, 4)
    services.follow(once=True)
    assert differences() == [], chr(10).join(differences())
    before = final_rows()
    assert all(before.values())
    call_command("replay")
    assert final_rows() == before
    assert differences(final=True) == []
    services.follow(once=True)
    assert differences() == [], chr(10).join(differences())
    assert final_rows() == before


_PAGES = tuple(
    abi.functions(abi.INFERENCE_SERVING)[name].selector
    for name in ("getAllAccounts", "getAllServices")
)


def test_a_late_start_opens_with_what_was_there(
    node: Anvil, contracts: Deployment, settings: Any
) -> None:
    """START_BLOCK after the contracts: opening rows, then history, equal all the same; of a node,
    too, that has not the gas to read a whole page of a list."""
    run(61, 120, contracts, node.url)
    ask(node, "evm_setBlockGasLimit", hex(150_000))
    mine(node, 1)
    # Looked up first: with its old limit the chain makes another block every second.
    settings.START_BLOCK = int(ask(node, "eth_blockNumber"), 16) + 1
    ask(node, "evm_setBlockGasLimit", hex(30_000_000))
    run(62, 60, contracts, node.url)
    mine(node, 3)
    services.follow(once=True)
    pages = [call for call in RawCall.objects.all() if call.data[:10] in _PAGES]
    assert any(call.result.startswith("revert") for call in pages)
    opening = Movement.objects.filter(kind="opening")
    assert {m.block for m in opening} == {settings.START_BLOCK - 1}
    assert {m.balance for m in opening} == {"available", "sub_account"}
    assert differences() == [], chr(10).join(differences())
    assert differences(final=True) == []
    assert_movements_add_up()
    before = final_rows()
    call_command("replay")
    assert final_rows() == before


def test_a_reorganised_window_is_absorbed(node: Anvil, contracts: Deployment) -> None:
    """Blocks above the final one are replaced by others with other transactions."""
    run(21, 60, contracts, node.url)
    mine(node, 3)
    follower = services.make_follower()
    while follower.step().more:
        pass
    assert differences() == [], chr(10).join(differences())
    final = Head.objects.get().final_block
    # Two blocks with money in them, seen as pending, then gone.
    run(22, 2, contracts, node.url)
    follower.step()
    seen = Head.objects.get()
    assert seen.indexed_block > final
    reorganise(node.rpc, seen.final_block + 1)
    follower.step()
    assert Head.objects.get().indexed_hash != seen.indexed_hash
    assert differences() == [], chr(10).join(differences())
    node.rpc.call("evm_setAutomine", True)  # else each action waits for the next second's block
    run(23, 20, contracts, node.url)
    mine(node, 3)
    while follower.step().more:
        pass
    assert differences() == [], chr(10).join(differences())
    assert differences(final=True) == []
    hashes = set(RawLog.objects.values_list("block_hash", flat=True))
    blocks = [Request("eth_getBlockByHash", (h, False)) for h in sorted(hashes)]
    with Rpc([node.url], 31337) as rpc:
        numbers = {b["hash"]: int(b["number"], 16) for b in rpc.many(blocks) if isinstance(b, dict)}
        known = Head.objects.get().final_block
        for block_hash, number in numbers.items():
            if number <= known:
                assert rpc.raw_blocks([number], full=False)[0]["hash"] == block_hash  # type: ignore[index]


def test_in_pieces_up_to_given_blocks(node: Anvil, contracts: Deployment) -> None:
    """`follow --to-block N` folds final blocks up to N and no further; the pieces make a whole."""
    run(71, 60, contracts, node.url)
    mine(node, 3)
    rng, block = random.Random(71), 0
    for _ in range(4):
        block += rng.randint(5, 15)
        call_command("follow", "--once", "--to-block", str(block))
        head = Head.objects.get()
        assert (head.final_block, head.indexed_block) == (block, block)
        assert not Movement.objects.filter(block__gt=block).exists()
        assert differences(final=True) == []
    call_command("follow", "--once")
    assert differences() == []
    before = final_rows()
    for model in DERIVED:
        model._default_manager.all().delete()
    call_command("replay")
    assert final_rows() == before


def test_two_writers_do_not_mix(node: Anvil, contracts: Deployment) -> None:
    """Should two followers ever run, the one that comes second changes nothing and stops."""
    run(81, 10, contracts, node.url)
    first, second = services.make_follower(), services.make_follower()
    first.step()
    before, head = final_rows(), Head.objects.get().indexed_hash
    with pytest.raises(ChainError, match="somebody else"):
        second.step()
    assert final_rows() == before
    assert Head.objects.get().indexed_hash == head
    mine(node, 3)
    first.step()
    assert differences() == []


def test_check_index_says_what_differs(node: Anvil, contracts: Deployment, capsys: Any) -> None:
    """And exits with 1; with 2 where there is nothing to compare."""
    with pytest.raises(CommandError, match="nothing is indexed") as refused:
        call_command("check_index")
    assert refused.value.returncode == 2
    # START_BLOCK may lie before the LedgerManager: a call there answers nothing at all.
    services.follow(once=True, to_block=0)
    for final in ((), ("--final",)):
        call_command("check_index", "--json", *final)
        before = json.loads(capsys.readouterr().out)
        assert before["equal"] is True
        assert not any(before["compared"].values())
    run(41, 60, contracts, node.url)
    services.follow(once=True)
    call_command("check_index", "--json")
    assert json.loads(capsys.readouterr().out)["equal"] is True
    account = SubAccount.current.filter(live=True).earliest("id")
    SubAccount.objects.filter(pk=account.pk).update(balance=account.balance + 1)
    Service.objects.filter(pk=Service.current.earliest("id").pk).update(stake=7)
    with pytest.raises(SystemExit) as stopped:
        call_command("check_index", "--json")
    assert stopped.value.code == 1
    found = json.loads(capsys.readouterr().out)["differences"]
    assert {d["field"] for d in found} == {"balance", "stake"}
    assert str(account.balance + 1) in {d["ours"] for d in found}


def test_told_to_end_it_ends(node: Anvil, contracts: Deployment) -> None:
    """`manage.py follow` as its own process on this test's database. Its death at every statement:
    test_follow_crashes.py."""
    database = connection.settings_dict
    url = f"postgresql://{database['USER']}@localhost/{database['NAME']}?host={database['HOST']}"
    environment = {
        **os.environ,
        "DATABASE_URL": url,
        "DATABASE_POOL_SIZE": "0",
        "CHAIN_RPC_URLS": node.url,
        "LOG_LEVEL": "WARNING",
        "REDIS_URL": "redis://127.0.0.1:9/0",
    }
    process = SITE.start("manage", "follow", env=environment)
    run(71, 20, contracts, node.url)
    mine(node, 3)
    head = int(ask(node, "eth_blockNumber"), 16)
    deadline = time.monotonic() + 60
    while not Head.objects.filter(indexed_block__gte=head).exists():
        assert time.monotonic() < deadline, Head.objects.values()
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert differences() == [], chr(10).join(differences())
