"""A browser at the wrong moment: the way back, two tabs, a session that ends under the wallet."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from accounts import sessions
from accounts.models import Intent, State, User
from devnet import accounts as cast
from devnet.deploy import Contracts
from tests.browser.live import listening
from tests.browser.money import ALICE, NEURON, ledger
from tests.browser.test_wallet_pending import still
from tests.browser.threads import in_thread
from tests.browser.wallet import Wallet, come_back, sign_in

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


def test_a_session_that_ends_under_the_open_wallet_does_not_lose_the_transaction(
    asgi_server: str, index: None, wallet: Slow, contracts: Contracts, page: Page
) -> None:
    sign_in(page, asgi_server)
    with listening(page):
        page.goto(f"{asgi_server}/account")
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
    # Signed in anew in another tab: this page's next word is refused, which undoes nothing.
    page.goto(f"{asgi_server}/account")
    page.route("**/submitted", lambda route: route.fulfill(status=403, json={"title": "Nothing."}))
    page.get_by_test_id("tx-amount").fill("1")
    page.get_by_test_id("tx-confirm").click()
    expect(page.locator("#review [data-tx-message]")).to_contain_text("do not send it twice")
    page.unroute("**/submitted")
    page.reload()
    expect(state).to_have_attribute("data-state", SENT)
    # What stands before the site, while that begins anew, knows of no transaction: told once more.
    page.route("**/submitted", lambda route: route.fulfill(status=404, body="none"), times=1)
    page.get_by_test_id("tx-amount").fill("2")
    page.get_by_test_id("tx-confirm").click()
    expect(page.locator("#review h2")).to_have_text("Deposit 2 0G")
    expect(state).to_have_attribute("data-state", SENT)


def test_an_account_that_changes_under_the_review_sends_nothing_until_it_is_right(
    asgi_server: str, wallet: Slow, contracts: Contracts, page: Page
) -> None:
    come_back(page, asgi_server, wallet)
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
    # A full or blocked storage throws, and the money is on its way already.
    wallet.switch_account(page, ALICE)
    page.add_init_script("Storage.prototype.setItem = () => { throw new Error('full'); };")
    page.reload()
    page.get_by_test_id("tx-amount").fill("5")
    page.get_by_test_id("tx-confirm").click()
    expect(page.get_by_test_id("tx-state")).to_have_attribute("data-state", SENT)
    assert Intent.objects.get().tx_hash


NO_ANSWER = """(silent) => {
  const ask = window.__wallet_test_wallet_request;
  window.__wallet_test_wallet_request = (asked) => {
    if (JSON.parse(asked).method !== (silent ?? "eth_sendTransaction")) return ask(asked);
    window.__wallet_test_wallet_request = ask;
    return new Promise((answer) => {
      window.declineFirst = () => answer(JSON.stringify({ error: { code: 4001, message: "no" } }));
    });
  };
}"""

#: The next request is one to unlock the wallet, and is declined.
LOCKED = """() => {
  const ask = window.__wallet_test_wallet_request;
  window.__wallet_test_wallet_request = (asked) => {
    const { method } = JSON.parse(asked);
    if (method === "eth_accounts") return Promise.resolve(JSON.stringify({ result: [] }));
    if (method !== "eth_requestAccounts") return ask(asked);
    window.__wallet_test_wallet_request = ask;
    return Promise.resolve(JSON.stringify({ error: { code: 4001, message: "no" } }));
  };
}"""

#: Something of this page waits in the wallet until `answerSign`.
SIGNATURE_OPEN = """async () => {
  const ask = window.__wallet_test_wallet_request;
  window.__wallet_test_wallet_request = (asked) => {
    if (JSON.parse(asked).method !== "personal_sign") return ask(asked);
    window.__wallet_test_wallet_request = ask;
    return new Promise((answer) => {
      window.answerSign = () => answer(JSON.stringify({ result: "0x00" }));
    });
  };
  const loaded = performance.getEntriesByType("resource").map(({ name }) => name);
  const wallet = await import(loaded.find((name) => name.includes("/wallet-provider")));
  wallet.prompt("personal_sign", ["0x00", wallet.account()]);
}"""


def left_waiting(page: Page, script: str) -> None:
    """A deposit of 5 0G is confirmed and waits, by what `script` does to the wallet."""
    page.get_by_test_id("tx-amount").fill("5")
    page.evaluate(script)
    page.get_by_test_id("tx-confirm").click()
    expect(page.locator("#review h2")).to_be_focused()


def test_what_waits_behind_another_request_is_looked_at_again_and_sent_once(
    asgi_server: str, wallet: Slow, contracts: Contracts, page: Page
) -> None:
    come_back(page, asgi_server, wallet)
    left_waiting(page, SIGNATURE_OPEN)
    wallet.switch_chain(page, 1)
    page.evaluate("window.answerSign()")
    expect(page.locator("#review [data-tx-message]")).to_contain_text("Nothing was sent")
    assert "eth_sendTransaction" not in wallet.methods()
    wallet.switch_chain(page, 31337)
    page.reload()
    page.get_by_test_id("tx-amount").fill("5")
    page.get_by_test_id("tx-confirm").wait_for()
    page.evaluate(SIGNATURE_OPEN)
    page.get_by_test_id("tx-confirm").click()
    page.get_by_role("button", name="Nothing is open in my wallet: ask again").click()
    expect(page.get_by_test_id("tx-state")).to_have_attribute("data-state", SENT)
    page.evaluate("window.answerSign()")
    page.evaluate("() => new Promise((done) => setTimeout(done, 100))")
    sent = [params[0] for method, params in wallet.calls if method == "eth_sendTransaction"]
    assert [one["chainId"] for one in sent] == [hex(31337)]  # the wallet can refuse another
    assert ledger(contracts)["availableBalance"] == 5 * NEURON


def test_a_wallet_that_never_answers_is_asked_again(
    asgi_server: str, wallet: Slow, contracts: Contracts, page: Page
) -> None:
    come_back(page, asgi_server, wallet)
    left_waiting(page, NO_ANSWER)
    again = page.get_by_role("button", name="Nothing is open in my wallet: ask again")
    # Locked, it does not even tell its account: of the first request that says nothing.
    page.wait_for_function("() => window.declineFirst")  # the wallet has that one
    page.evaluate(LOCKED)
    again.click()
    message = page.locator("#review [data-tx-message]")
    expect(message).to_have_text("You declined.")
    # Nor does the second request, declined, say what became of it.
    wallet.reject.add("eth_sendTransaction")
    again.click()
    state = page.get_by_test_id("tx-state")
    expect(state).to_have_text("Not known")
    expect(message).to_contain_text("it may have been sent all the same")
    wallet.reject.clear()
    wallet.calls.clear()
    page.get_by_role("button", name="Try again").click()
    expect(state).to_have_attribute("data-state", SENT)
    # What it says of the first request much later is no news of the second.
    page.evaluate("window.declineFirst()")
    expect(state).to_have_attribute("data-state", SENT)
    assert wallet.methods().count("eth_sendTransaction") == 1
    assert ledger(contracts)["availableBalance"] == 5 * NEURON

    # The site's word that the wallet may be asked was lost on the way.
    def lost(route: Route) -> None:
        route.fetch()
        route.abort()

    page.route("**/confirm", lost, times=1)
    page.goto(f"{asgi_server}/account?action=deposit&amount=2")
    page.get_by_test_id("tx-confirm").click()
    again.click()
    expect(state).to_have_attribute("data-state", SENT)
    assert ledger(contracts)["availableBalance"] == 7 * NEURON
    # Not even for its account: after a while the page says what to do.
    page.goto(f"{asgi_server}/account?action=deposit&amount=1")
    page.get_by_test_id("tx-confirm").wait_for()
    page.evaluate(NO_ANSWER, "eth_chainId")
    page.clock.install()
    page.get_by_test_id("tx-confirm").click()
    message = page.locator("#review [data-tx-message]")
    expect(message).to_have_text("Asking your wallet for its account…")
    page.clock.fast_forward(10_000)
    expect(message).to_contain_text("Test Wallet has not answered yet. Open it")


def test_what_a_wallet_sent_with_an_error_is_not_sent_twice(
    asgi_server: str, wallet: Slow, contracts: Contracts, page: Page
) -> None:
    come_back(page, asgi_server, wallet)
    send = wallet.node

    def in_silence(method: str, params: list[Any]) -> Any:
        answer = send(method, params)
        return None if method == "eth_sendRawTransaction" else answer

    wallet.node = in_silence  # type: ignore[method-assign]
    with still(contracts):
        page.get_by_test_id("tx-amount").fill("5")
        page.get_by_test_id("tx-confirm").click()
        state, message = page.get_by_test_id("tx-state"), page.locator("#review [data-tx-message]")
        expect(message).to_have_text(
            "The wallet gave no hash. Look in your wallet before you try again: it may have been "
            "sent all the same."
        )
        expect(state).to_have_text("Error in the wallet")
        again = page.get_by_role("button", name="Try again")
        # Of what it sent nobody says that it did not.
        page.evaluate(LOCKED)
        again.click()
        expect(message).to_have_text("You declined.")
        again.click()
        expect(message).to_contain_text("waits for a block: it may be this one")
    contracts.chain.mine()
    again.click()
    expect(state).to_have_attribute("data-state", SENT)
    assert wallet.methods().count("eth_sendTransaction") == 1
    assert ledger(contracts)["availableBalance"] == 5 * NEURON
    # It is said whether the site hears of the error or not.
    page.route("**/rejected", lambda route: route.abort())
    page.goto(f"{asgi_server}/account?action=deposit&amount=1")
    page.get_by_test_id("tx-confirm").click()
    expect(message).to_contain_text("it may have been sent all the same")
