"""Lists of models and providers, ranks by their rules, comparisons that are their addresses."""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
from html import unescape
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client
from django.utils import timezone

from attestation.models import Standing
from attestation.selectors import ServiceKey
from ledger import selectors
from ledger.models import Service
from marketplace import catalogue, compare, labels
from marketplace.filters import SELECTING, Filters
from marketplace.parts import ServiceRow
from marketplace.tariffs import Workload
from probes import selectors as probes
from probes.models import Health
from protocol import networks
from tests import factories
from tests.db import report_world
from tests.db.test_discovery import head, health, named, shown
from tests.db.test_discovery import world as world

pytestmark = pytest.mark.django_db


def test_labels_follow_their_rules_and_stay_away_without_a_contest() -> None:
    factories.head()
    factories.contract()
    query = selectors.ServiceQuery(model="m")
    one = factories.service(factories.ALICE, model="m", input_price=5, output_price=5)
    health(one, tokens_p50=500, tokens_n=40)
    assert labels.ranks(query).rules == ()
    two = factories.service(factories.BOB, model="m", input_price=1, output_price=5)
    seldom = health(two, uptime_7d=10_000, probes_7d=95, tokens_p50=900, tokens_n=19)
    alone = labels.ranks(query)
    assert [rule.text for rule in alone.rules] == ["cheapest"], (
        "too few samples compete with nobody"
    )
    seldom.probes_7d, seldom.tokens_n = 96, 20
    seldom.save()
    page = catalogue.model_page(Filters(model="m"), "")
    assert page is not None
    given = {row.listing.provider: [label.text for label in row.labels] for row in page.rows}
    assert given == {
        factories.BOB: ["cheapest", "fastest", "most reliable"],
        factories.ALICE: [],
    }
    assert all(label.rule for row in page.rows for label in row.labels)
    # What most of them share is no rank.
    third = factories.service(factories.CHARLIE, model="m", input_price=1, output_price=5)
    health(third, uptime_7d=10_000, tokens_p50=900, tokens_n=20)
    assert labels.ranks(query).rules == ()
    third.delete()
    two.service_type = "text-to-image"
    two.save()
    assert labels.ranks(query).price is None, "prices of two units are no contest"


def side(*services: Service, **work: int) -> dict[str, compare.Row]:
    listings = [
        listing
        for service in services
        if (listing := selectors.service(service.kind, service.provider, include_removed=True))
    ]
    workload = Workload(1000, 1000) if work else None
    sections = compare.sections(compare.gather(listings, workload), workload)
    return {row.label: row for section in sections for row in section.rows}


@pytest.mark.parametrize(
    "query", ["", "q=qwen", "type=chatbot&sort=output", "sort=input", "sort=-x&type=no-such"]
)
def test_models_are_one_list_in_every_form(
    world: list[Service], client: Client, query: str
) -> None:
    html = client.get(f"/models?{query}").content.decode()
    shown = re.findall(r'data-testid="model-row">\s*<td role="cell"><a [^>]*><bdi>([^<]+)', html)
    answer = client.get(f"/api/v1/models?{query.replace('sort=-x&', '')}").json()
    assert [item["model"] for item in answer["items"]] == shown
    assert answer["count"] == len(shown) == html.count('data-testid="model-row"')
    lines = read_csv(client, f"/models.csv?{query.replace('sort=-x&', '')}")
    assert [line["model"] for line in lines] == shown
    assert [line["verified"] for line in lines] == [str(i["verified"]) for i in answer["items"]]
    if "input" in query:
        # A picture's model has no input price: behind those of tokens.
        assert shown[-1] != shown[0] and answer["items"][0]["types"] == ["chatbot"]


