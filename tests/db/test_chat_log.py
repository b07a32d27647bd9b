"""The log of all requests: its filters, its file, and what was counted beside the settled."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import AccessToken, User
from inference import requests
from inference.models import Chat, State, Turn
from ledger.models import Settlement
from tests import factories
from tests.db.personal_world import prove, sign_in
from tests.db.test_chat_branches import ONE, alice, said
from tests.db.test_chat_branches import chat as chat


@pytest.mark.django_db
def test_the_log_filters_counts_and_exports_facts_alone(chat: Chat) -> None:
    said(chat, "a secret question", "a secret answer")
    stopped = said(chat, "another", "half", state=State.STOPPED)
    Turn.objects.filter(pk=stopped.pk).update(fee=3 * ONE, fee_kind="unknown")
    page = alice().get("/playground/requests").content.decode()
    assert page.count('data-testid="request-row"') == 2
    filtered = alice().get("/playground/requests", {"state": "stopped"}).content.decode()
    assert filtered.count('data-testid="request-row"') == 1
    for odd in ({"state": "x"}, {"since": "2026-99-99"}, {"model": "\x00"}):
        assert alice().get("/playground/requests", odd).status_code == 200
    for beyond in ("9" * 6, "9" * 99):
        sent = alice().get("/playground/requests", {"page": beyond}, follow=True)
        assert sent.content.decode().count('data-testid="request-row"') == 2
    for path in ("/playground/requests", "/playground/requests.csv"):
        last = alice().get(path, {"since": "0001-01-01", "until": "9999-12-31"})
        assert last.status_code == 200 and b"stopped" in last.content.lower()
    token = AccessToken.objects.create(
        user=chat.owner, label="Nightly <b>", digest="d", expires_at=timezone.now()
    )
    some = {"prompt_tokens": None, "completion_tokens": 3, "first_token_ms": 900}
    Turn.objects.filter(pk=stopped.pk).update(token=token, **some)

    def listed(**query: Any) -> list[str]:
        page = alice().get("/playground/requests", query).content.decode()
        return re.findall(r"/turns/(\d+)/inspect", page)

    first = str(Turn.objects.earliest("pk").pk)
    both = [str(stopped.pk), first]
    assert listed() == both and listed(sort="tokens") == both[::-1]
    assert listed(sort="cost") == listed(sort="first") == listed(sort="x") == both
    for narrow in ({"token": token.pk}, {"cost": "2.5"}, {"first": 900}):
        assert listed(**narrow) == both[:1]
    assert listed(tokens=15) == both[1:] and listed(tokens=16) == listed(cost="99999") == []
    for odd in ({"token": "9" * 5000}, {"cost": "9" * 5000}, {"first": "9" * 12}, {"tokens": "-"}):
        assert listed(**odd) == ([] if "first" in odd else both)
    page = alice().get("/playground/requests", {"cost": "2.50"}).content.decode()
    assert "by token <bdi>Nightly &lt;b&gt;</bdi>" in page and "requests.csv?cost=2.5" in page
    none = alice().get("/playground/requests", {"until": "2001-01-01"}).content.decode()
    assert "No request matches" in none
    body = alice().get("/playground/requests.csv").content.decode()
    rows = list(csv.DictReader(io.StringIO(body)))
    assert tuple(rows[0]) == requests.COLUMNS and len(rows) == 2
    assert rows[0]["fee_neuron"] == str(3 * ONE) and "secret" not in body
    assert [row["token_label"] for row in rows] == ["Nightly <b>", ""]
    other = Client()
    sign_in(other, User.objects.for_address(factories.BOB))
    assert "No requests yet" in other.get("/playground/requests").content.decode()
    assert len(other.get("/playground/requests.csv").content.decode().splitlines()) == 1
    assert "Sign in" in Client().get("/playground/requests").content.decode()
    assert "Sign in" in Client().get("/playground/requests.csv").content.decode()
    prove(other, 601)
    stale = other.get("/playground/requests.csv")
    assert stale.status_code == 403 and 'href="/playground/requests"' in stale.content.decode()


@pytest.mark.django_db
def test_counted_fees_are_set_against_what_was_settled(chat: Chat) -> None:
    known = said(chat, "a", "b").fee
    said(chat, "c", "d", state=State.STOPPED)
    Turn.objects.exclude(fee=0).filter(fee_kind="unknown").update(fee=5)
    row: dict[str, Any] = {
        "user": factories.ALICE, "provider": factories.PETRA, "serving": factories.INFERENCE,
        "status": "success", "unsettled": 0, "tx_hash": None, "log_index": None,
    }  # fmt: skip
    now = timezone.now()
    before = now - timedelta(minutes=1)  # the last answers ended later: they may be settled yet
    factories.settlement(**{**row, "settled": known // 2, "at": before, "block": 90})
    factories.settlement(**{**row, "settled": ONE, "at": now - timedelta(days=9), "block": 2})
    factories.settlement(**{**row, "settled": ONE, "at": now, "user": factories.BOB, "block": 91})
    with CaptureQueriesContext(connection) as asked:
        (line,) = requests.page(chat.owner, None, requests.Filter(), 1).reconciled
    # every request is read once, and settlements are added up where they lie
    assert sum("inference_turn" in one["sql"] for one in asked) == 3
    assert sum("SUM(settled)" in one["sql"] for one in asked) == 1 and len(asked) == 4
    assert (line.answers, line.settled) == (2, known // 2)
    assert (line.open, line.beyond) == (line.known + line.estimated - known // 2, 0)
    # settled after the last answer: less than one answer is missing, so nothing is still to come
    factories.settlement(**{**row, "settled": known, "at": now, "block": 91})
    (line,) = requests.page(chat.owner, None, requests.Filter(), 1).reconciled
    assert (line.open, line.less) == (0, line.known - known // 2 - known)
    page = alice().get("/playground/requests").content.decode()
    assert "less than counted here" in page and "not settled yet" not in page
    # but not where the account could not pay all of it
    Settlement.objects.filter(block=91, user=factories.ALICE).update(unsettled=1)
    (line,) = requests.page(chat.owner, None, requests.Filter(), 1).reconciled
    assert (line.open, line.less) == (line.known - known // 2 - known, 0)
    factories.settlement(**{**row, "settled": ONE, "at": now, "block": 92})
    (line,) = requests.page(chat.owner, None, requests.Filter(), 1).reconciled
    assert (line.open, line.less) == (0, 0)
    assert line.beyond == known // 2 + known + ONE - line.known - line.estimated
    assert Settlement.objects.count() == 5
