"""Find: every filter and its count say the same, the twins are the same list, and what is watched
is its owner's."""

from __future__ import annotations

import csv
import io
import itertools
import json
import random
import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import pytest
from django.contrib.auth import login
from django.test import Client, RequestFactory
from django.utils import timezone

from accounts import watching
from accounts.models import User
from attestation.selectors import ServiceKey
from ledger.models import Service
from marketplace import cards, catalogue, conditions, facets, ranking
from marketplace.filters import Filters
from marketplace.tariffs import Workload
from moderation.models import Effect, EffectKind
from moderation.subjects import SubjectKind
from probes.models import Health
from protocol import declared, fees
from tests import factories
from tests.db import report_world

pytestmark = pytest.mark.django_db

ATOM = "{http://www.w3.org/2005/Atom}"
TIERS = {"tiers": [{"maxInputTokens": 500}, {"maxInputTokens": 0, "inputMultiplier": 4}]}


def health(service: Service, **given: Any) -> Health:
    name = f"{service.kind}-v1.0"
    values: dict[str, Any] = {
        "serving": service.serving,
        "provider": service.provider,
        "kind": service.kind,
        "service_name": name,
        "state": "up",
        "checked_at": timezone.now(),
        "bar": "u" * 28,
        "bar_end": timezone.now(),
        "uptime_7d": 9_990,
        "probes_7d": 600,
        "cells_7d": 600,
        "first_token_p95": 2_000,
        "tokens_p5": 10,
    }
    return Health.objects.create(**{**values, **given})


@pytest.fixture
def world() -> list[Service]:
    """Sixty services of every type, with what makes each filter choose."""
    factories.market(60)
    chance = random.Random(11)
    found = list(Service.current.order_by("created_block"))
    run = report_world.development()
    for number, service in enumerate(found):
        info: dict[str, Any] = {}
        if number % 4 != 3:
            info["TEEVerifier"] = chance.choice(["dstack", "cryptopilot"])
        if number % 3:
            info["context_length"] = chance.choice([4_096, 32_768, 131_072, 1_000_000])
        if number % 5 == 0:
            info["cacheTokenBilling"] = {"divisor": 10}
        if number % 7 == 0:
            info["tieredPricing"] = TIERS
        service.additional_info = json.dumps(info) if number % 11 else "no JSON at all {"
        service.stake = chance.choice([100, 150, 250, 5_000]) * factories.ONE
        service.input_price *= chance.choice([1, 2, 3])
        if number % 3:
            up = chance.choice([10_000, 9_920, 9_600, 4_000])
            state = chance.choice(["up", "degraded", "down"])
            health(
                service,
                state=state,
                uptime_7d=up,
                first_token_p50=chance.randint(90, 900),
                first_token_n=50,
            )
        if number % 4 == 0 and service.kind == "inference":
            key = ServiceKey("inference", service.provider, "inference-v1.0")
            word = chance.choice(["dev-pass", "dev-warn", "fail"])
            asked = {"hardware": "pass", "gpu": chance.choice(["pass", "fail"])}
            report_world.stand(key, run, overall=word, questions=asked)
    Service.objects.bulk_update(found, ["additional_info", "stake", "input_price"])
    for service in (*found[:3], found[11]):
        Effect.objects.create(
            subject_kind=SubjectKind.PROVIDER,
            subject=service.provider,
            provider=service.provider,
            kind=EffectKind.LABEL,
            label="dubious",
            number=1,
            at=timezone.now(),
            actor="m",
        )
    return found


def shown(**given: str) -> list[str]:
    """Every service that a query selects, in order."""
    filters = Filters.parse(given)
    page = ranking.services(filters, "", 200, beyond=True)
    return [listing.provider for listing in page.items]


OTHERS: tuple[dict[str, str], ...] = (
    {},
    {"type": "chatbot"},
    {"uptime": "95", "tee": "dstack"},
    {"verified": "never", "context": "32000", "q": "qwen"},
)


@pytest.mark.parametrize("other", OTHERS)
def test_a_choices_count_is_what_choosing_it_shows(
    world: list[Service], other: dict[str, str]
) -> None:
    """For every choice of every filter that counts, whatever else is filtered."""
    filters = Filters.parse(other)
    known = facets.counts(filters, "")
    asked = 0
    offered = {name: dict(known.by[name]) for name in known.by}
    offered["type"] = {facet.value: facet.count for facet in known.listed.types}
    offered["model"] = {facet.value: facet.count for facet in known.listed.models}
    for name, choices in offered.items():
        for value, count in choices.items():
            if name == "verified" and value == "not_checked":
                continue
            assert len(shown(**{**other, name: value})) == count, (name, value)
            asked += 1
    assert asked > 18 and "dubious" in offered["label"] and "pass,warn" in offered["verified"]
    assert other or (offered["label"]["dubious"] == 4 and offered["free"]["1"])
    assert 0 < offered["answers"]["1"] < len(world)


