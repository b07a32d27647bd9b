"""The made-up past of the demo: real transactions on a chain whose clock began long ago."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.db.models import Count

from devnet import history
from devnet.anvil import Anvil
from devnet.deploy import connect, deploy
from ledger import services as ledger
from ledger.models import Service, ServiceChange, Settlement
from probes import examples, services
from probes.models import Health

pytestmark = pytest.mark.django_db(transaction=True)
DAYS, SERVICES = 6, 25


def test_a_week_of_a_market_is_indexed_like_any_other(settings: Any) -> None:
    with Anvil(args=history.args(DAYS)) as node:
        contracts = connect(node.url, deploy(node.url))
        made = history.make(contracts, SERVICES)
        assert made.services == SERVICES
        assert abs(contracts.chain.timestamp() - time.time()) < 30, "the clock is right again"
        with pytest.raises(history.HistoryError, match="not behind"):
            history.make(contracts, SERVICES)
        settings.CHAIN_RPC_URLS = (node.url,)
        ledger.follow(once=True)
    assert Service.current.filter(removed=False).count() == SERVICES
    days = ServiceChange.objects.dates("at", "day")
    assert len(days) >= DAYS - 1
    kinds = dict(ServiceChange.objects.values_list("change").annotate(Count("pk")))
    assert kinds["registered"] == SERVICES and kinds["price"] > 10 and kinds["acknowledged"] > 10
    # Busy providers are paid; where the signer was not acknowledged nothing is.
    assert Settlement.objects.filter(status="success").count() > DAYS * history.BUSY / 2
    listings = services.listed()
    assert examples.seed(listings) > SERVICES * 300
    assert Health.objects.filter(example=True).count() == SERVICES
    assert services.all_due() == [], "nobody looks for what is not there"
