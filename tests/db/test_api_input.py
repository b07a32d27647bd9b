"""What strangers send: every error is a problem document, nothing is ever a 500."""

from __future__ import annotations

import asyncio
import re
import threading
from html import unescape
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from django.conf import settings as site
from django.test import Client, RequestFactory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts import actions, refusals
from accounts import limits as accounts_limits
from accounts.codes import CODES
from accounts.errors import Problem as Refusal
from accounts.problems import problem as door_problem
from marketplace import api_docs, bodies, limits, problems
from marketplace.api import api
from net.callers import Proxies
from tests.db import api_rows as rows

pytestmark = pytest.mark.django_db

PROBLEM = {"type", "title", "status", "detail", "code", "request_id"}
A = rows.ALICE
MIXED = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


def problem(response: Any, status: int) -> Any:
    assert response.status_code == status, (response.status_code, response.content[:300])
    assert response["Content-Type"] == "application/problem+json"
    body = response.json()
    assert set(body) >= PROBLEM and body["status"] == status
    assert body["request_id"] == response["X-Request-ID"]
    return body


@pytest.mark.parametrize(
    "path",
    [
        "/accounts/0x123",
        "/accounts/" + "0x" + "g" * 40,
        "/accounts/" + MIXED.replace("C51", "c51"),  # the checksum says: a typing error
        "/accounts/" + A[2:],
        f"/accounts/{A}%00",
        "/accounts/%00",
        "/accounts/%ff%fe",
        "/accounts/%F0%9F%92%A9/movements",
        "/accounts/' OR 1=1--/movements.csv",
        "/providers/null/earnings",
        "/services/chat/" + A,
        "/services/inference/nobody",
        f"/services/inference/{A}?service_name=%00",
        "/services?kind=llm",
        "/services?page=0",
        "/services?page=-1",
        "/services?page=1.5",
        "/services?page=1e3",
        "/services?page=9999999999999999999999",
        "/services?page_size=0",
        "/services?page_size=1000000000",
        "/services?page=abc&page_size=%00",
        "/services?sort=name;drop",
        "/services?sort=--price",
        "/services?sort=pk",
        "/services?verified=maybe",
        "/services?q=" + "x" * 201,
        "/services?q=a%00b",
        "/services?q=a%1bb",
        "/services?type=%0a",
        "/changes?provider=0x1",
        "/changes?kind=inference%00",
        "/changes.atom?provider=0x1",
    ],
)
def test_malformed_input_is_named(client: Client, path: str) -> None:
    body = problem(client.get(f"/api/v1{path}"), 422)
    assert body["code"] in ("invalid_parameter", "invalid_address")
    assert body["errors"] and all(set(e) == {"field", "message", "code"} for e in body["errors"])


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api", 404),
        ("/api/", 404),
        ("/api/v1/", 404),
        ("/api/v1/nothing", 404),
        ("/api/v2/services", 404),
        ("/api/v1/services/inference", 404),
        (f"/api/v1/services/inference/{A}", 404),
        (f"/api/v1/services/inference/{A}/timeline", 404),
        ("/api/v1/services//", 404),
        ("/api/v1/accounts/" + "x" * 5000, 422),
        ("/api/v1/services?q=%ff%fe%80", 200),
        ("/api/v1/services?q=%ED%A0%80", 200),
        ("/api/v1/services?q=%F0%9F%92%A9+%E2%80%AE", 200),
        ("/api/v1/services?unknown=1&page=1&page=2", 200),
        ("/api/v1/accounts/" + MIXED.upper().replace("0X", "0x"), 200),
        ("/api/v1/accounts/" + MIXED.lower(), 200),
    ],
)
def test_paths_and_bytes(client: Client, path: str, status: int) -> None:
    response = client.get(path)
    if status == 200:
        assert response.status_code == 200, response.content
    else:
        problem(response, status)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 50_000,
        b'{"action": NaN}',
        b'{"action": "deposit"}',
        b'{"action": ["deposit"], "from": {}, "params": 7}',
        b'{"action": "deposit", "from": "0x0", "params": {"amount": "1"}}',
        f'{{"action": "steal", "from": "{A}", "params": {{}}}}'.encode(),
        f'{{"action": "deposit", "from": "{A}", "params": {{"amount": 1.5}}}}'.encode(),
        f'{{"action": "deposit", "from": "{A}", "params": {{"amount": "-1"}}}}'.encode(),
        f'{{"action": "deposit", "from": "{A}", "params": {{"amount": "1", "x": 1}}}}'.encode(),
        f'{{"action": "transfer", "from": "{A}", "params": {{"provider": "\\ud800"}}}}'.encode(),
    ],
)
def test_a_preview_of_nonsense_is_refused(client: Client, body: bytes) -> None:
    path = "/api/v1/transactions/preview"
    response = client.post(path, data=body, content_type="application/json")
    assert problem(response, response.status_code)["code"] != "internal_error"
    assert 400 <= response.status_code < 500
    assert problem(client.get(path), 405)


