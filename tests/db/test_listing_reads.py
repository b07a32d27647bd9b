"""What makes lists fast must not make them wrong: kept sums, the search text, kept counts."""

from __future__ import annotations

import datetime as dt
import random
from typing import Any

import pytest
from django.db import connection
from django.db.models import Count, Q, Sum
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from ledger import selectors
from ledger.models import ACCEPTED, Service, ServiceChange, ServiceTotal, Settlement
from ledger.selectors import ServiceQuery
from ledger.statistics import paid_since
from marketplace import settlements
from marketplace.settlements import Asked
from moderation import looking
from tests import factories
from tests.db import api_rows as rows
from tests.db.plans import as_new, plans

pytestmark = pytest.mark.django_db

STATUSES = (*ACCEPTED, "invalid_nonce", "no_tee_signer", "provider_mismatch")


def found(**query: Any) -> list[str]:
    return [listing.provider for listing in selectors.services(ServiceQuery(**query)).items]


def counted_anew() -> dict[tuple[str, str], tuple[int, ...]]:
    """The sums of `ServiceTotal`, from the rows themselves: by listing and by contract."""
    accepted = Q(status__in=ACCEPTED)
    sums: dict[tuple[str, str], tuple[int, ...]] = {}
    for row in Settlement.objects.values("provider", "serving").annotate(
        items=Count("pk"),
        in_part=Count("pk", filter=Q(status__in=("partial", "penalty"))),
        refused=Count("pk", filter=~accepted),
        paid=Sum("settled", filter=accepted, default=0),
        missed=Sum("unsettled", filter=accepted, default=0),
        lost=Sum("unsettled", filter=~accepted, default=0),
    ):
        numbers = [row[name] for name in ("items", "in_part", "refused", "paid", "missed", "lost")]
        sums[row["provider"], row["serving"]] = (0, *(int(number) for number in numbers))
    changed = ServiceChange.objects.values_list("provider", "serving").annotate(Count("pk"))
    for provider, serving, changes in changed:
        rest = sums.get((provider, serving), (0,) * 7)[1:]
        sums[provider, serving] = (changes, *rest)
    for (_, serving), listed in list(sums.items()):
        before = sums.get(("", serving), (0,) * 7)
        sums["", serving] = tuple(a + b for a, b in zip(before, listed, strict=True))
    return sums


def kept() -> dict[tuple[str, str], tuple[int, ...]]:
    names = ("changes", "items", "in_part", "refused", "settled", "unsettled", "refused_amount")
    return {
        (total.provider, total.serving): numbers
        for total in ServiceTotal.objects.all()
        if any(numbers := tuple(int(getattr(total, name)) for name in names))
    }


def test_kept_sums_are_those_of_the_rows_whatever_is_added_and_deleted() -> None:
    """Rows come in bulk, one by one and pending, and go again as after a reorganisation."""
    chance = random.Random(7)

    def settlement(pending: bool) -> Settlement:
        return Settlement(
            serving=chance.choice([rows.INFERENCE, rows.TUNING]),
            provider=chance.choice([rows.PETRA, rows.PAUL]),
            user=rows.ALICE,
            status=chance.choice(STATUSES),
            settled=chance.choice([0, 1, 2**200]),
            unsettled=chance.choice([0, 5, 2**199]),
            block=1,
            at=rows.NOON,
            pending=pending,
        )

    for _ in range(4):
        Settlement.objects.bulk_create([settlement(chance.random() < 0.5) for _ in range(40)])
        rows.settlement(status="partial", unsettled=3)
        rows.change(), rows.change(serving=rows.TUNING, provider=rows.PAUL, pending=True)
        assert kept() == counted_anew()
        Settlement.objects.filter(pending=True).delete()
        ServiceChange.objects.filter(pending=True).delete()
        assert kept() == counted_anew()
    assert settlements.items(Asked(provider=rows.PAUL)).count == (
        Settlement.objects.filter(provider=rows.PAUL).count()
    )
    assert selectors.timeline().count == selectors.timeline(rows.PETRA).count == 4
    assert settlements.items(Asked()).count == Settlement.objects.count()
    for status in settlements.GROUPS:
        group = Asked(provider=rows.PAUL, status=status)
        assert settlements.items(group).count == group.rows.count() > 0
    Settlement.objects.all().delete()
    ServiceChange.objects.all().delete()
    assert kept() == {}


