"""Countdowns end when the chain says so, whatever time the browser believes it is."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

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
