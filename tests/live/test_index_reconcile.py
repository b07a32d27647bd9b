"""The scheduled comparison with the chain: what it finds, keeps and does without a node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction

from chain.models import Head
from devnet.anvil import Anvil
from devnet.deploy import Deployment
from devnet.scenario import run
from ledger import reconcile, sample, tasks
from ledger.models import Ledger, Reconciliation, Service, SubAccount
from ledger.services import follow
from tests.live.test_index import contracts, mine, node

pytestmark = pytest.mark.django_db(transaction=True)
__all__ = ["contracts", "node"]


@pytest.fixture
def index(node: Anvil, contracts: Deployment) -> Anvil:
    """A seeded history, indexed, all of it final."""
    run(7, 150, contracts, node.url)
    mine(node, 3)
    follow(once=True)
    return node


def wrong_ledger() -> None:
    row = Ledger.objects.filter(pending=False, exists=True).latest("block")
    Ledger.objects.filter(pk=row.pk).update(available=row.available + 1)


def wrong_account() -> None:
    row = SubAccount.objects.filter(pending=False, live=True).latest("block")
    SubAccount.objects.filter(pk=row.pk).update(acknowledged=not row.acknowledged)


def wrong_service() -> None:
    row = Service.objects.filter(pending=False, removed=False).latest("block")
    Service.objects.filter(pk=row.pk).update(url="https://elsewhere.example", stake=row.stake + 1)


def ghost_account() -> None:
    row = SubAccount.objects.filter(pending=False, live=True).latest("block")
    SubAccount.objects.filter(pk=row.pk).update(user="0x" + "Ab" * 20)


DAMAGES: dict[Callable[[], None], set[str]] = {
    wrong_ledger: {"available", "balance"},
    wrong_account: {"acknowledged"},
    wrong_service: {"url", "stake"},
    ghost_account: {"exists"},
}


def while_the_head_moves(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A reading of rows whose first two tries see the head go to another block and back."""
    known = Head.objects.get().final_hash
    moves = iter(("0x" + "00" * 32, known))

    def reading(again: Any) -> Any:
        found = read(again)
        Head.objects.update(final_hash=next(moves, known))
        return found

    return reading


def test_damage_is_found_told_and_kept(
    index: Anvil,
    contracts: Deployment,
    settings: Any,
    free_port: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    assert tasks.reconcile_sample() == 0
    clean = Reconciliation.objects.get()
    assert clean.scope == "sample"
    assert not clean.error
    assert clean.differences == []
    assert min(clean.compared.values()) > 0
    assert set(clean.compared) == {
        *("ledgers", "serving contracts", "inference services", "inference accounts"),
        *("fine-tuning services", "fine-tuning accounts"),
    }
    # Rows above the final block are not compared, only what is final.
    run(8, 5, contracts, index.url)
    follow(once=True)
    assert tasks.reconcile_sample() == 0

    for damage, fields in DAMAGES.items():
        with transaction.atomic():
            damage()
            assert tasks.reconcile_sample() == len(fields), damage.__name__
            found = reconcile.latest()
            assert found is not None
            assert {d["field"] for d in found.differences} == fields, damage.__name__
            assert found.drift == len(fields), damage.__name__
            transaction.set_rollback(True)

    # What differed is looked at until it differs no more, in however large an index.
    with monkeypatch.context() as few, transaction.atomic():
        few.setattr(sample, "SIZE", 0)
        wrong_account()
        assert tasks.reconcile_sample() == 0
        with pytest.raises(SystemExit):
            call_command("check_index", final=True)
        assert [tasks.reconcile_sample() for _ in range(2)] == [1, 1]
        few.setattr(sample, "_some", while_the_head_moves(sample._some))
        assert tasks.reconcile_sample() == 1, "read again, it looks at the same"
        wrong_account()
        assert [tasks.reconcile_sample() for _ in range(2)] == [0, 0]
        transaction.set_rollback(True)

    # Asked for by hand, it is kept as well; old runs go.
    monkeypatch.setattr(reconcile, "HISTORY", 3)
    call_command("check_index")
    assert Reconciliation.objects.latest("pk").scope == "everything"
    wrong_ledger()
    for _ in range(4):
        tasks.reconcile_sample()
    assert [r.scope for r in Reconciliation.objects.all()] == ["sample"] * 3

    # Without a node there is no result: a failed run is kept with its reason, and is not taken for
    # a clean one.
    settings.CHAIN_RPC_URLS = (f"http://127.0.0.1:{free_port}",)
    assert tasks.reconcile_sample() is None
    assert str(free_port) in Reconciliation.objects.latest("pk").error
    latest = reconcile.latest()
    assert latest is not None
    assert latest.drift == 2, "the last result stands"


@pytest.mark.django_db
def test_nothing_indexed_nothing_compared() -> None:
    assert tasks.reconcile_sample() is None
    assert not Reconciliation.objects.exists()
