"""Pages without a browser: a constant number of queries, honest status codes, nothing dead, no
second failure."""

from __future__ import annotations

import io
import json
import re
from html import escape
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from attestation.models import Standing
from attestation.selectors import ServiceKey
from chain.models import RawBlock
from ledger.models import Service
from marketplace import context, links, views_errors
from marketplace import filters as given_filters
from tests import factories
from tests.db import report_world

pytestmark = pytest.mark.django_db

PROVIDER = factories.address(0)
PATHS = (
    "/",
    "/?q=qwen",
    "/?uptime=99&proven=cpu&tee=dstack&context=8000&stake=100&tokens_in=1000&sort=cost&max_in=9",
    "/?sort=-uptime&view=cards&exact=1",
    f"/compare?s=inference/{PROVIDER}&s=inference/{factories.address(1)}",
    "/models",
    "/models/qwen%2Fqwen-2.5-7b-instruct",
    "/providers",
    f"/providers/{PROVIDER}",
    f"/services/inference/{PROVIDER}",
    f"/services/inference/{PROVIDER}/verification",
    f"/services/inference/{PROVIDER}/changes",
    f"/services/inference/{PROVIDER}/settlements",
    f"/services/inference/{PROVIDER}/use",
    f"/services/inference/{PROVIDER}/raw",
    "/changes",
    "/network",
    "/network/settlements",
    "/network/settlements?by=payer&window=30d",
    "/network/settlements?by=day",
    "/network/settlements?day=9999-12-31",
    "/network/accounts",
    f"/services/inference/{PROVIDER}/settlements?status=part&by=payer",
    "/status",
    "/verify",
    "/freshness",
    "/styleguide",
)


