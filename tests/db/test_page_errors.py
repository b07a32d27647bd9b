"""Pages for what a person should not see raw: wrong methods, limits, a silent chain."""

from __future__ import annotations

import asyncio
import html
import json
import re
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

import pytest
from asgiref.sync import SyncToAsync, sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.conf import settings
from django.core.signals import request_finished
from django.db import connection
from django.db.utils import OperationalError
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from redis.exceptions import RedisError

from accounts import roles
from accounts.errors import NodeUnavailable, Problem, TooMany
from accounts.models import User
from accounts.roles import Role
from marketplace import bodies
from marketplace.asgi import http, web
from marketplace.middleware import designed_errors
from marketplace.views_errors import server_error
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "path", ["/", "/providers", "/status", "/account", "/search", "/models", "/docs/api"]
)
@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_a_page_that_does_not_take_a_method_says_so(client: Client, method: str, path: str) -> None:
    response = getattr(client, method)(path)
    assert response.status_code == 405 and "GET" in response["Allow"]
    assert "does not take that kind of request" in response.content.decode()
    assert 'class="site-header"' in response.content.decode()


@pytest.mark.parametrize(
    ("path", "above"),
    [
        ("/moderation/decide", "/moderation"),
        ("/ops/failures", "/ops"),
        ("/moderation/items/1/claim", "/moderation"),
    ],
)
def test_an_address_of_forms_alone_leads_to_its_page(client: Client, path: str, above: str) -> None:
    """A tab is opened again, or the language chosen, where a form was answered."""
    response = client.get(path)
    assert response.status_code == 405 and response["Allow"] == "POST"
    assert re.findall(r'<p><a href="([^"]+)">', response.content.decode()) == [above]


def test_programs_get_no_page(client: Client) -> None:
    response = client.post("/providers", headers={"Accept": "application/json"})
    assert (response.status_code, response.content) == (405, b"")
    response = client.post("/api/v1/status")
    assert response.status_code == 405
    assert response["Content-Type"] == "application/problem+json"
    # A page's script shows what it is told.
    response = client.get("/playground/nowhere", headers={"Accept": "application/json"})
    assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert "Accept" in response["Vary"].split(", ")
    # Nor may a cache hand it what it keeps of a page.
    for path in ("/playground/nowhere", "/changes.atom?kind=nothing"):
        page = client.get(path, headers={"Accept": "text/html"})
        assert page.status_code == 404 and "Accept" in page["Vary"].split(", ")
    fields = {"text": "a" * (settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)}
    for kind, said in (
        ("application/json", "application/problem+json"),
        ("text/html", "text/html"),
    ):
        response = client.post("/playground/chat/start", fields, headers={"Accept": kind})
        assert response.status_code == 413 and response["Content-Type"].startswith(said)
        assert "This is too much at once" in response.content.decode()
    # It leads to the page that the form stands on, if that is one of ours.
    for came, back in (
        ("http://testserver/verify?what=answer&x=%22", ["/verify?what=answer&amp;x=%22"]),
        ("http://testserver//evil.example/", []),
        ("http://testserver.evil.example/", []),
    ):
        headers = {"Accept": "text/html", "Referer": came}
        html = client.post("/playground/chat/start", fields, headers=headers).content.decode()
        assert re.findall(r'<p><a href="([^"]+)">', html) == back, came


@pytest.mark.parametrize(
    "path",
    [
        "/playground/chat/{}",
        "/playground/images/{}",
        "/playground/audio/{}",
        "/playground/embeddings/{}",
        "/account/inbox/{}",
    ],
)
def test_what_is_somebodys_own_asks_to_sign_in(client: Client, path: str) -> None:
    """Whoever comes back to their conversation after a week hears that it is there for them."""
    factories.head()
    path = path.format("0b5d9a52-1c1f-4f3c-9b5e-4b8a52a8b3a1")  # nobody's: the same is said of it
    page = client.get(path, headers={"Accept": "text/html"})
    text = page.content.decode()
    assert page.status_code == 404 and "Connect your wallet and sign in" in text
    assert "There is nothing at this address" not in text
    for program in ({"Accept": "application/json"}, {"HX-Request": "true"}):
        answer = client.get(path, headers=program)
        assert answer.status_code == 404 and "Connect your wallet" not in answer.content.decode()
    # A script shows what it is told, beside what was typed.
    for door in ("send", "pictures"):
        asked = f"/playground/chat/{path[-36:]}/{door}"
        answer = client.post(asked, {}, headers={"Accept": "application/json"})
        said = answer.json()
        assert (answer.status_code, said["title"]) == (404, "Your session is over.")
        assert said["fix"].startswith("Sign in, then send the form again.")
    answer = client.get("/playground/chat/" + path[-36:] + ".json", headers={"Accept": "*/*"})
    assert answer.json()["status"] == 404, "a file is no page, whatever its reader takes"
    client.force_login(User.objects.for_address(factories.ALICE))
    assert "There is nothing at this address" in client.get(path).content.decode()


