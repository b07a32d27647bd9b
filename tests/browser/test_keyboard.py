"""The whole way with keys alone: from the first page to a verified answer, and out again. Whatever
has the focus shows it, and is not hidden under what sticks to the window (WCAG 2.2, 2.4.7, 2.4.11).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from devnet import accounts as cast
from devnet.deploy import Contracts
from devnet.owner import acknowledge_signer
from tests.browser import pagecheck
from tests.browser.money import NEURON, caught_up
from tests.browser.wallet import Wallet
from tests.live.chat_upstream import SIGNER, Asked, Reply, ThreadedUpstream, Upstream

#: Of the element with the focus: no indicator, or covered at every point of it that was looked at.
_FOCUS = """() => {
  const one = document.activeElement;
  if (!one || one === document.body) return "";
  const name = `${one.tagName.toLowerCase()} ${(one.innerText || one.name || one.id).slice(0, 40)}`;
  const near = [one, one.parentElement, one.closest("tr, label, li, .row"), one.labels?.[0]];
  const ring = (node) => {
    const style = node && getComputedStyle(node);
    return style && ((style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0)
      || style.boxShadow !== "none");
  };
  if (one.id !== "main" && !near.some(ring)) return `${name}: no sign of the focus`;
  const box = (one.classList.contains("visually-hidden") ? one.parentElement : one)
    .getBoundingClientRect();
  if (box.bottom <= 0 || box.top >= innerHeight || box.right <= 0 || box.left >= innerWidth)
    return `${name}: outside the window`;
  const seen = [0.1, 0.3, 0.5, 0.7, 0.9].some((x) => [0.1, 0.5, 0.9].some((y) => {
    const at = document.elementFromPoint(box.left + box.width * x, box.top + box.height * y);
    return at && (one.contains(at) || at.contains(one) || one.labels?.[0]?.contains(at));
  }));
  return seen ? "" : `${name}: hidden under something`;
}"""


class Keys:
    """A person without a pointer. `faults` gathers what could not be seen."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.faults: list[str] = []
        self.stops = 0

    def press(self, *names: str) -> None:
        for name in names:
            self.page.keyboard.press(name)

    def tab(self, back: bool = False) -> None:
        self.step(back, lambda: (self.page.evaluate(_FOCUS), False))

    def step(self, back: bool, look: Callable[[], Iterable[Any]]) -> bool:
        """Tab, and `look` for a fault and for whether the way ends here."""
        self.press("Shift+Tab" if back else "Tab")
        self.stops += 1
        fault, there = look()
        if fault:
            self.faults.append(f"{self.page.url}: {fault}")
        return bool(there)

    def to(self, wanted: Locator, *, most: int = 150, back: bool = False) -> None:
        """Tab until it has the focus."""
        wanted.wait_for()
        if wanted.evaluate("(one) => one === document.activeElement"):
            return
        both = f"(one) => [({_FOCUS})(), one === document.activeElement]"  # in one question
        for _ in range(most):
            if self.step(back, lambda: wanted.evaluate(both)):
                return
        raise AssertionError(f"{wanted} cannot be reached with the Tab key")

    def choose(self, wanted: Locator, key: str = "Enter", **how: Any) -> None:
        self.to(wanted, **how)
        self.press(key)

    def trapped(self, dialog: Locator) -> None:
        """The focus goes round in an open dialog (or to the browser's own parts) and never under
        it."""
        expect(dialog).to_be_visible()
        for _ in range(8):
            self.tab()
            assert dialog.evaluate(
                "(one) => one.contains(document.activeElement) || document.activeElement === "
                "document.body"
            )


async def answers(reply: Reply, asked: Asked) -> None:
    await reply.start("id-1")
    await reply.tokens("A ", "ledger ", "holds ", "your ", "money.", pause=0.01)
    await reply.signed_end("id-1", asked)


@pytest.fixture
def listed(contracts: Contracts) -> Iterator[str]:
    """A provider that answers, registered and acknowledged on the chain."""
    provider = cast.provider(1)
    with ThreadedUpstream(answers) as upstream:
        assert isinstance(upstream, Upstream)
        listing = ("chatbot", upstream.url, "keys/only-model", "TeeML", 10**11, 4 * 10**11, "{}")
        contracts.inference.send(
            provider, "addOrUpdateService", (*listing, SIGNER), value=100 * NEURON
        )
        acknowledge_signer(contracts, provider.address)
        yield str(provider.address)