def test_the_database_reads_declarations_as_the_page_does(world: list[Service]) -> None:
    rows = Service.current.annotate(context=conditions.CONTEXT, tee=conditions.VERIFIER)
    for row in rows:
        assert (row.context or None) == declared.context_of(row.additional_info)
        assert (row.tee or "") == cards.verifier_of(row.additional_info)


def test_prices_in_filters_are_those_of_the_rows(world: list[Service]) -> None:
    factories.service(factories.BOB, input_price=2**256 - 1, output_price=2**256 - 1)
    for name, column in (("max_in", "input"), ("max_out", "output")):
        for limit in ("0.00042", "0.9", "1.2", "3"):
            page = catalogue.catalogue_page(Filters.parse({name: limit}), head())
            most = int(float(limit) * 10**6) * 10**12
            for row in page.rows:
                price = getattr(row.offer, column)
                assert price is not None and price.neuron <= most
            rest = set(shown()) - set(shown(**{name: limit}))
            assert factories.BOB in rest


def head() -> Any:
    from chain import selectors as chain

    return chain.head()


# --- the same query, four ways --------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "",
        "type=chatbot&sort=-price",
        "uptime=95&sort=ttft",
        "tee=dstack&context=32000&stake=150&max_out=3",
        "tokens_in=2000000&tokens_out=500000&tokens_cached=1000000&requests=2000&sort=cost",
        "kind=inference&verified=pass&acknowledged=1",
        "q=qwen&proven=cpu",
        "answers=1&free=1&sort=-created",
        "model=qwen/qwen-2.5-7b-instruct&sort=-uptime",
    ],
)
def test_page_json_csv_and_feed_are_one_list(
    world: list[Service], client: Client, query: str
) -> None:
    # An address of its own: what tests before it read counts against the same minute.
    client.defaults["REMOTE_ADDR"] = f"198.51.100.{len(query)}"
    html = [
        provider
        for number in (1, 2, 3)
        if (text := client.get(f"/?{query}&page={number}").content.decode())
        and (
            number == 1
            or f'aria-current="page"><span class="visually-hidden">Page </span>{number}' in text
        )
        for provider in re.findall(r'data-testid="service-row" data-provider="(\w+)"', text)
    ]
    body = client.get(f"/api/v1/services?{query}&page_size=200").json()
    assert [item["provider"] for item in body["items"]] == html
    assert body["count"] == len(html)
    answer = client.get(f"/api/v1/services.csv?{query}")
    text = b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]
    lines = list(csv.DictReader(io.StringIO(text)))
    assert [line["provider"] for line in lines] == html
    feed = ElementTree.fromstring(client.get(f"/services.atom?{query}").content)
    links = {entry.find(f"{ATOM}link").get("href") for entry in feed.iter(f"{ATOM}entry")}  # type: ignore[union-attr]
    assert len(links) == min(50, len(html))
    assert all(str(link).rsplit("/", 1)[1] in html for link in links)


def test_only_what_no_task_occupies_is_free(client: Client) -> None:
    factories.market(12)
    taken, free = Service.current.filter(kind="fine-tuning")
    Service.objects.filter(pk=taken.pk).update(occupied=True)
    (item,) = client.get("/api/v1/services?free=1").json()["items"]
    assert item["provider"] == free.provider
    assert "Free for fine-tuning" in client.get("/?free=1").content.decode()


@pytest.mark.parametrize(("sort", "column"), [("output_price", "output"), ("input_price", "input")])
def test_prices_are_ordered_within_their_unit_as_they_are_shown(sort: str, column: str) -> None:
    factories.market(24)
    # The dearer of both prices of a second is shown, and counts.
    Service.objects.filter(pk=Service.current.filter(service_type="speech-to-text")[0].pk).update(
        input_price=10**15, output_price=1
    )

    def shown(sort: str) -> list[tuple[str, int]]:
        page = catalogue.catalogue_page(Filters.parse({"sort": sort}), head())
        prices = [getattr(row.offer, column) for row in page.rows]
        return [(price.unit, price.neuron) if price else ("", 0) for price in prices]

    up, down = shown(sort), shown(f"-{sort}")
    assert len(up) == 24 and up[0][0] == down[0][0] == "1M tokens"
    for units, turned in ((up, False), (down, True)):
        runs = [
            (unit, [n for _, n in run]) for unit, run in itertools.groupby(units, lambda p: p[0])
        ]
        names = (
            ["1M tokens", "image", "min", "1M tokens"] if column == "output" else ["1M tokens", ""]
        )
        assert [unit for unit, _ in runs] == names
        for _unit, amounts in runs:
            assert amounts == sorted(amounts, reverse=turned)


