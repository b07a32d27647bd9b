"""Wallets that do not behave like the first one: a contract that signs, a transaction replaced."""

from __future__ import annotations

from typing import Any

from eth_utils.address import to_checksum_address
from playwright.sync_api import BrowserContext, Page, expect

from accounts.models import Intent, User
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


def test_a_transaction_cancelled_in_the_wallet_is_told_as_such(
    asgi_server: str, wallet: Wallet, contracts: Contracts, page: Page, errors: list[str]
) -> None:
    rpc = contracts.chain.rpc
    rpc.call("anvil_setIntervalMining", 0)
    rpc.call("evm_setAutomine", False)
    try:
        sign_in(page, asgi_server)
        page.get_by_test_id("tx-amount").fill("5")
        page.get_by_test_id("tx-confirm").click()
        state = page.get_by_test_id("tx-state")
        expect(state).to_have_attribute("data-state", "submitted")
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
    finally:
        rpc.call("evm_setAutomine", True)
        rpc.call("anvil_setIntervalMining", 1)
    expect(state).to_have_attribute("data-state", "replaced", timeout=30_000)
    expect(page.locator("[data-tx-message]")).to_contain_text("Cancelled in your wallet")
    expect(page.get_by_role("link", name="Fix and retry")).to_be_visible()
