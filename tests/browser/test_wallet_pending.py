"""Transactions that wait in the node's pool. Anvil cannot go back to how the session's chain mines
(at once, and every second) when it was told to stand still: these have a chain of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from accounts.models import Intent
from devnet.anvil import Anvil
from devnet.deploy import Contracts, Deployment, deploy
from tests.browser.money import ALICE, NEURON, ledger
from tests.browser.wallet import Wallet, shows, sign_in


@pytest.fixture(scope="module")
def anvil() -> Iterator[Anvil]:
    with Anvil() as node:
        yield node


@pytest.fixture(scope="module")
def devnet(anvil: Anvil) -> Deployment:
    return deploy(anvil.url)


@pytest.fixture(autouse=True)
def drained(contracts: Contracts) -> Iterator[None]:
    """What a test left in the pool is nobody's afterwards."""
    yield
    contracts.chain.rpc.call("anvil_dropAllTransactions")


@contextmanager
def still(contracts: Contracts) -> Iterator[None]:
    """No block comes meanwhile; afterwards one every second."""
    contracts.chain.rpc.call("anvil_setIntervalMining", 0)
    contracts.chain.rpc.call("evm_setAutomine", False)
    try:
        yield
    finally:
        contracts.chain.rpc.call("anvil_setIntervalMining", 1)


def submitted(page: Page, site: str) -> Locator:
    """The state of a deposit of 5 that waits in the pool."""
    sign_in(page, site)
    page.get_by_test_id("tx-amount").fill("5")
    page.get_by_test_id("tx-confirm").click()
    state = page.get_by_test_id("tx-state")
    expect(state).to_have_attribute("data-state", "submitted")
    return state


def test_neither_a_double_click_nor_another_tab_nor_the_way_back_sends_twice(
    asgi_server: str, wallet: Wallet, contracts: Contracts, context: BrowserContext, page: Page
) -> None:
    sign_in(page, asgi_server)
    review = f"{asgi_server}/account?action=deposit&amount=5"
    second = context.new_page()
    second.goto(review)
    second.get_by_test_id("tx-confirm").wait_for()
    with still(contracts):
        page.goto(review)
        page.get_by_test_id("tx-confirm").dblclick()
        expect(page.get_by_test_id("tx-state")).to_have_attribute("data-state", "submitted")
        page.goto(f"{asgi_server}/account/transactions")
        page.go_back()
        # Neither the address nor what a browser fills in again takes its place.
        page.add_init_script(
            "addEventListener('DOMContentLoaded', () => {"
            " const field = document.getElementById('tx-amount');"
            " if (field) field.value = '5.0'; })"
        )
        for path in ("/account", "/account?action=deposit&amount=5"):
            page.goto(f"{asgi_server}{path}")
            expect(page.get_by_text("Continue where you left off")).to_be_visible()
            page.wait_for_load_state("networkidle")
            expect(page.get_by_test_id("tx-state")).to_have_attribute("data-state", "submitted")
        second.get_by_test_id("tx-confirm").click()
        message = second.locator("#review [data-tx-message]")
        expect(message).to_contain_text("Exactly this transaction waits in your wallet")
        page.get_by_role("button", name="Review").click()
        page.get_by_test_id("tx-confirm").click()
        expect(page.locator("#review [data-tx-message]")).to_contain_text("Nothing was sent twice")
    assert wallet.methods().count("eth_sendTransaction") == 1


