"""Connecting, signing in and moving money in a real browser with a wallet we do not trust."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import BrowserContext, Page, expect

from accounts.models import Intent, ProviderKey, State
from devnet import accounts as cast
from devnet.deploy import Contracts
from tests.browser.live import listening
from tests.browser.money import funded
from tests.browser.pagecheck import inaccessible, sound
from tests.browser.wallet import Wallet, neuron, shows, sign_in, to_final

NEURON = 10**18
ALICE, BOB = cast.user(1), cast.user(2)
#: The page hears the answers of one door two seconds after they have come.
_LATE = """
(door) => {
  const ask = window.fetch;
  window.fetch = async (url, ...rest) => {
    const answer = await ask(url, ...rest);
    if (String(url).endsWith(door)) await new Promise((done) => setTimeout(done, 2000));
    return answer;
  };
  window.late = true;
}
"""


def test_connect_sign_in_reload_sign_out(
    asgi_server: str, wallet: Wallet, page: Page, errors: list[str]
) -> None:
    page.goto(asgi_server + "/account")
    expect(page.get_by_test_id("connect-wallet")).to_be_visible()
    assert wallet.calls == []  # nothing is asked of a wallet on page load
    page.get_by_test_id("connect-wallet").click()
    page.get_by_test_id("wallet-option").click()
    message = page.locator("[data-wallet-message]")
    expect(message).to_contain_text("wants you to sign in with your Ethereum account")
    expect(message).to_contain_text("Chain ID: 31337")
    assert "personal_sign" not in wallet.methods()  # shown before the wallet opens
    page.get_by_test_id("sign-in").click()
    address = page.get_by_test_id("wallet-address")
    expect(address).to_have_attribute("data-address", ALICE.address)
    signed = next(params for method, params in wallet.calls if method == "personal_sign")
    assert b"wants you to sign in" in bytes.fromhex(signed[0][2:])
    wallet.calls.clear()
    page.reload()
    expect(address).to_contain_text(f"{ALICE.address[:6]}…{ALICE.address[-4:]}")
    assert wallet.calls == []
    page.get_by_test_id("sign-out").click()
    expect(page.get_by_test_id("connect-wallet")).to_be_visible()
    expect(page.get_by_text("Connect your wallet and sign in")).to_be_visible()


def test_declining_is_not_an_error(
    asgi_server: str, wallet: Wallet, page: Page, errors: list[str]
) -> None:
    wallet.reject = {"personal_sign"}
    page.goto(asgi_server + "/account")
    page.get_by_test_id("connect-wallet").click()
    page.get_by_test_id("wallet-option").click()
    page.get_by_test_id("sign-in").click()
    status = page.locator("[data-wallet-status]")
    expect(status).to_have_text("You declined. You can still browse.")
    wallet.reject = set()
    page.get_by_test_id("sign-in").click()
    expect(page.get_by_test_id("wallet-address")).to_be_visible()


def test_a_signature_of_another_key_opens_no_session(
    asgi_server: str, wallet: Wallet, page: Page, errors: list[str]
) -> None:
    wallet.signs_as = BOB
    page.goto(asgi_server + "/account")
    page.get_by_test_id("connect-wallet").click()
    page.get_by_test_id("wallet-option").click()
    page.get_by_test_id("sign-in").click()
    status = page.locator("[data-wallet-status]")
    expect(status).to_contain_text(f"The signature does not belong to {ALICE.address}")
    page.reload()
    expect(page.get_by_test_id("connect-wallet")).to_be_visible()


def test_two_wallets_are_both_offered_and_the_chosen_one_is_asked(
    asgi_server: str, wallet: Wallet, context: BrowserContext, page: Page, anvil: Any
) -> None:
    other = Wallet(BOB, anvil.url, name="<b>Other</b>", rdns="other.wallet").install(context)
    page.goto(asgi_server + "/account")
    page.get_by_test_id("connect-wallet").click()
    expect(page.get_by_test_id("wallet-option")).to_have_count(2)
    page.get_by_role("button", name="<b>Other</b>").click()
    page.get_by_test_id("sign-in").click()
    address = page.get_by_test_id("wallet-address")
    expect(address).to_have_attribute("data-address", BOB.address)
    assert wallet.calls == [] and "personal_sign" in other.methods()
    # Who comes back is offered the wallet of last time first, and chooses all the same.
    page.locator("[data-sign-out] button").click()
    page.goto(asgi_server + "/account")
    page.get_by_test_id("connect-wallet").click()
    expect(page.get_by_test_id("wallet-option")).to_have_text(["<b>Other</b>", "Test Wallet"])


def test_a_wallet_on_another_chain_is_told_and_switched_or_taught(
    asgi_server: str, contracts: Contracts, context: BrowserContext, page: Page, anvil: Any
) -> None:
    wallet = Wallet(ALICE, anvil.url, chain_id=1, knows=(1,)).install(context)
    page.goto(asgi_server + "/account")
    page.get_by_test_id("connect-wallet").click()
    page.get_by_test_id("wallet-option").click()
    expect(page.locator("[data-wallet-chain-text]")).to_have_text(
        "Your wallet is on chain 1. Reading works; to pay, switch."
    )
    wallet.reject = {"wallet_addEthereumChain"}
    page.locator("[data-wallet-switch]").click()
    expect(page.locator("[data-wallet-status]")).to_have_text("You stayed on the other chain.")
    wallet.reject = set()
    page.locator("[data-wallet-switch]").click()
    expect(page.locator("[data-wallet-chain]")).to_be_hidden()
    assert wallet.chain_id == 31337


def test_another_account_in_the_wallet_changes_nothing_but_a_banner(
    asgi_server: str, wallet: Wallet, page: Page, errors: list[str]
) -> None:
    sign_in(page, asgi_server)
    with listening(page) as sockets:
        page.reload()
    wallet.switch_account(page, BOB)
    banner = page.locator("#wallet-banner")
    expect(banner).to_contain_text("You are signed in as")
    expect(banner).to_contain_text(f"your wallet shows {BOB.address[:6]}")
    page.get_by_test_id("tx-amount").fill("5")
    page.get_by_test_id("tx-confirm").click()
    expect(page.locator(".tx [data-tx-message]")).to_contain_text("Nothing was sent")
    assert "eth_sendTransaction" not in wallet.methods()
    assert not Intent.objects.exists()
    # The old session's end is told before the answer with the new one has come: a page that
    # reloaded itself now would throw that answer away.
    page.evaluate(_LATE, "/sign-in/verify")
    page.get_by_role("button", name=re.compile("^Sign in as")).click()
    with sockets[0].expect_event("close"):
        page.get_by_test_id("sign-in").click()
    page.wait_for_timeout(500)
    assert page.evaluate("window.late")
    address = page.get_by_test_id("wallet-address")
    expect(address).to_have_attribute("data-address", BOB.address)


def test_a_deposit_is_reviewed_sent_and_kept_over_a_reload(
    asgi_server: str, wallet: Wallet, contracts: Contracts, page: Page, errors: list[str]
) -> None:
    sign_in(page, asgi_server)
    page.get_by_test_id("tx-amount").fill("5")
    review = page.get_by_test_id("tx-review")
    expect(review.locator('[data-effect="available"]')).to_have_attribute(
        "data-after", str(5 * NEURON)
    )
    page.get_by_test_id("tx-confirm").click()
    state = page.get_by_test_id("tx-state")
    expect(state).to_have_attribute("data-state", re.compile("included|indexed|final"))
    assert contracts.ledger.view("getLedger", ALICE.address)["availableBalance"] == 5 * NEURON
    intent = Intent.objects.get()
    assert intent.user.address == ALICE.address and intent.block is not None
    page.reload()
    expect(state).to_have_attribute("data-state", re.compile("included|indexed|final"))
    page.goto(f"{asgi_server}/account/transactions/{intent.pk}")
    expect(page.get_by_test_id("tx-review")).to_contain_text("Available")


def test_declining_a_transaction_sends_nothing_and_can_be_taken_up_again(
    asgi_server: str, wallet: Wallet, contracts: Contracts, page: Page, errors: list[str]
) -> None:
    sign_in(page, asgi_server)
    wallet.reject = {"eth_sendTransaction"}
    page.get_by_test_id("tx-amount").fill("5")
    page.get_by_test_id("tx-confirm").click()
    state = page.get_by_test_id("tx-state")
    expect(state).to_have_attribute("data-state", "rejected")
    expect(page.locator("[data-tx-message]")).to_have_text("You declined. Nothing was sent.")
    wallet.reject = set()
    page.get_by_role("button", name="Try again").click()
    expect(state).to_have_attribute("data-state", re.compile("included|indexed|final"))
    assert wallet.methods().count("eth_sendTransaction") == 2
    assert Intent.objects.get().state in (State.INCLUDED, State.INDEXED, State.FINAL)


def test_a_wallet_on_another_chain_is_switched_before_anything_is_sent(
    asgi_server: str, wallet: Wallet, contracts: Contracts, page: Page
) -> None:
    sign_in(page, asgi_server)
    # Told as soon as it happens; reading goes on, and one button leads back.
    wallet.switch_chain(page, 1)
    banner = page.locator("#chain-banner")
    expect(banner).to_contain_text("Your wallet is on chain 1. Reading works; to pay, switch.")
    wallet.reject = {"wallet_switchEthereumChain"}
    banner.get_by_role("button", name="Switch to").click()
    expect(banner).to_contain_text("You stayed on the other chain.")
    wallet.reject = set()
    banner.get_by_role("button", name="Switch to").click()
    expect(banner).to_be_hidden()
    wallet.chain_id = 1
    page.get_by_test_id("tx-amount").fill("5")
    page.get_by_test_id("tx-confirm").click()
    state = page.get_by_test_id("tx-state")
    expect(state).to_have_attribute("data-state", re.compile("included|indexed|final"))
    methods = wallet.methods()
    assert methods.index("wallet_switchEthereumChain") < methods.index("eth_sendTransaction")


def test_what_the_contract_would_refuse_is_said_in_words_before_any_wallet_opens(
    asgi_server: str, wallet: Wallet, contracts: Contracts, page: Page, errors: list[str]
) -> None:
    sign_in(page, asgi_server)
    page.get_by_test_id("tx-amount").fill("1")
    state = page.get_by_test_id("tx-state")
    expect(state).to_have_attribute("data-state", "blocked")
    expect(page.get_by_test_id("tx-review")).to_contain_text(
        "At least 3 0G is needed, you entered 1."
    )
    page.get_by_test_id("tx-amount").fill("1,5")
    expect(page.locator("#review")).to_contain_text("Write the amount with a point")
    page.goto(f"{asgi_server}/account?action=withdraw&amount=1")
    expect(page.get_by_test_id("tx-review")).to_contain_text("You have no compute account yet.")
    assert "eth_sendTransaction" not in wallet.methods()


def test_the_page_refuses_an_address_outside_its_closed_list(
    asgi_server: str, wallet: Wallet, contracts: Contracts, page: Page
) -> None:
    sign_in(page, asgi_server)
    page.get_by_test_id("tx-amount").fill("5")
    page.get_by_test_id("tx-confirm").wait_for()
    page.evaluate("document.getElementById('review').dataset.contracts = '0x' + '11'.repeat(20)")
    page.get_by_test_id("tx-confirm").click()
    expect(page.locator("#review")).to_contain_text("outside the network")
    assert "eth_sendTransaction" not in wallet.methods()


def test_money_can_be_read_without_a_script(
    asgi_server: str, wallet: Wallet, contracts: Contracts, browser: Any
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{asgi_server}/accounts/{ALICE.address}")
    expect(page.get_by_text("No compute account")).to_be_visible()
    context.close()


# --- with the index: all the way to final -------------------------------------------------------


def test_deposit_transfer_and_retrieve_until_the_numbers_equal_the_contracts(
    asgi_server: str,
    index: None,
    petra: str,
    wallet: Wallet,
    contracts: Contracts,
    page: Page,
    errors: list[str],
) -> None:
    sign_in(page, asgi_server)
    expect(page.get_by_text("No compute account yet")).to_be_visible()
    page.get_by_test_id("tx-amount").fill("5")
    to_final(page)
    shows(page, "available", 5 * NEURON)
    shows(page, "locked", 0)

    page.goto(f"{asgi_server}/account?action=transfer&provider={petra}")
    page.get_by_test_id("tx-amount").fill("2")
    review = page.get_by_test_id("tx-review")
    expect(review).to_contain_text("Transferring also acknowledges its signing key")
    expect(review.locator('[data-effect="available"]')).to_have_attribute(
        "data-after", str(3 * NEURON)
    )
    to_final(page)
    ledger = contracts.ledger.view("getLedger", ALICE.address)
    account = contracts.inference.view("getAccount", ALICE.address, petra)
    shows(page, "available", 3 * NEURON)
    assert ledger["availableBalance"] == 3 * NEURON
    assert neuron(page, "locked") == account["balance"] == 2 * NEURON
    assert neuron(page, "refunding") == account["pendingRefund"] == 0
    assert neuron(page, "wallet") == contracts.chain.balance(ALICE.address)
    expect(page.get_by_test_id("position-row")).to_have_attribute("data-provider", petra)

    page.goto(f"{asgi_server}/account")
    page.get_by_role("link", name="Retrieve").last.click()
    expect(review).to_contain_text("Later: 2 0G starts its lock and unlocks in about 24 hours")
    to_final(page)
    shows(page, "locked", 0)
    shows(page, "refunding", 2 * NEURON)
    page.goto(f"{asgi_server}/account/refunds")
    row = page.get_by_test_id("refund-row")
    expect(row).to_have_attribute("data-amount", str(2 * NEURON))
    expect(row).to_contain_text("23 h")
    page.goto(f"{asgi_server}/account/transactions")
    expect(page.get_by_test_id("tx-row")).to_have_count(3)
    expect(page.locator('[data-testid="movement-row"][data-kind="deposit"]')).to_have_count(1)


# --- every page of an account, held to the rules of all pages ----------------------------------


def test_the_pages_of_an_account_are_sound(
    asgi_server: str, index: None, petra: str, wallet: Wallet, contracts: Contracts, page: Page
) -> None:
    funded(contracts, petra)
    contracts.ledger.send(ALICE, "retrieveFund", [petra], "inference-v1.0")
    sound(page, f"{asgi_server}/account")
    sign_in(page, asgi_server)
    page.get_by_test_id("tx-amount").fill("1")
    to_final(page)
    intent = Intent.objects.get()
    for path in (
        "/account",
        f"/account?action=transfer&provider={petra}&amount=2",
        "/account?action=withdraw&amount=6.5",
        "/account?action=deposit_for&recipient=0x12&amount=x",
        "/account/refunds",
        "/account/transactions",
        f"/account/transactions/{intent.pk}",
        "/account/refunds/collect",
        "/account/transactions?kind=transfer&since=2030-01-01",
        "/account/statement",
        "/account/analytics",
        f"/account/spendable?account=inference-v1.0:{petra}",
        "/account?action=delete_ledger",
        "/account/keys",
        f"/accounts/{ALICE.address}",
        f"/accounts/{BOB.address}",
    ):
        sound(page, asgi_server + path)
    page.get_by_test_id("wallet-address").click()
    assert inaccessible(page) == []


def test_the_sign_in_dialog_is_accessible(
    asgi_server: str, wallet: Wallet, page: Page, errors: list[str]
) -> None:
    # A colour halfway through its transition has no contrast to judge.
    page.emulate_media(reduced_motion="reduce")
    page.goto(asgi_server + "/account")
    page.get_by_test_id("connect-wallet").click()
    assert inaccessible(page) == []
    page.get_by_test_id("wallet-option").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_test_id("sign-in")).to_be_focused()
    assert inaccessible(page) == []
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_test_id("connect-wallet")).to_contain_text("Sign in")


# --- provider keys -----------------------------------------------------------------------------


def make_key(page: Page, provider: str) -> None:
    """Start `ensureKey` as the playground does; its outcome lands on the body."""
    page.evaluate(
        """async (provider) => {
            const { ensureKey } = await import("/static/js/providerkey.js");
            const tell = (text) => { document.body.dataset.outcome = text; };
            ensureKey(provider).then((key) => tell(Object.keys(key).sort().join(" ")),
                (e) => tell(`${e.declined ? "declined" : "error"}: ${e.message}`));
        }""",
        provider,
    )


def outcome(page: Page) -> str:
    body = page.locator("body[data-outcome]")
    expect(body).to_have_count(1)
    found = str(body.get_attribute("data-outcome"))
    page.evaluate("delete document.body.dataset.outcome")
    return found


def test_a_provider_key_is_explained_signed_and_kept_on_the_server(
    asgi_server: str,
    petra: str,
    wallet: Wallet,
    contracts: Contracts,
    page: Page,
    errors: list[str],
) -> None:
    page.emulate_media(reduced_motion="reduce")
    sign_in(page, asgi_server)
    make_key(page, petra)
    assert outcome(page) == (
        "error: You have no account at this provider. Transfer to the provider first; that opens "
        "one."
    )
    funded(contracts, petra, moved=2)
    make_key(page, petra)
    dialog = page.get_by_role("dialog", name="Make a key for this provider")
    expect(dialog).to_contain_text(petra)
    expect(dialog).to_contain_text("24 hours")
    expect(dialog).to_contain_text("A key is good for the whole sub-account")
    assert inaccessible(page) == []
    dialog.get_by_role("button", name="Not now").click()
    assert outcome(page) == "declined: You declined. No key was made."
    wallet.reject = {"personal_sign"}
    make_key(page, petra)
    page.get_by_test_id("key-confirm").click()
    assert outcome(page).startswith("declined")
    wallet.reject = set()
    make_key(page, petra)
    page.get_by_test_id("key-confirm").click()
    assert outcome(page) == "expires_at made ready"
    method, params = wallet.calls[-1]
    assert method == "personal_sign" and len(params[0]) == 66  # 32 bytes, not text
    make_key(page, petra)
    assert outcome(page) == "expires_at ready"  # held already: nothing is asked again
    assert wallet.methods().count("personal_sign") == 3
    assert ALICE.address in ProviderKey.objects.get().user.address
    page.goto(asgi_server + "/account/keys")
    expect(page.get_by_test_id("key-row")).to_have_attribute("data-provider", petra)
    page.get_by_role("button", name="Forget").click()
    expect(page.get_by_test_id("key-row")).to_have_count(0)
