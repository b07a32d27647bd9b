"""The wallet that settles, against a real chain: an operator hears before its gas ends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest
import requests
from django.core.cache import cache
from django.test import Client

from accounts.models import User
from devnet.anvil import Anvil
from devnet.client import Chain
from ledger.models import Service
from operators import gas, wallets
from operators.models import BatchGas
from tests import factories
from tests.factories import ALICE, PETRA

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("as_found")]
ONE_ITEM = gas.FIXED_GAS + gas.ITEM_GAS


@pytest.fixture
def as_found(anvil: Anvil) -> Iterator[None]:
    """The other tests of this process find their wallets as full as before."""
    with Chain(anvil.url).rollback():
        yield


def test_low_gas_is_told_from_what_settlements_really_cost(anvil: Anvil, settings: Any) -> None:
    settings.CHAIN_RPC_URLS = (anvil.url,)
    cache.clear()
    factories.head()
    factories.contract()
    factories.service()
    client = Client()
    client.force_login(User.objects.for_address(PETRA))
    page = client.get("/operator").content.decode()
    assert 'data-kind="gas"' not in page, "nobody looked yet"

    def told(gas_units: int, less: int = 0) -> list[str]:
        """Tone and text of the banner for a wallet that holds so much gas, less a few neuron."""
        while True:  # until no block came between, with another price
            price = int(ask(anvil, "eth_gasPrice"), 16)
            ask(anvil, "anvil_setBalance", PETRA, hex(gas_units * price - less))
            wallets.look(PETRA)
            if int(ask(anvil, "eth_gasPrice"), 16) == price:
                break
        page = client.get("/operator").content.decode()
        found = re.search(r'notice (\w+)" [^>]*data-kind="gas">.*?<span>([^<]*)<', page, re.S)
        return [found[1], unescape(found[2])] if found else []

    assert told(5 * ONE_ITEM) == []
    assert "pays 4 settlements." in told(5 * ONE_ITEM, less=1)[1]
    assert told(2 * ONE_ITEM, less=1)[0] == "warn"
    assert "pays 1 settlement." in told(ONE_ITEM)[1]
    assert told(ONE_ITEM, less=1)[0] == "bad" and told(0)[0] == "bad"
    assert told(0)[1].startswith("Your wallet held 0 0G less than a minute ago, which does not")
    # Its batches are larger than that: what they cost counts.
    for block, used in ((4_100_000, 9 * ONE_ITEM), (4_100_001, 2 * ONE_ITEM)):
        row = factories.settlement(block=block, tx_hash=factories.tx_hash(f"batch {block}"))
        BatchGas.objects.create(
            tx_hash=str(row.tx_hash), block=block, sender=PETRA, gas_used=used, gas_price=7
        )
    assert "pays 1 settlement." in told(17 * ONE_ITEM)[1] and told(45 * ONE_ITEM) == []
    # Another wallet settles for it: what this one holds says nothing.
    BatchGas.objects.filter(block=4_100_001).update(sender=ALICE)
    assert told(0) == []
    BatchGas.objects.update(sender=PETRA)
    assert told(0)[0] == "bad"
    Service.objects.update(removed=True)
    assert told(0) == [], "nothing is listed, nothing is settled"


def ask(anvil: Anvil, method: str, *params: str) -> Any:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return requests.post(anvil.url, json=body, timeout=10).json()["result"]
