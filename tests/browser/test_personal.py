"""A person's own page, and everybody's times: as a visitor uses them."""

from __future__ import annotations

import datetime as dt
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from accounts import personal_export
from accounts.models import Erasure, Export
from moderation.models import Effect
from probes.dollars import Price
from probes.models import ExchangeRate
from tests import factories
from tests.browser import pagecheck
from tests.browser.session import enter
from tests.db.personal_world import person

pytestmark = pytest.mark.django_db(transaction=True)
ROOT = Path(__file__).resolve().parent.parent.parent


def test_what_is_kept_can_be_taken_away_and_erased(
    asgi_server: str, page: Page, tmp_path: Path
) -> None:
    factories.head()
    factories.contract()
    factories.service(url="http://127.0.0.1:9")
    alice = person("alice")
    Export.objects.filter(user=alice).delete()
    here = f"{asgi_server}/account/data"
    enter(page.context, asgi_server, alice)
    pagecheck.sound(page, here)
    page.set_viewport_size({"width": 1280, "height": 900})

    page.get_by_test_id("export-start").click()
    state = page.get_by_test_id("export-state")
    expect(state).to_have_attribute("data-state", "waiting")
    expect(page.get_by_test_id("export-download")).to_have_count(0)
    personal_export.make(str(Export.objects.get(user=alice).pk))
    page.reload()
    expect(state).to_have_attribute("data-state", "done")
    with page.expect_download() as fetched:
        page.get_by_test_id("export-download").click()
    kept = tmp_path / "mine.zip"
    fetched.value.save_as(kept)
    assert "index.json" in zipfile.ZipFile(kept).namelist()

    page.get_by_test_id("erase-confirm").fill("maybe")
    page.get_by_test_id("erase-start").click()
    expect(page.get_by_test_id("personal-error")).to_contain_text("Type ERASE")
    page.get_by_test_id("erase-confirm").fill("ERASE")
    page.get_by_test_id("erase-start").click()
    planned = page.get_by_test_id("erasure-planned")
    expect(planned).to_contain_text("Until then nothing changes")
    expect(page.get_by_test_id("erase-start")).to_have_count(0)
    assert pagecheck.inaccessible(page) == []
    receipt = f"{asgi_server}/account/erased/{Erasure.objects.get().pk}"
    pagecheck.sound(page, receipt, schemes=("light",))
    page.goto(here)
    page.get_by_test_id("erase-undo").click()
    expect(planned).to_have_count(0)
    assert not Erasure.objects.exists()


