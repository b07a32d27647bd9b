"""The JSON API as a program meets it: exact names, exact numbers, whole lists, constant cost."""

from __future__ import annotations

import csv
import datetime as dt
import functools
import html
import io
import json
import random
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from ninja import Schema

from accounts import csv_files
from attestation import selectors as attestation
from attestation.models import Standing
from ledger import tags
from ledger.models import Movement, ServiceChange, ServingContract, Settlement, SubAccount
from marketplace.api import api
from moderation.models import Effect
from operators import notes
from operators.models import Note, Profile
from probes import fold
from probes.models import Health
from tests.db import api_rows as rows
from tests.db import report_world
from tests.db.test_pages import queries

pytestmark = pytest.mark.django_db

SERVICE = {
    "kind", "provider", "service_name", "service_type", "url", "model", "verifiability",
    "input_price", "output_price", "additional_info", "updated_at_unix", "tee_signer",
    "tee_signer_acknowledged", "stake", "created_block", "attestation", "health", "moderation",
}  # fmt: skip
TUNING_SERVICE = {
    "kind", "provider", "service_name", "url", "quota", "price_per_token", "occupied", "models",
    "tee_signer", "tee_signer_acknowledged", "stake", "created_block", "attestation", "health",
    "moderation",
}  # fmt: skip
SUB_ACCOUNT = {
    "service_name", "kind", "provider", "balance", "pending_refund", "nonce", "acknowledged",
    "additional_info", "refunds",
}  # fmt: skip
MOVEMENT = [
    "block", "at", "tx_hash", "log_index", "kind", "provider", "service_name", "balance",
    "amount", "balance_after", "source",
]  # fmt: skip


@pytest.fixture
def network() -> None:
    rows.head()
    rows.contracts()


def get(client: Client, path: str, operation: str = "") -> Any:
    """The body of a 200, checked against the shape that OpenAPI promises for `operation`."""
    response = client.get(f"/api/v1{path}")
    assert response.status_code == 200, response.content
    body = response.json()
    if operation:
        schema: dict[str, Any] = dict(api.get_openapi_schema(path_prefix="/api/v1/"))
        found = next(
            methods["get"]
            for methods in schema["paths"].values()
            if methods.get("get", {}).get("operationId") == operation
        )
        shape = found["responses"][200]["content"]["application/json"]["schema"]
        jsonschema.validate(body, {**shape, "components": schema["components"]})
    return body


# --- shapes --------------------------------------------------------------------------------------


