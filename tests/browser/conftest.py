"""What browser tests about money share: the chain as it was found, a wallet, the follower."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from playwright.sync_api import BrowserContext, Page, expect

from devnet import accounts as cast
from devnet.deploy import Contracts, connect
from devnet.owner import acknowledge_signer
from ledger import services
from tests.browser.wallet import Wallet

NEURON = 10**18
# A guard and no measure: a machine that is busy may be slow, what never comes still fails.
expect.set_options(timeout=20_000)


@pytest.fixture
def contracts(devnet: Any, anvil: Any) -> Iterator[Contracts]:
    """The session's chain, as it was found afterwards."""
    found = connect(anvil.url, devnet)
    with found.chain.rollback():
        yield found


@pytest.fixture
def wallet(contracts: Contracts, context: BrowserContext, anvil: Any) -> Wallet:
    return Wallet(cast.user(1), anvil.url).install(context)


@pytest.fixture
def errors(page: Page) -> Iterator[list[str]]:
    """Console errors and CSP reports fail the test."""
    seen: list[str] = []
    page.on("console", lambda m: seen.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: seen.append(str(e)))
    yield seen
    wrong = [text for text in seen if "status of 4" not in text]
    for text in [text for text in wrong if text.startswith("htmx:sendAbort, ")]:
        # A page that is left takes back what it had asked, and htmx tells in two lines.
        wrong.remove(text)
        wrong.remove(text.replace("sendAbort", "afterRequest"))
    assert not wrong, "\n".join(wrong)


@pytest.fixture
def index(asgi_server: str, contracts: Contracts) -> Iterator[None]:
    """The follower beside the site, as in `./run serve`."""
    stop = threading.Event()

    def run() -> None:
        services.follow(stopping=stop.is_set)
        connection.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield
    stop.set()
    thread.join(20)
    assert not thread.is_alive()


@pytest.fixture
def petra(contracts: Contracts) -> str:
    """A provider whose signer the owner has acknowledged."""
    provider, signer = cast.provider(1), cast.signer(1)
    listing = ("chatbot", "http://127.0.0.1:1", "test-model", "TeeML", 10**11, 4 * 10**11, "{}")
    contracts.inference.send(
        provider, "addOrUpdateService", (*listing, signer.address), value=100 * NEURON
    )
    acknowledge_signer(contracts, provider.address)
    return str(provider.address)
