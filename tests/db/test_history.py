"""Movements by the address bar, statements that add up, spend that equals the settlements."""

from __future__ import annotations

import datetime as dt
import itertools
import random
import re
import uuid
from collections import Counter
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import analytics, history, tokens
from accounts.models import User
from accounts.pages_parts import PastTheEnd, pager
from alerts import works
from inference import conversations, spend
from inference.models import Chat, FeeKind, Turn
from inference.models import State as TurnState
from ledger.models import Ledger, Movement, Settlement, SubAccount
from ledger.records import Page
from marketplace.memo import at_block, at_listing
from tests import factories
from tests.db.chat_world import world
from tests.db.plans import plans
from tests.db.test_chat_access import answered
from tests.db.test_refunds import pair
from tests.factories import ALICE, BOB, INFERENCE, ONE, PETRA

pytestmark = pytest.mark.django_db
OTHER = factories.address("other provider")
TODAY = dt.date(2026, 11, 20)


@pytest.fixture
def alice() -> Client:
    factories.contract()
    client = Client()
    client.force_login(User.objects.for_address(ALICE))
    return client


class Books:
    """A wallet's movements as the index writes them, with their running balances."""

    def __init__(self) -> None:
        self.held = Counter[str]()
        self.block = 0

    def move(self, where: str, amount: int, kind: str, at: dt.datetime, **given: Any) -> None:
        self.held[where] += amount
        self.block += 1
        pair = {} if where == "available" else {"serving": INFERENCE, "provider": where}
        values = {
            "user": ALICE,
            "kind": kind,
            "balance": "sub_account" if pair else "available",
            "amount": amount,
            "balance_after": self.held[where],
            "block": self.block,
            "at": at,
            "tx_hash": factories.tx_hash(self.block),
            "source": "event",
            **pair,
        }
        Movement.objects.create(**{**values, **given})

    def state(self) -> None:
        """The balances of now, as their own rows."""
        Ledger.objects.create(
            user=ALICE, available=self.held["available"], total=sum(self.held.values()), block=1
        )
        for provider in (PETRA, OTHER):
            pair(provider, free=self.held[provider])


@pytest.fixture
def books() -> Books:
    """Four months of random money."""
    chance, found = random.Random(4), Books()
    at = dt.datetime(2026, 8, 30, 12, tzinfo=dt.UTC)
    for _ in range(120):
        at += dt.timedelta(hours=chance.randrange(1, 30))
        if at.date() > TODAY:
            break
        provider = chance.choice((PETRA, OTHER))
        amount = chance.randrange(1, 10**19)
        held = found.held[provider]
        if chance.random() < 0.4 or not found.held["available"]:
            found.move("available", amount, "deposit", at)
        elif chance.random() < 0.5:
            amount = min(amount, found.held["available"])
            found.move("available", -amount, "transfer", at, serving=INFERENCE, provider=provider)
            found.move(provider, amount, "transfer", at)
        elif held:
            found.move(provider, -min(amount, held), "settlement", at)
    found.state()
    return found


def test_every_month_closes_where_the_next_one_opens(books: Books) -> None:
    months = history.months(ALICE, TODAY)
    assert [f"{m:%Y-%m}" for m in months] == ["2026-11", "2026-10", "2026-09", "2026-08"]
    sheets = [history.statement(ALICE, month, TODAY) for month in reversed(months)]
    assert (sheets[0].opening.available, sheets[0].opening.locked) == (0, 0)
    for sheet, following in itertools.pairwise(sheets):
        assert sheet.adds_up and not sheet.running
        assert sheet.closing.available == following.opening.available
        assert sheet.closing.locked == following.opening.locked
    last = sheets[-1]
    assert last.running and last.adds_up
    assert last.closing.available == books.held["available"]
    assert last.closing.locked == books.held[PETRA] + books.held[OTHER]
    assert sum(sheet.closing.count for sheet in sheets) == Movement.objects.count()


def test_a_statement_that_does_not_add_up_says_so(books: Books, alice: Client) -> None:
    month = history.months(ALICE, timezone.now().date())[-2]
    path = f"/account/statement?month={month:%Y-%m}"
    assert b'data-testid="adds-up"' in alice.get(path).content
    lost = Movement.objects.filter(at__month=month.month, kind="transfer").first()
    assert lost is not None
    lost.delete()
    html = alice.get(path).content.decode()
    assert 'data-testid="adds-up-not"' in html and "Do not rely on this sheet" in html