def test_a_penalty_is_no_part_of_a_sum_that_nobody_knows(client: Client) -> None:
    """Its log says what was paid; who abandoned a result asked for nothing, and nobody refused."""
    factories.head()
    factories.contract(kind="fine-tuning")
    for provider in (rows.PETRA, rows.PAUL):
        factories.service(provider, kind="fine-tuning")
        paid = {"acknowledged": 7, "abandoned": 0}
        if provider == rows.PETRA:
            paid["penalty"] = 3
        for at, (status, settled) in enumerate(paid.items()):
            given: Any = {"serving": factories.FINE_TUNING, "status": status, "settled": settled}
            factories.settlement(provider, **given, log_index=at)
    for provider, known in ((rows.PETRA, False), (rows.PAUL, True)):
        page = client.get(f"/services/fine-tuning/{provider}").content.decode()
        assert ("100.00 % of what was asked" in page) == known
        assert ("not known: the log of a penalty" in page) != known
        assert "<dt>Refused or abandoned</dt>" in page and "<dt>Refused</dt>" not in page
        listed = client.get(f"/services/fine-tuning/{provider}/settlements").content.decode()
        penalty = listed.partition(">Result not acknowledged")[2].partition("</tr>")[0]
        assert known or '<span class="muted">–</span>' in penalty, listed
    services = "&".join(f"s=fine-tuning/{one}" for one in (rows.PETRA, rows.PAUL))
    compared = client.get(f"/api/v1/compare?{services}").json()
    (share,) = [row for row in compared["rows"] if row["name"] == "collected_share"]
    assert [cell["value"] for cell in share["values"]] == [None, "100.00"]


def test_kept_sums_hold_whatever_refused_items_claim(client: Client) -> None:
    """Anybody may have fifty items of 2^256 - 1 refused in one transaction, again and again."""
    rows.contracts()
    rows.service()
    most = 2**256 - 1
    for status in ("provider_mismatch", "partial"):
        claim = {"status": status, "settled": 0, "unsettled": most, "user": rows.ALICE}
        place = {"serving": rows.INFERENCE, "provider": rows.PETRA, "block": 1, "at": rows.NOON}
        Settlement.objects.bulk_create([Settlement(**claim, **place) for _ in range(50)])
    assert kept() == counted_anew()
    total = ServiceTotal.objects.get(provider=rows.PETRA)
    assert (total.refused_amount, total.unsettled) == (50 * most, 50 * most)
    service = f"/services/inference/{rows.PETRA}"
    for path in ("/network", f"/providers/{rows.PETRA}", service, f"{service}/settlements"):
        assert client.get(path).status_code == 200, path


def test_a_search_reads_every_text_in_any_case_and_takes_signs_as_they_are() -> None:
    rows.contracts()
    rows.service(model="Qwen/QWEN-3_Next", service_type="chatbot", url="https://petra.example")
    rows.service(
        rows.PAUL, model="ÉCOLE 100%", service_type="vision", url=r"https://paul.example\x"
    )
    rows.tuning(rows.address(0x7E57), model_list=['Deep"Seek', "Ärger"])
    assert found(q="qwen-3_next") == found(q="QWEN petra") == found(q=rows.PETRA.lower())
    assert found(q="qwen") == [rows.PETRA]
    assert found(q="école 100%") == found(q="VISION") == found(q="\\x") == [rows.PAUL]
    assert found(q="ärger") == found(q="deep") == [rows.address(0x7E57)]
    for nothing in ("3-next", "3%next", "qwen vision", "petra.example%", "__"):
        assert found(q=nothing) == [], nothing
    long = rows.service(rows.address(0x10C6), model="m" * 5_000 + "end", url="u" * 5_000)
    assert len(Service.objects.get(pk=long.pk).search) < 1_000
    assert found(q="m" * 200) == [rows.address(0x10C6)]
    assert found(q="end") == []


