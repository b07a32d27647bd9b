"""What tests of the broker share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from devnet.anvil import Anvil
from devnet.deploy import connect, deploy
from tests.live.provider_lab import Lab


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A chain of the module's own, where the brokers it starts can be registered and paid."""
    with Anvil() as node:
        contracts = connect(node.url, deploy(node.url))
        made = Lab(contracts, node.url, tmp_path_factory.mktemp("brokers"))
        yield made
        made.close()
