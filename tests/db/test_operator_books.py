"""An operator's books: every cut sums to the total, and that is what logs moved, to the wei."""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import User
from chain.models import RawLog
from ledger.models import ACCEPTED, Movement, Settlement
from ledger.selectors import contracts
from operators import batches, earnings, flows, gas
from operators.batches import Asked
from operators.earnings import CUTS, unnamed
from operators.period import Period
from tests import factories
from tests.db.operator_world import DAY_ONE, SERVINGS, Item, World, forget
from tests.db.plans import plans
from tests.factories import ALICE, BOB, CHARLIE, FINE_TUNING, INFERENCE, ONE, PETRA

pytestmark = pytest.mark.django_db
PAUL = factories.address("paul, another provider")
USERS = (ALICE, BOB, CHARLIE)
NAMES = {
    INFERENCE: "inference-v1.0",
    SERVINGS[1]: "inference-v1.1",
    FINE_TUNING: "fine-tuning-v1.0",
}
STATUSES = (*ACCEPTED, "no_tee_signer", "invalid_nonce", "abandoned", "status_9")

_AMOUNT = st.one_of(st.integers(0, 5), st.integers(0, 10**30))
_SETTLED = st.tuples(
    st.just("settle"),
    st.sampled_from(USERS),
    st.sampled_from(STATUSES),
    _AMOUNT,
    _AMOUNT,
    st.sampled_from((PETRA, PETRA, PAUL)),
    st.sampled_from(SERVINGS),
)
_NAMED = st.tuples(
    st.just("name"),
    st.sampled_from(("", "a", "b", "c")),
    st.sampled_from((PETRA, PAUL)),
    st.sampled_from(SERVINGS),
)
_LATER = st.tuples(st.just("later"), st.integers(1, 30))
_HISTORY = st.lists(st.one_of(_SETTLED, _SETTLED, _NAMED, _LATER), max_size=40)
_DAYS = st.tuples(st.integers(-1, 6), st.integers(-1, 6)).map(sorted)


def played(history: list[tuple[Any, ...]]) -> World:
    """A new world in which all of this happened."""
    forget()
    world = World()
    for act, *given_ in history:
        if act == "settle":
            user, status, settled, unsettled, provider, serving = given_
            world.settle(user, status, settled, unsettled, provider, serving)
        elif act == "name":
            model, provider, serving = given_
            world.name(model, provider, serving)
        else:
            (hours,) = given_
            world.next_block(hours)
    return world


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=_HISTORY, days=_DAYS)
def test_every_cut_sums_to_the_total_and_the_total_is_what_the_logs_moved(
    history: list[tuple[Any, ...]], days: list[int]
) -> None:
    world = played(history)
    first, last = (DAY_ONE.date() + dt.timedelta(days=n) for n in days)
    for period in (Period("all"), Period("", first, last), Period("", None, last)):
        mine = [
            item
            for item in world.items
            if item.provider == PETRA
            and (period.since is None or item.at.date() >= period.since)
            and (period.until is None or item.at.date() <= period.until)
        ]
        found = earnings.earnings(PETRA, period)
        assert found.total.earned == sum(item.settled for item in mine)
        assert found.total.missed == sum(item.unsettled for item in mine)
        assert found.total.items == len(mine)
        keys: dict[str, Callable[[Item], str]] = {
            "service": lambda item: NAMES[item.serving],
            "user": lambda item: item.user,
            "day": lambda item: item.at.date().isoformat(),
            "model": lambda item: (
                item.model or unnamed("fine-tuning" if item.serving == FINE_TUNING else "")
            ),
        }
        for name in CUTS:
            parts = found.by(name)
            for column in ("earned", "missed", "items", "paid"):
                whole = sum(getattr(part.sums, column) for part in parts)
                assert whole == getattr(found.total, column), (name, column)
            wanted = Counter[str]()
            for item in mine:
                wanted[keys[name](item)] += item.settled
            assert {part.id: part.sums.earned for part in parts} == dict(wanted), name
        # The books, against logs that another part of the world wrote.
        books = flows.books(PETRA, period, 10**9)
        assert books.agrees and books.settled == found.total.earned == books.logged
        before = [item for item in world.items if item.provider == PETRA and item not in mine]
        early = [i for i in before if period.since and i.at.date() < period.since]
        assert books.opening == sum(item.settled for item in early)
        # Batches and the rule for one row say the same as the sums.
        rows = batches.batches(PETRA, Asked(period), contracts()).items
        assert sum(row.settled for row in rows) == found.total.earned
        assert sum(row.items for row in rows) == len(mine)
        epochs = earnings.Epochs.of(PETRA)
        models = Counter[str]()
        for row in Settlement.objects.filter(period.where(), provider=PETRA):
            models[epochs.model(row.serving, row.block, row.sequence)] += row.settled
        assert {p.id: p.sums.earned for p in found.by_model} == dict(models)


