"""From a finished task to the chat with its model: an inference broker that takes adapters, and
everything that may be in the way."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
import requests
from django.core.cache import cache
from django.utils import timezone
from eth_account import Account
from eth_account.messages import encode_defunct

from accounts import tokens
from finetune import deploying
from finetune.models import Deployment, Task
from inference.openai import app
from ledger.models import Kind, ServingContract
from protocol import tuning
from provider.smallmodel import MODEL_NAME, model_hash
from tests.live.provider_lab import Person
from tests.live.test_adapters import _TASK, World
from tests.live.test_adapters import good as good
from tests.live.test_adapters import world as world
from tests.live.test_tuning_site import Browser, indexed
from tests.live.tuning_lab import SERVICE
from tests.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)
NUMBER = 77


def finished(browser: Browser, provider: str) -> Task:
    """A task whose result was acknowledged and settled, as far as the site knows."""
    serving = ServingContract.current.get(kind=Kind.FINE_TUNING, service_name=SERVICE)
    return Task.objects.create(
        user=browser.user,
        remote_id=UUID(_TASK % NUMBER),
        provider=provider,
        serving=serving.address,
        service_name=SERVICE,
        url="http://127.0.0.1:1",
        model=MODEL_NAME,
        model_hash=model_hash(),
        dataset_hash="0x" + "00" * 32,
        parameters="{}",
        price_per_token=1,
        nonce=1,
        tee_signer=provider,
        progress=tuning.FINISHED,
        created_at=timezone.now(),
    )


def key(browser: Browser, person: Person, provider: str) -> None:
    """What `ensureKey` does in the browser."""
    asked = {"provider": provider, "service_name": "inference-v1.0"}
    wanted = browser.post("/account/keys/prepare", asked)
    signed = Account.sign_message(encode_defunct(bytes.fromhex(wanted["digest"][2:])), person.key)
    body = {"provider": provider, "signature": "0x" + signed.signature.hex()}
    browser.post("/account/keys/store", body)


def looked(row: Deployment) -> Deployment:
    deploying.look(Deployment.objects.select_related("task__user").get(pk=row.pk))
    row.refresh_from_db()
    return row


def asked_by_program(site: str, browser: Browser, model: str) -> int:
    """The status of a question through `/v1`."""
    secret = tokens.create(browser.user, tokens.Wanted(model[:20], scopes=("inference",))).secret
    answer = requests.post(
        f"{site}/v1/chat/completions",
        json={
            "model": model,
            "messages": [{"role": "user", "content": "What?"}],
            "max_tokens": 3,
        },
        headers={"Authorization": f"Bearer {secret}"},
        timeout=60,
    )
    return answer.status_code


def test_a_tuned_model_is_deployed_for_its_owner(
    world: World, good: dict[str, bytes], settings: Any, asgi_server: str
) -> None:
    cache.clear()
    app.relay.forget()
    settings.CHAIN_RPC_URLS = (world.lab.rpc,)
    settings.ALLOW_PRIVATE_PROVIDERS = True
    person, broker = world.customer(), world.broker
    indexed()
    alice, provider = Browser(person), broker.address
    task = finished(alice, provider)
    here = f"/fine-tuning/tasks/{task.pk}/deploy"
    assert alice.post(here, {"provider": "x"}, 400)["code"] == "invalid_request"
    nobody = Person().address
    assert alice.post(here, {"provider": nobody}, 400)["code"] == "unknown_service"
    assert alice.post(here, {"provider": provider}, 409)["code"] == "no_key"
    assert Browser(Person()).client.post(here, "{}", "application/json").status_code == 404
    key(alice, person, provider)
    Task.objects.update(progress=tuning.DELIVERED)
    assert alice.post(here, {"provider": provider}, 409)["code"] == "not_finished"
    Task.objects.update(progress=tuning.FINISHED)
    alice.post(here, {"provider": provider})
    # Nobody handed it over yet: asked again, but not for ever.
    row = looked(Deployment.objects.get())
    assert (row.state, row.error) == ("absent", "") and row.look_next is not None
    Deployment.objects.update(asked_at=timezone.now() - 2 * deploying.WAITS)
    assert looked(row).look_next is None
    assert world.hand_over(NUMBER, person, good).status_code == 202
    world.until(person, NUMBER, "ready")
    # It says that it wants it once, and the rest is done by looking.
    alice.post(here, {"provider": provider})
    with world.model():
        assert eventually(lambda: looked(row).state == "active", 60)
        assert row.look_next is None and row.told_at is not None
        (place,) = deploying.places(Task.objects.select_related("user").get())
        assert place.active and place.position is not None
        assert place.chat == (
            f"/playground/chat?provider={provider}&adapter={world.name(NUMBER)}%40{provider}"
        )
        assert asked_by_program(asgi_server, alice, place.asked_as) == 200
        assert asked_by_program(asgi_server, alice, f"ft-other@{provider}") == 400
        page = alice.client.get(place.chat).content.decode()
        assert f'value="{world.name(NUMBER)}@{provider}"' in page
    # Revoked keys, silence: said, and what was known stays.
    alice.user.provider_keys.all().delete()
    assert "has expired" in looked(row).error and row.state == "active" and row.look_next is None
    key(alice, person, provider)
    broker.stop()
    assert "no answer" in looked(row).error and row.look_next is not None
