"""Sums and groups that pages show: exact, and the same number of queries whatever the size."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from attestation.models import Standing
from ledger import groups, selectors, statistics
from ledger.selectors import ServiceQuery
from tests import factories
from tests.db import api_rows as rows

pytestmark = pytest.mark.django_db


@pytest.fixture
def network() -> None:
    rows.contracts()
    rows.service(model="llama-3", input_price=5, tee_signer_acknowledged=True, updated_at_unix=3)
    rows.service(provider=rows.PAUL, model="llama-3", input_price=4, service_type="vision")
    rows.service(provider=rows.CHARLIE, model="flux", service_type="text-to-image", removed=True)
    rows.tuning(provider=rows.PETRA, created_block=9)
    rows.ledger(total=10, available=4)
    rows.ledger(user=rows.BOB, total=rows.HUGE, available=0)
    rows.ledger(user=rows.CHARLIE, total=99, exists=False)
    rows.sub_account(balance=3)
    rows.sub_account(user=rows.BOB, balance=4)
    rows.settlement(settled=100, at=rows.NOON - dt.timedelta(hours=23))
    rows.settlement(settled=20, unsettled=6, status="partial", at=rows.NOON - dt.timedelta(days=2))
    rows.settlement(settled=0, unsettled=77, status="invalid_nonce", at=rows.NOON)
    rows.settlement(settled=3, provider=rows.PAUL, at=rows.NOON - dt.timedelta(days=40))


def test_network_totals(network: None, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(5):
        assert statistics.totals(rows.NOON).spent is None
    with django_assert_num_queries(6):
        totals = statistics.totals(rows.NOON, all_time=True)
    assert (totals.services, totals.acknowledged, totals.providers, totals.models) == (3, 1, 2, 1)
    assert totals.services_by_kind == {"inference": 2, "fine-tuning": 1}
    assert (totals.accounts, totals.deposited) == (2, rows.HUGE + 10)
    assert totals.locked == rows.HUGE + 6
    assert (totals.spent, totals.spent_24h, totals.settlements_24h) == (123, 100, 1)
    assert totals.staked == 3 * 100 * 10**18


def test_an_empty_network_has_zeroes() -> None:
    totals = statistics.totals()
    assert (totals.services, totals.deposited, totals.spent_24h) == (0, 0, 0)
    assert statistics.provider(rows.BOB).since_block is None
    assert groups.offering().items == () and groups.models().items == ()
    assert statistics.earnings(rows.BOB).by_service == {}


def test_providers(network: None, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(5):
        petra = statistics.provider(rows.PETRA, rows.NOON)
    assert (petra.earned, petra.earned_24h, petra.earned_30d, petra.unsettled) == (120, 100, 120, 6)
    assert (petra.users, petra.deposited, petra.payers_30d, petra.since_block) == (2, 7, 1, 9)
    assert [listing.kind for listing in petra.services] == ["inference", "fine-tuning"]
    with django_assert_num_queries(3):
        listed = groups.with_earnings(groups.offering()).items
    assert [(p.address, p.services, p.kinds, p.earned) for p in listed] == [
        (rows.PETRA, 2, ("inference", "fine-tuning"), 120),
        (rows.PAUL, 1, ("inference",), 3),
    ]


def test_a_window_begins_with_the_first_of_the_blocks_of_a_second() -> None:
    rows.contracts()
    for block, user in ((41, rows.BOB), (40, rows.ALICE)):
        rows.settlement(user=user, block=block)
    since = rows.NOON - dt.timedelta(days=30)
    assert statistics.paid_since(since).count() == 2
    assert statistics.provider(rows.PETRA, rows.NOON).payers_30d == 2


def test_models_and_facets(network: None, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(3):
        (llama,) = groups.models().items
    assert (llama.model, llama.providers, llama.acknowledged) == ("llama-3", 2, 1)
    assert (llama.types, llama.input_price) == (("chatbot", "vision"), 4)
    with django_assert_num_queries(3):
        facets = statistics.facets(ServiceQuery(kind="inference", type="vision"))
    # Each facet lifts its own filter and keeps the others.
    assert {facet.value: facet.count for facet in facets.kinds} == {"inference": 1}
    assert {facet.value: facet.count for facet in facets.types} == {"chatbot": 1, "vision": 1}
    assert {facet.value: facet.count for facet in facets.models} == {"llama-3": 1}


def test_what_a_model_costs_from_is_what_one_of_its_services_costs(client: Client) -> None:
    factories.head()
    first = factories.contract().address
    newer = factories.contract(
        address=factories.address("newer"), service_name="inference-v2.0", recommended=False
    ).address
    # Which of the two prices is a second's depends on the broker's version.
    factories.service(factories.ALICE, model="ear", service_type="speech-to-text", output_price=0)
    factories.service(factories.BOB, model="ear", service_type="speech-to-text", input_price=0)
    # Of two units there is no lowest: nobody offers tokens for what a picture costs.
    factories.service(factories.CHARLIE, model="eye", input_price=7, output_price=9)
    drawn = {"service_type": "text-to-image", "input_price": 0, "output_price": 5}
    factories.service(factories.ALICE, model="eye", serving=newer, **drawn)
    # Embeddings answer with no token, whatever stands in the other price.
    plain = {"service_type": "embedding", "input_price": 6, "output_price": 0}
    factories.service(factories.BOB, model="eye", serving=newer, **plain)
    factories.service(factories.CHARLIE, model="vector", serving=newer, **plain)
    # Verified are services, of which one provider may have two, and of those that were asked for.
    for serving, name in ((first, "inference-v1.0"), (newer, "inference-v2.0")):
        factories.service(factories.PETRA, model="twice", serving=serving)
        Standing.objects.create(
            **{"serving": serving, "provider": factories.PETRA, "kind": "inference"},
            **{"service_name": name, "overall": "pass", "checked_at": timezone.now()},
        )
    other = factories.service(factories.address("other"), model="twice").provider
    items = client.get("/api/v1/models?sort=model").json()["items"]
    assert [(i["model"], i["input_price"], i["output_price"]) for i in items] == [
        ("ear", "0", "420000000000"),
        ("eye", "6", "9"),
        ("twice", "420000000000", "1200000000000"),
        ("vector", "6", "0"),
    ]

    def rows(query: str) -> list[str]:
        html = client.get(f"/models?{query}").content.decode()
        return [" ".join(re.sub("<[^>]*>", " ", x).split()) for x in html.split("model-row")[1:]]

    ear, _eye, twice, _vector = rows("sort=model")
    assert "0.0000252 0G / min" in ear and " 2 of 3 " in twice
    assert " 0 of 1 " in rows(f"q={other}")[0]


def test_pages_count_themselves(network: None) -> None:
    first = selectors.services(ServiceQuery(), page=1, page_size=2)
    assert (first.pages, first.next_number, first.previous_number) == (2, 2, None)
    assert (first.first_index, first.last_index) == (1, 2)
    beyond = selectors.services(ServiceQuery(), page=9, page_size=2)
    assert (beyond.items, beyond.next_number, beyond.previous_number) == ((), None, 2)
    assert selectors.services(ServiceQuery(q="a\x00b")).count == 0
    assert selectors.services(ServiceQuery(sort="nonsense")).count == 3


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0x70997970c51812dc3a010c7d01b50e0d17dc79c8", True),
        ("0X70997970C51812DC3A010C7D01B50E0D17DC79C8", True),
        ("0x70997970C51812dc3A010C7d01b50e0d17dc79C8", True),
        ("0x70997970C51812dc3A010C7d01b50e0d17dc79c8", False),
        ("70997970c51812dc3a010c7d01b50e0d17dc79c8", False),
        ("0x70997970c51812dc3a010c7d01b50e0d17dc79c", False),
        ("0x70997970c51812dc3a010c7d01b50e0d17dc79c8\n", False),
        ("", False),
    ],
)
def test_addresses(text: str, address: bool) -> None:
    expected = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8" if address else None
    assert selectors.address_of(text) == expected
