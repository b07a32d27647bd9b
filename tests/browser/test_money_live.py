"""Money that moves while somebody looks: the page says so, and nothing that was typed is lost."""

from __future__ import annotations

from playwright.sync_api import BrowserContext, Page, expect

from devnet import accounts as cast
from devnet.deploy import Contracts
from tests.browser.live import listening
from tests.browser.money import ALICE, NAME, NEURON, caught_up, funded, held, settle
from tests.browser.test_wallet_pending import anvil as anvil  # a chain of its own, to stand still
from tests.browser.test_wallet_pending import devnet as devnet
from tests.browser.test_wallet_pending import still
from tests.browser.wallet import Wallet, known, shows

BOB = cast.user(2)


def test_a_settlement_is_told_on_open_pages_and_what_was_typed_stays(
    asgi_server: str,
    index: None,
    petra: str,
    wallet: Wallet,
    contracts: Contracts,
    context: BrowserContext,
    page: Page,
    errors: list[str],
) -> None:
    funded(contracts, petra)
    contracts.ledger.send(ALICE, "retrieveFund", [petra], NAME)
    caught_up(contracts)
    known(page, asgi_server, wallet)
    with listening(page) as sockets:
        page.goto(f"{asgi_server}/account?action=transfer&provider={petra}")
    amount = page.get_by_test_id("tx-amount")
    amount.fill("4.5")
    cancelled = page.locator('[data-effect="refund_cancelled"]')
    expect(cancelled).to_have_attribute("data-before", str(4 * NEURON))
    notice = page.locator("[data-live]")
    # Somebody else's money at the same provider is not this account's news.
    contracts.ledger.send(BOB, "depositFund", value=10 * NEURON)
    contracts.ledger.send(BOB, "transferFund", petra, NAME, 4 * NEURON)
    with sockets[0].expect_event("framereceived"):
        caught_up(contracts)
    expect(notice).to_be_hidden()

    beside = context.new_page()
    with listening(beside):
        beside.goto(f"{asgi_server}/account/refunds")
    row = beside.get_by_test_id("refund-row")
    expect(row).to_have_attribute("data-amount", str(4 * NEURON))
    fee = NEURON + 7
    with still(contracts):  # a block every second makes the settlement final within three
        contracts.chain.rpc.call("evm_setAutomine", True)
        settle(contracts, petra, fee)
        expect(notice).to_contain_text("This account changed on chain", timeout=20_000)
        expect(amount).to_have_value("4.5")
        shows(page, "refunding", 4 * NEURON)  # nothing jumps by itself
        page.locator("[data-live-reload]").click()
        shows(page, "refunding", 4 * NEURON - fee)
        expect(notice).to_be_hidden()
        expect(amount).to_have_value("4.5")
        # The review is of the new numbers.
        expect(cancelled).to_have_attribute("data-before", str(4 * NEURON - fee))
        assert held(contracts, petra)["pendingRefund"] == 4 * NEURON - fee

        # What becomes final while one looks is no longer marked, though its numbers are the same.
        with listening(page):
            page.goto(f"{asgi_server}/account")
        expect(page.locator("#positions [data-pending]")).to_have_text("not final yet")
        contracts.chain.rpc.call("anvil_mine", "0x80")
        expect(page.locator("[data-pending]")).to_have_count(0, timeout=20_000)

    # The list of refunds, open all the while, has told of the settlement too.
    beside.locator("[data-live-reload]").click(timeout=20_000)
    expect(row).to_have_attribute("data-amount", str(4 * NEURON - fee))
    reduction = beside.get_by_test_id("reduction-row")
    expect(reduction).to_have_attribute("data-cause", "settlement")
    expect(reduction).to_have_attribute("data-amount", str(fee))
