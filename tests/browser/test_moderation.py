"""A report becomes a decision of two persons that everybody can read, and nobody loses money."""

from __future__ import annotations

import datetime as dt

from django.utils import timezone
from playwright.sync_api import Browser, BrowserContext, Page, expect

from accounts import roles
from accounts.models import User
from accounts.roles import Role
from devnet import accounts as cast
from devnet.deploy import Contracts
from moderation import looking
from moderation.models import Effect
from tests.browser.money import NEURON, caught_up, funded, held
from tests.browser.pagecheck import drawn, sound
from tests.browser.session import enter
from tests.browser.threads import in_thread
from tests.browser.wallet import Wallet, known, to_final

SAID = "The endpoint returned other people’s text."


def desk(browser: Browser, url: str, number: int, kept: list[BrowserContext]) -> Page:
    """A moderator's own browser, signed in."""
    user = User.objects.for_address(cast.user(number).address)
    in_thread(lambda: roles.give(user, Role.MODERATOR))
    context = browser.new_context(reduced_motion="reduce")
    kept.append(context)
    enter(context, url, user)
    return context.new_page()


def test_from_a_report_to_a_decision_and_back(
    asgi_server: str,
    index: None,
    petra: str,
    wallet: Wallet,
    contracts: Contracts,
    page: Page,
    browser: Browser,
    errors: list[str],
) -> None:
    funded(contracts, petra)
    contracts.chain.rpc.call("anvil_mine", "0x80")
    caught_up(contracts)
    in_thread(looking.sweep)
    page.emulate_media(reduced_motion="reduce")
    known(page, asgi_server, wallet)
    listing = f"{asgi_server}/services/inference/{petra}"

    # A user reports.
    page.goto(listing)
    page.get_by_test_id("report-link").click()
    page.get_by_test_id("report-category").select_option("privacy")
    page.get_by_test_id("report-body").fill("It answered with somebody else’s conversation.")
    sound(page, page.url)
    page.get_by_test_id("report-category").select_option("privacy")
    page.get_by_test_id("report-body").fill("It answered with somebody else’s conversation.")
    page.get_by_test_id("report-send").click()
    expect(page.get_by_test_id("report-row")).to_contain_text("waits")

    kept: list[BrowserContext] = []
    one, two = desk(browser, asgi_server, 3, kept), desk(browser, asgi_server, 4, kept)

    # A moderator works by keyboard: the report is the first, a template, h, Ctrl+Enter.
    one.goto(f"{asgi_server}/moderation")
    rows = one.get_by_test_id("queue-row")
    expect(rows.first).to_contain_text("Report")
    expect(one.get_by_test_id("report-text")).to_contain_text("somebody else’s conversation")
    keys = one.locator("[data-keys]")  # seen once the new page's script listens
    expect(keys).to_be_visible()
    drawn(one)
    one.keyboard.press("j")
    expect(rows.nth(1)).to_have_class("current")
    expect(keys).to_be_visible()
    drawn(one)
    one.keyboard.press("k")
    expect(rows.first).to_have_class("current")
    expect(keys).to_be_visible()
    drawn(one)
    one.keyboard.press("?")
    expect(one.get_by_role("dialog", name="Keys of the queue")).to_be_visible()
    one.keyboard.press("Escape")
    often, public = one.get_by_label("Often said"), one.get_by_test_id("public-text")
    public.fill("In my own words.")
    often.select_option("others")
    expect(one.get_by_test_id("reason")).not_to_have_value("")
    expect(public).to_have_value("In my own words.")
    public.fill("")
    often.select_option("")
    expect(one.get_by_test_id("reason")).to_have_value("")
    often.select_option("others")
    expect(public).to_have_value(SAID)
    one.get_by_label("Holds").select_option("24")
    one.get_by_test_id("act-preview").click()
    expect(one.get_by_test_id("preview")).to_contain_text(SAID)
    sound(one, f"{asgi_server}/moderation")
    one.get_by_label("Often said").select_option("others")
    one.get_by_label("Holds").select_option("24")
    one.get_by_role("heading", level=1).click()
    one.keyboard.press("h")
    expect(one.get_by_test_id("reason")).to_be_focused()
    one.keyboard.press("Control+Enter")
    expect(one.get_by_test_id("undo")).to_be_visible()
    expect(one.get_by_test_id("proposal")).to_contain_text("somebody else confirms")
    expect(one.get_by_test_id("confirm")).to_have_count(0)
    page.goto(listing)
    expect(page.get_by_test_id("hidden-notice")).to_have_count(0)

    # Another one confirms; everybody reads it.
    two.goto(f"{asgi_server}/moderation?kind=proposal")
    two.get_by_test_id("confirm").click()
    expect(two.get_by_test_id("undo")).to_be_visible()
    page.goto(f"{asgi_server}/?q={petra}")
    expect(page.get_by_test_id("service-row")).to_have_count(0)
    page.goto(f"{asgi_server}/moderation/log")
    expect(page.get_by_test_id("log-row").first).to_contain_text(SAID)
    for path in ("/moderation/log", f"/services/inference/{petra}", "/account/reports"):
        sound(page, f"{asgi_server}{path}")
    expect(page.get_by_test_id("report-row")).to_contain_text(SAID)

    # The money is where it was.
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(listing)
    notice = page.get_by_test_id("hidden-notice")
    expect(notice).to_contain_text(f"{SAID}")
    expect(notice).to_contain_text("You hold 4 0G there, and can take it back")
    page.get_by_test_id("hidden-retrieve").click()
    to_final(page)
    assert held(contracts, petra)["pendingRefund"] == 4 * NEURON
    caught_up(contracts)
    page.goto(listing)
    expect(notice).to_contain_text("all of it is being refunded")
    expect(page.get_by_test_id("hidden-retrieve")).to_have_count(0)

    # The end comes by the clock alone.
    past = timezone.now() - dt.timedelta(seconds=1)
    in_thread(lambda: Effect.objects.filter(kind="hidden").update(until=past))
    page.goto(f"{asgi_server}/?q={petra}")
    expect(page.get_by_test_id("service-row")).to_have_count(1)
    page.goto(listing)
    expect(page.get_by_test_id("hidden-notice")).to_have_count(0)
    for context in kept:
        context.close()