@pytest.mark.parametrize(
    ("raised", "status", "said"),
    [
        (TooMany(7), 429, "Try again in"),
        (NodeUnavailable("no answer"), 503, "The chain does not answer right now"),
        (Problem("odd", "Odd thing.", "Do <b>this</b>.", status=409), 409, "Do &lt;b&gt;this"),
    ],
)
def test_what_a_page_raises_becomes_a_page(raised: Exception, status: int, said: str) -> None:
    def get_response(request: HttpRequest) -> HttpResponse:
        raise AssertionError("not asked")

    middleware: Any = designed_errors(get_response)
    factories.head()
    response = middleware.process_exception(RequestFactory().get("/x"), raised)
    assert response.status_code == status and said in response.content.decode()
    assert response.get("Retry-After") == ("7" if status == 429 else None)
    # Whoever only looks may have come for what they have just sent.
    assert "Nothing was sent" not in response.content.decode()
    # What may pass can be asked for again from here.
    assert ('href="/x">Try again' in response.content.decode()) == (status != 409)
    # A page's script reads the same as words it can show.
    script = RequestFactory().post("/x", headers={"Accept": "application/json"})
    response = middleware.process_exception(script, raised)
    assert response.status_code == status
    assert response.get("Retry-After") == ("7" if status == 429 else None)
    body = json.loads(response.content)
    assert html.escape(f"{body['title']} {body.get('fix', '')}").find(said) >= 0
    assert ("Nothing was sent" in body["title"]) == (body["code"] == "chain_unreachable")
    # A form is kept for it.
    own = {"Origin": "http://testserver"}
    form = RequestFactory().post("/x", {"note": "a <b>"}, headers=own)
    response = middleware.process_exception(form, raised)
    assert (response.get("Cache-Control") == "no-store") == (status != 409)
    text = response.content.decode()
    kept = 'name="note" value="a &lt;b&gt;"' in text and ">Send again<" in text
    assert kept == ("What you typed is kept." in text) == (status != 409)
    assert "data-kept" not in text, "only a session that is over waits for a sign-in"


@pytest.mark.parametrize(
    "path",
    [
        *("/models", "/providers", "/changes"),
        f"/services/inference/{factories.address(0)}/changes",
        f"/services/inference/{factories.address(0)}/verification",
        f"/services/inference/{factories.address(0)}/settlements",
        *("/network/accounts", "/network/settlements", "/network/settlements?by=payer"),
        *("/network/settlements?by=day", "/moderation", "/moderation/log", "/moderation/record"),
        *("/operator/settlements", "/operator/customers", "/operator/customers?only=risk"),
        *("/playground/requests", "/playground/images", "/playground/audio"),
        *("/playground/embeddings", "/account/inbox", "/account/inbox?unread=1"),
        *("/account/transactions", "/account/transactions?movements=99&page=1"),
        f"/accounts/{factories.address(0)}",
    ],
)
def test_every_list_leads_back_from_beyond_its_end(client: Client, path: str) -> None:
    """What had more pages when it was opened is not told as if it had never been."""
    factories.market(2)
    user = User.objects.for_address(factories.address(0))
    roles.give(user, Role.ADMIN)
    client.force_login(user)
    response = client.get(path + ("&" if "?" in path else "?") + "page=99")
    assert response.status_code == 302, path
    asked = dict(parse_qsl(urlsplit(response["Location"]).query))
    assert asked.get("page", asked.get("movements", "1")) == "1"
    if not path.startswith(("/account", "/moderation", "/operator", "/playground")):
        assert "page" not in asked, "the first page is the list's own address"
    assert client.get(urljoin(path, response["Location"])).status_code == 200


def test_a_failure_stays_a_failure() -> None:
    middleware: Any = designed_errors(lambda request: HttpResponse())
    assert middleware.process_exception(RequestFactory().get("/x"), ValueError("bug")) is None


@pytest.mark.parametrize("failure", [RedisError, OperationalError, ValueError])
def test_a_failure_is_told_to_a_script(failure: type[Exception]) -> None:
    """A commit may have been made whose word did not come, or before Redis was asked, or before
    something of ours failed."""

    def told(method: str) -> dict[str, str]:
        request = RequestFactory().generic(method, "/x", headers={"Accept": "application/json"})
        try:
            raise failure("timed out")
        except failure:
            response = server_error(request)
        body: dict[str, str] = json.loads(response.content)
        answer = (response.status_code, response.get("Retry-After"), body["code"], body["title"])
        ours = (500, None, "internal_error", "This page failed on our side.")
        away = (503, "10", "unavailable", "This part is not available right now.")
        assert answer == (ours if failure is ValueError else away)
        return body

    usual = "a record of the failure." if failure is ValueError else "returns within a minute."
    assert told("GET")["fix"].endswith(usual)
    fix = told("POST")["fix"]
    assert "may have been done all the same" in fix and "nothing was changed" not in fix.lower()