def test_times_are_utc_until_the_reader_chooses_their_own_and_dollars_shown_until_not(
    asgi_server: str, browser: Browser, settings: Any
) -> None:
    factories.market(1)
    # Long ago, so that the day is said, and so late that it is another day in Tokyo.
    at = dt.datetime(2026, 1, 31, 20, 30, tzinfo=dt.UTC)
    provider = factories.address(0)
    factories.change(provider, at=at, block=7)
    Effect.objects.create(
        subject_kind="provider", subject=provider, provider=provider, kind="flagged", number=1,
        at=timezone.now(), until=dt.datetime(2027, 1, 31, 20, 30, tzinfo=dt.UTC), actor="m",
        public_text="Careful.",
    )  # fmt: skip
    context = browser.new_context(timezone_id="Asia/Tokyo", locale="en-GB")
    page = context.new_page()
    path = f"{asgi_server}/services/inference/{provider}"
    moment = page.locator('time[datetime="2026-01-31T20:30:00Z"]').first
    until = page.locator('time[datetime="2027-01-31T20:30:00Z"]').first

    page.goto(f"{path}/changes")
    toggle = page.get_by_test_id("time-zone")
    expect(toggle).to_have_text("Times: UTC")
    expect(moment).to_have_text("31 Jan 2026")
    expect(moment).to_have_attribute("title", "2026-01-31T20:30:00Z")
    expect(until).to_have_text("31 Jan 2027 20:30 UTC")
    toggle.click()
    expect(toggle).to_have_text(re.compile(r"Times: (JST|GMT\+9)"))
    expect(moment).to_have_text("1 Feb 2026")
    expect(moment).to_have_attribute("title", re.compile(r"1 Feb 2026,? 05:30:00 (JST|GMT\+9)"))
    expect(moment).to_have_attribute("datetime", "2026-01-31T20:30:00Z")
    expect(until).to_have_text(re.compile(r"1 Feb 2027 05:30 (JST|GMT\+9)"))
    # What comes later is written the same way.
    page.evaluate(
        """() => document.querySelector("main").insertAdjacentHTML("beforeend",
            '<time id="late" data-at="minute" datetime="2026-06-30T23:59:00Z">x</time>')"""
    )
    expect(page.locator("#late")).to_have_text(re.compile(r"1 Jul 2026 08:59 (JST|GMT\+9)"))
    # Kept, everywhere, until it is taken back; a server without a script knows UTC alone.
    page.goto(f"{asgi_server}/changes")
    expect(moment).to_have_text("1 Feb 2026")
    page.get_by_test_id("time-zone").click()
    expect(page.get_by_test_id("time-zone")).to_have_text("Times: UTC")
    expect(moment).to_have_text("31 Jan 2026")
    # Amounts in dollars, beside it, where the host has a source.
    dollars = page.get_by_test_id("dollars-toggle")
    expect(dollars).to_have_count(0)
    settings.USD_PRICE_URL = "https://prices.example/"
    ExchangeRate.objects.create(source="prices.example", quoted_at=timezone.now(), micro=500_000)
    page.reload()
    expect(page.get_by_test_id("dollars-source")).to_contain_text("1 0G = $0.50, prices.example")
    dollars.click()
    expect(dollars).to_have_text("Show US dollars")
    expect(page.get_by_test_id("dollars-source")).to_have_count(0)
    dollars.click()
    expect(dollars).to_have_text("Hide US dollars")
    # Buttons that say a price by a script write it as the server does.
    amounts = [
        0,
        1,
        2 * 10**12,
        2 * 10**15 - 1,
        123456789 * 10**7,
        19_930 * 10**12,
        25 * 10**16,
        10**23 + 7 * 10**15,
    ]
    price = Price(500_000, timezone.now(), "prices.example")
    written = page.evaluate(
        """async (amounts) => {
            const { dollars } = await import("/static/js/price.js");
            const form = { dataset: { dollars: "500000" } };
            return amounts.map((neuron) => dollars(form, BigInt(neuron)));
        }""",
        [str(neuron) for neuron in amounts],
    )
    assert written == [f" ({said})" if (said := price.of(neuron)) else "" for neuron in amounts]
    context.close()
    plain = browser.new_context(java_script_enabled=False, timezone_id="Asia/Tokyo")
    plain.add_cookies([{"name": "zone", "value": "local", "url": asgi_server}])
    page = plain.new_page()
    page.goto(f"{path}/changes")
    expect(page.locator('time[datetime="2026-01-31T20:30:00Z"]').first).to_have_text("31 Jan 2026")
    expect(page.get_by_test_id("time-zone")).to_be_hidden()
    plain.close()


def test_charts_and_their_tables_stand_in_the_same_zone(asgi_server: str, browser: Browser) -> None:
    """The style guide has a chart of hours and one of days: days of the data stay days of UTC."""
    factories.head()
    context = browser.new_context(timezone_id="Asia/Kolkata", locale="en-GB")
    context.add_cookies([{"name": "zone", "value": "local", "url": asgi_server}])
    page = context.new_page()
    page.goto(f"{asgi_server}/styleguide")
    expect(page.get_by_test_id("time-zone")).not_to_have_text("Times: UTC")
    seen = page.evaluate(
        """() => [...document.querySelectorAll("figure[data-chart]")].map((figure) => {
            const rows = [...figure.querySelectorAll("[data-unix]")];
            const units = rows.map((row) => Number(row.dataset.unix));
            const first = figure.querySelector("tbody time");
            if (!first || !units.length) return null;
            return [units.every((unix) => unix % 86400 === 0), first.dateTime, first.textContent,
                    figure.querySelector("thead [data-zone]")?.textContent ?? ""];
          }).filter(Boolean)"""
    )
    assert seen
    for in_days, stamp, said, zone in seen:
        at = dt.datetime.fromisoformat(stamp)
        shown = at if in_days else at + dt.timedelta(hours=5, minutes=30)
        assert said == f"{shown.day} {shown:%b %Y %H:%M}".replace("Sep", "Sept") or said == (
            f"{shown.day} {shown:%b %Y %H:%M}"
        )
        assert (zone in ("UTC", "")) == in_days
    context.close()


def test_every_moment_of_a_template_comes_from_one_place() -> None:
    """A `<time>` or a clock time that a template writes itself would stay in UTC."""
    wrong = []
    for path in sorted((ROOT / "templates").rglob("*.html")):
        text = path.read_text()
        # A day alone (`Y-m-d`: until when money lasts) is a day of UTC, no moment.
        made = re.sub(r'<time datetime="\{\{ iso \}\}">', "", text)
        text = re.sub(r'data-[\w-]+="\{\{[^}]*\}\}"', "", text)  # for scripts, not for readers
        wrong += [f"{path.name}: {found}" for found in re.findall(r"<time[^>]*>", made)]
        wrong += [
            f"{path.name}: {found}"
            for found in re.findall(r"\|date:[\"'](?![A-Z_]+[\"'])[^\"']*[HGi:][^\"']*", text)
        ]
    assert wrong == []