def test_an_answer_with_a_new_tag_has_what_was_measured_since(
    world: list[Service], client: Client
) -> None:
    first = client.get("/api/v1/models")
    Health.objects.update(uptime_7d=1_234, updated_at=timezone.now())
    second = client.get("/api/v1/models")
    assert first["ETag"] != second["ETag"]
    was, now = ({i["uptime_7d_percent"] for i in one.json()["items"]} for one in (first, second))
    assert "12.34" not in was and "12.34" in now
    # A share is told with the probes that it is by, of the service that has it.
    some = Health.objects.filter(kind="inference").first()
    assert some is not None
    Health.objects.filter(pk=some.pk).update(
        uptime_7d=10_000, probes_7d=2, updated_at=timezone.now()
    )
    asked = client.get("/api/v1/models?page_size=200").json()["items"]
    model = Service.objects.get(provider=some.provider, kind="inference").model
    (best,) = (item for item in asked if item["model"] == model)
    assert (best["uptime_7d_percent"], best["probes_7d"]) == ("100.00", 2)
    assert '100.00 % <span class="sub">2 probes</span>' in client.get("/models").content.decode()


def test_a_button_that_needs_a_script_waits_for_it(world: list[Service], client: Client) -> None:
    page = client.get(f"/services/inference/{world[0].provider}", follow=True).content.decode()
    button = re.search(r"<button [^>]*>(?=<svg(?:(?!</button>).)*Copy link</button>)", page)
    assert button is not None and button[0].endswith(" hidden>")


@pytest.mark.parametrize("sort", ["", "services", "stake", "earned", "updated"])
def test_providers_are_found_ordered_and_one_list_in_every_form(
    world: list[Service], client: Client, sort: str
) -> None:
    def listed(query: str) -> list[dict[str, Any]]:
        return list(client.get(f"/api/v1/providers?page_size=200&{query}").json()["items"])

    every = listed(f"sort={sort}")
    assert len(every) == 60
    by = {"stake": "stake", "earned": "earned", "services": "services"}.get(sort, "updated_at_unix")
    order = [int(item[by]) for item in every]
    assert sort == "" or order == sorted(order, reverse=True)
    html = client.get(f"/providers?sort={sort}").content.decode()
    rows = re.findall(r'data-testid="provider-row" data-provider="(\w+)"', html)
    assert (rows == [item["address"] for item in every[:25]] and f"sort={sort}" in html) or not sort
    lines = read_csv(client, f"/providers.csv?sort={sort}")
    assert [line["address"] for line in lines] == [item["address"] for item in every]
    measured = {one.provider: (one.uptime_7d, one.probes_7d) for one in Health.objects.all()}
    for item in every:
        up, probes = measured.get(item["address"], (None, None))
        assert item["uptime_7d_percent"] == (None if up is None else f"{up // 100}.{up % 100:02d}")
        assert item["probes_7d"] == probes
    assert html.count('<span class="sub">600 probes</span>') == len(
        [item for item in every[:25] if item["probes_7d"]]
    )
    good = {item["address"] for item in every if item["verified"]}
    assert good == set(shown(verified="pass"))
    assert {i["address"] for i in listed("kind=fine-tuning")} == set(shown(type="fine-tuning"))
    (one,) = listed(f"q={world[7].provider[-9:].lower()}")
    assert one["address"] == world[7].provider
    assert "No provider matches this search" in client.get("/providers?q=zzz").content.decode()


def read_csv(client: Client, path: str) -> list[dict[str, str]]:
    answer = client.get(client.get(path)["Location"])
    text = b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]
    return list(csv.DictReader(io.StringIO(text)))


