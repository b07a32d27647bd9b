"""What a page does with time: a browser whose clock is wrong, and one that has slept."""

from __future__ import annotations

import datetime as dt
import re
from email.utils import format_datetime

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from tests.browser.live import listening

pytestmark = pytest.mark.django_db(transaction=True)
SHORT = re.compile(r"^\d+ (h|min|s)( \d+ (min|s))?$")


@pytest.mark.parametrize("days", [-3, 3])
def test_a_browser_that_is_wrong_by_days_counts_down_right(
    asgi_server: str, page: Page, days: int
) -> None:
    page.clock.install(time=timezone.now() + dt.timedelta(days=days))
    page.goto(f"{asgi_server}/styleguide")
    soon = page.locator("[data-countdown]:not([data-done])").first
    expect(soon).to_have_text(SHORT)
    seconds = int(soon.get_attribute("data-left") or 0)
    assert 0 < seconds < 86_400
    page.clock.fast_forward((seconds - 600) * 1_000)
    expect(soon).to_have_text(re.compile(r"^(10|\d) min"))
    page.clock.fast_forward(600_000)
    expect(page.locator("[data-countdown]:not([data-done])")).to_have_count(0)
    # An open page grows older by the clock of the server, with each answer of the footer.
    date = format_datetime(timezone.now() + dt.timedelta(hours=49), usegmt=True)
    page.route("**/freshness", lambda route: route.fulfill(body="<p></p>", headers={"Date": date}))
    page.evaluate("htmx.trigger('#freshness', 'live')")
    expect(page.locator("main time:not([data-at])").first).to_have_text("5 d ago")


def test_after_a_sleep_a_page_listens_anew_and_says_its_failures_once(
    asgi_server: str, page: Page
) -> None:
    page.clock.install()
    with listening(page) as before:
        page.goto(f"{asgi_server}/models")
    # What died meanwhile looks open: only a new connection hears anything.
    with listening(page) as after:
        page.clock.fast_forward(3_600_000)
        page.clock.run_for(30_000)
    assert before[0] is not after[0] and before[0].is_closed()

    page.evaluate(
        """async () => {
             const { warn } = await import("/static/js/toast.js");
             for (let n = 0; n < 2; n += 1) {
               warn("Not refreshed.");
               const xhr = { getResponseHeader: () => `${n}` }; // each answer has an id of its own
               const detail = { elt: document.body, xhr };
               document.body.dispatchEvent(new CustomEvent("htmx:responseError", { detail }));
             }
           }"""
    )
    expect(page.locator(".toast")).to_have_count(2)