def queries(client: Client, path: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        assert client.get(path).status_code == 200
    return len(captured)


def test_queries_do_not_grow_with_the_network(client: Client) -> None:
    factories.market(10)
    small = {path: queries(client, path) for path in PATHS}
    for model in (
        "ledger_service",
        "ledger_servicechange",
        "ledger_settlement",
        "ledger_servingcontract",
    ):
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {model}")
    factories.market(200)
    large = {path: queries(client, path) for path in PATHS}
    assert large == small
    # The most where every filter is in use and nothing is found: a count for each way out.
    assert max(small.values()) <= 28 and small["/"] <= 24


def test_pages_lead_to_themselves_for_programs(client: Client) -> None:
    factories.market(1)
    for path in (f"/services/inference/{PROVIDER}/settlements", "/status"):
        _, said, twins = client.get(path).content.decode().partition("for programs:")
        found = re.findall(r'href="([^"]+)"', twins[: twins.index("</p>")])
        assert said and found
        for twin in found:
            answer = client.get(twin, follow=True)
            assert answer.status_code == 200 and "html" not in answer["Content-Type"]


@pytest.mark.parametrize(
    "query",
    [
        "page=0",
        "page=-1",
        "page=99999",
        "page=9" + "9" * 400,
        "page=١",
        "sort=password",
        "sort=-",
        "verified=yes",
        "q=%00",
        "model=%00",
        "type=%00x",
        "q=" + "x" * 5_000,
        "q=%ff%fe",
        "type=<script>",
        "kind=fine-tuning",
    ],
)
def test_any_query_string_is_a_page(client: Client, query: str) -> None:
    factories.market(30)
    response = client.get(f"/?{query}")
    assert response.status_code == 200
    assert "<script>" not in response.content.decode().split("</head>")[1]


def test_a_page_beyond_the_end_is_the_last_one(client: Client) -> None:
    factories.market(30)
    assert "26–30 of 30 services" in client.get("/?page=99").content.decode()


def test_a_page_marks_its_section_and_no_other_page() -> None:
    def current(entries: context.Entries, path: str) -> list[str]:
        return [link.label for link in context.navigation(entries, path) if link.current]

    for path in ("/playground/chat", "/playground/images"):
        assert current(context.HEADER, path) == ["Playground"]
    assert current(context.BOTTOM, "/playground/chat") == ["Chat"]
    assert current(context.BOTTOM, "/playground/images") == []


@pytest.mark.parametrize(
    "path",
    [
        "/services/inference/0x0000",
        "/services/inference/not-an-address",
        f"/services/chess/{PROVIDER}",
        f"/services/inference/{factories.ALICE}",
        f"/services/inference/{PROVIDER}?service_name=other",
        "/models/no-such-model",
        "/models/%00",
        "/providers/0x",
        "/nothing",
    ],
)
def test_what_does_not_exist_is_404_with_a_request_id(client: Client, path: str) -> None:
    factories.market(2)
    response = client.get(path)
    assert response.status_code == 404
    text = response.content.decode()
    assert f'Request id <span class="mono">{response["X-Request-ID"]}</span>' in text


def test_writing_to_a_page_is_refused(client: Client) -> None:
    assert client.post("/").status_code == 405


def test_every_tab_has_a_title_of_its_own(client: Client) -> None:
    factories.market(1)
    tabs = ("", "/verification", "/changes", "/settlements", "/use", "/raw")
    pages = (f"/services/inference/{PROVIDER}{tab}" for tab in tabs)
    paths = (*pages, "/verify", "/verify?what=answer")
    titles = [client.get(path).content.decode().split("title>")[1] for path in paths]
    assert len(set(titles)) == len(paths), titles


def test_a_removed_service_stays_readable(client: Client) -> None:
    factories.market(0)
    factories.service(removed=True)
    text = client.get(f"/services/inference/{factories.PETRA}").content.decode()
    assert "The provider removed this service" in text
    assert "service-row" not in client.get("/").content.decode()


def test_when_something_was_listed_is_a_day(client: Client) -> None:
    """A block says that to nobody; it is named where its header is not held."""
    factories.market(1)
    service = f"/services/inference/{factories.address(0)}"
    assert "Listed since block 1,000." in client.get(service).content.decode()
    RawBlock.objects.create(
        number=1_000, hash="0x" + "1" * 64, parent_hash="0x" + "0" * 64, timestamp=1_777_600_000
    )
    text = client.get(service).content.decode()
    assert "Listed since 1 May 2026." in text and ">1 May 2026</time>, block 1,000<" in text
    assert ">1 May 2026</time></td>" in client.get("/providers").content.decode()


def test_a_url_that_moved_after_the_acknowledgement_is_said(client: Client) -> None:
    factories.market(0)
    factories.service()
    path = f"/services/inference/{factories.PETRA}"
    factories.change(change="acknowledged", before=None, after={"tee_signer": "0x1"}, block=500)
    assert "after the owner" not in client.get(path).content.decode()
    factories.change(
        change="url",
        before={"url": "https://a.example"},
        after={"url": "https://b.example"},
        block=600,
    )
    assert "The endpoint changed at block 600" in client.get(path).content.decode()
    factories.change(change="acknowledged", before=None, after={"tee_signer": "0x1"}, block=700)
    assert "The endpoint changed at block" not in client.get(path).content.decode()


def test_a_second_contract_of_a_kind_has_its_own_page(client: Client) -> None:
    factories.market(0)
    other = factories.address("second contract")
    factories.contract(address=other, service_name="inference-v2", recommended=False)
    factories.service(model="first")
    factories.service(model="second", serving=other)
    home = client.get("/").content.decode()
    assert f"/services/inference/{factories.PETRA}?service_name=inference-v2" in home
    page = client.get(
        f"/services/inference/{factories.PETRA}/raw?service_name=inference-v2"
    ).content.decode()
    assert "second" in page and other in page


def test_htmx_gets_the_part_and_everybody_else_the_page(client: Client) -> None:
    factories.market(3)
    part = client.get("/", headers={"HX-Request": "true"})
    assert "<html" not in part.content.decode()
    assert part.content.decode().count('data-testid="service-row"') == 3
    assert "HX-Request" in part["Vary"]
    restored = client.get("/", headers={"HX-Request": "true", "HX-History-Restore-Request": "true"})
    assert "<html" in restored.content.decode()


def test_a_service_can_be_kept_compared_passed_on_and_read_by_programs(client: Client) -> None:
    factories.market(2)
    info = '{"hugging_face_id": "qwen/qwen-2.5", "a": "\u202e"}'
    Service.objects.filter(provider=PROVIDER).update(additional_info=info)
    id, path = f"inference/{PROVIDER}", f"/services/inference/{PROVIDER}"
    text = client.get(f"{path}/use").content.decode()
    assert f'name="watch" value="{id}" aria-pressed="false"' in text
    assert f'data-compare-add="{id}"' in text and re.search(
        f'data-copy="http[^"]+{path}/use"', text
    )
    assert client.post("/watch", {"watch": id, "next": path})["Location"] == path
    text = client.get(path).content.decode()
    assert f'name="unwatch" value="{id}" aria-pressed="true"' in text
    assert (
        f'<a href="{path}.json">JSON</a>' in text and client.get(f"{path}.json").status_code == 302
    )
    assert f'<a href="/tx/{factories.tx_hash("change " + PROVIDER)}">See the transaction' in text
    assert '<a href="https://huggingface.co/qwen/qwen-2.5" rel="nofollow ugc' in text
    rest = "Context, Longest answer, Modalities, Quantization, Licence."
    assert f"Not said by the provider: {rest}" in text and "<dt>Licence</dt>" not in text
    raw = client.get(f"{path}/raw").content.decode()
    assert f'data-copy="{escape(info)}"' in raw and 'data-copy="420000000000"' in raw
    for other in ("https://huggingface.co.evil.example/x", "javascript:alert(1)", "http://a b"):
        Service.objects.filter(provider=PROVIDER).update(
            additional_info=json.dumps({"canonical_id": other})
        )
        assert f'href="{other}' not in client.get(path).content.decode()
    Service.objects.filter(provider=PROVIDER).update(additional_info="{}")
    text = client.get(path).content.decode()
    assert "says nothing about the model but its name" in text and "Not said by" not in text
    provider = client.get(f"/providers/{PROVIDER}").content.decode()
    for link in (
        f"/changes?provider={PROVIDER}",
        f"/providers/{PROVIDER}.json",
        f"/providers/{PROVIDER}/changes.atom",
    ):
        assert f'href="{link}"' in provider and client.get(link).status_code in (200, 302)


def test_a_failing_page_does_not_fail_twice(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database goes away in the middle of a request: the error page needs none."""
    from django.db.utils import OperationalError

    def broken(*args: Any, **kwargs: Any) -> Any:
        raise OperationalError("the server closed the connection")

    client.raise_request_exception = False
    with connection.execute_wrapper(broken):
        response = client.get("/")
    assert response.status_code == 503 and response["Retry-After"]
    text = response.content.decode()
    assert response["X-Request-ID"] in text
    assert "closed the connection" not in text
    assert "<main" in text, "the designed page, not the last resort"
    assert "the database cannot be read right now" in text and "not indexed yet" not in text
    with connection.execute_wrapper(broken):
        assert "the database cannot be read" in client.get("/freshness").content.decode()


def test_a_form_from_elsewhere_is_refused_in_words() -> None:
    response = Client(enforce_csrf_checks=True).post("/account/sign-out")
    assert response.status_code == 403
    text = response.content.decode()
    assert "older than your session" in text
    assert response["X-Request-ID"] in text


def test_a_form_older_than_the_sign_in_is_kept_and_sent_again_by_one_click() -> None:
    browser = Client(enforce_csrf_checks=True)
    alice = User.objects.for_address(factories.ALICE)
    browser.force_login(alice)
    browser.get("/account/alerts")
    path, own = "/account/alerts/add?a=1&b=2", {"Origin": "http://testserver"}
    old = {"kind": "price", "number": '7 "<b>', "hook": ["a", "b"], "csrfmiddlewaretoken": "x" * 64}

    def kept(headers: dict[str, str] = own, **more: Any) -> str:
        answer = browser.post(path, {**old, **more}, headers=headers)
        assert answer.status_code == 403 and not alice.alert_rules.exists()
        text = answer.content.decode()
        return text if ">Send again<" in text else ""

    text = kept()
    assert f"{factories.ALICE}</span>." in text and "nothing was changed" in text
    form = text[text.index('<form method="post" action="/account/alerts/add') :].partition(
        "</form"
    )[0]
    assert 'action="/account/alerts/add?a=1&amp;b=2"' in form and "x" * 64 not in form
    assert 'name="number" value="7 &quot;&lt;b&gt;"' in form and form.count('name="hook"') == 2
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form)
    sent = {**dict(found), "number": "7"}
    assert browser.post(path, sent, headers=own).status_code == 302
    assert alice.alert_rules.get().kind == "price"
    alice.alert_rules.all().delete()
    # Not what another site, a script or a file sent, and neither password nor recovery code.
    assert not kept(code="abcd-efgh-ijkm") and not kept(key=" app-sk-AbCd")
    assert not kept({}) and not kept({"Origin": "http://evil.example"})
    assert not kept({"Origin": "null"}) and not kept({**own, "Sec-Fetch-Site": "cross-site"})
    assert not kept({**own, "X-CSRFToken": "x" * 64}) and not kept(password="secret")
    by_script = browser.post(path, old, headers={**own, "X-CSRFToken": "x" * 64}).json()
    assert "older than your sign-in" in by_script["title"] and "reload" in by_script["fix"]
    assert not kept(file=io.BytesIO(b"a"))
    by_htmx = {**own, "HX-Request": "true", "X-CSRFToken": "x" * 64}
    assert kept(by_htmx), "app.js then sends it as a page"
    # A session that ended by itself loses nothing either, and shows nothing.
    Session.objects.all().delete()
    browser.get("/")
    old["csrfmiddlewaretoken"] = browser.cookies["csrftoken"].value
    doors = ("/account/alerts/add", "/account/alerts/hooks/new", "/operator/setup")
    chat = "/playground/chat/00000000-0000-4000-8000-000000000000"  # there or not
    for path in (
        *doors,
        "/moderation/decide",
        f"{chat}/send",
        f"{chat}/undo",
        "/playground/presets",
    ):
        assert "Your session is over" in kept() and "data-kept" in kept(), path
        assert "Your session is over" in kept({**by_htmx, "X-CSRFToken": ""}), path
        for other in ({}, {"Origin": "http://evil.example"}):
            answer = browser.post(path, old, headers=other)
            assert b"Send again" not in answer.content, path


@pytest.mark.parametrize("status", [400, 403, 405, 429, 500, 503])
def test_every_failure_says_what_it_means(status: int, rf: RequestFactory) -> None:
    request = rf.get("/")
    request.user = AnonymousUser()
    request.session = SessionStore()
    response = views_errors.error(request, status, retry_seconds=90 if status == 429 else None)
    text = response.content.decode()
    assert response.status_code == status
    assert f'<p class="mono">{status}</p>' in text
    assert ("1 min 30 s" in text) == (status == 429)
    assert response.headers.get("Retry-After") == ("90" if status == 429 else None)


@pytest.mark.parametrize(
    "given", [{}, {"type": "fine-tuning"}, {"q": "a b", "sort": "-price", "page": "3"}]
)
def test_filters_survive_the_way_through_the_url(given: dict[str, str]) -> None:
    from urllib.parse import parse_qsl, urlsplit

    filters = given_filters.Filters.parse(given)
    again = given_filters.Filters.parse(
        dict(parse_qsl(urlsplit(filters.path(page=filters.page)).query))
    )
    assert again == filters


def test_numbers_above_the_list_are_the_lists(client: Client) -> None:
    assert "26–50 of 1,212 services" in client.get("/styleguide").content.decode()
    factories.market(12)
    for service in list(Service.current.filter(removed=False, kind="inference"))[:3]:
        key = ServiceKey("inference", service.provider, "inference-v1.0")
        report_world.stand(key, report_world.development(), overall="dev-pass")
    text = client.get("/").content.decode()
    number = re.search(r'Verified now</dt><dd><a href="([^"]+)">(\d+)</a>', text)
    assert number and "development evidence" in text
    listed = client.get(number[1]).content.decode()
    assert int(number[2]) == 3 == len(re.findall('data-testid="service-row"', listed))
    # A verdict that came since: number and rows of one page are of one state.
    Standing.objects.filter(provider=key.provider).update(overall="fail", updated_at=timezone.now())
    text = client.get("/").content.decode()
    assert 'Verified now</dt><dd><a href="/?verified=pass">2<' in text
    verdicts = re.findall('<[^>]*data-testid="service-verdict"[^>]*>', text)
    assert len(verdicts) == 12
    assert sum('data-verdict="dev-pass"' in verdict for verdict in verdicts) == 2
    assert links.exists("/") and not links.exists("/no-such-page")


def test_a_changed_price_is_said_alone_and_in_human_units(client: Client) -> None:
    factories.market(0)
    factories.service()
    factories.change()
    factories.change(
        change="staked", before={"stake": "0"}, after={"stake": str(100 * factories.ONE)}
    )
    text = client.get(f"/services/inference/{factories.PETRA}/changes").content.decode()
    assert "input 0.5 0G / 1M</bdi>" in text and "input 0.42 0G / 1M</bdi>" in text
    assert "output 1.2" not in text
    assert "100 0G</bdi>" in text


def test_your_position_is_yours_alone(client: Client) -> None:
    factories.market(0)
    factories.service()
    factories.sub_account(factories.ALICE, balance=7 * factories.ONE)
    path = f"/services/inference/{factories.PETRA}"
    seven = f'data-neuron="{7 * factories.ONE}"'
    anybodys = client.get(path)
    assert seven not in anybodys.content.decode()
    assert anybodys["Cache-Control"] == "private, no-cache", "its forms' key is its reader's"
    client.force_login(User.objects.for_address(factories.BOB))
    answer = client.get(path)
    assert answer["Cache-Control"] == "private, no-cache"
    bobs = answer.content.decode()
    assert seven not in bobs and "You hold nothing at this provider" in bobs
    client.force_login(User.objects.for_address(factories.ALICE))
    alices = client.get(path).content.decode()
    assert seven in alices and "Acknowledged this provider&#x27;s signer" in alices
