"""Wallets that do not behave like the first one: a contract that signs, a transaction replaced."""

from __future__ import annotations

import re
from typing import Any

from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from playwright.sync_api import BrowserContext, Page, expect

from accounts.models import Intent, User
from devnet import accounts as cast
from devnet.deploy import Contracts
from tests.browser.wallet import Wallet, sign_in

NEURON = 10**18
ALICE, BOB = cast.user(1), cast.user(2)
SAFE = "0x" + "5afe" * 10


def owned_by(owner: str) -> str:
    """Runtime code of a wallet contract whose `isValidSignature(hash, r‖s‖v)` recovers the signer
    and accepts its one owner (EIP-1271).
    """
    return (
        "0x"
        "600435600052"  # mem[0] = hash
        "60a43560001a602052"  # mem[32] = v
        "606435604052"  # mem[64] = r
        "608435606052"  # mem[96] = s
        "602060806080600060015afa50"  # mem[128] = ecrecover(mem[0:128])
        f"60805173{owner[2:].lower()}14"  # the owner?
        "631626ba7e0260e01b60005260206000f3"  # the magic value, or nothing
    )


class Contract:
    """An account that is a contract: its address, and the key of its owner."""

    def __init__(self, owner: LocalAccount) -> None:
        self.address = to_checksum_address(SAFE)
        self._owner = owner

    def sign_message(self, message: Any) -> Any:
        return self._owner.sign_message(message)


def test_a_contract_wallet_signs_in_and_a_strangers_signature_does_not(
    asgi_server: str, contracts: Contracts, context: BrowserContext, page: Page, anvil: Any
) -> None:
    contracts.chain.rpc.call("anvil_setCode", SAFE, owned_by(ALICE.address))
    safe: Any = Contract(BOB)
    wallet = Wallet(safe, anvil.url).install(context)
    page.goto(f"{asgi_server}/account")
    page.get_by_test_id("connect-wallet").click()
    page.get_by_test_id("wallet-option").click()
    page.get_by_test_id("sign-in").click()
    expect(page.locator("[data-wallet-status]")).to_contain_text("does not belong to")
    wallet.account = Contract(ALICE)  # type: ignore[assignment]
    page.get_by_test_id("sign-in").click()
    address = page.get_by_test_id("wallet-address")
    expect(address).to_have_attribute("data-address", re.compile(SAFE, re.I))
    # The page reads as the contract's account, not as its owner's.
    assert User.objects.get().address.lower() == SAFE.lower()
    page.reload()
    expect(address).to_be_visible()


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
