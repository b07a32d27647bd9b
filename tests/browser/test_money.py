"""Where the money is and why it cannot be had yet, played through with a wallet and a chain."""

from __future__ import annotations

import re
from typing import Any

from django.core.cache import cache
from playwright.sync_api import Page, Route, expect

from devnet import accounts as cast
from devnet.deploy import Contracts
from devnet.owner import upgrade
from tests.browser.money import ALICE, NAME, NEURON, caught_up, funded, held, ledger
from tests.browser.pagecheck import sound
from tests.browser.wallet import Wallet, come_back, known, shows, to_final

LEFT = "5.000000000000000001"


def test_a_refund_that_unlocks_while_one_watches_is_collected(
    asgi_server: str,
    index: None,
    petra: str,
    wallet: Wallet,
    contracts: Contracts,
    page: Page,
    errors: list[str],
) -> None:
    funded(contracts, petra)
    contracts.ledger.send(ALICE, "retrieveFund", [petra], NAME)
    known(page, asgi_server, wallet)
    caught_up(contracts)
    # A review from before it is made anew by itself.
    page.goto(f"{asgi_server}/account?action=retrieve&account={NAME}:{petra}")
    with page.expect_request(lambda asked: asked.headers.get("hx-target") == "review"):
        page.locator("[data-more] [data-countdown]").dispatch_event("countdown:done")
    entry = held(contracts, petra)["refunds"][0]
    contracts.chain.travel(entry["createdAt"] + 86_400 - 15 - contracts.chain.timestamp())
    caught_up(contracts)
    page.goto(f"{asgi_server}/account/refunds")
    row, button = page.get_by_test_id("refund-row"), page.get_by_test_id("refund-collect")
    expect(row).to_have_attribute("data-amount", str(4 * NEURON))
    expect(row).to_contain_text(re.compile(r"\d+ s"))
    expect(button).to_have_count(0)
    expect(button).to_be_visible(timeout=25_000)
    button.click()
    expect(page.get_by_test_id("tx-review")).to_contain_text("Now: 4 0G that is already unlocked")
    to_final(page)
    assert ledger(contracts)["availableBalance"] == 10 * NEURON
    for name, value in (("available", 10 * NEURON), ("refunding", 0), ("locked", 0)):
        shows(page, name, value)
    chosen = page.get_by_test_id("tx-provider").locator("option:checked")
    expect(chosen).to_contain_text(petra[:6])
    expect(chosen).to_contain_text("· 0 0G held")
    assert held(contracts, petra)["balance"] == 0


def test_collect_all_pays_out_and_offers_to_keep_what_it_locks(
    asgi_server: str,
    index: None,
    petra: str,
    wallet: Wallet,
    contracts: Contracts,
    page: Page,
    errors: list[str],
) -> None:
    quiet = cast.provider(2).address
    funded(contracts, petra, deposit=20)
    contracts.ledger.send(ALICE, "transferFund", quiet, NAME, 2 * NEURON)
    contracts.ledger.send(ALICE, "retrieveFund", [petra], NAME)
    # The second request of the same pair: cancelling 1 of 4 leaves a refund of 3 and 1 free.
    contracts.ledger.send(ALICE, "transferFund", petra, NAME, NEURON)
    caught_up(contracts)
    known(page, asgi_server, wallet)
    page.goto(f"{asgi_server}/account/refunds")
    expect(page.get_by_test_id("refund-row")).to_contain_text("23 h")
    expect(page.get_by_test_id("refund-collect")).to_have_count(0)
    page.get_by_role("button", name="Skip 24 hours").click()
    page.get_by_role("link", name="Collect all").click()
    row = page.get_by_test_id("collect-row")
    expect(row).to_have_count(1)  # nothing is unlocked at the other provider: left alone
    expect(row).to_have_attribute("data-paid", str(3 * NEURON))
    expect(row).to_have_attribute("data-relocked", str(NEURON))
    review = page.get_by_test_id("tx-review")
    expect(review).to_contain_text("Now: 3 0G that is already unlocked")
    page.get_by_test_id("tx-confirm").click()
    expect(page.get_by_test_id("relocked")).to_have_attribute(
        "data-amount", str(NEURON), timeout=30_000
    )
    expect(page.get_by_text("Nothing is left to collect")).to_be_visible()
    expect(page.get_by_role("link", name="Withdraw", exact=True)).to_be_visible()
    expect(page.get_by_test_id("collected").first).to_have_attribute(
        "data-state", re.compile("indexed|final")
    )
    assert ledger(contracts)["availableBalance"] == 17 * NEURON
    assert held(contracts, petra)["pendingRefund"] == NEURON
    sound(page, f"{asgi_server}/account/refunds/collect")

    page.get_by_test_id("keep-spendable").click()
    expect(review).to_contain_text("comes from your pending refund")
    to_final(page)
    account = held(contracts, petra)
    assert (account["balance"], account["pendingRefund"]) == (NEURON, 0)
    assert ledger(contracts)["availableBalance"] == 17 * NEURON
    shows(page, "available", 17 * NEURON)
    assert held(contracts, quiet)["pendingRefund"] == 0


