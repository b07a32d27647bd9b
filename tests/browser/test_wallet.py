"""Connecting, signing in and moving money in a real browser with a wallet we do not trust."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import BrowserContext, Page, Route, expect

from accounts.models import Intent, ProviderKey, State
from devnet import accounts as cast
from devnet.deploy import Contracts
from tests.browser.live import listening
from tests.browser.money import funded
from tests.browser.pagecheck import (
    all_sound,
    before_script,
    hearing,
    hears,
    inaccessible,
)
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


def test_signing_in_from_another_chain_to_another_wallet(
    asgi_server: str,
    wallet: Wallet,
    context: BrowserContext,
    page: Page,
    errors: list[str],
    anvil: Any,
) -> None:
    # A colour halfway through its transition has no contrast to judge.
    page.emulate_media(reduced_motion="reduce")
    wallet.chain_id, wallet.knows = 1, {1}
    connect, sign = page.get_by_test_id("connect-wallet"), page.get_by_test_id("sign-in")
    # A page that stood open while the site was updated asks for a script that is gone.
    page.route("**/wallet-signin*", lambda route: route.fulfill(status=404), times=1)
    page.goto(asgi_server + "/account")
    connect.click()
    expect(page.locator(".toast")).to_contain_text("is missing: reload it.")
    # Pressed before its script has come, a button waits for it.
    with before_script(page, "wallet", asgi_server + "/account"):
        connect.click()
        expect(connect).to_have_attribute("aria-busy", "true")
        assert wallet.calls == []  # nothing is asked of a wallet on page load
    assert inaccessible(page) == []
    page.get_by_test_id("wallet-option").focus()
    page.keyboard.press("Enter")
    # On another chain: told, and switched or taught.
    expect(page.locator("[data-wallet-chain-text]")).to_have_text(
        "Your wallet is on Ethereum. Reading works; to pay, switch."
    )
    status = page.locator("[data-wallet-status]")
    wallet.reject = {"wallet_addEthereumChain"}
    page.locator("[data-wallet-switch]").click()
    expect(status).to_have_text("You stayed on the other chain.")
    wallet.reject = set()
    wallet.on_phone = True
    page.locator("[data-wallet-switch]").click()
    expect(page.locator("[data-wallet-chain]")).to_be_hidden()
    assert wallet.chain_id == 31337
    wallet.on_phone = False
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(connect).to_contain_text("Sign in")
    page.reload()
    connect.click()
    page.get_by_test_id("wallet-option").click()
    expect(sign).to_be_focused()
    assert inaccessible(page) == []
    message = page.locator("[data-wallet-message]")
    expect(message).to_contain_text("wants you to sign in with your Ethereum account")
    expect(message).to_contain_text("Chain ID: 31337")
    assert "personal_sign" not in wallet.methods()  # shown before the wallet opens
    # Declining is not an error.
    wallet.reject = {"personal_sign"}
    sign.click()
    expect(status).to_have_text("You declined. You can still browse.")
    wallet.reject = set()
    # A signature of another key opens no session.
    wallet.signs_as = BOB
    sign.click()
    expect(status).to_contain_text(f"The signature does not belong to {ALICE.address}")
    # Locked meanwhile the wallet shows no account to write the next message for: it is asked again.
    prepared: list[str] = []

    def locked(route: Route) -> None:
        page.on("request", lambda asked: prepared.append(asked.url.rpartition("/")[2]))
        wallet.lock(page)
        route.continue_()

    page.route("**/verify", locked, times=1)
    sign.click()
    expect(page.get_by_test_id("wallet-option")).to_be_visible()
    assert "prepare" not in prepared, "no message for nobody"
    page.get_by_test_id("wallet-option").click()
    expect(sign).to_be_focused()
    page.reload()
    expect(connect).to_be_visible()
    wallet.signs_as = None
    wallet.calls.clear()
    connect.click()
    page.get_by_test_id("wallet-option").click()
    sign.click()
    address = page.get_by_test_id("wallet-address")
    expect(address).to_have_attribute("data-address", ALICE.address)
    signed = next(params for method, params in wallet.calls if method == "personal_sign")
    assert b"wants you to sign in" in bytes.fromhex(signed[0][2:])
    wallet.calls.clear()
    page.reload()
    expect(address).to_contain_text(f"{ALICE.address[:6]}…{ALICE.address[-4:]}")
    assert set(wallet.methods()) <= {"eth_accounts"}, "read without a prompt"
    page.get_by_test_id("sign-out").click()
    expect(connect).to_be_visible()
    expect(page.get_by_text("Connect your wallet and sign in")).to_be_visible()
    # Of two wallets both are offered, that of last time first, and the chosen one is asked.
    other = Wallet(BOB, anvil.url, name="<b>Other</b>", rdns="other.wallet").install(context)
    for names in (["Test Wallet", "<b>Other</b>"], ["<b>Other</b>", "Test Wallet"]):
        page.goto(asgi_server + "/account")
        connect.click()
        expect(page.get_by_test_id("wallet-option")).to_have_text(names)
        wallet.calls.clear()
        page.get_by_role("button", name="<b>Other</b>").click()
        sign.click()
        expect(address).to_have_attribute("data-address", BOB.address)
        assert wallet.calls == [] and "personal_sign" in other.methods()
        page.locator("[data-sign-out] button").click()
        expect(connect).to_be_visible()


def test_another_account_in_the_wallet_changes_nothing_but_a_banner(
    asgi_server: str, wallet: Wallet, page: Page, errors: list[str]
) -> None:
    sign_in(page, asgi_server)
    wallet.switch_account(page, BOB)
    banner = page.locator("#wallet-banner")
    expect(banner).to_contain_text("You are signed in as")
    expect(banner).to_contain_text(f"your wallet shows {BOB.address[:6]}")
    page.get_by_test_id("tx-amount").fill("5")
    page.get_by_test_id("tx-confirm").click()
    expect(page.locator(".tx [data-tx-message]")).to_contain_text("Nothing was sent")
    assert "eth_sendTransaction" not in wallet.methods()
    assert not Intent.objects.exists()
    # The next page says so too, until somebody chooses to read on.
    page.reload()
    expect(banner).to_contain_text(f"your wallet shows {BOB.address[:6]}")
    page.get_by_role("button", name=re.compile("^Keep")).click()
    page.reload()
    expect(page.locator("[data-wallet-fact]")).to_contain_text(BOB.address[:6])
    expect(banner).to_be_hidden()
    page.evaluate("sessionStorage.clear()")
    with listening(page) as sockets:
        page.reload()
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


def test_a_deposit_is_refused_declined_and_sent_from_another_chain(
    asgi_server: str, wallet: Wallet, contracts: Contracts, page: Page, errors: list[str]
) -> None:
    hearing(page)
    sign_in(page, asgi_server)
    amount, confirm = page.get_by_test_id("tx-amount"), page.get_by_test_id("tx-confirm")
    review, state = page.get_by_test_id("tx-review"), page.get_by_test_id("tx-state")
    # What the contract would refuse is said in words before any wallet opens.
    amount.fill("1")
    expect(state).to_have_attribute("data-state", "blocked")
    expect(review).to_contain_text("At least 3 0G is needed, you entered 1.")
    amount.fill("1,5")
    expect(page.locator("#review")).to_contain_text("Write the amount with a point")
    expect(amount).to_have_attribute("aria-invalid", "true")
    expect(amount).to_have_accessible_description(re.compile("Write the amount with a point"))
    page.goto(f"{asgi_server}/account?amount=1,5")
    expect(page.get_by_text("Write the amount with a point")).to_have_count(2)
    amount.fill("1")  # what was wrong when the page came is not said of what is written now
    expect(review).to_contain_text("At least 3 0G is needed")
    expect(page.get_by_text("Write the amount with a point")).to_have_count(0)
    expect(amount).to_have_accessible_description("")
    page.goto(f"{asgi_server}/account?action=withdraw&amount=1")
    expect(review).to_contain_text("You have no compute account yet.")
    # The page refuses an address outside its closed list.
    page.goto(f"{asgi_server}/account")
    amount.fill("5")
    confirm.wait_for()
    page.evaluate("document.getElementById('review').dataset.contracts = '0x' + '11'.repeat(20)")
    confirm.click()
    expect(page.locator("#review")).to_contain_text("outside the network")
    page.reload()
    # Another chain is told as soon as it happens; reading goes on, and one button leads back.
    wallet.switch_chain(page, 1)
    banner = page.locator("#chain-banner")
    expect(banner).to_contain_text("Your wallet is on Ethereum. Reading works; to pay, switch.")
    wallet.reject = {"wallet_switchEthereumChain"}
    banner.get_by_role("button", name="Switch to").click()
    expect(banner).to_contain_text("You stayed on the other chain.")
    amount.fill("6")
    confirm.click()  # what was declined is the switch, and it is still in the way
    expect(page.locator("#review")).to_contain_text("Your wallet is on another chain. Switch it")
    wallet.reject = set()
    banner.get_by_role("button", name="Switch to").click()
    expect(banner).to_be_hidden()
    assert "eth_sendTransaction" not in wallet.methods()
    # Declined, nothing is sent; taken up again, the chain is switched before.
    wallet.calls.clear()
    wallet.chain_id = 1
    wallet.reject = {"eth_sendTransaction"}
    amount.fill("5")
    expect(review.locator('[data-effect="available"]')).to_have_attribute(
        "data-after", str(5 * NEURON)
    )
    hears(page, "Deposit 5 0G")  # the review in a few words, not as a whole
    hears(page, "Checked, not sent")
    confirm.click()
    expect(state).to_have_attribute("data-state", "rejected")
    expect(page.locator("[data-tx-message]")).to_have_text("You declined. Nothing was sent.")
    hears(page, "Declined")
    hears(page, "You declined. Nothing was sent.")
    assert page.locator("#review [aria-live], #review[aria-live]").count() == 0
    asked = wallet.methods()
    assert asked.index("wallet_switchEthereumChain") < asked.index("eth_sendTransaction")
    assert wallet.chain_id == 31337
    wallet.reject = set()
    page.get_by_role("button", name="Try again").click()
    sent = re.compile("included|indexed|final")
    expect(state).to_have_attribute("data-state", sent)
    assert wallet.methods().count("eth_sendTransaction") == 2
    assert contracts.ledger.view("getLedger", ALICE.address)["availableBalance"] == 5 * NEURON
    # (What the page refused to send is another, which waits for ever.)
    intent = Intent.objects.get(state__in=(State.INCLUDED, State.INDEXED, State.FINAL))
    assert intent.user.address == ALICE.address and intent.block is not None
    # It is kept over a reload, and has a page.
    page.reload()
    expect(state).to_have_attribute("data-state", sent)
    page.goto(f"{asgi_server}/account/transactions/{intent.pk}")
    expect(review).to_contain_text("Available")


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
    """Then every page of an account is held to the rules of all pages."""
    page.set_viewport_size({"width": 1280, "height": 900})
    sign_in(page, asgi_server)
    expect(page.get_by_text("No compute account yet")).to_be_visible()
    page.goto(f"{asgi_server}/account?action=transfer&provider={petra}&amount=2")
    review = page.get_by_test_id("tx-review")
    expect(review).to_contain_text("You have no compute account yet.")
    expect(page.get_by_role("link", name="Step 1 of 2: deposit 3 0G")).to_be_visible()
    # The chat plans all that is missing; the next step opens by itself, also after a reload.
    page.goto(f"{asgi_server}/playground/chat?provider={petra}")
    plan = page.get_by_test_id("plan")
    expect(plan).to_contain_text("at least 3 0G")
    expect(plan.locator("li")).to_have_count(3)
    plan.get_by_role("link", name="Begin: deposit 3 0G").click()
    expect(page.get_by_test_id("two-steps")).to_contain_text("pays no provider yet")
    page.get_by_test_id("tx-confirm").click()
    page.wait_for_url("**/account?action=transfer&**", timeout=20_000)
    # By keyboard and by ear, too, it goes on with that step.
    following = page.locator("#review h2")
    expect(following).to_be_focused()
    expect(following).to_be_in_viewport()
    expect(following).to_have_accessible_description(re.compile(r"Deposit 3 0G \(done\)"))
    page.goto(f"{asgi_server}/account")
    expect(page.get_by_text("Continue where you left off")).to_be_visible()
    shows(page, "available", 3 * NEURON)
    shows(page, "locked", 0)
    step = page.get_by_test_id("next-step")
    step.click()
    expect(page.get_by_test_id("tx-amount")).to_have_value("2")
    steps = page.locator("[data-tx-form] .stepper li")
    expect(steps).to_have_text(["Deposit 3 0G (done)", "Transfer", "Back to the playground"])
    expect(review).to_contain_text("Transferring also acknowledges its signing key")
    expect(review.locator('[data-effect="available"]')).to_have_attribute("data-after", str(NEURON))
    page.get_by_test_id("tx-confirm").click()
    page.wait_for_url("**/playground/chat?**", timeout=20_000)
    expect(page.locator("#gate")).to_have_attribute("data-ready", "yes")
    page.goto(f"{asgi_server}/account")
    ledger = contracts.ledger.view("getLedger", ALICE.address)
    account = contracts.inference.view("getAccount", ALICE.address, petra)
    shows(page, "available", NEURON)
    assert ledger["availableBalance"] == NEURON
    assert neuron(page, "locked") == account["balance"] == 2 * NEURON
    assert neuron(page, "refunding") == account["pendingRefund"] == 0
    assert neuron(page, "wallet") == contracts.chain.balance(ALICE.address)
    expect(page.get_by_test_id("position-row")).to_have_attribute("data-provider", petra)

    page.goto(f"{asgi_server}/account")
    expect(step).to_have_text("Back to the playground")  # no step of money is left
    page.get_by_role("link", name="Retrieve").last.click()
    expect(review).to_contain_text("Later: 2 0G starts its lock and unlocks in about 24 hours")
    to_final(page)
    expect(page.locator("[data-live]")).to_be_hidden()  # its own news are on the page already
    shows(page, "locked", 0)
    shows(page, "refunding", 2 * NEURON)
    page.goto(f"{asgi_server}/account/refunds")
    row = page.get_by_test_id("refund-row")
    expect(row).to_have_attribute("data-amount", str(2 * NEURON))
    expect(row).to_contain_text("23 h")
    page.goto(f"{asgi_server}/account/transactions")
    expect(page.get_by_test_id("tx-row")).to_have_count(3)
    expect(page.locator('[data-testid="movement-row"][data-kind="deposit"]')).to_have_count(1)

    paths = (
        "/account",
        f"/account?action=transfer&provider={petra}&amount=2",
        "/account?action=withdraw&amount=0.5",
        "/account?action=deposit_for&recipient=0x12&amount=x",
        "/account/refunds",
        "/account/transactions",
        f"/account/transactions/{Intent.objects.latest('created_at').pk}",
        "/account/refunds/collect",
        "/account/transactions?kind=transfer&since=2030-01-01",
        "/account/statement",
        "/account/analytics",
        f"/account/spendable?account=inference-v1.0:{petra}",
        "/account?action=delete_ledger",
        "/account/keys",
        f"/accounts/{ALICE.address}",
        f"/accounts/{BOB.address}",
    )
    all_sound(page, (asgi_server + path for path in paths))
    page.get_by_test_id("wallet-address").click()
    assert inaccessible(page) == []


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
