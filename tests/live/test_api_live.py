"""The JSON API over HTTP, on rows that the follower made of a real chain, against the contracts."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from django.conf import settings as django_settings

from chain import sync
from chain.models import Head, RawBlock, RawCall, RawLog, RawTransaction
from chain.rpc import Rpc
from devnet.anvil import Anvil
from devnet.deploy import Contracts, Deployment, connect, deploy
from devnet.scenario import Step, run
from ledger import services
from ledger.models import Movement
from tests.db import api_rows as rows
from tests.live.chaos.demands import empty_index
from tests.live.test_index import assert_movements_add_up, differences

pytestmark = pytest.mark.django_db(transaction=True)
NAMES = {"inference": "inference-v1.0", "fine_tuning": "fine-tuning-v1.0"}
Past = tuple[Deployment, list[Step]]


@pytest.fixture(scope="module")
def chain() -> Iterator[tuple[Anvil, Past]]:
    """Nobody changes it: what is read of it is compared."""
    with Anvil() as anvil:
        deployment = deploy(anvil.url)
        steps = run(1, 320, deployment, anvil.url)
        anvil.rpc.call("anvil_mine", hex(50))
        yield anvil, (deployment, steps)


@pytest.fixture
def node(chain: tuple[Anvil, Past], settings: Any) -> Anvil:
    settings.CHAIN_RPC_URLS = (chain[0].url,)
    return chain[0]


@pytest.fixture
def past(chain: tuple[Anvil, Past]) -> Past:
    return chain[1]


def everything(url: str) -> list[Any]:
    """All items of a list, page by page."""
    found: list[Any] = []
    following: str | None = url
    while following:
        answer = requests.get(following, timeout=10)
        assert answer.status_code == 200, answer.text
        found += answer.json()["items"]
        following = answer.json()["next"]
    assert len(found) == answer.json()["count"]
    return found


def test_a_seeded_history_over_http_equals_the_contracts(
    node: Anvil, past: Past, asgi_server: str
) -> None:
    deployment, steps = past
    contracts = connect(node.url, deployment)
    services.follow(once=True)
    api = f"{asgi_server}/api/v1"

    status = requests.get(f"{api}/status", timeout=10).json()
    assert status["indexed_block"] >= max(step.block for step in steps)
    assert status["final_block"] <= status["indexed_block"] <= status["head_block"]
    assert status["logs"] >= sum(len(step.logs) for step in steps)
    assert [one["address"] for one in status["contracts"]] == [
        contracts.ledger.address,
        contracts.inference.address,
        contracts.fine_tuning.address,
    ]

    services_equal(api, contracts)
    accounts_equal(api, contracts)
    earnings_equal(api, contracts, steps)


def services_equal(api: str, contracts: Contracts) -> None:
    listed, total = contracts.inference.view("getAllServices", 0, 50)
    assert total == len(listed)
    ours = everything(f"{api}/services?kind=inference&page_size=2")
    theirs = {service["provider"]: service for service in listed}
    assert {item["provider"] for item in ours} == set(theirs) and theirs
    for item in ours:
        service = theirs[item["provider"]]
        assert item["input_price"] == str(service["inputPrice"])
        assert item["output_price"] == str(service["outputPrice"])
        for name, theirs_name in (
            ("url", "url"),
            ("model", "model"),
            ("service_type", "serviceType"),
            ("verifiability", "verifiability"),
            ("additional_info", "additionalInfo"),
            ("updated_at_unix", "updatedAt"),
            ("tee_signer", "teeSignerAddress"),
            ("tee_signer_acknowledged", "teeSignerAcknowledged"),
        ):
            assert item[name] == service[theirs_name], name
        assert (
            requests.get(f"{api}/services/inference/{item['provider'].lower()}", timeout=10).json()
            == item
        )
    tuning = contracts.fine_tuning.view("getAllServices")
    ours = everything(f"{api}/services?kind=fine-tuning")
    assert {item["provider"]: item["models"] for item in ours} == {
        service["provider"]: list(service["models"]) for service in tuning
    }


def accounts_equal(api: str, contracts: Contracts) -> None:
    """Every ledger, sub-account and refund; and movements that sum to each balance."""
    ledgers, total = contracts.ledger.view("getAllLedgers", 0, 500)
    assert total == len(ledgers) > 3
    for ledger in ledgers:
        user = ledger["user"]
        body = requests.get(f"{api}/accounts/{user}", timeout=10).json()
        assert body["ledger"] == {
            "total": str(ledger["totalBalance"]),
            "available": str(ledger["availableBalance"]),
            "additional_info": ledger["additionalInfo"],
        }
        moved: dict[tuple[str, str], int] = defaultdict(int)
        newest: dict[tuple[str, str], str] = {}
        for movement in everything(f"{api}/accounts/{user}/movements?page_size=7"):
            where = ("available", "")
            if movement["balance"] == "sub_account":
                where = (movement["service_name"], movement["provider"])
            moved[where] += int(movement["amount"])
            newest.setdefault(where, movement["balance_after"])
        assert moved[("available", "")] == ledger["availableBalance"]
        assert all(int(newest[where]) == amount for where, amount in moved.items())
        for sub in body["sub_accounts"]:
            sub_account_equal(contracts, user, sub)
            assert moved[(sub["service_name"], sub["provider"])] == int(sub["balance"])
        held = sum(int(sub["balance"]) for sub in body["sub_accounts"])
        assert held == ledger["totalBalance"] - ledger["availableBalance"]


def sub_account_equal(contracts: Contracts, user: str, sub: Any) -> None:
    tuning = sub["kind"] == "fine-tuning"
    serving = contracts.fine_tuning if tuning else contracts.inference
    account = serving.view("getAccount", user, sub["provider"])
    lock = serving.view("lockTime")
    names = [("balance", "balance"), ("pending_refund", "pendingRefund"), ("nonce", "nonce")]
    if not tuning:
        names += [("generation", "generation"), ("revoked_bitmap", "revokedBitmap")]
    assert {name: sub[name] for name, _ in names} == {
        name: str(account[theirs]) for name, theirs in names
    }
    assert sub["acknowledged"] == account["acknowledged"]
    refunds = account["refunds"][: account["validRefundsLength"]]
    assert sub["refunds"] == [
        {
            "index": index,
            "amount": str(refund["amount"]),
            "created_at_unix": refund["createdAt"],
            "unlocks_at_unix": refund["createdAt"] + lock,
        }
        for index, refund in enumerate(refunds)
    ]
    if tuning:
        theirs = serving.view("getDeliverables", user, sub["provider"])
        assert [d["id"] for d in sub["deliverables"]] == [d["id"] for d in theirs]


def earnings_equal(api: str, contracts: Contracts, steps: list[Step]) -> None:
    """An oracle that knows only receipts: FundSpent, and the BalanceUpdated right behind it."""
    paid: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    by_user: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    names = {contracts.inference.address: NAMES["inference"]}
    names[contracts.fine_tuning.address] = NAMES["fine_tuning"]
    for step in steps:
        logs = {log.index: log for log in step.logs}
        for log in step.logs:
            if log.name == "FundSpent" and log.args["amount"]:
                provider = logs[log.index + 1].args["provider"]
                paid[provider][names[log.args["service"]]] += log.args["amount"]
                by_user[provider][log.args["user"]] += log.args["amount"]
    assert sum(len(services) for services in paid.values()) > 2
    for provider, services_paid in paid.items():
        body = requests.get(f"{api}/providers/{provider}/earnings", timeout=10).json()
        assert body["total"] == str(sum(services_paid.values()))
        ours = {name: int(amount) for name, amount in body["by_service"].items() if int(amount)}
        assert ours == services_paid
        assert sum(int(day["amount"]) for day in body["by_day"]) == int(body["total"])
        users = {row["user"]: int(row["amount"]) for row in body["by_user"] if int(row["amount"])}
        assert users == by_user[provider]
        items = everything(f"{api}/providers/{provider}/settlements?page_size=50")
        assert sum(int(item["settled"]) for item in items) == int(body["total"])


def test_a_seeded_history_has_no_drift(
    node: Anvil, past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Far behind, in chunks, with every block and then only with those that hold our logs."""
    monkeypatch.setattr(sync, "NEAR", 20)
    monkeypatch.setattr(sync, "DENSE_CHUNK", 37)
    monkeypatch.setattr(sync, "SPARSE_CHUNK", 53)
    contracts, _ = past
    for mode, dense in (("dense", sync.DENSE), ("sparse", 0)):
        empty_index()
        monkeypatch.setattr(sync, "DENSE", dense)
        services.follow(once=True)
        assert differences() == [], chr(10).join([mode, *differences()])
        assert differences(final=True) == [], mode
        assert_movements_add_up()
        assert_raw_facts_are_the_nodes(contracts)
        assert Movement.objects.filter(source="view").exists()  # deposits through a contract
        assert Movement.objects.filter(source="transaction").exists()
        if mode == "dense":
            asked = RawCall.objects.exclude(data="balance").values_list("data", flat=True)
            assert not [d for d in asked if d.startswith(("0xfd590847", "0x15a52302"))], (
                "direct transactions need no getAccount or getService"
            )