def test_what_makes_no_sense_is_ignored_by_the_page_and_refused_by_the_api(client: Client) -> None:
    factories.market(3)
    for query in ("max_in=cheap", "uptime=12", "sort=best", "proven=soul", "tokens_in=-1"):
        page = client.get(f"/?{query}").content.decode()
        assert page.count('data-testid="service-row"') == 3
        assert "Of 3 services here we have no recent measurement." in page
        assert client.get(f"/api/v1/services?{query}").status_code == 422, query


def test_a_workload_that_cannot_be_read_is_kept_and_said(client: Client) -> None:
    factories.market(3)
    page = client.get("/?tokens_in=a+lot&tokens_out=0&requests=2,000").content.decode()
    assert page.count('data-testid="refused"') == 1
    assert "Tokens in: “a lot” is not counted." in page
    assert 'value="a lot"' in page and 'value="2000"' in page
    assert page.count('data-testid="service-row"') == 3
    for digits in ("9" * 13, "9" * 20):  # more than anybody's day
        page = client.get(f"/?tokens_in={digits}").content.decode()
        assert "up to 1,000,000,000,000." in page and "month-cost" not in page


def test_a_price_that_cannot_be_read_is_kept_and_said(client: Client) -> None:
    factories.market(3)
    page = client.get("/?max_in=0,5&max_out=1.5").content.decode()
    assert "Input up to: “0,5” is not counted. Give 0G with a point, like 0.5." in page
    assert page.count('data-testid="refused"') == 1
    assert 'value="0,5"' in page and 'value="1.5"' in page


def test_verdicts_can_be_asked_for_together(world: list[Service], client: Client) -> None:
    both = set(shown(verified="pass")) | set(shown(verified="warn"))
    assert len(both) > 2 and set(shown(verified="warn,pass")) == both
    page = client.get("/?verified=warn,pass").content.decode()
    assert f'<option value="pass,warn" selected>Verified, also with warnings ({len(both)})' in page
    assert "Failed or Not checked yet" in client.get("/?verified=fail,never").content.decode()
    assert client.get("/api/v1/services?verified=pass,warn").json()["count"] == len(both)
    assert client.get("/api/v1/services?verified=pass,soul").status_code == 422


def test_names_are_ordered_as_they_are_shown(client: Client) -> None:
    factories.head()
    factories.service(factories.address(1), model="b-model")
    factories.service(factories.address(2), model="")
    tuned: tuple[list[str], ...] = (["c-base", "a-base"], [])
    for number, models in enumerate(tuned, 3):
        factories.service(factories.address(number), kind="fine-tuning", model_list=models)
    page = client.get("/").content.decode()
    names = re.findall(r'class="row-link title"[^>]*><bdi>([^<]+)', page)
    assert names[:2] == ["b-model", "c-base, a-base"]
    assert set(names[2:]) == {"No model named", "No model listed"}
    turned = client.get("/?sort=-model").content.decode()
    assert re.findall(r'class="row-link title"[^>]*><bdi>([^<]+)', turned) == names[::-1]


def test_months_are_ranked_by_the_fee_rules_to_the_neuron(
    world: list[Service], client: Client
) -> None:
    work = Workload(2_000_000, 500_000, 1_000_000, 2_000)
    costs = {
        service.provider: work.monthly(
            fees.tariff(service.input_price, service.output_price, service.additional_info)
        )
        for service in world
        if service.service_type == "chatbot"
    }
    query = "tokens_in=2,000,000&tokens_out=500000&tokens_cached=1000000&requests=2000&sort=cost"
    listed = shown(**dict(part.split("=") for part in query.split("&")))
    ranked = [costs[provider] for provider in listed[: len(costs)]]
    assert ranked == sorted(costs.values()) and not set(listed[len(costs) :]) & set(costs)
    # Who says what they need and chooses no order is told what it costs, cheapest first.
    for unsaid in (query.removesuffix("&sort=cost"), query.replace("=cost", "=")):
        assert shown(**dict(part.split("=") for part in unsaid.split("&"))) == listed
        page = client.get(f"/?{unsaid}").content.decode()
        assert '<option value="" selected>Your month, cheapest first' in page
        assert '<option value="model">Model, A to Z' in page
    assert shown(tokens_in="2000000", sort="model") == shown()
    text = client.get(f"/?{query}").content.decode()
    said = [int(n) for n in re.findall(r'data-neuron="(\d+)"[^>]*data-testid="month-cost"', text)]
    assert said == ranked[: len(said)] and len(said) > 10


