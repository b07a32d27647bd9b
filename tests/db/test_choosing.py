"""Which provider stands chosen in the playground before anybody chose: where the money is, else the
cheapest that is verified, and none whose evidence failed."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from attestation.models import Standing
from inference.media.selectors import elsewhere
from inference.models import Chat, Medium
from ledger.models import Service, SubAccount
from protocol.fees import NEURON_PER_0G
from tests import factories

pytestmark = pytest.mark.django_db
CHEAP, SOUND, HELD = (factories.address(name) for name in ("cheap", "sound", "held"))


@pytest.fixture(params=["/playground/chat", "/playground/images"])
def path(request: pytest.FixtureRequest) -> str:
    factories.head()
    factories.contract()
    kind = "chatbot" if "chat" in request.param else "text-to-image"
    for provider, price in ((CHEAP, 1), (SOUND, 2), (HELD, 3)):
        prices = {"input_price": price * 10**11, "output_price": price * 10**11}
        factories.service(provider, service_type=kind, **prices)
    for provider, word in ((CHEAP, "fail"), (SOUND, "dev-warn"), (HELD, "dev-pass")):
        Standing.objects.create(
            provider=provider,
            kind="inference",
            service_name="inference-v1.0",
            overall=word,
            checked_at=timezone.now(),
        )
    return str(request.param)


def chosen(client: Client, path: str) -> tuple[str, str]:
    """The provider that is selected, and why the page says it is."""
    page = client.get(path).content.decode()
    option = re.search(r'<option value="(0x\w+)"[^>]* selected>', page)
    why = re.search(r'data-testid="chosen-why">([^<]*)<', page)
    return option[1] if option else "", why[1] if why else ""


def test_money_and_a_verdict_are_found_beyond_the_cheapest(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The select holds two hundred; on a network with more the one with the money was not there."""
    kind = "chatbot" if path.endswith("chat") else "text-to-image"
    cheapest = factories.address("cheapest")
    factories.service(cheapest, service_type=kind, input_price=10**10, output_price=10**10)
    Standing.objects.update(serving=Service.objects.values("serving")[:1])
    monkeypatch.setattr("ledger.selectors.MAX_PAGE_SIZE", 2)
    client = Client()
    assert chosen(client, path)[0] == SOUND
    client.force_login(User.objects.for_address(factories.ALICE))
    factories.purse()
    factories.sub_account(provider=HELD)
    Standing.objects.filter(provider=HELD).delete()
    assert chosen(client, path) == (HELD, "Chosen because you have a balance there.")
    options = re.findall(r'<option value="(0x\w+)"', client.get(path).content.decode())
    assert options[:4] == [cheapest, CHEAP, SOUND, HELD] and len(set(options)) == 4
    # Nor do verified ones between keep it out: of those, too, there are more than are read.
    between = factories.address("between")
    factories.service(between, service_type=kind, input_price=25 * 10**10, output_price=25 * 10**10)
    also = Standing.objects.get(provider=SOUND)
    also.pk, also.provider = None, between
    also.save(force_insert=True)
    assert chosen(client, path) == (HELD, "Chosen because you have a balance there.")
    options = re.findall(r'<option value="(0x\w+)"', client.get(path).content.decode())
    assert options[:5] == [cheapest, CHEAP, SOUND, between, HELD] and len(set(options)) == 5


def test_money_comes_before_a_verdict_and_a_verdict_before_a_price(
    path: str, settings: Any
) -> None:
    client = Client()
    assert chosen(client, path) == (
        SOUND,
        "Chosen as the cheapest whose evidence passed our check, with warnings.",
    )
    page = client.get(path).content.decode()
    assert ('href="?draft=' in page) is path.endswith("chat"), "an example is no choice"
    sound = Standing.objects.filter(provider=SOUND)
    sound.update(overall="dev-pass")
    passed = "Chosen as the cheapest whose evidence passed our check."
    assert chosen(client, path) == (SOUND, passed)
    # Evidence says nothing of the way there.
    Service.objects.filter(provider=SOUND).update(url="http://203.0.113.7")
    settings.IS_DEVNET = False
    assert chosen(client, path) == (HELD, passed)
    settings.IS_DEVNET = True
    alice = User.objects.for_address(factories.ALICE)
    client.force_login(alice, backend="django.contrib.auth.backends.ModelBackend")
    factories.purse()
    assert chosen(client, path)[0] == SOUND
    # What is only its reserve pays for nothing; what is being refunded neither.
    factories.sub_account(provider=CHEAP, balance=NEURON_PER_0G)
    factories.sub_account(provider=HELD, acknowledged=False)
    assert chosen(client, path) == (HELD, "Chosen because you have a balance there.")
    # Of several, where one asked last: not by a program, nor in another part of the playground.
    factories.sub_account(provider=SOUND)
    assert chosen(client, path) == (SOUND, "Chosen because you have a balance there.")
    medium, other = ("chat", "images") if path.endswith("chat") else ("images", "chat")
    for provider, of, asked in ((HELD, medium, True), (SOUND, other, True), (SOUND, medium, False)):
        Chat.objects.create(owner=alice, provider=provider, medium=of, asked=asked)
    assert chosen(client, path) == (HELD, "Chosen because you asked it last.")
    SubAccount.objects.filter(provider=HELD).update(balance=0)
    assert chosen(client, path)[0] == SOUND
    # Money where the evidence failed leads nobody there, unless there is nothing else.
    SubAccount.objects.all().delete()
    factories.sub_account(provider=CHEAP)
    assert chosen(client, path)[0] == SOUND
    Standing.objects.update(overall="fail")
    assert chosen(client, path) == (CHEAP, "Chosen because you have a balance there.")
    # Who chose is told nothing, and gets what was chosen.
    assert chosen(client, f"{path}?provider={CHEAP}") == (CHEAP, "")
    SubAccount.objects.all().delete()
    Standing.objects.all().delete()
    assert chosen(client, path) == (CHEAP, "")


@pytest.mark.parametrize("hours", [25, 73])
def test_a_failure_stays_one_while_nobody_shows_better(path: str, hours: int) -> None:
    """Whoever answers no more checks would be rid of it otherwise."""
    Standing.objects.filter(provider=CHEAP).update(
        checked_at=timezone.now() - timedelta(hours=hours)
    )
    Standing.objects.exclude(provider=CHEAP).delete()
    client = Client()
    assert chosen(client, path) == (SOUND, "")
    page = client.get(f"{path}?provider={CHEAP}").content.decode()
    assert re.search(rf'<option value="{CHEAP}"[^>]* selected>[^<]* – failed – ', page)
    assert "Its evidence <strong>failed</strong> our check" in page
    service = client.get(f"/services/inference/{CHEAP}").content.decode()
    assert "Its attestation failed our check" in service
    assert ("Evidence failed our check" in service) is (hours == 25), "else nothing is said of when"
    if path.endswith("images"):
        offered = elsewhere(Medium.IMAGES, HELD, lambda listing: listing.output_price)
        assert [one.provider for one in offered] == [SOUND]


@pytest.mark.parametrize("path", ["/playground/images"], indirect=True)
def test_what_failed_is_not_offered_where_the_evidence_did(path: str) -> None:
    offered = elsewhere(Medium.IMAGES, HELD, lambda listing: listing.output_price)
    assert [(one.provider, one.verdict) for one in offered] == [(SOUND, "dev-warn")]