@pytest.mark.usefixtures("index")
def test_from_home_to_a_verdict_and_out_with_keys_alone(
    asgi_server: str,
    listed: str,
    wallet: Wallet,
    contracts: Contracts,
    page: Page,
    errors: list[str],
) -> None:
    keys = Keys(page)
    page.set_viewport_size({"width": 1280, "height": 720})
    page.emulate_media(reduced_motion="reduce")
    caught_up(contracts)  # the listing is in the index
    page.goto(asgi_server)
    pagecheck.drawn(page)

    # Past the navigation in one step.
    keys.tab()
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    keys.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    # What keys there are: a dialog that keeps the focus and gives it back.
    keys.tab()
    before = page.evaluate_handle("document.activeElement")
    keys.press("?")
    keys.trapped(page.get_by_role("dialog", name="Keyboard shortcuts"))
    keys.press("Escape")
    assert before.evaluate("(one) => one === document.activeElement")

    # The palette leads to the service.
    keys.press("Control+k")
    palette = page.get_by_test_id("palette")
    expect(palette.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("only-model")
    service = palette.locator(f'a[href="/services/inference/{listed}"]')
    expect(service).to_be_visible()
    for _ in range(20):
        if service.evaluate("(one) => one === document.activeElement"):
            break
        keys.press("ArrowDown")
    keys.press("Enter")
    expect(page).to_have_url(re.compile(f"/services/inference/{listed}$"))

    # The wallet, in its dialog.
    keys.choose(page.get_by_test_id("connect-wallet"))
    dialog, unsaid = page.locator("#wallet-dialog"), list[bool]()
    message = dialog.locator("[data-wallet-message]")
    expect(page.get_by_test_id("wallet-option")).to_be_focused()
    keys.trapped(dialog)

    def asked(route: Route) -> None:
        unsaid.append(message.is_visible())
        route.continue_()

    page.route("**/prepare", asked)
    keys.choose(page.get_by_test_id("wallet-option"))
    sign = page.get_by_test_id("sign-in")
    expect(sign).to_be_enabled()
    expect(message).to_be_visible()
    assert unsaid == [False], "no box before there is a message in it"
    page.unroute("**/prepare")
    keys.choose(sign)
    expect(page.get_by_test_id("wallet-address")).to_have_attribute(
        "data-address", wallet.account.address
    )
    page.wait_for_load_state("load")

    # Money: a deposit, and a transfer to the provider.
    keys.press("g", "f")
    expect(page).to_have_url(f"{asgi_server}/account")
    page.wait_for_load_state("load")
    for path, amount in (("", "5"), (f"?action=transfer&provider={listed}", "2")):
        if path:  # typed into the address bar
            page.goto(f"{asgi_server}/account{path}")
        keys.to(page.get_by_test_id("tx-amount"))
        keys.press("Control+a")
        page.keyboard.type(amount)
        confirm = page.get_by_test_id("tx-confirm")
        expect(confirm).to_be_enabled()
        expect(confirm).to_be_visible()
        page.wait_for_load_state("networkidle")
        keys.choose(confirm)
        state = page.get_by_test_id("tx-state").first
        expect(state).to_have_attribute("data-state", "final", timeout=60_000)

    # A question, the key it needs, the answer and its verdict.
    page.goto(f"{asgi_server}/playground/chat?provider={listed}")
    keys.choose(page.locator("#nothing-yet .actions a").first)
    question = page.get_by_test_id("chat-input")
    expect(question).to_be_focused()
    expect(question).not_to_have_value("")
    keys.choose(page.get_by_test_id("chat-send"))
    made = page.get_by_role("dialog", name="Make a key for this provider")
    keys.trapped(made)
    keys.choose(page.get_by_role("button", name="Make the key"))
    verdict = page.get_by_test_id("message-verdict")
    expect(verdict).to_have_attribute("data-verdict", "verified", timeout=60_000)
    expect(page.locator("#turns")).to_contain_text("A ledger holds your money.")
    expect(question).to_have_value("")
    expect(page.get_by_test_id("chat-send")).to_be_focused()

    # Out again; every stop of the way could be seen, also going backwards and on a phone's width.
    keys.choose(page.get_by_test_id("sign-out"), back=True)
    expect(page.get_by_test_id("connect-wallet")).to_be_visible()
    page.set_viewport_size({"width": 390, "height": 500})
    page.goto(f"{asgi_server}/services/inference/{listed}")
    for back in (False, True):
        for _ in range(40):
            keys.tab(back)
    assert keys.stops > 150
    assert keys.faults == []
    # Reduced motion is respected: nothing moves by itself.
    moving = page.evaluate(
        """() => document.getAnimations()
            .filter((one) => one.effect.getComputedTiming().duration > 50).length"""
    )
    assert moving == 0
    # And it would have been noticed: a header that covers everything, a ring that is gone.
    page.evaluate("document.querySelector('.site-header').style.height = '100vh'")
    page.locator("main a").last.focus()
    page.evaluate("window.scrollTo(0, document.activeElement.offsetTop - 250)")
    assert "hidden under" in page.evaluate(_FOCUS)
    page.evaluate("document.querySelector('.site-header').style.height = ''")
    page.evaluate("document.activeElement.style.outline = 'none'")
    assert "no sign of" in page.evaluate(_FOCUS)