def test_the_withdrawal_line_stops_only_where_the_contract_agrees(
    asgi_server: str,
    index: None,
    petra: str,
    wallet: Wallet,
    contracts: Contracts,
    page: Page,
    errors: list[str],
) -> None:
    contracts.ledger.send(ALICE, "depositFund", value=7 * NEURON + 1)
    contracts.ledger.send(ALICE, "transferFund", petra, NAME, 2 * NEURON)
    caught_up(contracts)
    known(page, asgi_server, wallet)
    page.goto(f"{asgi_server}/account?action=withdraw")
    line, amount = page.get_by_test_id("tx-slider"), page.get_by_test_id("tx-amount")
    for position, typed in (("100", "0.5"), ("500", "2.000000000000000001"), ("900", LEFT)):
        line.fill(position)
        expect(amount).to_have_value(typed)
        expect(page.get_by_test_id("tx-state")).to_have_attribute("data-state", "prechecked")
    confirm = page.get_by_test_id("tx-confirm")
    page.get_by_role("button", name="Review").click()
    expect(confirm).to_be_in_viewport()  # and not below the end of the window
    amount.fill("3")  # typed by hand: in words, before any wallet opens
    expect(page.get_by_test_id("tx-state")).to_have_attribute("data-state", "blocked")
    page.goto(f"{asgi_server}/account?action=delete_ledger")
    steps = page.get_by_test_id("closing").get_by_role("listitem")
    expect(steps.first).to_contain_text("Retrieve 2 0G from")
    expect(steps).to_have_count(4)
    line_of_all = f"{asgi_server}/account?action=withdraw&amount=4.000000000000000001"
    page.goto(f"{asgi_server}/account?action=withdraw&amount=1")
    to_final(page)
    # What is offered next is of what is left.
    expect(page.locator(".presets a")).to_have_text(["Everything", "1 0G, leaving the minimum"])
    line.fill("1000")
    expect(amount).to_have_value("4.000000000000000001")
    page.goto(line_of_all)
    expect(confirm).to_be_in_viewport()
    to_final(page)
    assert ledger(contracts)["availableBalance"] == 0
    shows(page, "available", 0)
    expect(page.locator(".presets a")).to_have_count(0)


def test_a_testnets_minimums_are_read_from_its_contract(
    asgi_server: str,
    wallet: Wallet,
    contracts: Contracts,
    page: Page,
    devnet: Any,
    errors: list[str],
) -> None:
    upgrade(contracts, devnet, "ledger", "LedgerManagerTestnet")
    cache.clear()  # minimums are kept for a minute
    come_back(page, asgi_server, wallet)
    # Where nobody can be chosen there is nothing to review, and no button that could be busy.
    page.goto(f"{asgi_server}/account?action=transfer")
    with page.expect_response("**/account?*amount=2"):
        page.get_by_test_id("tx-amount").fill("2")
    page.goto(f"{asgi_server}/account")
    expect(page.locator("#tx-amount-note")).to_contain_text("at least 0.1 0G")
    state = page.get_by_test_id("tx-state")
    # Review stands out as the next step, until there is one to confirm.
    look = "element => getComputedStyle(element).backgroundColor"
    ask = page.get_by_role("button", name="Review")
    before = ask.evaluate(look)
    page.get_by_test_id("tx-amount").fill("0.09")
    expect(state).to_have_attribute("data-state", "blocked")
    expect(page.get_by_test_id("tx-review")).to_contain_text("At least 0.1 0G is needed")
    # A chain that does not answer is waited for, and the button says so meanwhile.
    late: list[Route] = []
    page.route("**/account?*amount=0.1*", lambda route: late.append(route), times=1)
    page.get_by_test_id("tx-amount").fill("0.1")
    expect(ask).to_have_attribute("aria-busy", "true")
    late[0].continue_()
    expect(state).to_have_attribute("data-state", "prechecked")
    expect(ask).not_to_have_attribute("aria-busy", "true")
    expect(page.get_by_test_id("tx-confirm")).to_have_css("background-color", before)
    expect(ask).not_to_have_css("background-color", before)
    # What is typed now was not reviewed yet: until it is, nothing can be confirmed.
    page.route("**/account?*amount=0.2*", lambda route: late.append(route), times=1)
    page.get_by_test_id("tx-amount").fill("0.2")
    expect(page.get_by_test_id("tx-confirm")).to_be_disabled()
    expect(ask).to_have_attribute("aria-busy", "true")
    # Nor by the answer to what was typed before, which comes in between.
    came = late[1].fetch()
    page.evaluate(
        """held = [], document.addEventListener('htmx:afterSwap', () => {
          held.push(document.querySelector('[data-tx-confirm]')?.disabled);
        })"""
    )
    page.get_by_test_id("tx-amount").fill("0.3")
    late[1].fulfill(response=came)
    expect(page.get_by_test_id("tx-confirm")).to_be_enabled()
    assert page.evaluate("held") == [True, False]
    page.get_by_test_id("tx-confirm").click()
    expect(state).to_have_attribute("data-state", re.compile("included|indexed|final"))
    assert ledger(contracts)["availableBalance"] == 3 * NEURON // 10
    cache.clear()
