"""What needs an operator, who is at risk, what gas a batch pays, where a price stands: every word
against its own rule."""

from __future__ import annotations

import datetime as dt
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import orjson
import pytest
from asgiref.sync import async_to_sync
from django.conf import settings as django_settings
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from accounts.models import User
from attestation.models import Fact, Finding, Standing, Verification
from devnet import accounts as cast
from ledger import selectors as ledger
from ledger.models import Service, Settlement
from operators import charts, customers, debts, earnings, gas, market
from operators.models import BatchGas, Debt
from operators.period import Period, months
from probes.models import Health
from protocol.unsettled import Unsettled
from tests import factories
from tests.db.operator_world import SECOND, World
from tests.factories import ALICE, BOB, CHARLIE, FINE_TUNING, INFERENCE, ONE, PETRA

pytestmark = pytest.mark.django_db


@pytest.fixture
def petra() -> Client:
    cache.clear()
    factories.head()
    factories.contract()
    factories.contract(kind="fine-tuning")
    factories.service()
    client = Client()
    client.force_login(User.objects.for_address(PETRA))
    return client


def banners(client: Client) -> list[str]:
    page = client.get("/operator").content.decode()
    return re.findall(r'data-testid="operator-banner" data-kind="(\w+)"', page)


def evidence_fails(check: str) -> Verification:
    """The newest verdict about Petra's service, whose question about the key failed at `check`."""
    now, about = timezone.now(), {"kind": "inference", "service_name": "inference-v1.0"}
    run = Verification.objects.create(
        **about, provider=PETRA, endpoint="broker", trigger="schedule", outcome="judged",
        overall="fail", started_at=now, finished_at=now, now_unix=int(now.timestamp()),
        rows=[{"id": check, "verdict": "fail"}],
    )  # fmt: skip
    Standing.objects.create(
        **about, provider=PETRA, serving=INFERENCE, overall="fail", checked_at=now,
        questions={"key": "fail"}, verification=run,
    )  # fmt: skip
    return run


def test_each_trouble_has_its_banner_and_none_has_none(petra: Client) -> None:
    assert banners(petra) == []
    now = timezone.now()
    Health.objects.create(
        serving=INFERENCE, provider=PETRA, kind="inference", service_name="inference-v1.0",
        state="down", since=now - dt.timedelta(hours=2), checked_at=now, bar_end=now,
    )  # fmt: skip
    assert banners(petra) == ["offline"]
    Finding.objects.create(
        kind=Fact.SIGNER_DIFFERS, provider=PETRA, service_kind="inference",
        service_name="inference-v1.0", subject="0x1", opened_at=now,
    )  # fmt: skip
    # Users accepted an earlier key: the evidence says nothing against the present one.
    assert sorted(banners(petra)) == ["offline", "replaced"]
    run = evidence_fails("bind.ack")
    assert "signer" not in banners(petra), "only the owner's acknowledgement is missing"
    Verification.objects.filter(pk=run.pk).update(rows=[{"id": "bind.address", "verdict": "fail"}])
    assert "does not prove that its machine" in petra.get("/operator").content.decode()
    Verification.objects.filter(pk=run.pk).update(rows=[{"id": "bind.onchain", "verdict": "fail"}])
    assert "is not the signer on chain" in petra.get("/operator").content.decode()
    Finding.objects.all().delete()
    assert sorted(banners(petra)) == ["offline", "signer"]
    factories.change(change="acknowledged", block=10, after={})
    factories.change(change="url", block=11, after={"url": "https://moved.example"})
    assert banners(petra)[-1] == "moved" and len(banners(petra)) == 3
    factories.change(change="acknowledged", block=12, after={})
    assert "moved" not in banners(petra)
    Service.objects.filter(provider=PETRA).update(tee_signer_acknowledged=False)
    assert sorted(banners(petra)) == ["offline", "signer", "unacknowledged"]
    factories.head(checked_at=now - dt.timedelta(minutes=20), updated_at=now)
    assert "stale" in banners(petra)
    # A removed listing is told once, and nothing else of it.
    Service.objects.filter(provider=PETRA).update(removed=True)
    assert sorted(banners(petra)) == ["removed", "stale"]