@pytest.fixture
def petra() -> Client:
    """The browser of a provider with a little history; Paul has some of his own."""
    cache.clear()
    world = World()
    world.name("first-model")
    world.name("elsewhere", PAUL)
    for number in range(4):
        world.next_block(20)
        world.settle(ALICE, "success", ONE + number)
        world.settle(BOB, "partial", ONE // 3, ONE)
        world.settle(CHARLIE, "success", 5 * ONE, 0, PAUL)
        if number == 1:
            world.name("second-model")
            world.settle(CHARLIE, "no_tee_signer", 0, 3 * ONE)
    client = Client()
    client.force_login(User.objects.for_address(PETRA))
    return client


@pytest.mark.parametrize("lost", ["charge", "log", "settlement"])
def test_books_that_differ_from_the_logs_say_so(petra: Client, lost: str) -> None:
    assert flows.books(PETRA, Period("all"), 10**9).agrees
    page = petra.get("/operator/settlements?period=all").content
    assert b'data-testid="books-agree"' in page and b"books-differ" not in page
    if lost == "log":
        RawLog.objects.filter(block_number=Movement.objects.latest("block").block).delete()
    else:
        rows: Any = {
            "charge": Movement.objects.filter(provider=PETRA),
            "settlement": Settlement.objects.filter(provider=PETRA, settled__gt=0),
        }[lost]
        rows.latest("pk").delete()
    assert not flows.books(PETRA, Period("all"), 10**9).agrees
    page = petra.get("/operator/settlements?period=all").content
    assert b'data-testid="books-differ"' in page and b"books-agree" not in page
    assert petra.get("/operator/settlements.json?period=all").json()["books"]["agrees"] is False


def test_a_settlement_that_no_log_paid_shows(petra: Client) -> None:
    row = Settlement.objects.filter(provider=PETRA, status="success").earliest("block")
    Settlement.objects.filter(pk=row.pk).update(settled=row.settled + 1)
    Movement.objects.filter(provider=PETRA, block=row.block, amount=-row.settled).update(
        amount=-row.settled - 1
    )
    books = flows.books(PETRA, Period("all"), 10**9)
    assert books.charged == books.settled and books.logged == books.settled - 1
    assert not books.agrees


def rows_of(answer: Any) -> list[dict[str, str]]:
    body = b"".join(answer) if answer.streaming else answer.content
    return list(csv.DictReader(io.StringIO(body.decode())))


def test_files_hold_every_item_once_and_sum_to_the_page(petra: Client) -> None:
    for query in ("period=all", "since=2026-03-02&until=2026-03-03", "period=all&status=part"):
        rows = rows_of(petra.get(f"/operator/settlements.csv?{query}"))
        body = petra.get(f"/operator/settlements.json?{query}").json()
        assert [row["id"] for row in rows] == [item["id"] for item in body["items"]]
        assert len({row["id"] for row in rows}) == len(rows) == body["count"] > 0
        page = petra.get(f"/operator/settlements?{query}").content.decode()
        total = sum(int(row["settled"]) for row in rows)
        assert f'data-neuron="{total}"' in page.split('data-testid="settled-sum"')[0][-200:]
        if body["books"]:
            assert int(body["books"]["settled"]) == total and body["books"]["agrees"] is True
        assert all(int(r["requested"]) == int(r["settled"]) + int(r["unsettled"]) for r in rows)
    rows = rows_of(petra.get("/operator/settlements.csv?period=all"))
    assert {row["model"] for row in rows} == {"first-model", "second-model"}
    for by in CUTS:
        cut = rows_of(petra.get(f"/operator/earnings.csv?period=all&by={by}"))
        assert sum(int(row["earned"]) for row in cut) == sum(int(r["settled"]) for r in rows)
    # Of a month it is said under its name, which is where the choice of a month leads.
    days = "since=2026-03-02&until=2026-03-03"
    total = sum(
        int(row["settled"]) for row in rows_of(petra.get(f"/operator/settlements.csv?{days}"))
    )
    page = petra.get(f"/operator?{days}").content.decode()
    assert f'data-neuron="{total}"' in page.split('data-testid="earned-period"')[0][-200:]
    assert 'by=service#period"' in page
    # Of all that was asked for, refused items are no settled ones.
    assert f"{len(rows)} items, paid or not" in page
    # A program that turns pages takes no file away from its owner.
    for _ in range(21):
        assert petra.get(f"/operator/settlements.json?{days}").status_code == 200
    assert petra.get(f"/operator/settlements.csv?{days}").status_code == 200


def test_operators_see_their_own_rows_only(petra: Client) -> None:
    foreign = World(block=9_000)
    secret = foreign.settle(CHARLIE, "success", 424_242_424_242, 0, PAUL)
    paths = (
        "/operator?period=all",
        "/operator/settlements?period=all",
        f"/operator/settlements?period=all&user={CHARLIE}",
        "/operator/customers",
        "/operator/market",
        "/operator/settlements.csv?period=all",
        f"/operator/settlements.json?period=all&provider={PAUL}",
        f"/operator/earnings.csv?period=all&by=user&provider={PAUL}",
    )
    for path in paths:
        answer = petra.get(path)
        body = b"".join(answer) if answer.streaming else answer.content
        assert answer.status_code == 200 and "no-store" in answer["Cache-Control"]
        assert b"424242424242" not in body and str(secret.tx_hash).encode() not in body
        assert PAUL.encode() not in body, path
    assert petra.get(f"/operator/settlements/{secret.tx_hash}").status_code == 404
    own = Settlement.objects.filter(provider=PETRA).latest("block")
    assert petra.get(f"/operator/settlements/{own.tx_hash}").status_code == 200
    for broken in ("0x12", "nothing", "0x" + "g" * 64, str(own.tx_hash).upper()):
        assert petra.get(f"/operator/settlements/{broken}").status_code == 404
    # Who owns nothing, and who is nobody, learn how to begin, and nothing else.
    stranger = Client()
    stranger.force_login(User.objects.for_address(ALICE))
    for client, mark in ((stranger, b"owns-nothing"), (Client(), b"signed-out")):
        for path in (*paths, f"/operator/settlements/{own.tx_hash}"):
            answer = client.get(path)
            assert b"data-neuron" not in answer.content
            if ".csv" in path or ".json" in path:
                assert answer.status_code == (403 if mark == b"owns-nothing" else 401)
                assert answer["Content-Type"] == "application/problem+json"
            else:
                assert answer.status_code == 200 and mark in answer.content


def test_an_opened_transaction_sums_more_items_than_it_lists(
    petra: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Settlement.objects.filter(provider=PETRA).latest("block")
    listed = batches.batches(PETRA, Asked(Period("all")), contracts()).items[0]
    assert (listed.tx_hash, listed.items, listed.users) == (own.tx_hash, 2, 2)
    path = f"/operator/settlements/{own.tx_hash}"
    assert "the sums are of all" not in petra.get(path).content.decode()
    monkeypatch.setattr(batches, "MOST_ITEMS", 1)
    found = batches.opened(PETRA, str(own.tx_hash), contracts())
    assert found is not None and len(found.lines) == 1 and found.batch == listed
    text = petra.get(path).content.decode()
    assert "The first 1 of 2 items; the sums are of all." in text
    assert text.count('data-testid="line"') == 1


def test_what_was_asked_for_before_a_penalty_is_not_made_up(petra: Client) -> None:
    paid = World(block=9_000).settle(ALICE, "penalty", ONE, serving=FINE_TUNING)
    found = batches.opened(PETRA, str(paid.tx_hash), contracts())
    assert found is not None and found.batch.settled == ONE
    assert {found.batch.requested, found.batch.collected, found.lines[0].requested} == {None}
    text = petra.get(f"/operator/settlements/{paid.tx_hash}").content.decode()
    assert "the rest is in no sum here" in text and "% collected" not in text
    listed = petra.get("/operator/settlements?period=all").content.decode()
    row = listed.partition(f'data-tx="{paid.tx_hash}"')[2].partition("</tr>")[0]
    assert "100.00" not in row and row.count('<span class="muted">–</span>') == 3
    asked = f"period=all&status=penalty&user={ALICE}"
    item = rows_of(petra.get(f"/operator/settlements.csv?{asked}"))[0]
    said = petra.get(f"/operator/settlements.json?{asked}").json()["items"][0]
    assert item["id"] == said["id"] and item["tx_hash"] == paid.tx_hash
    assert (item["requested"], item["settled"], item["unsettled"]) == ("", str(ONE), "")
    assert (said["requested"], said["settled"], said["unsettled"]) == (None, str(ONE), None)


def test_a_page_costs_the_same_for_short_and_long_histories(
    petra: Client, django_assert_max_num_queries: Any
) -> None:
    own = Settlement.objects.filter(provider=PETRA).latest("block")
    paths = {
        "/operator?period=all": 25,
        "/operator/settlements?period=all": 21,
        "/operator/customers": 16,
        "/operator/market": 14,
        f"/operator/settlements/{own.tx_hash}": 16,
    }

    def costs() -> dict[str, int]:
        found = {}
        for path, most in paths.items():
            with django_assert_max_num_queries(most) as seen:
                assert petra.get(path).status_code == 200
            found[path] = len(seen)
        return found

    petra.get("/operator")  # what is kept for a minute
    few = costs()
    world = World(block=20_000, models={(PETRA, INFERENCE): "second-model"})
    for number in range(40):
        world.next_block()
        for user in range(6):
            world.settle(factories.address(f"user {number} {user}"), "success", 10**15)
        factories.sub_account(factories.address(f"user {number} 0"))
    assert costs() == few


def test_a_period_is_read_past_all_that_was_settled_before_it() -> None:
    """A broker settles every few minutes for years."""
    for number in range(100):
        factories.settlement(factories.address(number % 10), block=4_000_000 + number)
    # Others go on in the period: were it empty, to look there for ours would be as good.
    then = dt.datetime(2029, 12, 20, tzinfo=dt.UTC)
    for number in range(100, 300):
        who = factories.address(number % 10)
        factories.settlement(who, block=4_000_000 + number, at=then)
    period = Period.preset("30d", dt.date(2030, 1, 1))
    with CaptureQueriesContext(connection) as asked:
        earnings.earnings(PETRA, period, {})
        earnings.now(PETRA, dt.datetime(2030, 1, 1, tzinfo=dt.UTC))
        batches.unpaid(PETRA, period)
        batches.sums(PETRA, Asked(period), {})
        gas.economy(PETRA, period)
    asked_of_items = [one["sql"] for one in asked if "ledger_settlement" in one["sql"]]
    assert len(asked_of_items) == 5
    found = plans(asked_of_items, "ledger_settlement")
    for plan in found:
        assert re.search(r"Index Cond: .*provider.* AND \(block >= ", plan), plan
    # Nor is every item compared with every other, by whatever is known of the tables.
    assert "WindowAgg" in found[0] and not re.search("Join|Nested Loop", found[0]), found[0]