def test_a_row_is_won_by_its_rule_or_by_nobody() -> None:
    factories.head()
    factories.contract()
    one = factories.service(factories.ALICE, input_price=5, output_price=9)
    two = factories.service(factories.BOB, input_price=4, output_price=9, stake=7)
    image = factories.service(factories.CHARLIE, service_type="text-to-image", output_price=1)
    health(one, uptime_7d=9_000, first_token_p50=100, first_token_n=19)
    health(two, uptime_7d=9_500, first_token_p50=300, first_token_n=20)
    rows = side(one, two)
    won = {label: [cell.wins for cell in row.cells] for label, row in rows.items()}
    assert won["Input"] == [False, True] and won["Output"] == [False, False]
    assert won["Uptime"] == [False, True] and won["Stake"] == [True, False]
    assert won["First token, median"] == [False, False], "one of them has too few samples"
    assert rows["Input"].differs and not rows["Output"].differs
    assert not any(cell.wins for cell in side(one, image)["Output"].cells), "two units"
    assert [cell.wins for cell in side(one, two, work=1)["Your month"].cells] == [False, True]
    two.removed = True
    two.save()
    gone = {name: [cell.wins for cell in row.cells] for name, row in side(one, two, work=1).items()}
    assert not any(map(any, gone.values())), "the best is not one that cannot be had"


def test_a_comparison_is_its_url(client: Client) -> None:
    factories.market(8)
    ids = [named(service) for service in Service.current.order_by("created_block")[:6]]
    page = client.get("/compare", {"s": ids[:3]})
    for id in ids[:3]:  # where a choice leads
        assert f"?provider={id.split('/')[1]}".encode() in page.content
    text = page.content.decode()
    assert text.count('data-testid="compare-row"') > 15 and "wins" in text
    fewer = client.get("/compare", {"s": ids[:3], "only": "differences"}).content.decode()
    assert 0 < fewer.count("compare-row") < text.count("compare-row")
    assert fewer.count("compare-row") == fewer.count("data-differs")
    assert "Four is the most" in client.get("/compare", {"s": ids}).content.decode()
    hostile = client.get("/compare", {"s": ["<b>x", ids[0], "inference/0x"]}).content.decode()
    assert "No service is called <bdi>&lt;b&gt;x</bdi>" in hostile and "<b>x" not in hostile
    assert "Tick two to four" in client.get("/compare").content.decode()


def test_a_comparison_is_one_in_every_form(client: Client) -> None:
    factories.market(8)
    ids = [named(service) for service in Service.current.order_by("created_block")[:3]]
    health(Service.current.get(provider=ids[0].split("/")[1]), uptime_7d=9_876, probes_7d=200)
    query = f"s={ids[0]}&s={ids[1].lower()}&s={ids[1]}&s=inference/0x&tokens_in=1000000"
    html = client.get(f"/compare?{query}").content.decode()
    led = client.get(f"/compare?{query}", headers={"accept": "application/json"})["Location"]
    answer = client.get(led).json()
    assert answer["unknown"] == ["inference/0x"]
    assert [one["id"] for one in answer["services"]] == ids[:2], "one service has one spelling"
    rows = {row["name"]: row for row in answer["rows"]}
    assert len(rows) == len(answer["rows"])
    # People read what nobody declares of the model as one sentence, no row for each fact.
    model = [row for row in answer["rows"] if row["section"] == "model"]
    unsaid = [row["label"] for row in model if not any(one["value"] for one in row["values"])]
    assert f"Not said by any provider: {', '.join(unsaid)}." in html and len(unsaid) == 6
    assert len(rows) - len(unsaid) == html.count('data-testid="compare-row"')
    assert sum(row["differs"] for row in answer["rows"]) == html.count("data-differs")
    wins = sum(value["wins"] for row in answer["rows"] for value in row["values"])
    assert wins == html.count("data-wins") > 0
    one = Service.current.get(provider=ids[0].split("/")[1])
    given = rows["input_price"]["values"][0]
    assert given["value"] == str(one.input_price * 10**6) and given["unit"] == "neuron / 1M tokens"
    assert rows["stake"]["values"][0]["value"] == str(one.stake)
    measured = {"value": "98.76", "unit": "percent", "samples": 200}
    assert rows["uptime_7d"]["values"][0].items() >= measured.items()
    assert rows["month_cost"]["values"][0]["unit"] == "neuron"
    assert rows["declared_context"]["declared"] and not rows["stake"]["declared"]
    assert rows["declared_context"]["values"][0]["value"] is None
    lines = read_csv(client, f"/compare.csv?{query}")
    assert [line["value"] for line in lines] == [
        value["value"] or "" for row in answer["rows"] for value in row["values"]
    ]
    assert {line["provider"] for line in lines} == {id.split("/")[1] for id in ids[:2]}
    fewer = client.get(f"/api/v1/compare?{query}&only=differences").json()["rows"]
    assert fewer == [row for row in answer["rows"] if row["differs"]]
    alone = client.get(f"/api/v1/compare?s={ids[0]}")
    assert alone.json()["rows"] == [] and len(alone.json()["services"]) == 1
    again = client.get(f"/api/v1/compare?s={ids[0]}", headers={"If-None-Match": alone["ETag"]})
    assert again.status_code == 304
    for wrong in ("", "&".join(f"s={id}" for id in "abcde"), f"s={ids[0]}&tokens_in=lots"):
        assert client.get(f"/api/v1/compare?{wrong}").status_code == 422, wrong


