"""`/tx/{hash}` on rows that the follower made of a real chain: each row under its transaction."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from devnet.anvil import Anvil
from devnet.deploy import deploy
from devnet.scenario import run
from ledger import services
from ledger.models import Movement, ServiceChange, Settlement
from marketplace import transactions

pytestmark = pytest.mark.django_db(transaction=True)


def test_every_row_is_found_by_its_transaction(client: Client, settings: Any) -> None:
    with Anvil() as node:
        settings.CHAIN_RPC_URLS = (node.url,)
        run(5, 60, deploy(node.url), node.url)
        services.follow(once=True)
        for table, held in ((ServiceChange, "changes"), (Settlement, "settlements"),
                            (Movement, "movements")):  # fmt: skip
            hashes = {row.tx_hash for row in table.objects.all() if row.tx_hash}
            assert len(hashes) > 2, table
            for tx_hash in sorted(hashes)[:12]:
                found = transactions.seen(tx_hash)
                assert found is not None
                rows = table.objects.filter(tx_hash=tx_hash).count()
                assert len(getattr(found, held)) == rows, (held, tx_hash)
                page = client.get(f"/tx/{tx_hash}").content.decode()
                assert tx_hash in page and f"{found.block:,}" in page
        assert client.get("/tx/0x" + "00" * 32).status_code == 404
    assert client.get(f"/tx/{tx_hash}").status_code == 503
