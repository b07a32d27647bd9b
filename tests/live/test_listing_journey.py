"""An operator registers, changes URL, price and signer, and removes the service, through the pages
and a wallet; the contract's views say what happened."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from accounts.models import Intent
from devnet import accounts as cast
from devnet.anvil import Anvil
from devnet.deploy import Contracts, connect, deploy
from devnet.owner import acknowledge_signer
from ledger import services as index
from operators.models import ListingDraft
from tests.db.test_keys_lasting import signed_in

pytestmark = pytest.mark.django_db(transaction=True)
NEURON = 10**18
SELLER, SIGNER, NEXT = cast.provider(1), cast.signer(1), cast.signer(2)
ALICE = cast.user(1)
NAME = "inference-v1.0"
EDIT = "/operator/listing/inference/edit"
FORM = {
    "url": "http://127.0.0.1:4004",
    "model": "test/model",
    "service_type": "chatbot",
    "verifiability": "TeeML",
    "input_price": "0.1",
    "output_price": "400000000000 neuron",
    "tee_signer": SIGNER.address,
    "additional_info": '{"ProviderType": "decentralized", "own": [1]}',
}


@pytest.fixture
def contracts(settings: Any) -> Iterator[Contracts]:
    cache.clear()
    with Anvil() as node:
        settings.CHAIN_RPC_URLS = (node.url,)
        found = connect(node.url, deploy(node.url))
        index.follow(once=True)
        yield found


def follow(contracts: Contracts) -> None:
    contracts.chain.mine(3)
    index.follow(once=True)


def page(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, path
    return answer.content.decode()


def review(text: str) -> dict[str, Any]:
    """What the page's button would send."""
    found = re.search(
        r'data-action="([^"]+)" data-params="([^"]+)" data-seen="([0-9a-f]{64})"', text
    )
    assert found, text[text.find('id="review"') :][:3000]
    params = json.loads(html.unescape(found[2]))
    return {"action": found[1], "params": params, "seen": found[3]}


def send(contracts: Contracts, client: Client, wanted: dict[str, Any]) -> Intent:
    """As the page's script does with a wallet; returns the intent once the index has it."""

    def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = client.post(path, body, content_type="application/json")
        assert answer.status_code == 200, answer.content
        found: dict[str, Any] = answer.json()
        return found

    began = post("/account/transactions/start", wanted)
    at = f"/account/transactions/{began['id']}"
    call = post(f"{at}/confirm", {})["transaction"]
    assert call["from"] == SELLER.address
    sent = contracts.chain.send(
        SELLER,
        call["to"],
        bytes.fromhex(call["data"][2:]),
        value=int(call["value"], 16),
        gas=int(call["gas"], 16),
    )
    assert sent.ok
    post(f"{at}/submitted", {"tx_hash": sent.tx_hash})
    follow(contracts)
    Intent.objects.filter(pk=began["id"]).update(checked_at=None)  # no pause between two looks
    seen = client.get(f"{at}/status").content.decode()
    assert re.search(r'data-state="(indexed|final)"', seen)
    return Intent.objects.get(pk=began["id"])


def change(contracts: Contracts, client: Client, **typed: str) -> str:
    """Type, review, send; the review's page."""
    text = typed_page(client, **typed)
    send(contracts, client, review(text))
    return text


def typed_page(client: Client, **typed: str) -> str:
    assert client.post(EDIT, typed).status_code == 302
    return page(client, EDIT)


def listed(contracts: Contracts) -> dict[str, Any]:
    found: dict[str, Any] = contracts.inference.view("getService", SELLER.address)
    return found