def test_a_reload_while_it_is_sent_goes_on_where_it_was(
    asgi_server: str,
    index: None,
    wallet: Wallet,
    contracts: Contracts,
    page: Page,
    errors: list[str],
) -> None:
    with still(contracts):
        state = submitted(page, asgi_server)
        expect(page.get_by_test_id("tx-waiting")).to_have_attribute("data-count", "1")
        # An answer that breaks off in the middle ends nothing: it is asked again.
        cut = "**/account/transactions/*/status"
        with page.expect_response(cut):
            page.route(cut, lambda route: route.fulfill(body=""), times=1)
        page.reload()
        expect(page.get_by_text("Continue where you left off")).to_be_visible()
        expect(page).to_have_title(re.compile(r"^\(1\) Funds"))
        expect(state).to_have_attribute("data-state", "submitted")
        # How long it waits is counted on in its place, and not read out every second.
        page.evaluate("document.querySelector('[data-tx]').seen = true")
        clock = page.locator("[data-elapsed]")
        expect(clock).to_have_attribute("aria-live", "off")
        expect(clock).to_have_text(re.compile(r"^([5-9]|\d\d) s$"), timeout=15_000)
        assert page.evaluate("document.querySelector('[data-tx]').seen")
        # Every other page says so too, until a block holds it.
        page.goto(f"{asgi_server}/models")
        expect(page).to_have_title(re.compile(r"^\(1\) Models"))
        header = page.get_by_role("link", name="1 transaction waits for a block")
        expect(header).to_have_attribute("href", "/account/transactions")
        elsewhere = page.context.new_page()
        elsewhere.goto(f"{asgi_server}/account")
        expect(elsewhere.locator("#act")).to_have_text("Open your account")
        expect(elsewhere.locator("#tx-amount-note")).to_contain_text("first deposit")
    expect(header).to_be_hidden(timeout=15_000)
    expect(elsewhere.locator("#act")).to_have_text("Deposit")  # it is open now
    expect(elsewhere.locator("#tx-amount-note")).to_have_count(0)
    expect(page).to_have_title(re.compile(r"^Models"))
    page.goto(f"{asgi_server}/account")
    expect(state).to_have_attribute("data-state", "final", timeout=30_000)
    shows(page, "available", 5 * NEURON)


def test_a_transaction_cancelled_in_the_wallet_is_told_as_such(
    asgi_server: str, wallet: Wallet, contracts: Contracts, page: Page, errors: list[str]
) -> None:
    rpc = contracts.chain.rpc
    page.add_init_script(
        "const later = setTimeout;"
        " window.setTimeout = (done, ms, ...more) => later(done, Math.min(ms, 1000), ...more);"
    )
    with still(contracts):
        state = submitted(page, asgi_server)
        # What a proxy says while the site begins anew does not end the following.
        asked = "**/account/transactions/*/status"
        with page.expect_response(asked):
            page.route(asked, lambda route: route.fulfill(status=404, body="none"), times=1)
        waiting = rpc.call("eth_getTransactionByHash", Intent.objects.get().tx_hash)
        # What a wallet does on "Cancel": the same nonce, to itself, with a higher price.
        price = 10 * int(waiting["maxFeePerGas"], 16)
        cancel: dict[str, Any] = {
            "type": 2,
            "chainId": 31337,
            "nonce": int(waiting["nonce"], 16),
            "to": ALICE.address,
            "value": 0,
            "gas": 21_000,
            "maxFeePerGas": price,
            "maxPriorityFeePerGas": price // 2,
        }
        raw = bytes(ALICE.sign_transaction(cancel).raw_transaction)
        rpc.call("eth_sendRawTransaction", "0x" + raw.hex())
    expect(state).to_have_attribute("data-state", "replaced", timeout=30_000)
    expect(page.locator("[data-tx-message]")).to_contain_text("Cancelled in your wallet")
    expect(page.get_by_role("link", name="Send again")).to_be_visible()


def test_a_sped_up_transaction_is_followed_to_its_end(
    asgi_server: str, index: None, wallet: Wallet, contracts: Contracts, page: Page
) -> None:
    rpc = contracts.chain.rpc
    with still(contracts):
        state = submitted(page, asgi_server)
        waiting = rpc.call("eth_getTransactionByHash", Intent.objects.get().tx_hash)
        faster = {
            "type": 2,
            "chainId": 31337,
            "nonce": int(waiting["nonce"], 16),
            "to": Intent.objects.get().to,
            "data": waiting["input"],
            "value": int(waiting["value"], 16),
            "gas": int(waiting["gas"], 16),
            "maxFeePerGas": 10 * int(waiting["maxFeePerGas"], 16),
            "maxPriorityFeePerGas": 5 * int(waiting["maxFeePerGas"], 16),
        }
        raw = bytes(ALICE.sign_transaction(faster).raw_transaction)
        rpc.call("eth_sendRawTransaction", "0x" + raw.hex())
    expect(state).to_have_attribute("data-state", "final", timeout=30_000)
    assert Intent.objects.get().tx_hash != waiting["hash"]
    assert ledger(contracts)["availableBalance"] == 5 * NEURON
