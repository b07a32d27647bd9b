"""Amounts in US dollars: only with a source, dated, switched off by their reader, weightless."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import roles
from accounts.models import User
from accounts.roles import Role
from marketplace.templatetags import pieces
from probes import exchange, tasks
from probes.models import ExchangeRate
from tests import factories
from tests.db import probe_world
from tests.db.probe_world import Peer

pytestmark = pytest.mark.django_db
HOST = "prices.example"


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    cache.delete_many([exchange._ASKED, exchange._PROBLEM])
    exchange.forget()
    yield
    exchange.forget()


@pytest.fixture
def rate(settings: Any) -> ExchangeRate:
    settings.USD_PRICE_URL = f"https://{HOST}/price?key=secret"
    return ExchangeRate.objects.create(source=HOST, quoted_at=timezone.now(), micro=500_000)


@pytest.fixture
def source(settings: Any) -> Iterator[Peer]:
    """A source that answers as its `manners.models` say."""
    with probe_world.peer() as peer:
        settings.USD_PRICE_URL = f"{peer.url}/v1/models"
        settings.USD_PRICE_HEADER = {"x-cg-demo-api-key": "secret"}
        says(peer, 0.5)
        yield peer


def says(peer: Peer, usd: Any, age: int = 30) -> None:
    at = int(timezone.now().timestamp()) - age
    peer.manners.models = json.dumps({"coin": {"usd": usd, "last_updated_at": at}}).encode()


def page(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200
    return response.content.decode()


def said(html: str) -> list[str]:
    return re.findall(r'data-testid="dollars" title="[^"]*">([^<]*)<', html)


def aged(rate: ExchangeRate, **age: int) -> None:
    rate.quoted_at = timezone.now() - dt.timedelta(**age)
    rate.save()
    exchange.forget()


# --- asking ---------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_source_is_asked_every_ten_minutes_and_what_it_says_is_kept(source: Peer) -> None:
    assert tasks.ask_exchange() is True
    assert [headers.get("x-cg-demo-api-key") for _, _, headers in source.asked] == ["secret"]
    assert tasks.ask_exchange() is False and len(source.asked) == 1
    row = ExchangeRate.objects.get()
    assert (row.source, row.micro) == ("127.0.0.1", 500_000)
    cache.delete(exchange._ASKED)
    assert tasks.ask_exchange() is False, "the same again is the same fact"
    cache.delete(exchange._ASKED)
    says(source, 0.75, age=10)
    assert tasks.ask_exchange() is True and ExchangeRate.objects.count() == 2
    price = exchange.current()
    assert price is not None and price.text == "$0.75"


@pytest.mark.django_db(transaction=True)
def test_a_source_that_fails_changes_nothing_and_is_told_to_the_host(
    source: Peer, client: Client
) -> None:
    admin = User.objects.for_address(factories.address("admin"))
    roles.give(admin, Role.ADMIN)
    client.force_login(admin)
    source.manners.status = 429
    assert tasks.ask_exchange() is False and not ExchangeRate.objects.exists()
    html = page(client, "/ops")
    assert 'data-alarm="dollars"' in html and "status 429" in html
    cache.delete(exchange._ASKED)
    source.manners.status = 200
    assert tasks.ask_exchange() is True
    assert 'data-alarm="dollars"' not in page(client, "/ops")
    cache.delete(exchange._ASKED)
    says(source, "<script>")
    assert tasks.ask_exchange() is False and "no price between" in exchange.problem()
    aged(ExchangeRate.objects.get(), hours=2)
    html = page(client, "/ops")
    assert 'data-alarm="dollars"' in html and "2 h ago" in html and "no price between" in html
    assert "secret" not in html and "/v1/models" not in html
    # A source may also answer, and stand still.
    cache.delete(exchange._ASKED)
    says(source, 0.5, age=7_000)
    assert tasks.ask_exchange() is True and not exchange.problem()
    assert "it said nothing newer, or no worker asked" in page(client, "/ops")


def test_without_a_source_nobody_is_asked_and_nothing_is_shown(client: Client) -> None:
    ExchangeRate.objects.create(source=HOST, quoted_at=timezone.now(), micro=500_000)
    assert tasks.ask_exchange() is False
    factories.market(3)
    assert "ollar" not in page(client, "/").split("</head>")[1]


# --- pages ----------------------------------------------------------------------------------------


def test_prices_are_said_in_dollars_with_source_and_time(
    client: Client, rate: ExchangeRate, settings: Any
) -> None:
    factories.market(3)
    html = page(client, "/?tokens_in=1000000&tokens_out=1000000")
    assert len(said(html)) >= 6 and all(one.startswith("≈\u00a0$") for one in said(html))
    foot = re.search(r'data-testid="dollars-source">(.*?)</span>', html)
    assert foot is not None and f"1 0G = $0.50, {HOST}, <time" in foot[1] and "ago" not in foot[1]
    assert f'title="1 0G = $0.50, {HOST}, 20' in html and "secret" not in html
    assert "Hide US dollars" in html
    assert "Hide US dollars" in client.post("/").content.decode(), "also where a page is refused"
    # On paper, which has no foot, too.
    assert f"UTC · ≈ in US dollars: 1 0G = $0.50, {HOST}" in html
    paths = re.findall(r'class="row-link title" href="([^"]+)"', html)
    assert len(said(page(client, paths[0]))) == 2
    ids = [path.removeprefix("/services/") for path in paths[:2]]
    assert len(said(page(client, f"/compare?s={ids[0]}&s={ids[1]}"))) >= 4
    assert said(page(client, "/models"))
    with exchange.wanted(True):  # the smallest amount is not nothing, and what says so is no tag
        assert "&lt;\u00a0$0.000001<" in pieces.dollars(1)
    # Another source was asked before: what it said counts no more.
    settings.USD_PRICE_URL = "https://other.example/"
    assert not said(page(client, "/"))


def test_their_reader_may_do_without(client: Client, rate: ExchangeRate) -> None:
    factories.market(3)
    client.cookies["dollars"] = "off"
    html = page(client, "/")
    assert not said(html) and "dollars-source" not in html and "Show US dollars" in html


def test_an_old_price_says_its_age_and_a_day_later_nothing(
    client: Client, rate: ExchangeRate
) -> None:
    factories.market(3)
    aged(rate, hours=3)
    html = page(client, "/")
    assert said(html) and re.search(r"\(<time [^>]*>3 h ago</time>\)", html)
    aged(rate, hours=25)
    html = page(client, "/")
    assert not said(html) and "US dollars" not in html


def test_a_price_costs_a_page_no_query(client: Client, rate: ExchangeRate) -> None:
    factories.market(10)
    page(client, "/")
    with CaptureQueriesContext(connection) as with_it:
        page(client, "/")
    client.cookies["dollars"] = "off"
    with CaptureQueriesContext(connection) as without:
        page(client, "/")
    assert len(with_it) == len(without)


def test_programs_know_0g_and_read_the_price_in_one_place(
    client: Client, rate: ExchangeRate
) -> None:
    factories.market(3)
    told = client.get("/api/v1/status").json()["exchange_rate"]
    assert (told["source"], told["usd"]) == (HOST, "0.50") and told["at"].startswith("20")
    aged(rate, hours=25)
    assert client.get("/api/v1/status").json()["exchange_rate"] is None
    aged(rate, hours=1)
    for path in ("/api/v1/services", "/services.csv"):
        assert "$" not in client.get(path).content.decode()


def test_an_estimate_funds_and_earnings_are_said_in_dollars_too(
    client: Client, rate: ExchangeRate
) -> None:
    factories.market(3)
    provider = factories.address(0)
    asked: dict[str, Any] = {"provider": provider, "bytes": 100}
    told = client.get("/playground/chat/estimate", asked).json()
    assert int(told["most"]) > 0 and told["dollars"].startswith("≈\u00a0$")
    client.force_login(User.objects.for_address(provider))
    factories.purse(provider, available=3 * 10**18)
    assert "≈\u00a0$1.50" in said(page(client, "/account"))
    assert said(page(client, "/operator"))
    image = factories.service(factories.BOB, service_type="text-to-image", output_price=6 * 10**15)
    texts = factories.service(service_type="embedding", input_price=10**15)
    pictures = f"/playground/images?provider={image.provider}"
    html = page(client, pictures)
    assert 'data-dollars="500000"' in html and "1 – 0.006 0G (≈\u00a0$0.0030)</span>" in html
    asked_texts: dict[str, Any] = {"provider": texts.provider, "bytes": 6, "texts": 1}
    embed = client.get("/playground/embeddings/estimate", asked_texts).json()["label"]
    assert embed == "Embed 1 text – up to 0.01 0G (≈\u00a0$0.0050)"
    client.cookies["dollars"] = "off"
    assert 'data-dollars="0"' in page(client, pictures)
    embed = client.get("/playground/embeddings/estimate", asked_texts).json()["label"]
    assert embed == "Embed 1 text – up to 0.01 0G"
    assert "dollars" not in client.get("/playground/chat/estimate", asked).json()
    assert not said(page(client, "/account"))


def test_dollars_of_any_price_fit_beside_it(rate: ExchangeRate, client: Client) -> None:
    factories.head()
    factories.contract()
    asked = dict.fromkeys(("input_price", "output_price"), 2**255 - 1)
    factories.service(factories.PETRA, **asked)
    assert said(page(client, "/")) == ["≈\u00a0$2.894\u00a0×\u00a010⁶⁴"] * 2