def test_register_change_and_remove_with_the_stake_back(contracts: Contracts) -> None:
    client = signed_in(SELLER)
    assert "This wallet offers nothing yet" in page(client, "/operator/listing")
    blank = page(client, EDIT)
    assert "data-tx-confirm" not in blank and "aria-invalid" not in blank

    wrong = typed_page(client, **{**FORM, "url": "ftp://x", "additional_info": "{"})
    assert "must start with http" in wrong and "This is not JSON: line 1" in wrong
    assert "data-tx-confirm" not in wrong and "test/model" in wrong  # nothing typed is lost
    form = {**FORM, "service_type": "text-to-image"}
    text = client.post(EDIT, form, headers={"HX-Request": "true"}).content.decode()
    assert 'id="unit-output_price" hx-swap-oob="innerHTML">0G per image<' in text
    shown = typed_page(client, **FORM)
    assert "100 0G of stake leave your wallet" in shown and "ProviderCannotBeUser" in shown
    before = contracts.chain.balance(SELLER.address)
    intent = send(contracts, client, review(shown))
    assert intent.value == 100 * NEURON
    assert before - contracts.chain.balance(SELLER.address) >= 100 * NEURON
    service = listed(contracts)
    assert (service["inputPrice"], service["outputPrice"]) == (10**11, 4 * 10**11)
    assert service["additionalInfo"] == FORM["additional_info"]
    assert "Nothing differs from what is on chain" in page(client, EDIT)
    assert not ListingDraft.objects.exists()

    acknowledge_signer(contracts, SELLER.address)
    contracts.ledger.send(ALICE, "depositFund", value=5 * NEURON)
    contracts.ledger.send(ALICE, "transferFund", SELLER.address, NAME, 2 * NEURON)
    follow(contracts)
    shown = change(contracts, client, url="http://127.0.0.1:5005")
    assert "1 customer with 2 0G can read it" in shown and "stays acknowledged" in shown
    assert "Users cannot be charged until" not in shown
    assert (listed(contracts)["url"], listed(contracts)["teeSignerAcknowledged"]) == (
        "http://127.0.0.1:5005",
        True,
    )
    shown = change(contracts, client, output_price="0.8")
    assert "Up to 100 % dearer" in shown
    assert listed(contracts)["outputPrice"] == 8 * 10**11
    assert listed(contracts)["teeSignerAcknowledged"] is True

    shown = change(contracts, client, tee_signer=NEXT.address)
    assert "Resets acknowledgement (signer)" in shown
    assert 'data-effect="signer_acknowledged"' in shown
    service = listed(contracts)
    assert (service["teeSignerAddress"], service["teeSignerAcknowledged"]) == (NEXT.address, False)
    assert "You earn nothing until the owner" in page(client, "/operator/listing")

    at = "/operator/listing/inference/remove"
    shown = page(client, at)
    assert "Your stake of 100 0G returns" in shown and "1 customer with 2 0G keeps" in shown
    assert "Stop your broker before" in shown
    before = contracts.chain.balance(SELLER.address)
    send(contracts, client, review(shown))
    assert contracts.chain.balance(SELLER.address) - before > 99 * NEURON
    assert not contracts.inference.view("serviceExists", SELLER.address)
    assert "There is nothing to remove" in page(client, at)
    assert "Removed earlier" in page(client, "/operator/listing")


def test_a_fine_tuning_service_and_a_change_beside_the_form(contracts: Contracts) -> None:
    client = signed_in(SELLER)
    at = "/operator/listing/fine-tuning/edit"
    typed = {
        "url": "http://127.0.0.1:6006",
        "models": "base/one\nbase/two",
        "price_per_token": "0.000001",
        **dict.fromkeys(("cpu_count", "node_memory", "gpu_count", "node_storage"), "8"),
        "gpu_type": "H100",
        "tee_signer": SIGNER.address,
    }
    client.post(at, typed)
    shown = page(client, at)
    assert "You earn nothing until" in shown and "own customer" not in shown  # it may be one here
    send(contracts, client, review(shown))
    found = contracts.fine_tuning.view("getService", SELLER.address)
    assert (found["models"], found["pricePerToken"]) == (["base/one", "base/two"], 10**6)
    assert found["quota"]["gpuType"] == "H100" and found["occupied"] is False
    # A draft holds what was typed alone, so a change made elsewhere is not undone by it.
    client.post(at, {**typed, "occupied": "yes"})
    hidden = re.findall(r'name="(seen-\w+)" value="([^"]*)"', page(client, at))
    quota = (8, 8, 8, 8, "H200")
    listing = ("http://127.0.0.1:7007", quota, 10**6, False, ["base/one"], SIGNER.address)
    contracts.fine_tuning.send(SELLER, "addOrUpdateService", *listing)
    wanted = review(page(client, at))
    params = wanted["params"]
    assert (params["url"], params["quota"]["gpu_type"]) == ("http://127.0.0.1:7007", "H200")
    assert (params["models"], params["occupied"]) == (["base/one"], True)
    # Nor by a form that was open meanwhile, and sends all of its fields: it is made anew.
    form = {**typed, "occupied": "yes", "gpu_type": "H300", **dict(hidden)}
    answer = client.post(at, form, headers={"HX-Request": "true"})
    assert answer.headers["HX-Refresh"] == "true"
    params = review(page(client, at))["params"]
    assert (params["url"], params["quota"]["gpu_type"]) == ("http://127.0.0.1:7007", "H300")
    assert (params["models"], params["occupied"]) == (["base/one"], True)