def test_a_workload_reaches_the_comparison_and_a_models_page(client: Client) -> None:
    factories.market(24)
    work = {"tokens_in": "2,000,000", "tokens_out": "500000"}
    # A list's form takes it along; without a script, too.
    listed = client.get("/", work).content.decode()
    form = listed[listed.index('<form id="compare"') :].split("</form>")[0]
    assert 'name="tokens_in" value="2000000"' in form and "requests" not in form
    chats = [s for s in Service.current.order_by("created_block") if s.service_type == "chatbot"]
    model, ids = chats[0].model, [named(service) for service in chats[:2]]
    compared = client.get("/compare", {"s": ids, "only": "differences", **work}).content.decode()
    form = compared[compared.index('data-testid="workload"') :].split("</form>")[0]
    assert all(f'name="s" value="{id}"' in form for id in ids) and 'value="differences"' in form
    assert 'value="2000000"' in form and "Your month" in compared
    # The model's page ranks by it, and stays ranked on its other pages.
    Service.objects.filter(pk=chats[1].pk).update(
        model=model, input_price=chats[0].input_price + 10**9, output_price=1
    )
    page = client.get(f"/models/{model}").content.decode()
    assert "Your month" not in page
    ranked = client.get(f"/models/{model}", {**work, "tokens_cached": "lots"}).content.decode()
    months = [
        int(n) for n in re.findall(r'data-neuron="(\d+)"[^>]*data-testid="month-cost"', ranked)
    ]
    assert len(months) > 2 and months == sorted(months) and len(set(months)) > 1
    assert "of these cached" in ranked and "“lots” is not counted" in ranked
    assert f"/?model={quote(model, safe='')}&amp;tokens_in=2000000&amp;tokens_out=500000" in ranked
    # What providers say of the model has rows, what none of them says one sentence.
    assert "No provider says anything about the model but its name" in page
    Service.objects.filter(pk=chats[1].pk).update(additional_info='{"quantization": "fp8"}')
    said = client.get(f"/models/{model}").content.decode()
    assert "<dt>Quantization</dt>" in said and "<dt>Context</dt>" not in said
    assert "Not said by any provider: Context, Longest answer, Modalities, Licence" in said


def test_every_filter_survives_the_way_through_the_url() -> None:
    from urllib.parse import parse_qsl, urlsplit

    given = {
        "q": "a b&c=d", "kind": "inference", "type": "chatbot", "model": "x/y?z#", "uptime": "99",
        "verified": "warn", "proven": "gpu", "tee": "dstack", "max_in": "0.5", "max_out": "2",
        "context": "8000", "stake": "100", "answers": "1", "acknowledged": "1", "free": "1",
        "label": "official", "watched": "1", "requests": "5",
        "tokens_in": "1000", "tokens_out": "10", "tokens_cached": "7", "view": "cards",
        "exact": "1", "sort": "-cost", "page": "3",
    }  # fmt: skip
    filters = Filters.parse(given)
    assert set(SELECTING) <= set(given), "a new filter belongs into this test"
    assert all(str(getattr(filters, name)) == value for name, value in given.items())
    again = Filters.parse(dict(parse_qsl(urlsplit(filters.path(page=3)).query)))
    assert again == filters


