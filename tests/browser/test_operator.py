"""An operator's pages in a browser: sound at every width in both schemes, read by keyboard."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.core.cache import cache
from django.utils import timezone
from playwright.sync_api import BrowserContext, Page, expect

from accounts.models import User
from ledger import selectors as ledger
from operators.models import BatchGas, Debt
from probes import examples
from tests import factories
from tests.browser.pagecheck import sound
from tests.browser.session import enter
from tests.db.operator_world import World
from tests.factories import ALICE, BOB, CHARLIE, FINE_TUNING, INFERENCE, ONE, PETRA

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def earning(asgi_server: str) -> str:
    """A provider with a month of batches, refusals, gas, customers at risk and a broker's word."""
    cache.clear()
    now = timezone.now()
    world = World(at=now - dt.timedelta(days=29))
    world.name("a-provider/with-a-very-long-model-name-that-goes-on-and-on-70b-instruct-2026")
    world.name("Qwen2.5-0.5B-Instruct", serving=FINE_TUNING)
    for number in range(28):
        world.next_block(24)
        rows = [world.settle(user, "success", (number % 5 + 1) * ONE // 7) for user in (ALICE, BOB)]
        if number % 4 == 0:
            world.settle(CHARLIE, "partial", ONE // 9, 2 * ONE)
            world.settle(factories.address(number), "no_tee_signer", 0, ONE // 2)
        if number % 9 == 0:
            world.settle(ALICE, "penalty", ONE, serving=FINE_TUNING)
        if number == 14:
            world.name("qwen/qwen-2.5-7b-instruct")
        if number < 26:
            BatchGas.objects.create(
                tx_hash=str(rows[0].tx_hash),
                block=rows[0].block,
                sender=PETRA,
                gas_used=180_000,
                gas_price=4_000_000_000,
            )
    for user, held, refunding in ((ALICE, 9, 0), (BOB, 1, 0), (CHARLIE, 0, 0)):
        factories.sub_account(user, balance=held * ONE, pending_refund=refunding * ONE)
    factories.sub_account(
        factories.address("leaving"),
        balance=12 * ONE,
        pending_refund=12 * ONE,
        refunds=[{"amount": str(12 * ONE), "created_at": int(now.timestamp())}],
    )
    for number in range(6):
        factories.service(factories.address(number), output_price=(number + 1) * 10**12)
    examples.seed(ledger.services_of(PETRA))
    Debt.objects.create(
        serving=INFERENCE, provider=PETRA, asked_at=now, counted_at=now, fee=ONE * 3 // 2, users=4,
        at_risk_fee=ONE // 4, at_risk_users=1,
    )  # fmt: skip
    return asgi_server


def test_the_pages_are_sound_and_read_by_keyboard(
    earning: str, page: Page, context: BrowserContext, errors: list[str]
) -> None:
    sound(page, f"{earning}/operator", schemes=())  # nobody signed in
    enter(context, earning, User.objects.for_address(PETRA))
    batch = page.request.get(f"{earning}/operator/settlements.json?period=all").json()["items"][0]
    paths = (
        "/operator?period=all",
        "/operator/settlements?period=all",
        f"/operator/settlements/{batch['tx_hash']}",
        "/operator/customers",
        "/operator/market",
    )
    for path in paths:
        # The overview has every colour of the others.
        both = ("light", "dark") if path.startswith("/operator?") else ("dark",)
        sound(page, earning + path, schemes=both)

    # From the overview to one user's line of one transaction, without a mouse.
    page.set_viewport_size({"width": 1440, "height": 900})
    page.goto(f"{earning}/operator")
    expect(page.get_by_role("link", name="30 days")).to_have_attribute("aria-current", "true")
    plot, said = page.locator("#by-day-chart [data-plot]"), page.locator("#by-day-chart output")
    plot.focus()
    page.keyboard.press("End")
    last = page.locator("#by-day-chart tbody tr").last
    for text in last.locator("th, td").all_text_contents()[:3]:
        assert text.strip() in said.inner_text()
    page.get_by_role("link", name="Settlements", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Settlements")
    expect(page.get_by_test_id("books-agree")).to_be_visible()
    page.get_by_test_id("filter-status").select_option("part")
    page.get_by_test_id("filter-user").fill(CHARLIE)
    page.keyboard.press("Enter")
    expect(page.get_by_text("These are the rows that match the filter")).to_be_visible()
    expect(page.get_by_test_id("batch-row")).to_have_count(7)
    expect(page.get_by_test_id("books")).to_have_count(0)
    page.get_by_test_id("batch-row").first.get_by_role("link").focus()
    page.keyboard.press("Enter")
    line = page.locator('[data-testid="line"][data-status="partial"]')
    line.get_by_text("Why, and what to do").focus()
    page.keyboard.press("Enter")
    expect(line).to_contain_text("held less than the fee")
    page.goto(f"{earning}/operator/settlements?since=2030-01-01&until=2030-01-02")
    expect(page.get_by_text("Nothing was settled in this period")).to_be_visible()


def test_a_wallet_without_a_service_learns_how_to_begin(
    asgi_server: str, page: Page, context: BrowserContext, errors: list[str], browser: Any
) -> None:
    cache.clear()
    world, earning = World(at=timezone.now()), asgi_server
    world.name("a-model")
    world.settle(ALICE, "success", ONE)
    enter(context, earning, User.objects.for_address(factories.address("nobody")))
    sound(page, f"{earning}/operator")
    expect(page.get_by_role("link", name="How to become a provider")).to_be_visible()
    # Its account has no entry for operators; a provider's has one, also without scripts.
    page.goto(f"{earning}/account/refunds")
    tabs = page.get_by_role("navigation", name="Account", exact=True)
    expect(tabs.get_by_role("link", name="Operator")).to_have_count(0)
    plain = browser.new_context(java_script_enabled=False)
    enter(plain, earning, User.objects.for_address(PETRA))
    other = plain.new_page()
    other.goto(f"{earning}/account/refunds")
    other.get_by_role("navigation", name="Account", exact=True).get_by_text("Operator").click()
    expect(other.get_by_test_id("earned-total")).to_be_visible()
    expect(other.locator("#by-day-chart [data-plot]")).to_be_hidden()
    other.locator("#by-day-chart summary").click()
    expect(other.locator("#by-day-chart tbody tr").first).to_be_visible()
    plain.close()