def assert_raw_facts_are_the_nodes(contracts: Deployment) -> None:
    """Logs equal the node's own, and empty final blocks leave nothing behind."""
    addresses = [contracts.ledger, contracts.inference, contracts.fine_tuning]
    with Rpc(django_settings.CHAIN_RPC_URLS, 31337) as rpc:
        logs = rpc.logs(0, Head.objects.get().indexed_block, addresses)
    stored = RawLog.objects.order_by("block_number", "log_index")
    assert [(g.block_hash, g.log_index, tuple(g.topics), g.data) for g in stored] == [
        (g.block_hash, g.log_index, g.topics, g.data) for g in logs
    ]
    final = Head.objects.get().final_block
    with_facts = {g.block_number for g in stored} | {
        *RawTransaction.objects.values_list("block_number", flat=True),
        *RawCall.objects.values_list("block_number", flat=True),
    }
    headers = set(RawBlock.objects.values_list("number", flat=True))
    assert {n for n in headers if n < final} == {n for n in with_facts if n < final}


def test_a_long_export_streams_over_asgi(asgi_server: str) -> None:
    """20,000 movements as one file, in order, each once; a HEAD sends none of them."""
    rows.contracts()
    template = rows.movement(block=0)
    Movement.objects.bulk_create(
        [
            Movement(
                user=template.user,
                kind=template.kind,
                balance=template.balance,
                serving=template.serving,
                provider=template.provider,
                amount=number,
                balance_after=number,
                source="event",
                block=1 + number // 3,
                sequence=number % 3,
                at=template.at,
            )
            for number in range(1, 20_000)
        ]
    )
    url = f"{asgi_server}/api/v1/accounts/{rows.ALICE.lower()}/movements.csv"
    with requests.get(url, stream=True, timeout=30) as answer:
        assert "Content-Length" not in answer.headers
        table = list(csv.reader(io.StringIO(answer.content.decode())))
    assert [int(line[8]) for line in table[1:-1]] == list(range(19_999, 0, -1))
    assert requests.head(url, timeout=10).content == b""
