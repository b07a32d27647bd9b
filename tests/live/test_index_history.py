"""Logs of the code before the audit release (contracts.md 9): decoded, told apart, then seeded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command

from ledger import services
from ledger.models import Ledger, Movement, Service, ServingContract, Settlement, SubAccount
from protocol import abi, events
from tests.live.old_chain import (
    LEDGER,
    NAME,
    OWNER,
    PROVIDER,
    SERVING,
    USER,
    Block,
    OldChain,
    answer,
    logged,
    stamp,
)
from tests.live.test_index import final_rows

pytestmark = pytest.mark.django_db(transaction=True)

RELEASE = 10
SIGNER = "0x" + "44" * 20


def balance(amount: int, pending: int) -> dict[str, Any]:
    return logged(events.BalanceUpdated, SERVING, USER, PROVIDER, amount, pending)


def requested(index: int, number: int) -> dict[str, Any]:
    return logged(events.RefundRequested, SERVING, USER, PROVIDER, index, stamp(number))


def result(status: int, unsettled: int) -> dict[str, Any]:
    return logged(events.TEESettlementResult, SERVING, USER, status, unsettled)


def settle(fee: int, nonce: int) -> str:
    item = (USER, PROVIDER, fee, "0x" + "00" * 32, nonce, "0x")
    return abi.encode_call(abi.INFERENCE_SERVING, "settleFeesWithTEE", [item])


def transfer(amount: int) -> str:
    return abi.encode_call(abi.LEDGER_MANAGER, "transferFund", PROVIDER, NAME, amount)


def history() -> list[Block]:
    """One user, one provider, every movement; block 10 is the release, block 11 settles anew."""
    listed = logged(
        events.InferenceServiceUpdated, SERVING, PROVIDER, "chatbot", "https://one.example",
        3, 4, stamp(2), "a-model", "TeeML",
    )  # fmt: skip
    provider: dict[str, Any] = {"sender": PROVIDER, "to": SERVING}
    user: dict[str, Any] = {"sender": USER}
    retrieve = abi.encode_call(abi.LEDGER_MANAGER, "retrieveFund", [PROVIDER], NAME)
    return [
        Block(0, 0),
        Block(1, 0, logs=[
            logged(events.ServiceRegistered, LEDGER, SERVING, NAME),
            logged(events.RecommendedServiceUpdatedHashed, LEDGER, "inference", "v1.0", SERVING),
        ]),
        Block(2, 0, input="0x12345678", logs=[listed], **provider),
        Block(3, 600, value=1000, input=abi.encode_call(abi.LEDGER_MANAGER, "depositFund"), **user),
        Block(4, 600, input=retrieve, logs=[requested(0, 4)], **user),
        Block(5, 600, input=transfer(100), logs=[balance(400, 300)], **user),
        # An index that also counts a dead entry, as the older array did.
        Block(6, 600, input=retrieve, logs=[requested(2, 6)], **user),
        Block(7, 600, input=transfer(50), logs=[balance(400, 350)], **user),
        Block(8, 600, input=settle(30, 70), logs=[balance(370, 350), result(0, 0)], **provider),
        Block(9, 850, input=retrieve, logs=[balance(120, 100)], **user),
        Block(10, 850, to=SERVING, input="0x", logs=[logged(events.Initialized, SERVING, 2)]),
        Block(11, 850, input=settle(20, 71), logs=[
            logged(events.FundSpent, LEDGER, USER, SERVING, 20), balance(100, 100), result(0, 0),
        ], **provider),
    ]  # fmt: skip


def views() -> dict[str, str]:
    """What the contracts answer from block 10 on (block 11 is folded from logs and calldata)."""
    account = {
        "user": USER, "provider": PROVIDER, "nonce": 70, "balance": 120, "pendingRefund": 100,
        "refunds": [{"index": 0, "amount": 100, "createdAt": stamp(6), "processed": False}],
        "additionalInfo": "hello", "acknowledged": True, "validRefundsLength": 1,
        "generation": 1, "revokedBitmap": 5,
    }  # fmt: skip
    service = {
        "provider": PROVIDER, "serviceType": "chatbot", "url": "https://one.example",
        "inputPrice": 3, "outputPrice": 4, "updatedAt": stamp(2), "model": "a-model",
        "verifiability": "TeeML", "additionalInfo": "{}", "teeSignerAddress": SIGNER,
        "teeSignerAcknowledged": True,
    }  # fmt: skip
    ledger = {
        "user": USER, "availableBalance": 850, "totalBalance": 970, "additionalInfo": "mail",
    }  # fmt: skip
    return {
        "getAllActiveServices": answer(abi.LEDGER_MANAGER, "getAllActiveServices", []),
        "lockTime": answer(abi.INFERENCE_SERVING, "lockTime", 160_000),
        "owner": answer(abi.INFERENCE_SERVING, "owner", OWNER),
        "getServiceInfo": "0x" + "00" * 31 + "07",
        "getAccount": answer(abi.INFERENCE_SERVING, "getAccount", account),
        "getService": answer(abi.INFERENCE_SERVING, "getService", service),
        "getLedger": answer(abi.LEDGER_MANAGER, "getLedger", ledger),
    }


@pytest.fixture
def chain(settings: Any) -> Iterator[OldChain]:
    blocks = history()
    blocks[3].logs.append(balance(400, 0))  # deposit and first transfer in one transaction
    made = OldChain(blocks, RELEASE, views())
    settings.CHAIN_RPC_URLS = (made.url,)
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_the_older_rules_hold_until_the_release(chain: OldChain) -> None:
    call_command("follow", "--once", "--to-block", "8")
    contract = ServingContract.objects.get()
    assert (contract.kind, contract.service_name) == ("inference", NAME), "told by the log's name"
    assert contract.recommended, "the type is only a hash there"
    assert not contract.audited
    account = SubAccount.objects.get()
    assert [(r["amount"], r["created_at"]) for r in account.refunds] == [
        ("250", stamp(4)),
        ("100", stamp(6)),
    ], "a top-up cancelled the oldest request first"
    assert account.balance == 370
    paid = Settlement.objects.get()
    assert (paid.status, paid.settled, paid.provider) == ("success", 30, PROVIDER)
    charge = Movement.objects.get(kind="settlement")
    assert (charge.amount, charge.balance_after, charge.source) == (-30, 370, "event")
    assert not Movement.objects.filter(kind="refund_paid").exists(), "no charge taken for a refund"
    services.follow(once=True, to_block=9)
    ledger = Ledger.objects.get()
    assert (ledger.available, ledger.total) == (850, 970)
    assert [r["amount"] for r in SubAccount.objects.get().refunds] == ["100"]
    early = {name for name, number in chain.asked if 0 < number < RELEASE}
    assert not early & {"getAccount", "getService", "getLedger", "getAllLedgers"}, (
        "the older code's views have other shapes: none is asked"
    )


def test_the_release_seeds_what_logs_never_told(chain: OldChain) -> None:
    services.follow(once=True)
    assert ServingContract.objects.get().audited
    account = SubAccount.objects.get()
    assert (account.generation, account.revoked_bitmap) == (1, 5)
    assert (account.additional_info, account.acknowledged) == ("hello", True)
    assert (account.balance, account.pending_refund, account.nonce) == (100, 100, 71)
    service = Service.objects.get()
    assert (service.tee_signer, service.tee_signer_acknowledged) == (SIGNER, True)
    ledger = Ledger.objects.get()
    assert (ledger.available, ledger.total, ledger.additional_info) == (850, 950, "mail")
    assert [s.settled for s in Settlement.objects.order_by("block")] == [30, 20]
    sums: dict[str, int] = {}
    for m in Movement.objects.all():
        sums[m.balance] = sums.get(m.balance, 0) + m.amount
    assert sums == {"available": 850, "sub_account": 100}
    before = final_rows()
    call_command("replay")
    assert final_rows() == before