def test_embeddings_are_ordered_by_the_one_price_that_they_have(client: Client) -> None:
    factories.head()
    factories.contract()
    dear, cheap = factories.ALICE, factories.BOB
    given = {"service_type": "embedding", "model": "m"}
    factories.service(dear, input_price=10, output_price=0, **given)
    factories.service(cheap, input_price=9, output_price=5, **given)
    factories.service(factories.PETRA, input_price=4, output_price=7, model="m")

    def order(sort: str) -> list[str]:
        page = catalogue.catalogue_page(Filters.parse({"sort": sort}), head())
        return [row.listing.provider for row in page.rows]

    assert order("price") == [cheap, dear, factories.PETRA]
    assert order("-price") == [factories.PETRA, dear, cheap]
    Service.objects.filter(service_type="chatbot").delete()
    page = catalogue.model_page(Filters(model="m"), "")
    assert page is not None
    assert {row.listing.provider: [x.text for x in row.labels] for row in page.rows} == {
        cheap: ["cheapest"], dear: []
    }  # fmt: skip
    # What is not billed is shown and counted nowhere.
    assert [(row.input is not None, row.output) for row in page.rows] == [(True, None)] * 2
    assert order("output_price") == order("-output_price")[::-1]
    assert [row.listing.provider for row in _shown(max_out="1")] == []
    costs = [row.cost for row in _shown(tokens_in="1000", tokens_out="9999", sort="cost")]
    assert costs == [30 * 9 * 1000, 30 * 10 * 1000]
    said = "\n".join(
        client.get(path).content.decode()
        for path in ("/?exact=1", "/models", f"/services/inference/{cheap}", "/models/m")
    )
    assert "not billed by output" in said and "5 neuron" not in said


def test_no_price_pushes_what_stands_beside_it_out_of_sight(client: Client) -> None:
    factories.head()
    factories.contract()
    asked = dict.fromkeys(("input_price", "output_price"), 2**255 - 1)
    cached = '{"cacheTokenBilling": {"divisor": 2}}'
    factories.service(factories.PETRA, model="m", additional_info=cached, **asked)
    for path in ("/?exact=1", "/models", f"/services/inference/{factories.PETRA}"):
        page = client.get(path).content.decode()
        assert "× 10" in page, path
        assert not re.search(r">[^<>]*\d[\d,]{40}", page), path


def _shown(**asked: str) -> tuple[ServiceRow, ...]:
    return catalogue.catalogue_page(Filters.parse(asked), head()).rows


def test_what_answers_now_did_so_at_a_probe_of_now(client: Client) -> None:
    factories.market(12)
    up, slow, down, silent, *_ = Service.current.filter(kind="inference")
    for service, state in ((up, "up"), (slow, "degraded"), (down, "down"), (silent, "up")):
        health(service, state=state)
    Health.objects.filter(provider=silent.provider).update(
        checked_at=timezone.now() - probes.STALE_AFTER
    )
    items = client.get("/api/v1/services?answers=1").json()["items"]
    assert {item["provider"] for item in items} == {up.provider, slow.provider}
    assert "Answers now" in client.get("/?answers=1").content.decode()
    said = client.get(f"/services/inference/{up.provider}").content.decode()
    assert "Up 99.90\N{NO-BREAK SPACE}% in 7 days by 600 probes." in said
    assert "service-silent" not in said
    # What is silent now says so before anybody pays to ask it; of what nobody saw lately, nothing.
    Health.objects.filter(provider=down.provider).update(
        since=timezone.now() - dt.timedelta(hours=3, minutes=5)
    )
    said = client.get(f"/services/inference/{down.provider}").content.decode()
    assert "It has not answered our probes for 3 h. What is asked now will probably fail." in said

    def elsewhere() -> tuple[str, set[str]]:
        page = client.get(f"/services/inference/{down.provider}").content.decode()
        (path,) = re.findall(r'<a href="([^"]+)"', page.split("service-silent")[1].split("</p>")[0])
        found = client.get(unescape(path)).content.decode()
        return path, set(re.findall(r'data-testid="service-row" data-provider="(\w+)"', found))

    # Of the same model if somebody else offers it, else of its type; never back to itself.
    up.service_type, up.block = down.service_type, up.block + 1
    up.save()
    alike = {one.provider for one in (up, slow) if one.service_type == down.service_type}
    assert elsewhere()[1] == alike
    silent.model, silent.block = down.model, silent.block + 1
    silent.save()
    assert elsewhere()[1] == alike, "nobody else answers for this model"
    slow.model, slow.service_type, slow.block = down.model, down.service_type, slow.block + 1
    slow.save()
    path, found = elsewhere()
    assert f"model={quote(down.model, safe='')}" in path and found == {slow.provider}
    said = client.get(f"/services/inference/{silent.provider}").content.decode()
    assert "service-silent" not in said


