"""The index on a real chain: whatever happens there, our rows are what the contracts say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings as django_settings

from chain.models import Head, RawCall
from chain.rpc import Rpc
from devnet.anvil import Anvil
from devnet.deploy import Deployment, deploy
from devnet.scenario import run
from ledger import audit, services
from ledger.models import Movement

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def node(settings: Any) -> Iterator[Anvil]:
    """A chain of its own for every test: these tests reorganise and rewind it."""
    with Anvil() as anvil:
        settings.CHAIN_RPC_URLS = (anvil.url,)
        yield anvil


@pytest.fixture
def contracts(node: Anvil) -> Deployment:
    return deploy(node.url)


def differences(*, final: bool = False) -> list[str]:
    with Rpc(django_settings.CHAIN_RPC_URLS, django_settings.CHAIN_ID) as rpc:
        report = audit.compare(rpc, final=final)
    assert sum(report.compared.values()) > 0
    return [str(d) for d in report.differences]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_seeded_history_has_no_drift(seed: int, node: Anvil, contracts: Deployment) -> None:
    run(seed, 300, contracts, node.url)
    services.follow(once=True)
    assert differences() == []
    assert differences(final=True) == []
    assert Movement.objects.exists()