def test_a_database_that_is_away_is_waited_for_once(django_assert_num_queries: Any) -> None:
    """Each question waits ten seconds for a connection: the page that says so asks none."""
    factories.head()
    request = RequestFactory().get("/x", headers={"Cookie": f"{settings.SESSION_COOKIE_NAME}=a"})
    request.user = User.objects.for_address(factories.ALICE)
    roles.give(request.user, Role.ADMIN)
    with django_assert_num_queries(0):
        try:
            raise OperationalError("couldn't get a connection after 10.00 sec")
        except OperationalError:
            response = server_error(request)
    text = response.content.decode()
    assert response.status_code == 503 and "The database does not answer just now" in text
    assert 'data-state="unknown"' in text


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("path", ["/verify", "/api/v1/transactions/preview"])
async def test_an_upload_that_nobody_reads_is_refused_and_heard_out(path: str, told: bool) -> None:
    """A proxy that is still sending when the connection is closed says 502 in place of the page."""
    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": path}
    size = [(b"content-length", str(bodies.USUAL + 1).encode())] if told else []
    scope |= {"query_string": b"", "headers": [(b"host", b"testserver"), *size]}
    done = asyncio.Event()
    loop = asyncio.get_running_loop()

    def given_back(**_: Any) -> None:
        loop.call_soon_threadsafe(done.set)

    request_finished.connect(given_back)
    asked: Any = ApplicationCommunicator(web, scope)  # type: ignore[no-untyped-call]
    for _ in range(0 if told else 1 + bodies.USUAL // bodies.FRAME):  # in parts, as it comes
        part = {"type": "http.request", "body": bytes(bodies.FRAME), "more_body": True}
        await asked.send_input(part)
    begun = await asked.receive_output(30)
    answer = await asked.receive_output(30)
    assert answer["more_body"], "not ended while its request is still coming"
    if path == "/verify":  # or slow senders keep the database's few connections from everybody
        await asyncio.wait_for(done.wait(), 5)
    request_finished.disconnect(given_back)
    for more in (True, False):
        await asked.send_input({"type": "http.request", "body": b"x", "more_body": more})
    assert not (await asked.receive_output(30)).get("more_body")
    await asked.wait(30)
    said = {name.lower(): value for name, value in begun["headers"]}
    assert begun["status"] == 413 and said[b"connection"] == b"close"
    text = answer["body"].decode()
    if path == "/verify":
        assert "Up to 24 MB at once. Nothing was changed." in text and 'class="site-header"' in text


async def held_while_sent(path: str, cookie: str = "") -> set[bool]:
    """Whether a request has a connection to the database while pieces of its answer are sent."""
    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": path, "query_string": b""}
    scope["headers"] = [(b"host", b"127.0.0.1"), (b"cookie", cookie.encode())]
    held: set[bool] = set()

    async def send(message: dict[str, Any]) -> None:
        if message.get("more_body"):  # in the thread of the request
            held.add(await sync_to_async(lambda: connection.connection is not None)())

    await http(scope, bodies.unread(), send)
    return held


async def test_a_long_page_that_is_read_slowly_holds_no_database() -> None:
    """Eight who do not read on would keep every connection from everybody."""
    assert await held_while_sent("/docs/changelog") == {False}


async def test_no_middleware_leaves_the_thread_of_its_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each of Django's own would, twice per request, if the innermost were asynchronous; and pages
    of errors, whose connection to the database nobody would take back.
    """
    hops: list[str] = []
    strays: list[str] = []
    hop = SyncToAsync.__call__

    async def counted(self: SyncToAsync[..., Any], *args: Any, **kwargs: Any) -> Any:
        hops.append(getattr(self.func, "__qualname__", ""))
        if not self._thread_sensitive:
            strays.append(hops[-1])
        return await hop(self, *args, **kwargs)

    async def status(path: str) -> int:
        scope: dict[str, Any] = {"type": "http", "method": "GET", "path": path}
        scope |= {"query_string": b"", "headers": [(b"host", b"testserver")]}
        asked: Any = ApplicationCommunicator(http, scope)  # type: ignore[no-untyped-call]
        await asked.send_input({"type": "http.request", "body": b""})
        answer = await asked.receive_output(None)
        await asked.receive_output(None)
        await asked.wait(None)
        return int(answer["status"])

    monkeypatch.setattr(SyncToAsync, "__call__", counted)
    assert await status("/robots.txt") == 200
    assert "robots" in hops
    # A step before the view is taken in the loop that calls the view.
    assert [name for name in hops if "Middleware" in name] == ["CsrfViewMiddleware.process_view"]
    assert await status("/nowhere") == 404
    assert strays in ([], ["log_response"])  # which asks the database nothing
