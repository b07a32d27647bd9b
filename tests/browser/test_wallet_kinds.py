"""Wallets that do not behave like the first one: a contract that signs."""

from __future__ import annotations

from typing import Any

from eth_utils.address import to_checksum_address
from playwright.sync_api import BrowserContext, Page, expect

from accounts.models import User
from devnet import accounts as cast
from devnet.deploy import Contracts
from tests.browser.wallet import Wallet, sign_in
from tests.contract_wallets import Safe, Undeployed, owned_by

NEURON = 10**18
ALICE, BOB = cast.user(1), cast.user(2)
ADDRESS = str(to_checksum_address("0x" + "5afe" * 10))


def test_a_contract_wallet_signs_in_and_a_strangers_signature_does_not(
    asgi_server: str, contracts: Contracts, context: BrowserContext, page: Page, anvil: Any
) -> None:
    contracts.chain.rpc.call("anvil_setCode", ADDRESS, owned_by(ALICE.address))
    safe: Any = Safe(ADDRESS, BOB)
    wallet = Wallet(safe, anvil.url).install(context)
    page.goto(f"{asgi_server}/account")
    page.get_by_test_id("connect-wallet").click()
    page.get_by_test_id("wallet-option").click()
    page.get_by_test_id("sign-in").click()
    expect(page.locator("[data-wallet-status]")).to_contain_text("does not belong to")
    wallet.account = Safe(ADDRESS, ALICE)  # type: ignore[assignment]
    page.get_by_test_id("sign-in").click()
    address = page.get_by_test_id("wallet-address")
    expect(address).to_have_attribute("data-address", ADDRESS)
    # The page reads as the contract's account, not as its owner's.
    assert User.objects.get().address == ADDRESS
    page.reload()
    expect(address).to_be_visible()


def test_a_wallet_that_is_not_deployed_yet_signs_in_and_stays_undeployed(
    asgi_server: str, contracts: Contracts, context: BrowserContext, page: Page, anvil: Any
) -> None:
    smart: Any = Undeployed(ALICE)
    Wallet(smart, anvil.url).install(context)
    sign_in(page, asgi_server)
    address = page.get_by_test_id("wallet-address")
    expect(address).to_have_attribute("data-address", smart.address)
    assert contracts.chain.rpc.call("eth_getCode", smart.address, "latest") == "0x"
