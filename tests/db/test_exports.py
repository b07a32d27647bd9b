"""Files of an account: the page's rows, sums that close, and only for a fresh signature."""

from __future__ import annotations

import csv
import datetime as dt
import io
import time
from collections import defaultdict
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from accounts import history, limits, views_personal
from accounts.models import Export, Intent, State, User
from devnet import accounts as cast
from ledger.models import Movement, ServingContract
from tests import factories
from tests.db.test_history import Books, books
from tests.db.test_keys_lasting import sign_again, signed_in
from tests.factories import ALICE, ONE, PETRA

__all__ = ["books"]
pytestmark = pytest.mark.django_db
MOVEMENTS, STATEMENT = "/account/transactions.csv", "/account/statement.csv"


@pytest.fixture
def alice() -> Client:
    """Alice's browser; she signed in a moment ago. Nothing counts yet against her limits."""
    cache.clear()
    factories.contract()
    return signed_in(cast.user(1))


def table(client: Client, path: str) -> list[dict[str, str]]:
    answer = client.get(path)
    assert answer.status_code == 200 and "attachment" in answer["Content-Disposition"]
    assert "no-store" in answer["Cache-Control"]
    text = b"".join(answer).decode()
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize(
    "query",
    [
        "",
        "kind=settlement",
        "balance=available",
        f"provider={PETRA.lower()}",
        "since=2026-09-10&until=2026-09-20",
        "kind=transfer&balance=sub_account",
        "since=2030-01-01",
        "kind=%3Cscript%3E",
    ],
)
def test_a_file_holds_what_the_page_with_the_same_filters_shows(
    books: Books, alice: Client, query: str
) -> None:
    pairs = dict(part.split("=") for part in query.split("&") if part)
    wanted = history.Filter.of(pairs)
    found = history.movements(ALICE, wanted, 1, 200)
    assert found.count < 200
    rows = table(alice, f"{MOVEMENTS}?{query}")
    assert [(r["block"], r["amount"], r["balance_after"], r["tx_hash"]) for r in rows] == [
        (str(m.block), str(m.amount), str(m.balance_after), m.tx_hash) for m in found.items
    ]
    link = f"{MOVEMENTS}?{wanted.query()}" if wanted.narrows else MOVEMENTS
    html = alice.get(f"/account/transactions?{query}").content.decode()
    assert f'href="{link}"'.replace("&", "&amp;") in html


def test_a_statement_file_opens_moves_and_closes_on_every_balance(
    books: Books, alice: Client
) -> None:
    today = timezone.now().date()
    for month in history.months(ALICE, today):
        rows = table(alice, f"{STATEMENT}?month={month:%Y-%m}")
        sums: dict[Any, int] = defaultdict(int)
        closing: dict[Any, int] = {}
        for row in rows:
            name = (row["balance"], row["provider"] if row["balance"] == "sub_account" else "")
            if row["kind"] == "closing_balance":
                closing[name] = int(row["balance_after"])
            else:
                sums[name] += int(row["amount"])
        assert dict(sums) == closing
        sheet = history.statement(ALICE, month, today)
        assert sum(closing.values()) == sheet.closing.total
        assert closing[("available", "")] == sheet.closing.available
        moved = [row for row in rows if not row["kind"].endswith("_balance")]
        assert len(moved) == sheet.closing.count
        assert [int(r["block"]) for r in moved] == sorted(int(r["block"]) for r in moved)


def test_what_moves_while_a_file_is_fetched_is_in_none_of_its_parts(alice: Client) -> None:
    books, now = Books(), timezone.now()
    books.move("available", 5, "deposit", now)
    answer = alice.get(STATEMENT)
    books.move("available", 7, "deposit", now)
    rows = csv.DictReader(io.StringIO(b"".join(answer).decode()))
    assert [row["amount"] or row["balance_after"] for row in rows] == ["5", "5"]


@pytest.mark.parametrize("path", [MOVEMENTS, STATEMENT])
def test_a_file_needs_a_signature_of_the_last_ten_minutes(
    alice: Client, books: Books, path: str
) -> None:
    assert alice.get(path).status_code == 200
    session = alice.session
    session["proved_at"] = int(time.time()) - 601
    session.save()
    late = alice.get(path)
    assert late.status_code == 403 and b'data-testid="step-up"' in late.content
    assert PETRA.encode() not in late.content and b"at most 10 minutes old" in late.content
    sign_again(alice, cast.user(1))
    assert alice.get(path).status_code == 200
    stranger = Client().get(path)
    assert b"Connect your wallet" in stranger.content and PETRA.encode() not in stranger.content
    forced = Client()
    forced.force_login(User.objects.for_address(ALICE))  # a session that nobody signed for
    assert forced.get(path).status_code == 403


def test_a_file_holds_chain_facts_and_nothing_private(books: Books, alice: Client) -> None:
    user = User.objects.for_address(ALICE)
    user.provider_keys.create(
        provider=PETRA,
        token_id=3,
        generation=0,
        label="my secret project",
        fingerprint="0123456789abcdef",
        created_at=timezone.now(),
    )
    intent = Intent.objects.create(
        user=user, chain_id=31337, action="deposit", params={}, to=PETRA, state=State.REJECTED
    )
    Movement.objects.filter(pk=Movement.objects.earliest("at").pk).update(user=factories.BOB)
    ServingContract.objects.update(service_name='=HYPERLINK("http://evil")')
    for path in (MOVEMENTS, STATEMENT):
        text = b"".join(alice.get(path)).decode()
        for private in ("secret project", "0123456789abcdef", str(intent.pk), factories.BOB):
            assert private not in text
        # A contract's name that a spreadsheet would run is only text in the file.
        cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
        assert not any(cell.startswith("=") for cell in cells)


def test_exports_are_slowed_down(alice: Client) -> None:
    answers = [alice.get(MOVEMENTS).status_code for _ in range(45)]
    assert 200 in answers and 429 in answers
    # Of everything that is kept about somebody: a worker makes it, for many wallets of one network.
    network, most = "203.0.113.4", views_personal.FILES_A_DAY
    limits.spend("personal-export-from", network, limit=most, seconds=86_400, uses=most)
    assert alice.post("/account/data/export", REMOTE_ADDR=network).status_code == 429
    assert not Export.objects.exists()
    assert alice.post("/account/data/export").status_code == 302


def test_a_month_without_movements_still_closes(alice: Client) -> None:
    Books().move("available", 5 * ONE, "deposit", timezone.now() - dt.timedelta(days=75))
    empty = history.months(ALICE, timezone.now().date())[1]
    rows = table(alice, f"{STATEMENT}?month={empty:%Y-%m}")
    assert [row["kind"] for row in rows] == ["opening_balance", "closing_balance"]
    assert rows[0]["amount"] == rows[1]["balance_after"] == str(5 * ONE)
