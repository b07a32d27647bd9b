"""The Performance tab in a browser: charts that are read with the keyboard, in both schemes, and
say the same as their tables."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from ledger import selectors as ledger
from probes import examples
from tests import factories
from tests.browser.pagecheck import sound

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def measured(asgi_server: str) -> str:
    """A chat service with 90 days of example data, and one that nobody measured."""
    factories.head()
    factories.contract()
    factories.service(factories.PETRA)
    factories.service(factories.address(1))
    examples.seed(ledger.services_of(factories.PETRA))
    return asgi_server


def colour(page: Page) -> list[int]:
    """The colour of most drawn pixels of the first chart that are no background, coarsely."""
    found: list[int] = page.evaluate(
        """() => {
          const canvas = document.querySelector("#first-token canvas");
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          const seen = new Map();
          for (let i = 0; i < data.length; i += 4) {
            if (data[i + 3] < 250) continue;
            const key = [data[i] >> 4, data[i + 1] >> 4, data[i + 2] >> 4].join();
            seen.set(key, (seen.get(key) ?? 0) + 1);
          }
          const saturated = [...seen].filter(([key]) => {
            const [r, g, b] = key.split(",").map(Number);
            return Math.max(r, g, b) - Math.min(r, g, b) > 3;
          });
          return saturated.sort((a, b) => b[1] - a[1])[0][0].split(",").map(Number);
        }"""
    )
    return found


def comes_true(page: Page, said: Callable[[], bool]) -> None:
    """What no attribute tells: asked until it is so."""
    for _ in range(200):
        if said():
            return
        page.wait_for_timeout(50)
    raise AssertionError("it never came true")


def test_charts_say_what_their_tables_say(measured: str, page: Page, errors: list[str]) -> None:
    path = f"{measured}/services/inference/{factories.PETRA}/performance?window=7d"
    sound(page, path)
    sound(page, f"{measured}/services/inference/{factories.address(1)}/performance")
    expect(page.get_by_text("It has not been probed yet")).to_be_visible()

    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(path)
    expect(page.get_by_role("link", name="7 days")).to_have_attribute("aria-current", "true")
    expect(page.get_by_text("example data").first).to_be_visible()
    bar = page.locator("#uptime svg[role=img]")
    cells = page.locator("#uptime tbody tr")
    assert cells.count() == 84
    assert (bar.get_attribute("aria-label") or "").count("84 cells of 2 hours") == 1

    # Left and right read the drawing value by value, in the words of the table.
    for figure in ("#uptime", "#first-token"):
        plot, output = page.locator(f"{figure} [data-plot]"), page.locator(f"{figure} output")
        plot.focus()
        page.keyboard.press("End")
        last = page.locator(f"{figure} tbody tr").last
        for text in last.locator("th, td").all_text_contents():
            assert text.strip() in output.inner_text()
        said = output.inner_text()
        page.keyboard.press("ArrowLeft")
        expect(output).not_to_have_text(said)
        assert output.get_attribute("aria-live") == "polite"
        page.keyboard.press("ArrowRight")
        expect(output).to_have_text(said)
        page.keyboard.press("Home")
        first = page.locator(f"{figure} tbody tr").first.locator("th").inner_text()
        expect(output).to_contain_text(first)
    expect(page.locator("#uptime .mark")).to_have_attribute("x", "0")

    # The drawing follows the colour scheme while the page is open.
    page.emulate_media(color_scheme="dark")
    page.reload()
    dark = colour(page)
    page.emulate_media(color_scheme="light")
    comes_true(page, lambda: colour(page) != dark)
    page.emulate_media(color_scheme="dark")
    comes_true(page, lambda: colour(page) == dark)

    # Nothing measured is a gap, and never zero.
    tables = page.locator("figure[data-chart=line] td[data-value]")
    values = tables.evaluate_all("cells => cells.map((c) => [c.dataset.value, c.textContent])")
    assert all((value == "") == (text == "no data") for value, text in values)
    page.get_by_text("Show as table").nth(1).click()
    with page.expect_download() as download:
        page.locator("#first-token").get_by_role("link", name="Download CSV").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert len(lines) == 85 and lines[0].startswith("start,state,uptime_percent,probes")
    assert lines[1].endswith(",true")


def test_it_reads_without_javascript(measured: str, browser: Any) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{measured}/services/inference/{factories.PETRA}/performance")
    expect(page.locator("#uptime svg[role=img]")).to_be_visible()
    expect(page.locator("#first-token [data-plot]")).to_be_hidden()
    page.locator("#first-token summary").click()
    expect(page.locator("#first-token tbody tr").first).to_be_visible()
    context.close()


def test_the_axis_of_a_young_listing_says_no_moment_twice(asgi_server: str, page: Page) -> None:
    factories.head()
    factories.contract()
    made = factories.service(factories.PETRA)
    at = timezone.now() - dt.timedelta(minutes=2)
    after = {"input_price": str(made.input_price), "output_price": str(made.output_price)}
    factories.change(factories.PETRA, change="registered", before=None, after=after, at=at)
    page.add_init_script(
        "window.written = []; const draw = CanvasRenderingContext2D.prototype;"
        "const was = draw.fillText; draw.fillText = function (text, ...more) {"
        " window.written.push(text); return was.call(this, text, ...more); };"
    )
    page.goto(f"{asgi_server}/services/inference/{factories.PETRA}/changes")
    expect(page.locator("#prices-over-time canvas")).to_be_visible()
    texts: list[str] = page.evaluate("window.written")
    clock = [text for text in texts if re.fullmatch(r"\d\d:\d\d(:\d\d)?", text)]
    assert clock and len(set(clock)) == len(clock)
