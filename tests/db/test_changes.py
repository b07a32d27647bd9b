"""What changed, as pages, feeds and files: the same filters, the same rows, no stranger's word as
markup."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from typing import Any
from xml.etree import ElementTree

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from attestation.models import Turn, VerdictChange
from attestation.selectors import StandingView
from ledger import selectors
from ledger.models import ServiceChange
from marketplace import feeds, history, moves
from operators import notes
from operators.models import Note
from operators.models_listing import NoteKind
from tests import factories
from tests.db import report_world
from tests.db.operator_world import SECOND
from tests.factories import BOB, PETRA, address

pytestmark = pytest.mark.django_db

ATOM = "{http://www.w3.org/2005/Atom}"
EVIL = "<script>alert(1)</script>\x0b\ufffe]]>&"


def world() -> None:
    factories.market(6)
    factories.service(PETRA, model=f"petra/{EVIL}")
    snapshot = {
        "model": "m", "service_type": "chatbot",
        "input_price": "500000000000", "output_price": "1200000000000",
    }  # fmt: skip
    old = timezone.now() - dt.timedelta(days=60)
    factories.change(PETRA, change="registered", before=None, after=snapshot, block=1, at=old)
    factories.change(PETRA, block=2)
    factories.change(PETRA, change="url", before={"url": "a"}, after={"url": EVIL}, block=3)
    factories.verdict_change(PETRA, block=2)
    recovered = {"overall": "pass", "checks": []}
    factories.verdict_change(
        PETRA, change=Turn.RECOVERED, before={"overall": "fail"}, after=recovered, block=4_000_000
    )


def test_the_same_question_has_the_same_answer_in_every_form(client: Client) -> None:
    world()
    for query in ("", "?change=price", f"?provider={PETRA}", f"?change=url&provider={PETRA}",
                  "?kind=fine-tuning", "?kind=inference&change=registered",
                  "?change=verification_regressed"):  # fmt: skip
        page = client.get(f"/changes{query}")
        assert page.status_code == 200 and "Accept" in page["Vary"]
        text = page.content.decode()
        body = client.get(f"/changes.json{query}", follow=True).json()
        found = client.get(f"/changes.csv{query}", follow=True)
        table = list(csv.DictReader(io.StringIO(found.getvalue().decode())))
        entries = ElementTree.fromstring(client.get(f"/changes.atom{query}").content).findall(
            f"{ATOM}entry"
        )
        count = body["count"]
        assert f"{count} change{'' if count == 1 else 's'}<" in text
        assert len(table) == len(entries) == min(count, 50) == len(body["items"])
        for line, item, entry in zip(table, body["items"], entries, strict=True):
            assert line["provider"] == item["provider"]
            assert json.loads(line["after"]) == item["after"]
            assert line["report"] == (item["report"] or "")
            category = entry.find(f"{ATOM}category")
            assert category is not None and category.get("term") == item["change"]
        for suffix in ("json", "csv", "atom"):
            assert f"/changes.{suffix}{query.replace('&', '&amp;')}" in text
        assert "<script>alert" not in text
        # An address alone tells nobody what became dearer.
        listed = f'<a href="/services/inference/{PETRA}"><bdi>petra/&lt;script&gt;alert(1)&lt;/'
        titles = [entry.findtext(f"{ATOM}title") or "" for entry in entries]
        named = [title for title in titles if ": petra/<script>alert(1)</script>" in title]
        assert len(named) == sum(item["provider"] == PETRA for item in body["items"])
        assert all(title.startswith(f"{PETRA} ") for title in named)
        assert (f"{listed}script&gt;" in text) is bool(named)
        accepted = client.get(f"/changes{query}", headers={"Accept": "application/json"})
        assert accepted["Location"] == f"/api/v1/changes{query}"
    for wanted, kind in (("*/*", "application/problem+json"), ("text/html", "text/html")):
        refused = client.get("/changes.atom?change=steal", headers={"Accept": wanted})
        assert refused.status_code == 404 and refused["Content-Type"].startswith(kind)
        assert "no such kind or sort of change" in refused.content.decode()
    wrong = client.get("/changes?provider=0x12&change=steal&kind=chess").content.decode()
    assert "This is not an address" in wrong


def test_twins_of_pages_lead_to_what_answers(client: Client) -> None:
    world()
    service = f"/services/inference/{PETRA}"
    for path, shown in (
        (f"{service}.json", PETRA),
        (f"{service}/changes.json", "registered"),
        (f"{service}/changes.csv", "registered"),
        (f"{service}/verification.json", "items"),
        (f"/providers/{PETRA}/changes.json", "registered"),
        (f"/providers/{PETRA.lower()}/changes.csv", "registered"),
        (f"/providers/{PETRA}/changes.atom", "changed its address"),
        (f"/providers/{PETRA.lower()}.json", '"payers_30d"'),
        (f"{service}/performance.json?window=7d", '"7d"'),
        (f"{service}/performance.csv", "state"),
        (f"/services.json?q={PETRA}", PETRA),
        (f"/services.csv?q={PETRA}", PETRA),
        (f"/accounts/{BOB}.json", BOB),
        ("/status.json", "lag_seconds"),
    ):
        response = client.get(path, follow=True)
        assert response.status_code == 200 and shown in response.getvalue().decode(), path
    feed = ElementTree.fromstring(client.get(f"/providers/{PETRA}/changes.atom").content)
    assert len(feed.findall(f"{ATOM}entry")) == 5
    assert "<bdi>Changes" not in ElementTree.tostring(feed).decode()
    assert client.get(f"/services/chess/{PETRA}.json", follow=True).status_code == 422
    for path, accept, target in (
        ("/?type=chatbot", "application/json", "/api/v1/services?type=chatbot"),
        ("/?type=chatbot", "application/atom+xml", "/services.atom?type=chatbot"),
        ("/models/a%2Fb?page=1", "text/csv", "/api/v1/services.csv?model=a%2Fb&page=1"),
        (f"/providers/{PETRA}", "application/json", f"/api/v1/providers/{PETRA}"),
        (service, "application/json", f"/api/v1{service}"),
        (f"{service}/performance", "text/csv", f"/api/v1{service}/health.csv"),
        ("/network?window=90d", "application/json", "/api/v1/network?window=90d"),
        ("/network/settlements", "application/json", "/api/v1/settlements"),
        ("/status", "application/json", "/api/v1/status"),
    ):
        assert client.get(path, headers={"Accept": accept})["Location"] == target
        for browser in ("*/*", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"):
            assert "Location" not in client.get(path, headers={"Accept": browser})


def test_verdicts_that_turned_stand_among_the_changes(client: Client) -> None:
    world()
    worse, better = VerdictChange.objects.order_by("block")
    page = client.get(f"/changes?provider={PETRA}").content.decode()
    order = ["Verified as before again", "Endpoint URL changed", "Verification became worse",
             "Price changed", "Registered"]  # fmt: skip
    places = [page.rindex(f"<strong>{title}") for title in order]
    assert places == sorted(places)
    assert f'href="/verifications/{worse.verification_id}"' in page
    assert "<del>Verified</del>" in page or "Failed: tdx.debug" in page
    assert "Verification became worse" in client.get(f"/providers/{PETRA}").content.decode()
    feed = client.get(f"/providers/{PETRA}/changes.atom").content.decode()
    assert f"/verifications/{better.verification_id}" in feed
    assert "is verified worse than before" in feed
    (only,) = client.get("/api/v1/changes?change=verification_recovered").json()["items"]
    assert only["report"] == str(better.verification_id) and only["tx_hash"] is None
    assert only["after"] == {"overall": "pass", "checks": []}
    timeline = f"/api/v1/services/inference/{PETRA}/timeline"
    assert all(item["block"] < 4 for item in client.get(timeline).json()["items"])
    assert client.get(f"{timeline}?change=verification_regressed").status_code == 422


def test_both_histories_are_walked_in_one_order(client: Client) -> None:
    factories.market(0)
    factories.service(PETRA)
    for block in (9, 9, 8, 6, 6, 3):
        factories.change(PETRA, block=block)
    for block in (10, 9, 7, 6, 6, 2, 1):
        factories.verdict_change(PETRA, block=block)
    everything = client.get("/api/v1/changes?page_size=200").json()["items"]
    assert [item["block"] for item in everything] == [10, 9, 9, 9, 8, 7, 6, 6, 6, 6, 3, 2, 1]
    assert [bool(item["report"]) for item in everything[1:4]] == [True, False, False]
    for size in (1, 2, 5):
        walked, following = [], f"/api/v1/changes?page_size={size}"
        while following:
            body = client.get(following).json()
            assert body["count"] == len(everything)
            walked += body["items"]
            following = body["next"]
        assert walked == everything
        numbered = [
            item
            for page in range(1, -(-len(everything) // size) + 1)
            for item in client.get(f"/api/v1/changes?page_size={size}&page={page}").json()["items"]
        ]
        assert numbered == everything
    lines = client.get("/api/v1/changes.csv").getvalue().decode().splitlines()
    assert [int(line.split(",")[0]) for line in lines[1:]] == [row["block"] for row in everything]
    with CaptureQueriesContext(connection) as captured:
        history.changes(history.Asked())
    assert len(captured) == 4


def test_a_change_of_a_second_contract_leads_to_the_listing_there(client: Client) -> None:
    factories.market(0)
    factories.contract(address=SECOND, service_name="inference-v1.1", recommended=False)
    factories.service(PETRA)
    factories.service(PETRA, serving=SECOND)
    factories.change(PETRA, serving=SECOND)
    path, other = f"/services/inference/{PETRA}", "service_name=inference-v1.1"
    assert f'href="{path}?{other}"' in client.get("/changes").content.decode()
    for feed in ("/changes.atom", f"/providers/{PETRA}/changes.atom"):
        assert f"{path}/changes?{other}" in client.get(feed).content.decode(), feed
    none = client.get(f"{path}/changes?{other}&change=staked").content.decode()
    assert f'href="{path}/changes?{other}">Show all changes' in none
    factories.verdict_change(PETRA, service_name="inference-v1.1", block=4_000_001)
    turned = "/changes?change=verification_regressed"
    assert f'href="{path}?{other}"' in client.get(turned).content.decode()
    factories.verdict_change(PETRA, block=4_000_002)
    assert f'href="{path}"' in client.get(turned).content.decode()


def test_a_hostile_number_ends_no_file(client: Client) -> None:
    """A quota is made of uint256, which a provider chooses."""
    factories.head()
    factories.contract()
    most = {"quota": {"cpu_count": 2**256 - 1, "gpu_type": "H100"}}
    factories.change(change="quota", before={}, after=most)
    path = f"/api/v1/services/inference/{PETRA}/timeline.csv"
    factories.service()
    for file in ("/api/v1/changes.csv", path):
        text = client.get(file).getvalue().decode()
        (row,) = csv.DictReader(io.StringIO(text))
        assert json.loads(row["after"]) == most
    for page in ("/changes", "/changes.atom"):
        assert str(2**256 - 1) in client.get(page).content.decode()


def test_a_service_shows_what_it_cost_and_since_when(client: Client) -> None:
    world()
    path = f"/services/inference/{PETRA}/changes"
    text = client.get(path).content.decode()
    assert "Price: input −16 % in 30 d, output unchanged in 30 d" in text
    assert text.count("data-unix=") == 3  # two steps, and now
    assert f"/tx/{factories.tx_hash('change ' + PETRA)}" in text
    assert client.get(f"{path}?window=30d").content.decode().count("data-unix=") == 3
    assert client.get(f"{path}?window=nonsense").status_code == 200
    with CaptureQueriesContext(connection) as few:
        client.get(path)
    for number in range(150):
        price = {"input_price": str(10**9 + number), "output_price": "7"}
        factories.change(PETRA, before=price, after=price, block=10 + number)
    with CaptureQueriesContext(connection) as many:
        client.get(path)
    assert len(many) == len(few)
    only = client.get(f"{path}?change=url").content.decode()
    assert only.count("Endpoint URL changed") == 2  # the option, and the entry
    assert "Nothing of this sort changed" in client.get(f"{path}?change=staked").content.decode()


def test_prices_are_said_in_the_units_of_their_time(client: Client) -> None:
    """A provider has one listing in a contract: whoever turns to pictures changes its type."""
    factories.market(0)
    for provider in (PETRA, BOB):
        factories.service(provider, service_type="text-to-image", input_price=0)
        factories.change(provider, block=10)
    images = {"input_price": "0", "output_price": "3000000000000000"}
    one: dict[str, Any] = {"block": 11, "tx_hash": factories.tx_hash("one"), "log_index": 4}
    factories.change(**one, before={"input_price": "1", "output_price": "2000000"}, after=images)
    types = [{"service_type": name} for name in ("chatbot", "text-to-image")]
    factories.change(**one, change="type", before=types[0], after=types[1])
    factories.change(block=12, before=images, after={**images, "output_price": str(10**15)})
    # Or removes it, and lists another.
    factories.change(BOB, change="removed", before={**types[0], "model": "m"}, after=None, block=12)
    factories.change(BOB, change="registered", before=None, after={**types[1], **images}, block=13)
    for provider in (PETRA, BOB):
        for path in (
            f"/services/inference/{provider}/changes",
            f"/providers/{provider}/changes.atom",
        ):
            text = client.get(f"{path}?change=price").content.decode()
            assert "input 0.5 0G / 1M" in text and "input 0.42 0G / 1M" in text, path
            assert "0.0000012 0G / image" not in text, path
            if provider == PETRA:
                said = ("output 0.000002 0G / 1M", "0.003 0G / image", "0.001 0G / image")
                assert all(price in text for price in said), path
    assert client.get("/changes?change=price").content.decode().count("input 0.42 0G / 1M") == 2


def test_an_endpoint_that_moved_is_told_until_somebody_looked_at_it(client: Client) -> None:
    factories.market(0)
    for provider in (PETRA, BOB, address("new")):
        factories.service(provider)
        factories.change(provider, change="acknowledged", before=None, after={}, block=5)
    factories.change(PETRA, change="url", before={"url": "a"}, after={"url": "b"}, block=6)
    factories.change(BOB, change="url", before={"url": "a"}, after={"url": "b"}, block=4)
    listed = [selectors.service("inference", one) for one in (PETRA, BOB, address("new"))]
    with CaptureQueriesContext(connection) as captured:
        found = moves.moved(row for row in listed if row)
    assert len(captured) == 1
    move = found.pop((factories.INFERENCE, PETRA))
    assert not found and (move.block, move.acknowledged_block) == (6, 5)
    # So it is where the owner had acknowledged it before our first block.
    factories.service(address("old"), created_block=5)
    (old,) = selectors.services_of(address("old"))
    assert not moves.moved([old])
    factories.change(old.provider, change="url", before={"url": "a"}, after={"url": "b"}, block=6)
    assert [one.acknowledged_block for one in moves.moved([old]).values()] == [5]
    ServiceChange.objects.filter(provider=old.provider).delete()
    later, earlier = move.at + dt.timedelta(minutes=1), move.at - dt.timedelta(minutes=1)
    for word, at, key, attested in (
        ("pass", later, "pass", True), ("dev-warn", later, "pass", True),
        ("warn", later, "not_provided", False), ("pass", earlier, "pass", False),
        ("fail", later, "pass", False), ("partial", later, "pass", False),
        ("never", None, "pass", False),
    ):  # fmt: skip
        seen = {"hardware": "warn", "key": key}
        view = StandingView(overall=word, checked_at=at, questions=seen)
        assert move.attested(view) is attested
    factories.change(PETRA, change="acknowledged", before=None, after={}, block=7)
    assert moves.moved(row for row in listed if row) == {}
    assert ServiceChange.objects.count() == 6


def test_a_moved_endpoint_is_on_every_tab_and_in_lists(client: Client) -> None:
    factories.market(0)
    factories.service(PETRA)
    factories.service(BOB)
    factories.change(PETRA, change="acknowledged", before=None, after={}, block=5)
    factories.change(PETRA, change="url", before={"url": "a"}, after={"url": "b"}, block=6)
    base = f"/services/inference/{PETRA}"
    tabs = [base, *(f"{base}/{tab}" for tab in ("verification", "changes", "use", "raw"))]
    for tab in tabs:
        text = client.get(tab).content.decode()
        assert "The endpoint changed at block 6" in text and "send nothing private" in text, tab
        assert 'class="button primary" href' not in text, tab
    lists = ("/", f"/compare?s=inference/{PETRA}&s=inference/{BOB}")
    assert all("endpoint moved" in client.get(path).content.decode() for path in lists)
    ServiceChange.objects.update(at=timezone.now() - dt.timedelta(hours=2))
    report_world.development()
    text = client.get(base).content.decode()
    assert "We have verified the evidence of the new endpoint since" in text
    assert 'class="button primary" href' in text
    assert not any("endpoint moved" in client.get(path).content.decode() for path in lists)


def announced(text: str, nonce: str, **given: object) -> Note:
    now = timezone.now()
    values = {
        "kind": NoteKind.MAINTENANCE,
        "starts_at": now,
        "ends_at": now + dt.timedelta(hours=2),
        "signed_at": now,
        "message": f"I say: {text}",
        "signature": "0x12",
    }
    values |= {"provider": PETRA, **given}
    return Note.objects.create(text=text, nonce=nonce, **values)


def test_what_providers_announce_stands_in_feeds_and_api(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    world()
    before = client.get("/changes.atom")
    tag = before["ETag"]
    same = client.get("/changes.atom", headers={"If-None-Match": tag})
    assert same.status_code == 304
    note = announced(EVIL, "n1")
    past = announced(
        "New disks", "n2", kind=NoteKind.INCIDENT, ends_at=None,
        signed_at=timezone.now() - dt.timedelta(days=100),
        starts_at=timezone.now() - dt.timedelta(days=100),
    )  # fmt: skip
    announced("Never mind", "n3", withdrawn_at=timezone.now())
    for path in ("/changes.atom", "/api/v1/changes.atom", f"/providers/{PETRA}/changes.atom"):
        answer = client.get(path, headers={"If-None-Match": tag})
        feed = ElementTree.fromstring(answer.content)
        titles = [str(entry.findtext(f"{ATOM}title")) for entry in feed.findall(f"{ATOM}entry")]
        assert titles[0] == f"{PETRA} announced maintenance"
        assert f"{PETRA} announced an incident" in titles
        assert "Never mind" not in answer.content.decode()
        assert f"/note/{note.pk}" in answer.content.decode()
    for narrowed in ("?change=price", "?kind=inference", f"?provider={BOB}"):
        assert b"announced" not in client.get(f"/changes.atom{narrowed}").content.replace(
            b"what providers announced.", b""
        )

    monkeypatch.setattr(feeds, "LENGTH", 2)  # however much is said, no change goes for it
    said = client.get("/changes.atom").content.decode()
    assert said.count("<entry>") == 4 and said.count(" announced ") == 2
    for number in range(notes.MOST):  # nor what another one has to say
        announced("Spam", f"s{number}", signed_at=timezone.now() + dt.timedelta(minutes=1))
    announced("Fire", "n4", provider=BOB, signed_at=timezone.now() - dt.timedelta(days=1))
    monkeypatch.setattr(feeds, "LENGTH", notes.MOST + 1)
    said = client.get("/changes.atom").content.decode()
    assert said.count(". Spam<") == notes.MOST and "Fire" in said and str(note.pk) not in said
    Note.objects.exclude(pk__in=[note.pk, past.pk]).delete()

    found = client.get("/api/v1/notes").json()
    assert [item["id"] for item in found["items"]] == [str(note.pk), str(past.pk)]
    assert found["items"][0]["text"] == EVIL and found["items"][0]["signature"] == "0x12"
    assert client.get(f"/api/v1/notes?provider={BOB}").json()["count"] == 0
    provider = client.get(f"/api/v1/providers/{PETRA}")
    assert [item["id"] for item in provider.json()["notes"]] == [str(note.pk)]
    Note.objects.filter(pk=note.pk).update(withdrawn_at=timezone.now())
    again = client.get(f"/api/v1/providers/{PETRA}", headers={"If-None-Match": provider["ETag"]})
    assert again.status_code == 200 and again.json()["notes"] == []