def test_months_are_those_of_the_chain_whose_clock_runs_ahead(alice: Client) -> None:
    """As on a devnet whose reader skips days, or where a node is seconds ahead at a month's end."""
    books, now = Books(), timezone.now()
    later = (now.replace(day=28) + dt.timedelta(days=8)).replace(day=2)
    books.move("available", 7, "deposit", now)
    books.move("available", -3, "withdraw", later)
    books.state()
    factories.head(indexed_timestamp=int(later.timestamp()) + 60)
    for month, closing in ((now, 7), (later, 4)):
        html = alice.get(f"/account/statement?month={month:%Y-%m}").content.decode()
        assert 'data-testid="adds-up"' in html and "adds-up-not" not in html
        assert f'data-line="closing" data-available="{closing}"' in html


def test_filters_stand_in_the_address_and_survive_paging(books: Books, alice: Client) -> None:
    def shown(query: str) -> list[str]:
        html = alice.get(f"/account/transactions?{query}").content.decode()
        return re.findall(r'data-testid="movement-row" data-kind="(\w+)"', html)

    assert set(shown("kind=settlement")) == {"settlement"}
    with_petra = Movement.objects.filter(provider=PETRA)
    wanted = history.Filter.of({"provider": PETRA.lower()})
    assert history.movements(ALICE, wanted, 1, 200).count == with_petra.count()
    day = Movement.objects.earliest("at").at.date()
    of_day = history.Filter.of({"since": str(day), "until": str(day)})
    assert history.movements(ALICE, of_day, 1, 200).count == sum(
        m.at.date() == day for m in Movement.objects.all()
    )
    html = alice.get("/account/transactions?balance=sub_account&movements=1").content.decode()
    assert "?balance=sub_account&amp;movements=2#movements" in html
    assert '<option value="sub_account" selected>' in html
    first = pager(Page((), 250, 1, 25), "", str)
    assert [link.label for link in first.links] == ["1", "2", "3", "…", "10"]
    with pytest.raises(PastTheEnd, match="10"):
        pager(Page((), 250, 99, 25), "", str)
    assert shown("since=2030-01-01") == []
    assert b"No movement matches" in alice.get("/account/transactions?since=2030-01-01").content
    for hostile in ("kind=%3Cscript%3E", "since=0000-99-99", "until=9999-12-31", "provider=0x"):
        assert len(shown(hostile)) == 25, hostile
    assert history.movements(BOB, history.Filter(), 1, 25).count == 0


# --- analytics -----------------------------------------------------------------------------------


def charge(provider: str, amount: int, days_ago: float) -> None:
    at = timezone.now() - dt.timedelta(days=days_ago)
    Books().move(provider, -amount, "settlement", at)
    factories.settlement(provider=provider, user=ALICE, settled=amount, at=at)


def test_spend_is_cut_three_ways_and_each_equals_the_settlements(alice: Client) -> None:
    factories.service(model="qwen")
    factories.service(OTHER, model="was", removed=True)
    charge(PETRA, 5, 1)
    charge(PETRA, 7, 3)
    charge(OTHER, 11, 3)
    charge(OTHER, 1000, 60)
    found = analytics.spending(ALICE, "30", timezone.now())
    assert (found.total, found.settled, found.reconciles) == (23, 23, True)
    assert [(row.address, row.amount) for row in found.by_provider] == [(PETRA, 12), (OTHER, 11)]
    assert {row.label: row.amount for row in found.by_model} == {"qwen": 12, "no longer listed": 11}
    assert sorted(row.amount for row in found.by_day) == [5, 18]
    assert analytics.spending(ALICE, "all", timezone.now()).total == 1023
    html = alice.get("/account/analytics?window=all").content.decode()
    assert 'data-testid="reconciles"' in html and "names no key" in html
    Settlement.objects.filter(settled=7).delete()
    assert b"reconciles-not" in alice.get("/account/analytics").content


def test_the_past_of_many_providers_costs_no_more_queries(alice: Client) -> None:
    def counts() -> list[int]:
        found = []
        for path in ("/account/analytics", "/account/statement", "/account/transactions"):
            alice.get(path)  # what is written once per session is written now
            for memo in (at_block, at_listing):
                memo.state = ""
            with CaptureQueriesContext(connection) as queries:
                assert alice.get(path).status_code == 200
            found.append(len(queries))
        return found

    pair(PETRA, free=ONE)
    charge(PETRA, 5, 1)
    few = counts()
    for number in range(20):
        provider = factories.address(f"provider {number}")
        pair(provider, free=ONE)
        factories.service(provider=provider)
        charge(provider, number, number % 5)
    assert counts() == few