def test_links_of_a_second_contract_name_it(petra: Client, settings: Any) -> None:
    settings.CHAIN_RPC_URLS = ("http://127.0.0.1:9",)  # nobody there
    factories.contract(address=SECOND, service_name="inference-v1.1", recommended=False)
    factories.service(serving=SECOND)
    now = timezone.now()
    for serving, name in ((INFERENCE, "inference-v1.0"), (SECOND, "inference-v1.1")):
        Health.objects.create(
            serving=serving, provider=PETRA, kind="inference", service_name=name, state="down",
            since=now, checked_at=now, bar_end=now,
        )  # fmt: skip
    at, named = f"/services/inference/{PETRA}", "?service_name=inference-v1.1"

    def links(path: str) -> set[str]:
        return set(re.findall(rf'href="({at}[^"]*)"', petra.get(path).content.decode()))

    saw = f"{at}/performance"
    assert links("/operator") == {at, at + named, saw, saw + named}
    assert links("/operator/listing") == {at, at + named}
    # As of the block that the whole page is of, not of the listing's last change.
    factories.head()
    assert "from our index, block 4,512,331." in petra.get("/operator/listing").content.decode()


def test_texts_of_strangers_stay_texts(petra: Client) -> None:
    evil = '<script>alert(1)</script>"\u202e=HYPERLINK("x")'
    Service.objects.filter(provider=PETRA).update(model=evil)
    factories.change(change="registered", after={"model": evil}, block=5)
    factories.settlement(block=4_100_000)
    for path in ("/operator?period=all", "/operator/settlements?period=all", "/operator/market"):
        page = petra.get(f"{path}{'&' if '?' in path else '?'}user=%3Cscript%3E&status=%3Cb%3E")
        assert page.status_code == 200 and b"<script>alert" not in page.content
        assert "\u202e".encode() not in page.content
    row = Settlement.objects.get()
    assert b"<script>alert" not in petra.get(f"/operator/settlements/{row.tx_hash}").content
    text = petra.get("/operator/earnings.csv?period=all&by=model").content.decode()
    assert "=HYPERLINK" in text and not re.search(r"(^|,|\")=", text, re.M)
    for wrong in ("since=99999-01-01", "since=0001-01-01&until=9999-12-31", "period=x&page=-1"):
        assert petra.get(f"/operator?{wrong}").status_code == 200
        assert petra.get(f"/operator/settlements?{wrong}").status_code == 200


def test_windows_compare_with_the_same_span_before() -> None:
    now = dt.datetime(2026, 5, 20, 10, tzinfo=dt.UTC)
    for hours, amount in ((1, 1), (9, 2), (11, 4), (25, 8), (33, 16), (24 * 6, 32), (24 * 8, 64)):
        factories.settlement(settled=amount, at=now - dt.timedelta(hours=hours))
    factories.settlement(CHARLIE, settled=128, at=now - dt.timedelta(hours=2))
    found = {window.key: window for window in earnings.now(PETRA, now).windows}
    # Today since midnight; yesterday from midnight until ten.
    assert (found["today"].earned, found["today"].before) == (1 + 2, 8 + 16)
    assert (found["7d"].earned, found["7d"].before) == (1 + 2 + 4 + 8 + 16 + 32, 64)
    assert found["30d"].earned == 127 and found["30d"].before == 0
    assert found["30d"].percent == "" and found["7d"].direction == "down"
    assert found["7d"].percent == "1.5 %"


# --- customers ------------------------------------------------------------------------------------


def test_months_of_the_calendar_are_offered_with_their_days_in_the_address(petra: Client) -> None:
    first, before, third = months(dt.date(2028, 3, 31))
    assert (first.since, first.until) == (dt.date(2028, 3, 1), dt.date(2028, 3, 31))
    assert (before.since, before.until) == (dt.date(2028, 2, 1), dt.date(2028, 2, 29))
    assert (third.since, third.until) == (dt.date(2028, 1, 1), dt.date(2028, 1, 31))
    assert months(dt.date(2026, 1, 1))[1].since == dt.date(2025, 12, 1)
    offered = months(timezone.now().date())[1]
    for at in ("/operator", "/operator/settlements"):
        page = petra.get(f"{at}?{offered.query()}").content.decode()
        link = rf'href="{at}\?{offered.query()}'.replace("&", "&amp;")
        assert re.search(rf'{link}[^"]*" aria-current="true">{offered.since:%B %Y}<', page), at
        assert page.count('aria-current="true">') >= 1 and ">7 days<" in page
    # Of the present one no day is drawn that has not come.
    for day in (2, 3):
        factories.settlement(settled=1, at=dt.datetime(2028, 3, day, tzinfo=dt.UTC))
    drawn = charts.by_day(earnings.earnings(PETRA, first), first, dt.date(2028, 3, 5))
    assert [point.at.day for point in drawn.points] == [2, 3, 4, 5]


