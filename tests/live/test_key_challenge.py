"""The key challenge on a real chain: a site wallet pays a real broker, whose attested key signs."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from django.db import connection
from django.db.models import F

from attestation import bundle, challenge, services, trust, verify
from attestation.models import Document, Payment, Trigger, Verification
from attestation.selectors import EXPIRED_AFTER, ServiceKey
from devnet.anvil import Anvil
from devnet.attestation.server import Server
from devnet.attestation.services import Services
from devnet.deploy import connect, deploy
from ledger import services as ledger
from ledger.selectors import services_of
from probes import selectors
from probes import services as probing
from provider.tee import development
from tests.live.provider_lab import INPUT_PRICE, ONE, SERVICE, Broker, Lab, Person, served
from tests.live.provider_lab import Upstream as Model

pytestmark = pytest.mark.django_db(transaction=True)


class Repeating(Model):
    """Says something whatever it is asked."""

    do_Repeat = Model.do_plain
    #: What a speed probe asks for: forty pieces in two seconds.
    do_Count = Model.do_slowly


@dataclass
class Market:
    honest: Broker
    liar: Broker
    lab: Lab
    wallet: Person
    server: Server
    anchors: Path
    rpc: str


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    folder = tmp_path_factory.mktemp("challenge")
    vouching = Services(development.seed(folder / "seed"))
    (folder / "anchors.json").write_text(json.dumps(vouching.anchors()))
    machine = {"machine": {"seed_file": str(folder / "seed")}}
    with Anvil() as node, Server(vouching) as server, served(Repeating()) as url:
        lab = Lab(connect(node.url, deploy(node.url)), node.url, folder)
        wallet = lab.person()

        def broker(backend: str) -> Broker:
            tee = {"backend": backend, **machine}
            made = Broker(lab, lab.person(), f"{url}/v1", tee=tee).start()
            lab.acknowledge(made.address)
            lab.fund(wallet, made.address, 2 * ONE)
            return made

        anchors = folder / "anchors.json"
        yield Market(broker("dev"), broker("lying"), lab, wallet, server, anchors, node.url)
        lab.close()


@pytest.fixture
def site(market: Market, settings: Any) -> Iterator[Market]:
    """A site with a funded wallet that may pay both brokers."""
    settings.CHAIN_RPC_URLS = (market.rpc,)
    settings.ALLOW_PRIVATE_PROVIDERS = True
    settings.ATTESTATION_ANCHORS = str(market.anchors)
    settings.SITE_WALLET_KEY = market.wallet.key.hex()
    settings.SITE_WALLET_PROVIDERS = frozenset({market.honest.address, market.liar.address})
    settings.SITE_WALLET_DAILY = settings.SITE_WALLET_DAILY_PER_PROVIDER = ONE
    for name, value in market.server.environment.items():
        setattr(settings, name, value)
    trust._load.cache_clear()
    ledger.follow(once=True)
    yield market
    trust._load.cache_clear()


def run(broker: Broker, trigger: Trigger = Trigger.SCHEDULE) -> Verification:
    (stored,) = services.verify(ServiceKey("inference", broker.address, SERVICE), trigger)
    return Verification.objects.select_related("body").get(pk=stored.pk)


def row(run: Verification) -> dict[str, Any]:
    (found,) = (row for row in run.rows if row["id"] == "bind.challenge")
    return dict(found)


def test_the_attested_key_signs_an_answer_to_our_random_prompt(site: Market) -> None:
    owed = site.honest.owes(site.wallet)
    first, second = run(site.honest), run(site.honest)
    for stored in (first, second):
        found = row(stored)
        assert (found["verdict"], found["required"]) == ("pass", False)
        assert found["got"] == found["expected"] == stored.attested_signer
        assert stored.overall == "dev-pass"
    assert site.honest.owes(site.wallet) > owed, "it was paid for"
    reserved = {payment.amount for payment in Payment.objects.all()}
    assert Payment.objects.count() == 2
    assert min(reserved) > 100 * INPUT_PRICE
    assert site.honest.owes(site.wallet) - owed <= sum(p.amount for p in Payment.objects.all())
    # Everything about it is in the bundle, and judged the same by anybody.
    evidence, context = bundle.read(services.bundle(first), trust.anchors())
    again = verify.judge(evidence, context)
    assert (again.overall, again.questions()) == (first.overall, first.questions)
    exchange = context.challenge
    assert exchange is not None
    assert exchange["random"].encode() in base64.b64decode(exchange["request"])
    assert exchange["random"] != json.loads(_document(second, "challenge"))["random"]
    for name, change in (
        ("response", base64.b64encode(b"another answer").decode()),
        ("request", base64.b64encode(exchange["random"].encode() + b" other").decode()),
        ("signature", {**exchange["signature"], "signature": "0x" + "11" * 65}),
        ("signature", None),
        ("random", "00" * 24),
        ("random", ""),
        ("request", "%%"),
    ):
        changed = replace(context, challenge={**exchange, name: change})
        found_again = verify.judge(evidence, changed).find("bind.challenge")
        assert found_again is not None and found_again.verdict != "pass", name


def test_a_key_that_signs_another_answer_fails(site: Market) -> None:
    stored = run(site.liar)
    assert (row(stored)["verdict"], row(stored)["required"]) == ("fail", True)
    assert stored.overall == "fail"
    assert stored.questions["fresh"] == "fail"
    # A run that a visitor asked for spends nothing, and takes nothing back.
    for _ in range(2):
        asked = run(site.liar, Trigger.ASKED)
        assert (asked.overall, row(asked)["verdict"]) == ("fail", "fail")
        assert "visitor" in asked.notes[-1]["text"]
        assert asked.inputs["challenge"] == stored.inputs["challenge"]
    assert Payment.objects.count() == 1
    # It does not outlive a verdict.
    Verification.objects.update(started_at=F("started_at") - EXPIRED_AFTER)
    assert row(run(site.liar, Trigger.ASKED))["verdict"] == "not_checked"


def test_a_speed_probe_is_paid_within_the_same_bounds(site: Market, settings: Any) -> None:
    owed = site.honest.owes(site.wallet)
    listings = services_of(site.honest.address)
    (found,) = probing.run(listings, thorough=True)
    spoken = found.spoken
    assert found.judged == ("up", "") and spoken is not None
    assert (found.speed, spoken.usage_last) == ("paid", True)
    assert spoken.first_token_ms is not None
    assert spoken.stream_ms is not None and 1_500 < spoken.stream_ms < 20_000
    (payment,) = Payment.objects.all()
    assert 0 < site.honest.owes(site.wallet) - owed <= payment.amount
    seen = selectors.health_of([ServiceKey.of(listings[0])])[ServiceKey.of(listings[0])]
    assert seen.first_token is not None and seen.first_token.n == 1
    # Beyond the bound of the day nothing is asked, and nothing is said about speed.
    settings.SITE_WALLET_DAILY_PER_PROVIDER = payment.amount
    (found,) = probing.run(listings, thorough=True)
    assert (found.judged, found.speed, found.spoken) == (("up", ""), "", None)
    assert Payment.objects.count() == 1


def test_no_money_without_a_reason(site: Market, settings: Any) -> None:
    def missing(broker: Broker, trigger: Trigger = Trigger.SCHEDULE) -> str:
        found = row(run(broker, trigger))
        assert found["verdict"] == "not_checked"
        return str(found["detail"])

    assert "visitor" in missing(site.honest, Trigger.ASKED)
    settings.SITE_WALLET_PROVIDERS = frozenset({site.liar.address})
    assert "list" in missing(site.honest)
    settings.SITE_WALLET_PROVIDERS = frozenset({site.honest.address, site.liar.address})
    settings.SITE_WALLET_KEY = site.lab.person().key.hex()
    assert "not funded" in missing(site.honest)
    settings.SITE_WALLET_KEY = ""
    assert "no wallet" in missing(site.honest)
    assert not Payment.objects.exists()
    settings.SITE_WALLET_KEY = site.wallet.key.hex()
    run(site.honest)
    cost = Payment.objects.get().amount
    settings.SITE_WALLET_DAILY_PER_PROVIDER = 2 * cost - 1
    assert "bound" in missing(site.honest)
    settings.SITE_WALLET_DAILY_PER_PROVIDER, settings.SITE_WALLET_DAILY = ONE, 2 * cost - 1
    assert "bound" in missing(site.honest)
    settings.SITE_WALLET_DAILY = 2 * cost
    assert row(run(site.honest))["verdict"] == "pass"
    assert Payment.objects.count() == 2


def _document(stored: Verification, name: str) -> bytes:
    return bytes(Document.objects.get(pk=stored.inputs[name]).body)


def test_two_reservations_at_once_do_not_pass_the_bound_together(site: Market) -> None:
    payable = {"provider": site.honest.address, "serving": site.lab.contracts.inference.address}
    refused: list[str] = []

    def reserve() -> None:
        try:
            challenge._reserve(site.wallet.key, payable, ONE // 2)
        except challenge.NotChallenged as reason:
            refused.append(str(reason))
        finally:
            connection.close()

    threads = [Thread(target=reserve) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (Payment.objects.count(), len(refused)) == (2, 4)