def test_nothing_found_offers_the_ways_out_with_their_counts(
    world: list[Service], client: Client
) -> None:
    for query, helpful in (("q=qwen&type=chatbot&stake=1000000", 1), ("q=whisper&type=chatbot", 2)):
        text = client.get(f"/?{query}").content.decode()
        ways = re.findall(r'<a href="([^"]+)">Remove <bdi>', text)
        counts = [int(n) for n in re.findall(r'<span class="muted">(\d+) service', text)]
        assert len(ways) == len(counts) == helpful and counts == sorted(counts, reverse=True)
        for way, count in zip(ways, counts, strict=True):
            answer = client.get(way.replace("&amp;", "&")).content.decode()
            assert f'data-count="{count}"' in answer and count > 0


# --- watching -------------------------------------------------------------------------------------


def named(service: Service) -> str:
    return f"{service.kind}/{service.provider}"


def watched(client: Client) -> Iterator[str]:
    text = client.get("/?watched=1").content.decode()
    yield from re.findall(r'data-testid="service-row" data-provider="(\w+)"', text)


def test_a_star_lasts_through_signing_in_and_is_its_owners(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    factories.market(6)
    first, second, third = Service.current.order_by("created_block")[:3]
    assert "sessionid" not in client.cookies
    for service in (first, second):
        answer = client.post("/watch", {"watch": named(service), "next": "/?q=a"})
        assert answer.status_code == 302 and answer["Location"] == "/?q=a"
    assert set(watched(client)) == {first.provider, second.provider}
    client.post("/watch", {"unwatch": named(second)}, headers={"Accept": "application/json"})
    assert list(watched(client)) == [first.provider]

    alice = User.objects.for_address(factories.ALICE)
    alice.watches.create(serving=third.serving, provider=third.provider)
    request = RequestFactory().post("/")
    request.session = client.session
    # What is watched already takes no place from what is new.
    request.session["watched"] = [[one.serving, one.provider] for one in (third, first)]
    monkeypatch.setattr(watching, "MOST", 2)
    login(request, alice, backend="django.contrib.auth.backends.ModelBackend")
    request.session.save()
    client.cookies["sessionid"] = request.session.session_key or ""
    assert set(watched(client)) == {first.provider, third.provider}
    text = client.get("/").content.decode()
    assert text.count('aria-pressed="true"') == 2 and text.count('aria-pressed="false"') == 4
    stranger = Client()
    stranger.force_login(User.objects.for_address(factories.BOB))
    assert list(watched(stranger)) == [] == list(watched(Client()))
    # What one person watches is no list for programs.
    assert '<p class="note twins">First token' in client.get("/?watched=1").content.decode()


def test_only_a_filter_that_is_folded_away_unfolds_the_others(client: Client) -> None:
    factories.market(3)
    folded = '<details class="more" data-testid="more-filters">'
    for query in (
        "",
        "?type=chatbot",
        "?kind=inference",
        "?model=a",
        "?q=a&verified=pass&sort=-stake",
    ):
        assert folded in client.get(f"/{query}").content.decode(), query
    for query in ("?stake=1", "?watched=1", "?max_in=1", "?tokens_in=5", "?requests=x"):
        assert folded not in client.get(f"/{query}").content.decode(), query


def test_the_form_keeps_what_it_has_no_field_for(client: Client) -> None:
    factories.market(3)

    def form(query: str) -> str:
        page = client.get(f"/?{query}").content.decode()
        return page.partition('<form class="filters"')[2].partition("</form>")[0]

    for name, value in (
        ("kind", "inference"),
        ("view", "cards"),
        ("exact", "1"),
        ("columns", "model.input.uptime"),
        ("rows", "compact"),
    ):
        assert f'<input type="hidden" name="{name}" value="{value}">' in form(f"{name}={value}")
    assert form("") and 'type="hidden"' not in form("")


def test_what_cannot_be_watched_is_refused_in_words(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    factories.market(3)
    one, other = Service.current.order_by("created_block")[:2]
    for id in ("", "inference", "inference/0x1", f"chess/{one.provider}", "inference/\x00"):
        assert client.post("/watch", {"watch": id}).status_code == 400
    for target in ("//evil.example/", "https://evil.example", "javascript:x", ""):
        answer = client.post("/watch", {"watch": named(one), "next": target})
        assert answer["Location"] == "/"
    monkeypatch.setattr(watching, "MOST", 1)
    for visitor in (client, Client()):
        if visitor is not client:
            visitor.force_login(User.objects.for_address(factories.BOB))
            visitor.post("/watch", {"watch": named(one)})
        answer = visitor.post(
            "/watch", {"watch": named(other)}, headers={"Accept": "application/json"}
        )
        assert answer.status_code == 400 and "take one off" in answer.json()["detail"]
        assert list(watched(visitor)) == [one.provider]
    monkeypatch.setattr("marketplace.views_watch.PER_MINUTE", 0)
    answer = client.post("/watch", {"unwatch": named(one)})
    assert answer.status_code == 429 and int(answer["Retry-After"]) > 0
    assert Client(enforce_csrf_checks=True).post("/watch").status_code == 403
