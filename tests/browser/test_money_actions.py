"""The remaining actions of the funds page, each proven by what the contract says afterwards."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Page, expect

from devnet import accounts as cast
from devnet.deploy import Contracts
from tests.browser.money import ALICE, NAME, NEURON, caught_up, funded, held, ledger, settle
from tests.browser.wallet import Wallet, shows, sign_in, to_final

BOB = cast.user(2)


def test_a_deposit_for_another_account_belongs_to_it_at_once(
    asgi_server: str,
    index: None,
    wallet: Wallet,
    contracts: Contracts,
    page: Page,
    errors: list[str],
) -> None:
    sign_in(page, asgi_server)
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


def test_a_first_transfer_takes_two_steps_and_goes_on_after_a_reload(
    asgi_server: str,
    index: None,
    petra: str,
    wallet: Wallet,
    contracts: Contracts,
    page: Page,
    errors: list[str],
) -> None:
    sign_in(page, asgi_server)
    page.goto(f"{asgi_server}/account?action=transfer&provider={petra}")
    page.get_by_test_id("tx-amount").fill("2.5")
    review = page.get_by_test_id("tx-review")
    expect(review).to_contain_text("You have no compute account yet.")
    page.get_by_role("link", name="Step 1 of 2: deposit 3 0G").click()
    expect(page.get_by_test_id("two-steps")).to_contain_text("pays no provider yet")
    page.get_by_test_id("tx-confirm").click()
    step = page.get_by_test_id("next-step")
    expect(step).to_be_visible(timeout=20_000)
    page.goto(f"{asgi_server}/account")
    expect(page.get_by_text("Continue where you left off")).to_be_visible()
    step.click()
    expect(page.get_by_test_id("tx-amount")).to_have_value("2.5")
    to_final(page)
    expect(page.locator("[data-live]")).to_be_hidden()  # its own news are on the page already
    assert held(contracts, petra)["balance"] == 5 * NEURON // 2
    assert ledger(contracts)["availableBalance"] == NEURON // 2
    page.goto(f"{asgi_server}/account")
    expect(step).to_have_count(0)


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
    sign_in(page, asgi_server)
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
    expect(review).to_contain_text("We have not checked the evidence behind its signing key.")
    to_final(page)
    assert held(contracts, petra)["acknowledged"] is True


def test_some_and_then_all_keys_are_revoked(
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
    sign_in(page, asgi_server)
    page.goto(f"{asgi_server}/account?action=revoke_tokens&provider={petra}")
    page.get_by_label("Slots").fill("3, 7-9")
    rows = page.locator('[data-effect="key_revoked"]')
    expect(rows).to_have_count(4)
    to_final(page)
    assert held(contracts, petra)["revokedBitmap"] == 1 << 3 | 0b111 << 7
    page.goto(f"{asgi_server}/account/keys")
    slots = page.get_by_test_id("slots-row")
    expect(slots).to_have_attribute("data-revoked", "3 7 8 9")
    slots.get_by_role("link", name="Revoke all").click()
    expect(page.get_by_test_id("tx-review")).to_contain_text("Every key for this provider stops")
    to_final(page)
    account = held(contracts, petra)
    assert (account["generation"], account["revokedBitmap"]) == (1, 0)


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
    sign_in(page, asgi_server)
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


def test_a_file_follows_the_fresh_signature_it_asked_for(
    asgi_server: str,
    index: None,
    petra: str,
    wallet: Wallet,
    contracts: Contracts,
    page: Page,
    monkeypatch: Any,
) -> None:
    funded(contracts, petra)
    caught_up(contracts)
    sign_in(page, asgi_server)
    page.goto(f"{asgi_server}/account/transactions?kind=transfer")
    monkeypatch.setattr("accounts.sessions.FRESH_SECONDS", -1)
    page.get_by_test_id("export").click()
    expect(page.get_by_test_id("step-up")).to_contain_text("at most 10 minutes old")
    monkeypatch.undo()
    page.get_by_role("button", name="Sign again").click()
    with page.expect_download() as download:
        page.get_by_test_id("sign-in").click()
    rows = list(csv.DictReader(Path(download.value.path()).read_text().splitlines()))
    assert [(row["kind"], row["balance"], row["amount"]) for row in rows] == [
        ("transfer", "sub_account", str(4 * NEURON)),
        ("transfer", "available", str(-4 * NEURON)),
    ]


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
    with page.expect_websocket(lambda one: one.url.endswith("/ws/live")) as socket:
        sign_in(page, asgi_server)
        page.goto(f"{asgi_server}/account")
    socket.value.wait_for_event("framereceived")
    shows(page, "available", 10 * NEURON)
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
    other.close()
    assert ledger(contracts)["availableBalance"] == 10 * NEURON