def test_customers_at_risk_come_first_and_sums_are_whole(petra: Client) -> None:
    now = timezone.now()
    held: dict[str, dict[str, Any]] = {
        "rich": {"balance": 50 * ONE},
        "two": {"balance": 2 * ONE - 1},
        "reserve": {"balance": ONE},
        "refunding": {
            "balance": 5 * ONE,
            "pending_refund": 5 * ONE,
            "refunds": [{"amount": str(5 * ONE), "created_at": int(now.timestamp())}],
        },
        "silent": {"balance": 9 * ONE, "acknowledged": False},
        "fast": {"balance": 10 * ONE},
        "empty": {"balance": 0},
        "gone": {"balance": 0},
    }
    users = {name: factories.address(name) for name in held}
    for name, given in held.items():
        factories.sub_account(users[name], **given)
    factories.settlement(user=users["fast"], settled=30 * ONE, at=now - dt.timedelta(days=1))
    factories.settlement(user=users["empty"], settled=1, status="partial", unsettled=ONE)
    # A customer of two services (one of them removed) is one; an empty account holds nothing.
    factories.sub_account(users["rich"], serving=FINE_TUNING, balance=3 * ONE)
    listings, known = ledger.services_of(PETRA), ledger.contracts()
    found = customers.customers(listings, PETRA, known, now)
    names = {address: name for name, address in users.items()}
    order = [names[one.position.user] for one in found.page.items]
    assert order == ["silent", "rich", "empty", "fast", "refunding", "two", "reserve", "rich"]
    assert found.sums.customers == 6 and found.sums.at_risk == 7
    assert found.sums.locked == 3 * ONE + sum(int(given["balance"]) for given in held.values())
    assert found.sums.free + found.sums.refunding == found.sums.locked
    assert found.sums.chargeable == found.sums.locked - 12 * ONE, "the silent one, the removed"
    risky = customers.customers(listings, PETRA, known, now, only="risk")
    assert [names[one.position.user] for one in risky.page.items] == order[:-1]
    # Without the owner's acknowledgement nobody can be charged.
    Service.objects.filter(provider=PETRA).update(tee_signer_acknowledged=False)
    grave = customers.customers(ledger.services_of(PETRA), PETRA, known, now)
    assert [one.risk.grade for one in grave.page.items] == [2] * 8
    assert grave.sums.chargeable == 0 and grave.sums.locked == found.sums.locked
    page = petra.get("/operator/customers?only=risk").content.decode()
    assert page.count('data-testid="customer-row"') == 8 and "1–8 of 8 sub-accounts" in page
    assert "that 6 customers hold here" in " ".join(page.split())


# --- gas ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fee", "price"), [(10**15, 10**9), (10**14, 10**9), (5, 10**9), (0, 7)])
def test_the_break_even_is_the_least_batch_that_pays(fee: int, price: int) -> None:
    found = gas.Economy(1, 1, 1, fee * 10, 10, 10, 0, price)

    def pays(items: int) -> bool:
        return fee * items >= price * (gas.FIXED_GAS + gas.ITEM_GAS * items)

    least = next((n for n in range(1, 5_000) if pays(n)), None)
    assert found.from_items == least
    for size in found.sizes:
        assert size.fee * size.items >= size.cost > (size.fee - 1) * size.items


def test_gas_counts_for_own_batches_whose_receipt_was_read() -> None:
    world = World()
    world.name("m")
    rows = []
    for _ in range(3):
        world.next_block()
        rows.append(world.settle(ALICE, "success", 100 * ONE))
        world.settle(BOB, "partial", ONE, ONE)
    cheap, foreign, _ = rows
    BatchGas.objects.create(
        tx_hash=str(cheap.tx_hash), block=cheap.block, sender=PETRA, gas_used=10, gas_price=7
    )
    BatchGas.objects.create(
        tx_hash=str(foreign.tx_hash), block=foreign.block, sender=ALICE, gas_used=10**6, gas_price=9
    )
    found = gas.economy(PETRA, Period("all"))
    assert (found.batches, found.read, found.unread) == (3, 2, 1)
    assert (found.spent, found.settled, found.paid, found.price) == (70, 101 * ONE, 2, 7)
    assert [tx_hash for tx_hash, _ in gas.unread(PETRA)] == [rows[2].tx_hash]


# --- the market -----------------------------------------------------------------------------------