def test_wrong_methods_and_hosts(client: Client) -> None:
    for method in (client.post, client.put, client.patch, client.delete):
        response = method("/api/v1/services", data=b"{}", content_type="application/json")
        assert problem(response, 405)["code"] == "method_not_allowed"
        assert response["Allow"] == "GET, HEAD"
    assert client.head("/api/v1/services").status_code == 200
    assert problem(client.get("/api/v1/status", headers={"host": "evil.example"}), 400)


def test_what_is_too_large_to_be_read_is_a_problem_too() -> None:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(bodies.refuse(send, bodies.USUAL))
    headers = dict(sent[0]["headers"])
    assert (sent[0]["status"], headers[b"content-type"]) == (413, b"application/problem+json")
    body = orjson.loads(sent[1]["body"])
    assert set(body) == PROBLEM and body["code"] == "too_large" and "24 MB" in body["detail"]
    assert body["request_id"].encode() == headers[b"x-request-id"]


def test_reading_is_open_to_other_origins(client: Client) -> None:
    response = client.get("/api/v1/status", headers={"origin": "https://elsewhere.example"})
    assert response["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in response
    asked = client.options("/api/v1/services", headers={"origin": "https://elsewhere.example"})
    assert asked.status_code == 204 and "POST" not in asked["Access-Control-Allow-Methods"]
    assert client.head("/api/v1/status").status_code == 200
    missing = client.get("/api/v1/nothing")
    assert missing["Access-Control-Allow-Origin"] == "*"


def test_the_docs_page(client: Client) -> None:
    page = client.get("/api/docs")
    html = page.content.decode()
    assert page.status_code == 200
    for path, methods in api.get_openapi_schema(path_prefix="/api/v1/")["paths"].items():
        for operation in methods.values():
            assert path in html
            # folded, with its name in the content: a browser opens what a link leads to
            assert f'</summary>\n          <div id="{operation["operationId"]}"' in html
            said = {one["name"]: one for one in operation.get("parameters", ())}
            unsaid = {name for name, one in said.items() if not one.get("description")}
            # What a path names is in its sentence; an address is described with its pattern.
            unsaid -= {name for name in unsaid if "description" in said[name]["schema"]}
            assert unsaid <= {"kind", "id"}, path
            # A file is whole: it has no pages that could be asked for.
            assert not path.endswith((".csv", ".atom")) or not {"page", "page_size"} & set(said)
    # What each action of a preview needs is told here and in the guide.
    guide = (site.BASE_DIR / "docs/api.md").read_text()
    for action, shape in actions.PARAMETERS.items():
        (row,) = re.findall(rf"^\| [^|]*`{action}`.*", guide, re.M)
        assert all(f"`{name}`" in row for name in shape), action
        needs = ", ".join(f"{one}?" if one in actions.OPTIONAL else one for one in shape)
        assert f"<code>{action}</code> {needs or 'none'}" in html, action
    for code in ("rate_limited", "invalid_address"):
        assert f'id="{code}"' in html  # where a problem's `type` points
    assert "<script>" not in html and "cdn" not in html
    assert 'href="/docs/relay"' in html  # whoever looks for the other API, which asks models
    tries = [unescape(path) for path in re.findall(r'<a href="(/api/[^"]+)">try it', html)]
    assert tries and {client.get(path).status_code for path in tries} == {200}
    # It is long, and written once; its labels are the reader's, its examples of what there is.
    api_docs.body.cache_clear()  # other tests have read it with marks in its German
    assert client.get("/api/docs").status_code == 200
    written = api_docs.body.cache_info().misses
    assert "Copy list_services" in client.get("/api/docs").content.decode()
    assert api_docs.body.cache_info().misses == written
    german = client.get("/api/docs", headers={"accept-language": "de"}).content.decode()
    assert "list_services kopieren" in german and "Copy list_services" not in german
    rows.service(created_block=10**6, provider=rows.PAUL)
    rows.service(created_block=10**6 - 1, provider=rows.ALICE)
    html = unescape(client.get("/api/docs").content.decode())
    assert f"/api/v1/providers/{rows.PAUL}/earnings" in html
    (both,) = re.findall(r'<a href="(/api/v1/compare\?[^"]+)">try it', html)
    assert both.startswith(f"/api/v1/compare?s=inference/{rows.PAUL}")
    assert f"curl -s '{site.SITE_URL}{both}'" in html
    assert len(client.get(both).json()["services"]) == 2
    # Where somebody was paid, their lists and those of a customer are not empty.
    rows.service(provider=rows.PETRA)
    for number in range(5):
        rows.settlement(provider=rows.PETRA, user=rows.BOB, log_index=100 + number)
    rows.sub_account(rows.BOB, rows.PETRA)
    # Whoever is gone may have been paid more often; nobody can be sent there.
    rows.service(provider=rows.address(0x604E), removed=True)
    for number in range(9):
        rows.settlement(provider=rows.address(0x604E), user=rows.BOB, log_index=200 + number)
    html = unescape(client.get("/api/docs").content.decode())
    for path in (f"providers/{rows.PETRA}/settlements", f"accounts/{rows.BOB}/movements"):
        assert f'<a href="/api/v1/{path}">try it' in html


def test_every_errors_type_leads_to_what_explains_it(client: Client) -> None:
    """Of the API, of the contracts and of the doors that our own pages use."""
    raised = re.compile(r'(?:Problem|SignInFailed|silent|said)\(\s*(?:error, )?"([a-z_]+)"')
    areas = ("accounts", "alerts", "finetune", "marketplace", "moderation", "operators", "ops")
    files = [path for area in areas for path in (site.BASE_DIR / area).rglob("*.py")]
    doors = {code for path in files for code in raised.findall(path.read_text())}
    assert {"no_dataset", "provider_silent", "no_pending_message", "queue_down"} <= doors
    anchors = set(re.findall(r' id="([^"]+)"', client.get("/api/docs").content.decode()))
    request, known = RequestFactory().get("/"), {*CODES, *refusals.SENTENCES}
    for code in doors | known | {"too_many_requests", "0x1234abcd"}:
        answers = [door_problem(request, Refusal(code, ""))]
        if code in CODES:
            answers.append(problems.document(request, problems.Problem(code, "")))
        for answer in answers:
            page, anchor = orjson.loads(answer.content)["type"].split("#")
            assert page == "/api/docs" and anchor in anchors, code
            assert (anchor == code) == (code in known)


# --- limits --------------------------------------------------------------------------------------


def test_a_caller_who_asks_too_much_waits(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    # One unit flows back in a minute: none while a slow machine runs this.
    monkeypatch.setattr(limits, "API", limits.Limit("test", per_minute=1, burst=3))
    who = "198.51.100.7"
    left = [client.get("/api/v1/status", REMOTE_ADDR=who)["RateLimit-Remaining"] for _ in range(3)]
    assert left == ["2", "1", "0"]
    response = client.get("/api/v1/status", REMOTE_ADDR=who)
    refused = problem(response, 429)
    assert refused["code"] == "rate_limited"
    assert f"Wait {response['Retry-After']} seconds" in refused["detail"]
    assert 1 <= int(response["Retry-After"]) <= 60 and response["RateLimit-Limit"] == "3"
    assert client.get("/api/v1/nothing", REMOTE_ADDR=who).status_code == 429
    assert client.get("/api/v1/status", REMOTE_ADDR="198.51.100.8").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "cost"),
    [
        ("get", "/api/v1/services", 1),
        ("get", f"/api/v1/accounts/{'0x' + '1' * 40}/movements.csv", limits.CSV_COST),
        ("post", "/api/v1/transactions/preview", limits.PREVIEW_COST),
    ],
)
def test_what_costs_us_more_costs_the_caller_more(
    client: Client, method: str, path: str, cost: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "API", limits.Limit(f"test-{cost}", per_minute=1, burst=100))
    answer = getattr(client, method)(path, REMOTE_ADDR="198.51.100.9")
    assert int(answer["RateLimit-Remaining"]) == 100 - cost