def test_generators_of_clients_find_all_they_need_in_the_document(settings: Any) -> None:
    """What openapi-python-client, openapi-typescript and others made wrong or could not make."""
    document: Any = api.get_openapi_schema(path_prefix="/api/v1/")
    operations = [one for path in document["paths"].values() for one in path.values()]
    shapes = document["components"]["schemas"]
    # Packages are named by the title, and no name of Python or Java begins with a digit.
    assert document["info"]["title"][0].isalpha()
    assert document["servers"] == [{"url": settings.SITE_URL}]
    assert document["security"] == []  # but where an operation says otherwise
    tags = {tag for one in operations for tag in one["tags"]}
    assert tags == {tag["name"] for tag in document["tags"]}
    # Two shapes of one name: the one that was read last would be both.
    assert set(shapes["MissingOut"]["properties"]) == {"source", "key", "text"}
    known = [one.__name__ for one in all_subclasses(Schema) if one.__module__[:5] == "marke"]
    assert sorted(known) == sorted(set(known))
    # Every shape is somebody's, with a name that a person can type.
    asked = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert asked == set(shapes) and max(map(len, asked)) < 40
    # An object of nothing takes nothing.
    (preview,) = (one for one in operations if one["operationId"] == "preview_transaction")
    body = preview["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["params"]["additionalProperties"] is True
    # What may be left out is left out and never null, and an empty text of a form is one more word.
    (kind,) = (x for x in operations[3]["parameters"] if x["name"] == "kind")
    assert kind["schema"]["enum"] == ["inference", "fine-tuning", ""]
    assert '"type": "null"' not in json.dumps([one.get("parameters") for one in operations])
    # Closed lists of interfaces.md 3 are lists.
    assert shapes["MovementOut"]["properties"]["kind"]["enum"][-1] == "opening"
    assert shapes["Change"]["properties"]["change"]["enum"][-1] == "removed"
    assert "verification_recovered" in shapes["NetworkChange"]["properties"]["change"]["enum"]


def all_subclasses(one: type) -> set[type]:
    below: set[type] = set(one.__subclasses__())
    return below.union(*(all_subclasses(each) for each in below))


def test_services_carry_the_fixed_fields_and_exact_amounts(network: None, client: Client) -> None:
    rows.service(stake=rows.HUGE, input_price=2**256 - 1)
    rows.tuning()
    body = get(client, "/services", "list_services")
    assert set(body) == {"count", "items", "next"} and body["next"] is None
    by_kind = {item["kind"]: item for item in body["items"]}
    assert set(by_kind["inference"]) == SERVICE
    assert set(by_kind["fine-tuning"]) == TUNING_SERVICE
    assert by_kind["inference"]["stake"] == str(rows.HUGE)
    assert by_kind["inference"]["input_price"] == str(2**256 - 1)
    assert by_kind["fine-tuning"]["models"] == ["llama-3", "qwen"]
    assert by_kind["fine-tuning"]["quota"]["gpu_type"] == "H100"
    assert by_kind["inference"]["attestation"] is None


def test_one_service_defaults_to_the_recommended_contract(network: None, client: Client) -> None:
    rows.tuning(serving=rows.TUNING_OLD, price_per_token=1)
    rows.tuning(serving=rows.TUNING, price_per_token=2)
    path = f"/services/fine-tuning/{rows.PETRA}"
    assert get(client, path, "get_service")["service_name"] == "fine-tuning-v1.1"
    assert get(client, path + "?service_name=fine-tuning-v1.0")["price_per_token"] == "1"
    assert client.get(f"/api/v1{path}?service_name=fine-tuning-v9").status_code == 404
    rows.tuning(provider=rows.PAUL, serving=rows.TUNING_OLD)
    elsewhere = get(client, f"/services/fine-tuning/{rows.PAUL.lower()}")
    assert elsewhere["service_name"] == "fine-tuning-v1.0"
    assert elsewhere["provider"] == rows.PAUL


def test_pending_rows_replace_final_ones_and_removed_services_vanish(
    network: None, client: Client
) -> None:
    rows.service(shadowed=True, input_price=1)
    rows.service(pending=True, input_price=2)
    rows.service(provider=rows.PAUL, removed=True)
    rows.change(provider=rows.PAUL, change="removed", before={"url": "x"}, after=None)
    body = get(client, "/services", "list_services")
    assert [item["input_price"] for item in body["items"]] == ["2"]
    assert client.get(f"/api/v1/services/inference/{rows.PAUL}").status_code == 404
    timeline = get(client, f"/services/inference/{rows.PAUL}/timeline", "get_service_timeline")
    assert timeline["items"] == [
        {
            "block": 50,
            "at": "2026-05-01T12:00:00Z",
            "tx_hash": "0x" + "33" * 32,
            "change": "removed",
            "before": {"url": "x"},
            "after": None,
        }
    ]


def test_an_account_with_refunds_that_follow_todays_lock_time(
    network: None, client: Client
) -> None:
    rows.ledger(total=rows.HUGE, available=7, additional_info="hi")
    rows.sub_account(
        pending_refund=3, generation=4, revoked_bitmap=2**254, nonce=2**256 - 1,
        refunds=[{"amount": "1", "created_at": 1000}, {"amount": "2", "created_at": 2000}],
    )  # fmt: skip
    rows.sub_account(
        serving=rows.TUNING,
        deliverables=[
            {
                "id": "task-1",
                "model_root_hash": "0xab",
                "acknowledged": True,
                "settled": False,
                "timestamp": 99,
            }
        ],
    )
    rows.sub_account(provider=rows.PAUL, live=False)
    body = get(client, f"/accounts/{rows.ALICE}", "get_account")
    assert set(body) == {"address", "ledger", "sub_accounts"}
    assert body["ledger"] == {"total": str(rows.HUGE), "available": "7", "additional_info": "hi"}
    chat, tuning = sorted(body["sub_accounts"], key=lambda one: str(one["kind"]), reverse=True)
    assert set(chat) == SUB_ACCOUNT | {"generation", "revoked_bitmap"}
    assert set(tuning) == SUB_ACCOUNT | {"deliverables"}
    assert (chat["nonce"], chat["revoked_bitmap"]) == (str(2**256 - 1), str(2**254))
    assert chat["refunds"] == [
        {"index": 0, "amount": "1", "created_at_unix": 1000, "unlocks_at_unix": 87_400},
        {"index": 1, "amount": "2", "created_at_unix": 2000, "unlocks_at_unix": 88_400},
    ]
    assert tuning["deliverables"][0]["timestamp_unix"] == 99

    ServingContract.objects.filter(address=rows.INFERENCE).update(lock_time_seconds=3600)
    again = get(client, f"/accounts/{rows.ALICE}")["sub_accounts"]
    assert [r["unlocks_at_unix"] for one in again for r in one["refunds"]] == [4600, 5600]


def test_a_stranger_owns_nothing(network: None, client: Client) -> None:
    body = get(client, f"/accounts/{rows.BOB}", "get_account")
    assert body == {"address": rows.BOB, "ledger": None, "sub_accounts": []}
    assert get(client, f"/accounts/{rows.BOB}/movements", "list_movements")["count"] == 0
    assert get(client, f"/providers/{rows.BOB}/earnings", "get_earnings")["total"] == "0"


def test_status_tells_where_the_index_is(client: Client) -> None:
    empty = get(client, "/status", "get_status")
    assert (empty["indexed_block"], empty["lag_seconds"]) == (None, None)
    rows.head(100)
    rows.contracts()
    body = get(client, "/status", "get_status")
    assert {
        name: body[name] for name in ("network", "chain_id", "head_block", "indexed_block")
    } == {
        "network": "devnet",
        "chain_id": 31337,
        "head_block": 101,
        "indexed_block": 100,
    }
    assert (body["final_block"], body["lag_blocks"]) == (98, 1)
    assert body["lag_seconds"] in (0, 1, 2)
    assert [one["role"] for one in body["contracts"]] == [
        "ledger",
        "inference",
        "fine-tuning",
        "fine-tuning",
    ]
    assert set(body["contracts"][1]) == {"address", "role", "service_name", "start_block"}


def test_earnings_sum_to_the_neuron_by_service_day_and_user(network: None, client: Client) -> None:
    pick = random.Random(7)
    paid = 0
    for index in range(60):
        status = pick.choice(("success", "partial", "penalty", "acknowledged", "invalid_nonce"))
        amount = pick.randrange(10**30) if status != "invalid_nonce" else 0
        paid += amount
        rows.settlement(
            user=pick.choice((rows.ALICE, rows.BOB, rows.CHARLIE)),
            serving=pick.choice((rows.INFERENCE, rows.TUNING)),
            status=status,
            settled=amount,
            # A day's first and last second: days are UTC days.
            at=dt.datetime(2026, 5, 1 + index % 3, 23 * (index % 2), 59, 59, tzinfo=dt.UTC),
        )
    rows.settlement(provider=rows.PAUL, settled=5)
    body = get(client, f"/providers/{rows.PETRA}/earnings", "get_earnings")
    assert body["total"] == str(paid)
    assert sum(map(int, body["by_service"].values())) == paid
    assert set(body["by_service"]) == {"inference-v1.0", "fine-tuning-v1.1"}
    assert sum(int(day["amount"]) for day in body["by_day"]) == paid
    assert [day["date"] for day in body["by_day"]] == ["2026-05-01", "2026-05-02", "2026-05-03"]
    assert set(body["by_day"][0]) == {"date", "amount", "settlements"}
    assert sum(int(user["amount"]) for user in body["by_user"]) == paid
    assert all(set(user) == {"user", "amount"} for user in body["by_user"])

    service = rows.service()
    whole = get(client, f"/providers/{rows.PETRA}", "get_provider")
    assert (whole["earned"], whole["stake"]) == (str(paid), str(service.stake))
    assert [one["provider"] for one in whole["services"]] == [rows.PETRA]
    assert client.get(f"/api/v1/providers/{rows.BOB}").status_code == 404


def test_settlements_of_all_are_narrowed_as_their_page_is(network: None, client: Client) -> None:
    now = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    for index in range(30):
        rows.settlement(
            user=(rows.ALICE, rows.BOB)[index % 2],
            provider=(rows.PETRA, rows.PAUL)[index % 3 == 0],
            serving=(rows.INFERENCE, rows.TUNING)[index % 5 == 0],
            status=("success", "partial", "invalid_nonce")[index % 3],
            settled=index if index % 3 < 2 else 0,
            unsettled=index % 3,
            block=80 - index,
            at=now - dt.timedelta(days=index),
        )

    def found(query: str) -> Any:
        path = f"/settlements?{query}"
        items = get(client, path, "list_network_settlements")["items"]
        page = client.get(f"/network/settlements?{query}")
        # Phones hide the tabs of a toolbar: those of a list of services only.
        assert page.status_code == 200 and "toolbar" not in page.content.decode()
        twin = re.search(r'href="(/api/v1/settlements[^"]*)"', page.content.decode())
        assert bool(twin) == bool(items)
        if twin:
            assert client.get(html.unescape(twin[1])).json()["items"] == items[:25]
        return items

    assert [item["status"] for item in found("")] == ["success", "partial"] * 10
    assert {item["status"] for item in found("status=refused")} == {"invalid_nonce"}
    assert {item["user"] for item in found(f"user={rows.BOB}")} == {rows.BOB}
    day = (now - dt.timedelta(days=4)).date().isoformat()
    assert [item["settled"] for item in found(f"day={day}")] == ["4"]
    assert len(found("window=7d")) == 5 and not found("day=1999-01-01")
    where = f"provider={rows.PETRA}&service_name=inference-v1.0"
    mine = get(client, f"/settlements?{where}&page_size=5", "list_network_settlements")
    assert (mine["count"], "cursor=" in mine["next"]) == (16, True)
    assert {item["provider"] for item in mine["items"]} == {rows.PETRA}
    rows.service()
    tab = client.get(f"/services/inference/{rows.PETRA}/settlements?status=part").content.decode()
    assert f"/api/v1/settlements?status=part&amp;{where.replace('&', '&amp;')}" in tab
    assert client.get("/api/v1/settlements?service_name=none").status_code == 404
    for day in ("0", "1700000000", "yesterday", "2026-13-01"):
        assert client.get(f"/api/v1/settlements?day={day}").status_code == 422, day
    assert client.get("/api/v1/settlements?status=success").status_code == 422
    # of all there is no cursor: where pages end it is said by null, not by an error
    last = get(client, "/settlements?page=101&page_size=200", "list_network_settlements")
    assert last["next"] is None
    # and a cursor is no way past the depth that page numbers reach
    far = client.get("/api/v1/settlements?page=500000&cursor=1.1.1")
    (error,) = far.json()["errors"]
    assert (far.status_code, error["field"], error["code"]) == (422, "cursor", "cursor_of_all")


def test_the_network_in_numbers_is_what_its_page_says(network: None, client: Client) -> None:
    rows.service()
    rows.settlement(settled=7, at=timezone.now())
    rows.settlement(settled=2, unsettled=5, status="partial", at=timezone.now())
    # Anybody can send this, for any amount.
    rows.settlement(settled=0, unsettled=10**30, status="provider_mismatch", at=timezone.now())
    body = get(client, "/network?window=90d", "get_network")
    assert (body["spent_24h"], body["settlements_24h"], body["payers"]) == ("9", 2, 1)
    assert body["settlements"] == {"count": 3, "in_part": 1, "refused": 1, "lost": "5"}
    assert (len(body["by_day"]), body["window"], body["services"]) == (90, "90d", 1)
    assert body["by_day"][-1]["paid"] == "9" and body["by_day"][0]["paid"] == "0"
    assert len(get(client, "/network", "get_network")["by_day"]) == 30
    page = client.get("/network?window=90d").content.decode()
    assert 'href="/api/v1/network?window=90d"' in page and "of all, whoever sent them" in page
    assert client.get("/network.json")["Location"] == "/api/v1/network"


# --- lists ---------------------------------------------------------------------------------------


def test_filters_search_and_sort(network: None, client: Client) -> None:
    rows.service(provider=rows.PETRA, model="llama-3", input_price=5, output_price=5)
    rows.service(
        provider=rows.PAUL, model="flux", service_type="text-to-image", url="https://p_l.x"
    )
    rows.service(provider=rows.CHARLIE, model="50%_off", input_price=1, output_price=1)
    rows.tuning(provider=rows.BOB)

    def providers(query: str) -> list[str]:
        return [item["provider"] for item in get(client, f"/services?{query}")["items"]]

    assert providers("kind=fine-tuning") == [rows.BOB]
    assert set(providers("model=llama-3")) == {rows.PETRA, rows.BOB}
    assert providers("type=text-to-image") == [rows.PAUL]
    assert providers("q=" + rows.PAUL[-5:].upper()) == [rows.PAUL]
    assert set(providers("q=LLAMA")) == {rows.PETRA, rows.BOB}
    assert providers("q=llama+petra.example&kind=inference") == [rows.PETRA]
    # LIKE's own wild cards are plain characters.
    assert providers("q=%25_") == [rows.CHARLIE]
    assert providers("q=p_l") == [rows.PAUL]
    assert len(providers("verified=never")) == 4 and providers("verified=pass") == []
    assert len(providers("kind=&type=&q=&model=&verified=&sort=")) == 4
    prices = [rows.CHARLIE, rows.PETRA, rows.PAUL]
    assert providers("kind=inference&sort=price") == prices
    # A picture's price stays behind those of tokens, whichever way these are turned.
    assert providers("kind=inference&sort=-price") == [rows.PETRA, rows.CHARLIE, rows.PAUL]


def test_next_walks_the_whole_list_once_and_keeps_the_filters(
    network: None, client: Client
) -> None:
    for index in range(1, 24):
        rows.service(provider=rows.address(index), model="same")
    rows.service(provider=rows.address(99), model="other")
    url, seen = "/api/v1/services?q=sam%C3%A9&q=same&page_size=5", []
    while url:
        body = client.get(url).json()
        assert body["count"] == 23
        seen += [item["provider"] for item in body["items"]]
        url = body["next"]
    assert sorted(seen) == sorted(rows.address(index) for index in range(1, 24))
    assert client.get("/api/v1/services?page=1000000").json() == {
        "count": 24,
        "items": [],
        "next": None,
    }


@pytest.mark.parametrize("place", ["movements", "settlements", "timeline", "changes"])
def test_a_history_is_walked_once_while_it_grows_and_becomes_final(
    network: None, client: Client, place: str
) -> None:
    rows.service()
    make: Any = {"movements": rows.movement, "settlements": rows.settlement}.get(place, rows.change)
    table: Any = {"movements": Movement, "settlements": Settlement}.get(place, ServiceChange)
    for block in range(1, 12):
        for sequence in range(block % 3 + 1):
            make(block=block, sequence=sequence, log_index=sequence, pending=block > 6)
    wanted = list(table.objects.order_by("-block", "-sequence").values_list("block", "log_index"))
    url = (
        "/api/v1"
        + {
            "movements": f"/accounts/{rows.ALICE}/movements",
            "settlements": f"/providers/{rows.PETRA}/settlements",
            "timeline": f"/services/inference/{rows.PETRA}/timeline",
            "changes": f"/changes?provider={rows.PETRA}",
        }[place]
    )
    seen: list[Any] = []
    following, newer = url + ("&" if "?" in url else "?") + "page_size=3", 50
    while following:
        body = client.get(following).json()
        seen += [(item["block"], item.get("log_index")) for item in body["items"]]
        assert body["count"] == len(wanted) + newer - 50
        following = body["next"]
        assert following is None or ("page=" not in following and "page_size=3" in following)
        # What the follower does meanwhile: a new block, and one that becomes final.
        newer += 1
        make(block=newer)
        moving = table.objects.filter(pending=True).order_by("-block").first()
        if moving is not None:
            for row in list(table.objects.filter(pending=True, block=moving.block)):
                row.delete()
                row.pk, row.pending = None, False
                row.save()
    if place in ("timeline", "changes"):
        wanted = [(block, None) for block, _ in wanted]
    assert seen == wanted


def test_pages_end_where_cursors_go_on(network: None, client: Client) -> None:
    path = f"/api/v1/accounts/{rows.ALICE}/movements"
    assert client.get(f"{path}?page=101&page_size=200").status_code == 200
    refused = client.get(f"{path}?page=102&page_size=200")
    assert refused.status_code == 422
    (error,) = refused.json()["errors"]
    assert (error["field"], error["code"]) == ("page", "page_too_deep")
    (error,) = client.get("/api/v1/compare?s=a&s=b%01").json()["errors"]
    assert (error["field"], error["code"]) == ("s", "control_character")
    for cursor in ("1", "1.2", "1.2.x", "-1.2.3", "1.99999999999.3", "%00", "١.٢.٣"):
        assert client.get(f"{path}?cursor={cursor}").status_code == 422, cursor


def test_changes_are_told_apart_by_their_sort(network: None, client: Client) -> None:
    rows.service()
    for change in ("registered", "price", "price", "url"):
        rows.change(change=change)
    for path in ("/changes", f"/services/inference/{rows.PETRA}/timeline"):
        body = get(client, f"{path}?change=price")
        assert [item["change"] for item in body["items"]] == ["price", "price"]
        assert body["count"] == 2
    assert client.get("/api/v1/changes?change=steal").status_code == 422


def test_changes_and_their_feed_survive_hostile_words(network: None, client: Client) -> None:
    rows.change(after={"url": "<script>alert(1)</script>\x0b\ufffe]]>&"}, change="url")
    rows.change(serving=rows.TUNING, change="registered", block=60, log_index=None)
    body = get(client, "/changes", "list_changes")
    assert [item["change"] for item in body["items"]] == ["registered", "url"]
    assert body["items"][0]["kind"] == "fine-tuning"
    assert get(client, f"/changes?kind=inference&provider={rows.PETRA}")["count"] == 1
    from xml.etree import ElementTree

    for path in ("/changes.atom", "/api/v1/changes.atom"):
        response = client.get(path)
        assert response["Content-Type"].startswith("application/atom+xml")
        feed = ElementTree.fromstring(response.content)
        entries = feed.findall("{http://www.w3.org/2005/Atom}entry")
        assert len(entries) == 2
        ids = {entry.findtext("{http://www.w3.org/2005/Atom}id") for entry in entries}
        assert len(ids) == 2
    assert client.get("/changes.atom?kind=nothing").status_code == 404


def test_query_counts_do_not_grow(network: None, client: Client) -> None:
    paths = [
        "/api/v1/services?page_size=200&q=llama&sort=-price",
        "/api/v1/changes?page_size=200",
        f"/api/v1/accounts/{rows.ALICE}",
        f"/api/v1/accounts/{rows.ALICE}/movements?page_size=200",
        f"/api/v1/providers/{rows.PETRA}/earnings",
        f"/api/v1/providers/{rows.PETRA}/settlements?page_size=200",
        "/api/v1/status",
        f"/api/v1/providers/{rows.address(1)}",
    ]

    def grow(start: int, stop: int) -> None:
        for index in range(start, stop):
            rows.service(provider=rows.address(index))
            rows.ledger(user=rows.address(index))
            rows.sub_account(provider=rows.address(index))
            rows.movement()
            rows.settlement(user=rows.address(index))
            rows.change(provider=rows.address(index))

    grow(1, 6)
    few = [queries(client, path) for path in paths]
    grow(6, 201)
    many = [queries(client, path) for path in paths]
    # What is kept in the meantime may make them fewer.
    assert all(now <= before for before, now in zip(few, many, strict=True)), (few, many)
    # Services: verdicts, health and names, and the state of these in the tag; a provider has its
    # sums and notes too.
    assert few[0] <= 9 and max(few[1:-1]) <= 7 and few[-1] <= 10, few


# --- caching and CSV -----------------------------------------------------------------------------


def test_an_answer_revalidates_until_the_index_moves(network: None, client: Client) -> None:
    rows.service()
    first = client.get("/api/v1/services")
    tag = first["ETag"]
    again = client.get("/api/v1/services", headers={"If-None-Match": tag})
    assert (again.status_code, again.content, again["ETag"]) == (304, b"", tag)
    assert client.get("/api/v1/changes")["ETag"] != tag
    rows.head(100, hash_byte="bb")  # a reorganisation at the same height
    moved = client.get("/api/v1/services", headers={"If-None-Match": tag})
    assert moved.status_code == 200 and moved["ETag"] != tag


def test_what_alters_an_answer_alters_its_tag(network: None, client: Client) -> None:
    """The tag says the state, not the bytes: every answer is looked at after every change."""
    provider, now = report_world.KEY.provider, timezone.now()
    run = report_world.development()
    rows.change(provider)
    for who in (provider, rows.PAUL):
        key = {"kind": "inference", "provider": who, "service_name": "inference-v1.0"}
        report_world.stand(attestation.ServiceKey(**key), run)
        serving = rows.service(who).serving
        seen = dict.fromkeys(("checked_at", "bar_end", "since"), now)
        Health.objects.create(serving=serving, state="up", **seen, **key)
    services = f"/api/v1/services/inference/{provider}"
    paths = [  # one of each kind
        services, f"{services}/verifications", "/api/v1/services?q=glacier", "/api/v1/notes",
        f"/api/v1/providers/{provider}", "/changes.atom",
    ]  # fmt: skip
    standing = Standing.objects.filter(provider=provider)
    health = Health.objects.filter(provider=provider)
    signed = {"provider": provider, "message": "m", "signature": "0x12", "signed_at": now}
    note = {"kind": "maintenance", "starts_at": now, "text": "Disks"}
    label = {"kind": "label", "label": "official", "subject_kind": "provider", "number": 1}
    changes: list[Callable[[], Any]] = [
        lambda: report_world.development(),
        # Of two who write at once the one with the earlier moment commits last.
        lambda: standing.update(overall="warn", updated_at=now - dt.timedelta(seconds=1)),
        lambda: standing.update(checked_at=now - attestation.EXPIRED_AFTER),
        lambda: standing.update(checked_at=now - attestation.DROPPED_AFTER),
        lambda: health.update(state="down", updated_at=now - dt.timedelta(seconds=1)),
        lambda: health.update(checked_at=now - dt.timedelta(hours=3)),
        lambda: Note.objects.create(ends_at=now + dt.timedelta(days=1), **note, **signed),
        lambda: Note.objects.update(withdrawn_at=now),
        lambda: Profile.objects.create(name="Glacier", nonce="p", **signed),
        lambda: Profile.objects.update(name="Floe", signed_at=now - dt.timedelta(seconds=1)),
        lambda: Effect.objects.create(
            provider=provider, subject=provider, at=now, until=now + dt.timedelta(days=1), **label
        ),
        lambda: Effect.objects.update(until=now),
        health.delete,
    ]

    def look() -> dict[str, tuple[bytes, str]]:
        cache.clear()  # the limit of requests
        found = {path: client.get(path) for path in paths}
        assert {answer.status_code for answer in found.values()} == {200}
        return {path: (answer.content, answer["ETag"]) for path, answer in found.items()}

    before, altered = look(), set()
    for number, change in enumerate(changes):
        change()
        after = look()
        moved = {path for path in paths if after[path][0] != before[path][0]}
        assert moved, number
        assert {path for path in moved if after[path][1] == before[path][1]} == set(), number
        altered |= moved
        before = after
    assert altered == set(paths)
    for path, (_, tag) in before.items():
        with CaptureQueriesContext(connection) as asked:
            assert client.get(path, headers={"If-None-Match": tag}).status_code == 304
        assert len(asked) == 1, path


def test_a_tag_moves_when_nothing_but_time_passes(
    network: None, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Statements are written once: their moments are those of each request all the same."""
    provider, now = report_world.KEY.provider, timezone.now()
    rows.service(provider)
    report_world.stand(report_world.KEY, report_world.development(), checked_at=now)
    soon = now + dt.timedelta(hours=1)
    said = {"provider": provider, "message": "m", "signature": "0x12", "signed_at": now}
    Note.objects.create(kind="maintenance", starts_at=now, ends_at=soon, text="Disks", **said)
    about = {"provider": provider, "subject": provider, "subject_kind": "provider", "number": 1}
    Effect.objects.create(kind="label", label="official", at=now, until=soon, **about)

    def moves(path: str, at: dt.datetime) -> bool:
        seen = set()
        for second in (-1, -1, 1):
            then = at + dt.timedelta(seconds=second)
            clock = SimpleNamespace(now=functools.partial(then.replace))
            monkeypatch.setattr("marketplace.api_lists.timezone", clock)
            seen.add(client.get(path)["ETag"])
        return len(seen) == 2

    verdicts = f"/api/v1/services/inference/{provider}/verifications"
    assert moves(f"/api/v1/accounts/{provider}", soon)
    assert moves(verdicts, now + attestation.EXPIRED_AFTER)
    assert moves(verdicts, now + attestation.DROPPED_AFTER)
    assert moves("/api/v1/notes", soon + notes.SHOWN_AFTER)
    assert moves("/api/v1/services?q=glacier", fold.floor(now + 9 * fold.CELL, fold.CELL))
    with pytest.raises(TypeError, match="names a moment"):
        tags.first(lambda: attestation.state_within(now), "default", now)


def test_everything_read_says_its_state_and_is_not_sent_twice(
    network: None, client: Client
) -> None:
    rows.service()
    rows.change()
    rows.movement()
    run = report_world.development()
    paths = [
        "/status", "/services", "/changes", "/changes.atom", "/openapi.json",
        f"/services/inference/{rows.PETRA}", f"/services/inference/{rows.PETRA}/timeline",
        f"/services/inference/{rows.PETRA}/verifications", f"/verifications/{run.pk}",
        f"/accounts/{rows.ALICE}", f"/accounts/{rows.ALICE}/movements",
        f"/accounts/{rows.ALICE}/movements.csv", f"/providers/{rows.PETRA}/earnings",
        f"/providers/{rows.PETRA}/settlements", f"/providers/{rows.PETRA}/settlements.csv",
        f"/providers/{rows.PETRA}",
    ]  # fmt: skip
    for path in paths:
        first = client.get(f"/api/v1{path}")
        assert first.status_code == 200, path
        assert first["Cache-Control"], path
        again = client.get(f"/api/v1{path}", headers={"If-None-Match": first["ETag"]})
        # The seconds of `/status` may have moved on.
        assert again.status_code == 304 or path == "/status", path
        assert again.status_code == 200 or again["ETag"] == first["ETag"]
        for response in (first, again, client.head(f"/api/v1{path}")):
            assert response["Access-Control-Allow-Origin"] == "*"
            left = re.fullmatch(r'"api";r=(\d+);t=\d+', response["RateLimit"])
            assert left and left[1] == response["RateLimit-Remaining"]
            assert response["RateLimit-Policy"] == '"api";q=600;w=60'


def text(response: Any) -> str:
    return b"".join(response.streaming_content).decode()


def test_csv_equals_json_and_runs_no_formula(network: None, client: Client) -> None:
    ServingContract.objects.filter(address=rows.INFERENCE).update(service_name="=cmd|'/C calc'!A0")
    rows.movement(amount=-(10**20), balance_after=1, block=31)
    rows.movement(serving=None, provider=None, tx_hash=None, log_index=None, source="view")
    listed = get(client, f"/accounts/{rows.ALICE}/movements", "list_movements")["items"]
    response = client.get(f"/api/v1/accounts/{rows.ALICE}/movements.csv")
    assert response["Content-Type"].startswith("text/csv")
    assert rows.ALICE in response["Content-Disposition"]
    table = list(csv.reader(io.StringIO(text(response))))
    assert table[0] == MOVEMENT == list(listed[0])
    assert table[1][8] == "-100000000000000000000"
    assert table[1][6] == "'=cmd|'/C calc'!A0"
    for line, item in zip(table[1:], listed, strict=True):
        for cell, value in zip(line, item.values(), strict=True):
            assert cell.removeprefix("'") == ("" if value is None else str(value))


def test_csv_neither_repeats_nor_skips_while_rows_become_final(network: None) -> None:
    for block in range(1, 40):
        for log in range(1 + block % 4):
            rows.movement(block=block, log_index=log, amount=block * 10 + log, pending=block > 20)
    wanted = list(
        Movement.objects.order_by("-block", "-log_index").values_list("amount", flat=True)
    )
    seen: list[int] = []
    for batch in csv_files.batches(Movement.objects.filter(user=rows.ALICE), size=7):
        seen += [row.amount for row in batch]
        # What the follower does: pending rows go, final ones come, with new primary keys.
        moving = list(Movement.objects.filter(pending=True).order_by("block", "log_index")[:5])
        Movement.objects.filter(pk__in=[row.pk for row in moving]).delete()
        for row in moving:
            row.pk, row.pending = None, False
        Movement.objects.bulk_create(moving)
    assert seen == wanted


def test_a_row_that_cannot_be_read_is_our_error(network: None, client: Client) -> None:
    SubAccount.objects.create(
        user=rows.ALICE, provider=rows.PETRA, serving=rows.INFERENCE, block=1, refunds=[{"bad": 1}]
    )
    response = client.get(f"/api/v1/accounts/{rows.ALICE}", headers={"X-Request-ID": "our-error-1"})
    assert response.status_code == 500
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["code"] == "internal_error"
    assert response.json()["request_id"] == "our-error-1"
    assert b"bad" not in response.content


def test_a_database_that_fails_is_a_503(network: None, client: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE ledger_service RENAME TO elsewhere")
    response = client.get("/api/v1/services")
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert response["Retry-After"] == "5"