def test_a_gpu_is_proven_only_beside_genuine_hardware(client: Client) -> None:
    """Its evidence names no machine: whoever forges a quote can put another's GPU beside it."""
    factories.market(12)
    forger, honest, *_ = Service.current.filter(kind="inference")
    run = report_world.development()
    for service, word in ((forger, "fail"), (honest, "pass")):
        key = ServiceKey("inference", service.provider, "inference-v1.0")
        report_world.stand(key, run, questions={"hardware": word, "gpu": "pass"})
    (item,) = client.get("/api/v1/services?proven=gpu").json()["items"]
    assert item["provider"] == honest.provider
    both = "&".join(f"s=inference/{row.provider}" for row in (forger, honest))

    def untied() -> list[bool]:
        row = client.get(f"/compare?{both}").content.decode().split("GPU proven")[1]
        return ["not tied to a genuine" in cell for cell in row.split("</tr>")[0].split("<td")[1:]]

    assert untied() == [True, False]
    # Nor where no machine was shown at all; and of a GPU that nobody showed it is not said.
    for row, hardware, gpu in ((forger, "not_provided", "pass"), (honest, "fail", "not_provided")):
        rows = Standing.objects.filter(provider=row.provider)
        rows.update(questions={"hardware": hardware, "gpu": gpu})
    assert untied() == [True, False]


def test_a_list_of_a_network_that_nobody_read_yet_does_not_call_it_empty(client: Client) -> None:
    lists = f"/ /?q=x /models /models?q=x /providers /changes /changes?change=price /fine-tuning \
        /network/accounts /network/settlements?window=7d /providers/{factories.PETRA} \
        /playground/chat /playground/images /playground/audio /playground/embeddings".split()
    for path in lists:
        text = client.get(path).content.decode()
        assert "Not indexed yet" in text, path
        assert "No models yet" not in text and "No providers yet" not in text
    factories.head()
    factories.contract()
    assert "Not indexed yet" not in "".join(client.get(path).content.decode() for path in lists)


def test_without_an_explorer_a_transaction_leads_to_its_page_here(client: Client) -> None:
    factories.market(1)
    base = f"/services/inference/{factories.address(0)}"
    for tab in ("raw", "settlements"):
        assert (
            '<td role="cell" class="wide" data-label="Transaction"><span class="address"><a '
            in (text := client.get(f"{base}/{tab}").content.decode())
        ), tab
        assert 'href="/tx/0x' in text


def test_lists_that_count_verified_services_say_by_which_evidence(
    client: Client, settings: Any
) -> None:
    factories.market(1)
    for network, said in ((networks.DEVNET, True), (networks.GALILEO, False)):
        settings.NETWORK = network
        for path in ("/models", "/providers"):
            text = client.get(path).content.decode()
            assert ("development evidence, which proves nothing" in text) is said, path
