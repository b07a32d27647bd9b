"""The remaining actions of the funds page, each proven by what the contract says afterwards."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import BrowserContext, Page, expect

from devnet import accounts as cast
from devnet.deploy import Contracts
from tests.browser.live import listening
from tests.browser.money import ALICE, NAME, NEURON, caught_up, funded, held, ledger, settle
from tests.browser.wallet import Wallet, come_back, known, shows, sign_in, to_final

BOB = cast.user(2)


def test_a_deposit_for_another_account_belongs_to_it_at_once(
    asgi_server: str,
    index: None,
    wallet: Wallet,
    contracts: Contracts,
    page: Page,
    errors: list[str],
) -> None:
    come_back(page, asgi_server, wallet)
    page.get_by_role("link", name="Deposit for another").click()
    page.get_by_label("Recipient").fill(BOB.address)
    page.get_by_test_id("tx-amount").fill("3.000000000000000001")
    review = page.get_by_test_id("tx-review")
    expect(review).to_contain_text("you cannot take it back")
    expect(review).to_contain_text("This opens a compute account for that address.")
    to_final(page)
    bobs = contracts.ledger.view("getLedger", BOB.address)
    assert (bobs["availableBalance"], bobs["totalBalance"]) == (3 * NEURON + 1,) * 2
    assert contracts.ledger.view("getAllLedgers", 0, 50)[1] == 1  # Alice has opened none
    page.goto(f"{asgi_server}/accounts/{BOB.address}")
    shows(page, "available", 3 * NEURON + 1)
    expect(page.locator('[data-kind="deposit_received"]')).to_have_count(1)


def test_trust_is_withdrawn_and_given_again(
    asgi_server: str,
    index: None,
    petra: str,
    wallet: Wallet,
    contracts: Contracts,
    page: Page,
    errors: list[str],
) -> None:
    funded(contracts, petra)
    caught_up(contracts)
    known(page, asgi_server, wallet)
    at = f"{asgi_server}/account?action=acknowledge_signer&account={NAME}:{petra}"
    page.goto(f"{at}&trust=no")
    state, review = page.get_by_test_id("tx-state"), page.get_by_test_id("tx-review")
    expect(state).to_have_attribute("data-code", "CannotRevokeWithNonZeroBalance")
    expect(review).to_contain_text("it is 4 0G. Retrieve 4 0G first.")

    contracts.ledger.send(ALICE, "retrieveFund", [petra], NAME)
    contracts.chain.travel(86_401)
    contracts.ledger.send(ALICE, "retrieveFund", [petra], NAME)
    caught_up(contracts)
    page.goto(f"{asgi_server}/account")
    page.get_by_role("link", name="withdraw", exact=True).click()
    effect = review.locator('[data-effect="signer_acknowledged"]')
    expect(effect).to_contain_text("yes")
    to_final(page)
    assert held(contracts, petra)["acknowledged"] is False

    page.goto(f"{asgi_server}/account")
    page.get_by_role("link", name="acknowledge", exact=True).click()
    expect(review).to_contain_text("We have not checked the evidence behind its signing key as it")
    to_final(page)
    assert held(contracts, petra)["acknowledged"] is True


def test_an_account_whose_money_is_all_spent_is_closed(
    asgi_server: str,
    index: None,
    petra: str,
    wallet: Wallet,
    contracts: Contracts,
    page: Page,
    errors: list[str],
) -> None:
    funded(contracts, petra, deposit=3, moved=3)
    caught_up(contracts)
    known(page, asgi_server, wallet)
    page.goto(f"{asgi_server}/account?action=delete_ledger")
    expect(page.get_by_test_id("tx-state")).to_have_attribute(
        "data-code", "MustWithdrawAllFundsFirst"
    )
    settle(contracts, petra, 3 * NEURON)
    caught_up(contracts)
    page.goto(f"{asgi_server}/account")
    page.get_by_role("link", name="Close the account").click()
    to_final(page)
    assert contracts.ledger.view("getAllLedgers", 0, 50)[1] == 0
    page.goto(f"{asgi_server}/account")
    expect(page.get_by_text("No compute account yet")).to_be_visible()


def test_signing_out_everywhere_empties_the_open_pages_of_other_browsers(
    asgi_server: str,
    index: None,
    wallet: Wallet,
    contracts: Contracts,
    context: BrowserContext,
    page: Page,
    browser: Any,
    anvil: Any,
) -> None:
    contracts.ledger.send(ALICE, "depositFund", value=10 * NEURON)
    caught_up(contracts)
    sign_in(page, asgi_server)
    with listening(page):
        page.goto(f"{asgi_server}/account")
    shows(page, "available", 10 * NEURON)
    second = context.new_page()
    second.goto(f"{asgi_server}/playground/requests")
    other = browser.new_context()
    Wallet(ALICE, anvil.url).install(other)
    elsewhere = other.new_page()
    sign_in(elsewhere, asgi_server)
    elsewhere.goto(f"{asgi_server}/account/keys")
    expect(elsewhere.get_by_test_id("session-row")).to_have_count(2)
    elsewhere.get_by_test_id("sign-out-everywhere").click()
    # Nobody touches the first page.
    expect(page.get_by_text("Connect your wallet and sign in")).to_be_visible(timeout=10_000)
    expect(page.get_by_test_id("balance-available")).to_have_count(0)
    expect(second.get_by_test_id("connect-wallet")).to_be_visible()
    other.close()
    assert ledger(contracts)["availableBalance"] == 10 * NEURON