def test_the_bucket_is_exact_under_contention_and_refills() -> None:
    limit = limits.Limit("contended", per_minute=600, burst=50)
    granted: list[bool] = []

    def spend() -> None:
        granted.extend(limits.take(limit, "one").allowed for _ in range(20))

    threads = [threading.Thread(target=spend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # 160 asked at once: the burst, and what flowed back meanwhile (10 per second).
    assert 50 <= sum(granted) <= 60
    refused = limits.take(limit, "one", cost=5)
    assert not refused.allowed and refused.retry_s == 1


def test_behind_a_proxy_each_visitor_is_counted_and_nobody_escapes(
    client: Client, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    monkeypatch.setattr(limits, "API", limits.Limit("proxied", per_minute=1, burst=1))

    def answer(forwarded: str) -> int:
        headers = {"X-Forwarded-For": forwarded}
        proxy = "127.0.0.1"
        return client.get("/api/v1/status", headers=headers, REMOTE_ADDR=proxy).status_code

    settings.TRUSTED_PROXIES = Proxies.parse("127.0.0.0/8")
    assert [answer("192.0.2.1"), answer("192.0.2.2"), answer("192.0.2.1")] == [200, 200, 429]
    assert answer("203.0.113.5, 192.0.2.1") == 429, "what the visitor sent names nobody"
    settings.TRUSTED_PROXIES = Proxies.parse("")
    assert [answer("192.0.2.3"), answer("192.0.2.4")] == [200, 429]


def test_callers_are_counted_by_what_they_own(rf: Any) -> None:
    def caller(address: str) -> str:
        return accounts_limits.address(rf.get("/", REMOTE_ADDR=address))

    assert caller("2001:db8::1") == caller("2001:db8::ffff:2") != caller("2001:db8:0:1::1")
    assert caller("::ffff:192.0.2.1") == caller("192.0.2.1") != caller("192.0.2.2")
    assert caller("") == caller("/run/socket") == "unknown"


# --- anything at all -----------------------------------------------------------------------------

WORDS = st.one_of(
    st.text(max_size=60),
    st.integers().map(str),
    st.sampled_from(
        [
            A,
            MIXED,
            A.lower(),
            "inference",
            "fine-tuning",
            "price",
            "never",
            "",
            "0",
            "../../x",
            "%s",
            "{}",
        ]
    ),
)


@st.composite
def requests(draw: st.DrawFn) -> str:
    """A request to any operation with any text for each parameter, given or not."""
    paths = api.get_openapi_schema(path_prefix="/api/v1/")["paths"]
    reads = [(path, methods) for path, methods in paths.items() if "get" in methods]
    path, methods = draw(st.sampled_from(reads))
    query = []
    for parameter in methods["get"]["parameters"]:
        value = quote(draw(WORDS).encode("utf-8", "surrogatepass"), safe="")
        if parameter["in"] == "path":
            path = path.replace("{" + parameter["name"] + "}", value)
        elif draw(st.booleans()):
            query.append(f"{parameter['name']}={value}")
    return str(path) + "?" + "&".join(query)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(path=requests(), caller=st.ip_addresses(v=4).map(str))
def test_no_request_is_our_error(client: Client, path: str, caller: str) -> None:
    response = client.get(path, REMOTE_ADDR=caller)
    # (Paths with a decoded `..` or an empty segment lead elsewhere: still a problem, never a page.)
    if response.status_code == 200:
        assert response["Content-Type"].split(";")[0] in (
            "application/json",
            "text/csv",
            "application/atom+xml",
        )
    else:
        problem(response, response.status_code)
        # One's own data asks for a token; nothing else does.
        asked = (401,) if path.startswith("/api/v1/me") else ()
        assert response.status_code in (400, 404, 422, 429, *asked)