def test_a_price_stands_among_all_of_the_same_model(petra: Client) -> None:
    for number in range(1, 20):
        factories.service(factories.address(f"rival {number}"), output_price=number * 10**12)
    factories.service(factories.address("another type"), service_type="text-to-image")
    factories.service(factories.address("another model"), model="other")
    factories.service(factories.address("left"), removed=True)
    now = timezone.now()
    today = dt.datetime.combine(now.date(), dt.time(), dt.UTC)
    factories.settlement(settled=3, at=now)
    factories.settlement(factories.address("rival 1"), settled=9, at=now)
    factories.settlement(factories.address("another model"), settled=50, at=now)
    factories.settlement(settled=4, at=today - dt.timedelta(days=6))
    factories.settlement(settled=5, at=today - dt.timedelta(days=6, seconds=1))
    (listing,) = ledger.services_of(PETRA)
    place = market.place(listing, now)
    _, output = place.prices
    values = sorted([1_200_000_000_000, *(n * 10**12 for n in range(1, 20))])
    assert place.services == output.of == 20
    assert output.p10 == values[1] * 10**6 and output.p90 == values[17] * 10**6
    assert output.median == values[9] * 10**6 and output.word == "below the median"
    assert (output.below, output.above) == (1, 18)
    assert (place.last.mine, place.last.everyone) == (7, 16)
    assert place.weeks[-2].mine == 5 and len(place.weeks) == market.WEEKS
    assert petra.get("/operator/market").status_code == 200
    # A day that is not over makes no week weaker: as much was paid by this hour a week ago.
    Settlement.objects.all().delete()
    for day in range(1, 15):
        factories.settlement(settled=5, at=today - dt.timedelta(days=day - 0.5))
    for hour in (11, 13):
        steady = market.place(listing, today + dt.timedelta(hours=hour))
        assert charts.demand(steady, 0).title == "Demand stayed the same in the last week"
        factories.settlement(settled=5, at=today + dt.timedelta(hours=12))
    # Which of the two prices is a second's depends on the broker's version: the dearer one is.
    heard = {"model": "ear", "service_type": "speech-to-text"}
    mine = factories.service(
        serving=factories.address("v2"), input_price=9, output_price=0, **heard
    )
    factories.service(factories.address("louder"), input_price=0, output_price=8, **heard)
    (listing,) = (one for one in ledger.services_of(PETRA) if one.serving == mine.serving)
    (second,) = market.place(listing, now).prices
    assert (second.label, second.unit) == ("Per minute", "min")
    assert (second.mine, second.median, second.below) == (9 * 60, 8 * 60, 1)


# --- what a broker shares -------------------------------------------------------------------------


class _Says(BaseHTTPRequestHandler):
    body: ClassVar[bytes] = b""
    status: ClassVar[int] = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/v1/unsettled" else 500)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def peer() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Says)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def said(**changes: Any) -> dict[str, Any]:
    owner = cast.provider(1)
    given: dict[str, Any] = {
        "provider": owner.address, "chain_id": django_settings.CHAIN_ID, "contract": INFERENCE,
        "at": int(timezone.now().timestamp()), "fee": 7 * ONE, "users": 3, "at_risk_fee": ONE,
        "at_risk_users": 1, **changes,
    }  # fmt: skip
    return Unsettled(**given).document(bytes(owner.key))


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (said(), 200, ""),
        ({}, 404, "not shared"),
        ({}, 500, "it answered 500"),
        ({**said(), "unsettledFee": "1"}, 200, "what it says does not hold"),
        (said(contract=FINE_TUNING), 200, "about another service"),
        (said(chain_id=1), 200, "about another service"),
        (said(at=2**45), 200, "usable|ahead|hold"),
        ([[[[[]]]]], 200, "usable|hold"),
        ("x" * 9000, 200, "usable"),
    ],
)
def test_a_broker_is_believed_about_its_own_service_only(
    peer: str, body: Any, status: int, error: str
) -> None:
    owner = cast.provider(1).address
    factories.contract()
    factories.service(owner, url=peer)
    _Says.body, _Says.status = orjson.dumps(body), status
    rows = async_to_sync(debts.ask)(ledger.services_of(owner))
    debts.keep(rows)
    debts.keep(rows)
    row = Debt.objects.get()
    found = debts.known(ledger.services_of(owner), timezone.now())
    if error:
        assert re.search(error, row.error) and found.services == 0 and len(found.silent) == 1
        return
    assert (found.fee, found.users, found.at_risk_fee) == (7 * ONE, 3, ONE) and not found.silent
    later = timezone.now() + debts.STALE_AFTER + dt.timedelta(minutes=1)
    assert debts.known(ledger.services_of(owner), later).services == 0