def test_a_search_goes_by_the_word_index() -> None:
    Service.objects.bulk_create(
        Service(
            provider=rows.address(number),
            serving=rows.INFERENCE,
            kind="inference",
            model=f"family-{number % 7}/model-{number}",
            block=1,
            created_block=1,
        )
        for number in range(1, 3_000)
    )
    as_new("ledger_service")
    with connection.cursor() as cursor:
        plan = selectors.matching(ServiceQuery(q="model-77")).explain()
        assert "service_words" in plan
        # Orders of prices either way, which keep the units where they are, sort nothing.
        with CaptureQueriesContext(connection) as asked:
            for name in ("price", "input_price", "output_price"):
                for sort in (name, f"-{name}"):
                    selectors.services(ServiceQuery(sort=sort), count=2_999)
        orders = [query["sql"] for query in asked if "ORDER BY CASE" in query["sql"]]
        assert len(orders) == 6
        for order in orders:
            cursor.execute(f"EXPLAIN {order}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
            assert "Sort" not in plan and "Index Scan using service_" in plan, plan


def test_what_trust_hangs_on_is_found_past_all_prices() -> None:
    rows.contracts()
    rows.service(tee_signer_acknowledged=True)
    for number in range(100):
        rows.change(change="price", block=1_000 + number)
    with CaptureQueriesContext(connection) as asked:
        selectors.moved_since_acknowledged(selectors.services(ServiceQuery()).items)
        list(looking._signer_changes(timezone.now()))
    found = [q["sql"] for q in asked if 'FROM "ledger_servicechange"' in q["sql"]]
    assert len(found) == 2
    for plan in plans(found, "ledger_servicechange"):
        assert "change_of_trust" in plan, plan


def test_what_is_kept_of_the_listings_goes_when_one_changes(client: Client) -> None:
    """A page asked for again after a change shows the change, at the same indexed block too."""
    rows.contracts()
    rows.head()
    rows.service(block=10)
    first = selectors.listings_version()

    def facts() -> tuple[bool, ...]:
        catalogue, models = (client.get(path).content.decode() for path in ("/", "/models"))
        providers = client.get("/providers").content.decode()
        return ('data-count="2"' in catalogue, "gemma" in models, rows.PAUL in providers)

    assert facts() == (False, False, False)
    rows.service(rows.PAUL, model="gemma", block=11)
    second = selectors.listings_version()
    assert facts() == (True, True, True)
    # The same block again with other contents, as after a reorganisation.
    Service.objects.filter(provider=rows.PAUL).delete()
    assert selectors.listings_version() == first, "the same rows as at first"
    assert facts() == (False, False, False)
    rows.service(rows.PAUL, model="gemma", block=11)
    assert len({first, second, selectors.listings_version()}) == 3
    assert facts() == (True, True, True)


def test_windows_start_at_their_moment_and_not_at_their_block() -> None:
    """Several items share the block in which the window begins."""
    begin = rows.NOON
    for block, hours in ((1, -2), (2, -1), (3, 0), (3, 1), (4, 2)):
        rows.settlement(block=block, at=begin + dt.timedelta(hours=hours), settled=1)
    assert paid_since(begin).count() == 3
    assert paid_since(begin + dt.timedelta(days=1)).count() == 0


def test_an_unknown_listing_has_no_history(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(2):
        page = settlements.items(Asked(provider=rows.BOB))
    assert (page.items, page.count) == ((), 0)


def test_a_requested_refund_says_how_much_waits(client: Client) -> None:
    factories.head()
    factories.contract()
    rows.movement(rows.ALICE, kind="refund_requested", amount=0, pending_change=2 * 10**18)
    html = client.get(f"/accounts/{rows.ALICE}").content.decode()
    row = html[html.index('data-kind="refund_requested"') :]
    assert 'data-neuron="2000000000000000000"' in row and "refunding" in row
    body = client.get(f"/api/v1/accounts/{rows.ALICE}/movements").json()["items"][0]
    assert body["amount"] == "0" and "pending_change" not in body  # interfaces.md 3