def test_the_runway_is_what_is_above_the_reserve_at_last_weeks_pace(alice: Client) -> None:
    pair(PETRA, (ONE, 60), free=4 * ONE)
    pair(OTHER, free=2 * ONE)
    charge(PETRA, ONE, 2)
    charge(PETRA, ONE // 2, 6)
    charge(PETRA, 100 * ONE, 8)  # older than the week
    spent = analytics.spending(ALICE, "30", timezone.now())
    by_provider = {r.position.provider: r for r in analytics.runways(ALICE, spent.pace)}
    # 3 0G above the reserve at 1.5 0G a week.
    assert by_provider[PETRA].days == 14
    assert by_provider[OTHER].days is None
    html = alice.get("/account/analytics").content.decode()
    assert 'data-days="14"' in html and "nothing charged in this week" in html
    assert SubAccount.objects.count() == 2


def test_spend_by_key_splits_the_settled_total_and_claims_no_more(alice: Client) -> None:
    user = User.objects.for_address(ALICE)
    charge(PETRA, 100, 1)
    charge(OTHER, 50, 2)
    chat = conversations.create_chat(user, PETRA)
    stranger = conversations.create_chat(User.objects.for_address(BOB), PETRA)
    answer(chat, PETRA, 30, FeeKind.KNOWN)
    answer(chat, PETRA, 5, FeeKind.ESTIMATED)
    answer(chat, OTHER, 80, FeeKind.KNOWN)  # 30 of it are not settled yet
    answer(chat, OTHER, 1000, FeeKind.UNKNOWN)
    answer(chat, PETRA, 0, FeeKind.NONE)
    answer(chat, PETRA, 9, FeeKind.KNOWN, days_ago=20)
    answer(stranger, PETRA, 60, FeeKind.KNOWN)
    spending = analytics.spending(ALICE, "7", timezone.now())
    split = spending.by_key
    assert (split.own, split.others, split.ahead) == (35 + 50, 65, 30)
    assert split.own + split.others == spending.total == spending.settled == 150
    assert (split.estimated, split.at_most, split.answers, split.unsure) == (5, 1000, 4, 1)
    assert analytics.spending(ALICE, "all", timezone.now()).by_key.own == 44 + 50
    html = alice.get("/account/analytics?window=7").content.decode()
    for name, amount in (("own", 85), ("others", 65), ("total", 150), ("ahead", 30)):
        assert re.search(rf'data-neuron="{amount}"[^>]*data-testid="key-{name}"', html), name
    # By who asked, where a program did.
    assert "by-token" not in html
    job = tokens.create(user, tokens.Wanted("<i>job</i>", scopes=("inference",))).row
    Turn.objects.filter(chat=chat, fee__in=(80, 5)).update(token=job)
    told = analytics.spending(ALICE, "7", timezone.now()).by_key
    assert [(use.label, use.counted, use.answers) for use in told.by_token] == [
        ("<i>job</i>", 85, 2),
        ("", 30, 2),
    ]
    assert (told.own, told.others, told.ahead) == (split.own, split.others, split.ahead)
    html = alice.get("/account/analytics?window=7").content.decode()
    assert "&lt;i&gt;job&lt;/i&gt;" in html.partition('data-testid="by-token"')[2]
    Chat.objects.update(deleted_at=timezone.now())
    split = analytics.spending(ALICE, "7", timezone.now()).by_key
    assert (split.own, split.others, split.answers) == (0, 150, 0)


def answer(chat: Chat, provider: str, fee: int, kind: FeeKind, days_ago: float = 0.5) -> None:
    Turn.objects.create(
        chat=chat,
        prompt_key=uuid.uuid4(),
        state=TurnState.ANSWERED,
        process="test",
        provider=provider,
        serving=INFERENCE,
        url="https://provider.example",
        model="qwen",
        input_price=1,
        output_price=1,
        max_tokens=10,
        fee=fee,
        fee_kind=kind,
        ended_at=timezone.now() - dt.timedelta(days=days_ago),
    )


def test_what_ended_lately_is_found_without_reading_what_ended_before() -> None:
    """A person's programs ask for years; what they spent, and what is ready, is looked up often."""
    since = timezone.now() - dt.timedelta(days=1)
    one = answered(world("http://127.0.0.1:9"))
    for day in range(300):
        one.pk, one.prompt_key, one.ended_at = None, uuid.uuid4(), since - dt.timedelta(days=day)
        one.save(force_insert=True)
    with CaptureQueriesContext(connection) as asked:
        list(spend.uses(factories.ALICE, since))
        works.works_since([1], since)
    assert len(asked) == 2
    for plan in plans([one["sql"] for one in asked], "inference_turn", "inference_chat"):
        assert re.search(r"turn_ended.*\n.*Index Cond: .*ended_at >", plan), plan
