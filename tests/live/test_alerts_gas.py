"""A wallet that runs out of gas, by a real node's word; a node that is away is no news."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import cache

from accounts import node
from accounts.models import User
from alerts import services
from alerts.kinds import Kind
from alerts.models import Held
from alerts.services import Wish
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)


def test_little_gas_is_told_and_a_silent_node_is_no_end_of_it(anvil: Any, settings: Any) -> None:
    settings.CHAIN_RPC_URLS = (anvil.url,)
    cache.clear()
    petra = User.objects.for_address(factories.PETRA)
    balance = node.balance(petra.address)
    assert balance > 0
    services.add(petra, Wish(Kind.LOW_GAS, threshold=balance + 1))
    assert services.sweep() == 1 and services.sweep() == 0
    row = petra.notifications.get()
    assert "left in your wallet" in row.title and "Settlements are sent from it." in row.text
    urls, settings.CHAIN_RPC_URLS = settings.CHAIN_RPC_URLS, ("http://127.0.0.1:9",)
    cache.clear()
    assert services.sweep() == 0 and Held.objects.count() == 1
    settings.CHAIN_RPC_URLS = urls
    cache.clear()
    petra.alert_rules.update(threshold=balance)
    assert services.sweep() == 0 and not Held.objects.exists()
