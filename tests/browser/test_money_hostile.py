"""A browser at the wrong moment: the way back, two tabs, a session that ends under the wallet."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from accounts import sessions
from accounts.models import Intent, State, User
from devnet import accounts as cast
from devnet.deploy import Contracts
from tests.browser.money import ALICE, NEURON, ledger
from tests.browser.threads import in_thread
from tests.browser.wallet import Wallet, sign_in

SENT = re.compile("submitted|included|indexed|final")


class Slow(Wallet):
    """A person who does something else before they confirm."""

    meanwhile: Callable[[], None] = staticmethod(lambda: None)

    def dispatch(self, method: str, params: list[Any]) -> Any:
        if method == "eth_sendTransaction":
            self.meanwhile()
        return super().dispatch(method, params)


@pytest.fixture
def wallet(contracts: Contracts, context: BrowserContext, anvil: Any) -> Slow:
    slow = Slow(ALICE, anvil.url)
    slow.install(context)
    return slow


def by_hand(contracts: Contracts) -> None:
    contracts.chain.rpc.call("anvil_setIntervalMining", 0)
    contracts.chain.rpc.call("evm_setAutomine", False)


def by_itself(contracts: Contracts) -> None:
    contracts.chain.rpc.call("evm_setAutomine", True)
    contracts.chain.rpc.call("anvil_setIntervalMining", 1)


def test_neither_a_double_click_nor_another_tab_nor_the_way_back_sends_twice(
    asgi_server: str, wallet: Slow, contracts: Contracts, context: BrowserContext, page: Page
) -> None:
    sign_in(page, asgi_server)
    review = f"{asgi_server}/account?action=deposit&amount=5"
    second = context.new_page()
    second.goto(review)
    second.get_by_test_id("tx-confirm").wait_for()
    by_hand(contracts)
    try:
        page.goto(review)
        page.get_by_test_id("tx-confirm").dblclick()
        expect(page.get_by_test_id("tx-state")).to_have_attribute("data-state", "submitted")
        second.get_by_test_id("tx-confirm").click()
        message = second.locator("#review [data-tx-message]")
        expect(message).to_contain_text("Exactly this transaction waits in your wallet")
        page.goto(f"{asgi_server}/account/transactions")
        page.go_back()
        page.goto(review)
        page.get_by_test_id("tx-confirm").click()
        expect(page.locator("#review [data-tx-message]")).to_contain_text("Nothing was sent twice")
    finally:
        by_itself(contracts)
    assert wallet.methods().count("eth_sendTransaction") == 1


def test_a_session_that_ends_under_the_open_wallet_does_not_lose_the_transaction(
    asgi_server: str, index: None, wallet: Slow, contracts: Contracts, page: Page
) -> None:
    with page.expect_websocket(lambda one: one.url.endswith("/ws/live")) as socket:
        sign_in(page, asgi_server)
        page.goto(f"{asgi_server}/account")
    socket.value.wait_for_event("framereceived")
    wallet.meanwhile = lambda: in_thread(lambda: sessions.end_all(User.objects.get()))
    page.get_by_test_id("tx-amount").fill("5")
    page.get_by_test_id("tx-confirm").click()
    expect(page.locator("#review [data-tx-message]")).to_contain_text("It was sent as 0x")
    assert Intent.objects.get().state == State.AWAITING_WALLET
    # The page empties itself a little later; the next one that is signed in tells the hash.
    expect(page.get_by_text("Connect your wallet and sign in")).to_be_visible(timeout=15_000)
    wallet.meanwhile = lambda: None
    sign_in(page, asgi_server)
    state = page.get_by_test_id("tx-state")
    expect(state).to_have_attribute("data-state", SENT)  # of the page that told it, at once
    # (`wait_for_function` reads a string as a program, which the page's policy forbids.)
    page.wait_for_function("() => localStorage.getItem('transactions') === null")
    assert ledger(contracts)["availableBalance"] == 5 * NEURON
    assert wallet.methods().count("eth_sendTransaction") == 1


def test_a_transaction_is_told_though_the_browser_remembers_nothing(
    asgi_server: str, wallet: Slow, contracts: Contracts, page: Page
) -> None:
    """A full or blocked storage throws, and the money is on its way already."""
    page.add_init_script("Storage.prototype.setItem = () => { throw new Error('full'); };")
    sign_in(page, asgi_server)
    page.get_by_test_id("tx-amount").fill("5")
    page.get_by_test_id("tx-confirm").click()
    expect(page.get_by_test_id("tx-state")).to_have_attribute("data-state", SENT)
    assert Intent.objects.get().tx_hash


def test_an_account_that_changes_while_the_review_is_open_sends_nothing(
    asgi_server: str, wallet: Slow, contracts: Contracts, page: Page
) -> None:
    sign_in(page, asgi_server)
    page.get_by_test_id("tx-amount").fill("5")
    page.get_by_test_id("tx-confirm").wait_for()
    contracts.ledger.send(ALICE, "depositFund", value=3 * NEURON)
    page.get_by_test_id("tx-confirm").click()
    # The numbers are others now: the page shows the new ones and asks once more.
    row = page.locator('[data-effect="available"]')
    expect(row).to_have_attribute("data-before", str(3 * NEURON))
    expect(page.locator("[data-toasts]")).to_contain_text("The numbers changed since you looked.")
    assert "eth_sendTransaction" not in wallet.methods()
    wallet.switch_account(page, cast.user(2))
    page.get_by_test_id("tx-confirm").click()
    expect(page.locator("#review [data-tx-message]")).to_contain_text("Nothing was sent")
    assert "eth_sendTransaction" not in wallet.methods()


def test_a_sped_up_transaction_is_followed_to_its_end(
    asgi_server: str, index: None, wallet: Slow, contracts: Contracts, page: Page
) -> None:
    rpc = contracts.chain.rpc
    by_hand(contracts)
    try:
        sign_in(page, asgi_server)
        page.get_by_test_id("tx-amount").fill("5")
        page.get_by_test_id("tx-confirm").click()
        state = page.get_by_test_id("tx-state")
        expect(state).to_have_attribute("data-state", "submitted")
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
    finally:
        by_itself(contracts)
    expect(state).to_have_attribute("data-state", "final", timeout=30_000)
    assert Intent.objects.get().tx_hash != waiting["hash"]
    assert ledger(contracts)["availableBalance"] == 5 * NEURON
