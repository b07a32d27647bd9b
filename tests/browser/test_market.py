"""Lists of services in Chromium: their weight, where the focus goes, stars and comparison with
and without script."""

from __future__ import annotations

import gzip
import itertools
import random
import re

from playwright.sync_api import Browser, Page, Response, expect

from ledger.models import Service
from probes.models import Health
from tests import factories
from tests.browser import pagecheck
from tests.db.test_discovery import health as probed

PACKED = (".woff2", ".png")


def test_the_list_is_light_and_asks_nobody_else(asgi_server: str, page: Page) -> None:
    """Bytes as a compressing server sends them; the test server does not compress."""
    factories.market(500)
    for number, service in enumerate(Service.current.all()):
        letters = "".join(random.Random(number).choices("uuuud-", k=28))
        measured = {"tokens_p50": 900, "tokens_n": 40, "probes_7d": 1_980}
        probed(
            service, uptime_7d=9_000 + number, bar=letters, first_token_p50=200 + number, **measured
        )
    weights: dict[str, int] = {}

    def weigh(response: Response) -> None:
        path = response.url.split("?")[0].removeprefix(asgi_server)
        body = response.body()
        weights[path] = len(body if path.endswith(PACKED) else gzip.compress(body, 6))

    page.on("response", weigh)
    with pagecheck.watching(page, asgi_server) as watch:
        page.goto(asgi_server, wait_until="networkidle")
        expect(page.get_by_test_id("service-row")).to_have_count(25)
    assert watch.strangers == [] and watch.messages == []
    scripts = sum(size for path, size in weights.items() if path.endswith(".js"))
    assert scripts < 60 * 1024, weights
    assert sum(weights.values()) < 100 * 1024, weights
    assert sum(path.endswith(".js") for path in weights) > 5 and weights["/"] > 5_000
    page.remove_listener("response", weigh)
    # No list is wider than its frame, where its last column could only be scrolled to.
    for path, width in itertools.product(("/", "/models", "/providers"), (1280, 1000)):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(asgi_server + path)
        missing = "frame => frame.scrollWidth - frame.clientWidth"
        assert page.locator(".table-wrap").evaluate(missing) == 0, (path, width)
    # Nor with longer words, where one service is the cheapest, fastest and most reliable.
    best = Service.current.filter(model__startswith="deepseek").order_by("-pk")[0]
    Service.objects.filter(pk=best.pk).update(input_price=1)
    Health.objects.filter(provider=best.provider).update(tokens_p50=10**6, uptime_7d=10_000)
    page.set_extra_http_headers({"Accept-Language": "de"})
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(f"{asgi_server}/models/{best.model.replace('/', '%2F')}")
    expect(page.get_by_text("am günstigsten").first).to_be_visible()
    assert page.locator(".table-wrap").evaluate(missing) == 0
    narrow = "() => Math.max(...[...document.querySelectorAll('.table-wrap')].map(frame => "
    narrow += "frame.scrollWidth - frame.clientWidth))"
    Health.objects.update(example=True)  # a mark more in each row
    pages = itertools.product(("/", "/network/settlements"), (961, 1000, 1105))
    others = (("/providers", 961), ("/models", 961), ("/network/settlements", 1160))
    for path, width in (*pages, *others):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(asgi_server + path)
        assert page.evaluate(narrow) == 0, (path, width)
    page.set_extra_http_headers({})
    page.goto(f"{asgi_server}/?exact=1")
    wide = "all => all.filter((one) => one.scrollWidth > one.clientWidth).length"
    assert page.locator(".exact").evaluate_all(wide) == 0 < page.locator(".exact").count()
    page.goto(f"{asgi_server}/changes")
    lines = "form => new Set([...form.children].map((one) => one.getBoundingClientRect().top)).size"
    assert page.locator("form.query-row").evaluate(lines) == 1


def test_filters_search_sort_and_pages_live_in_the_url_and_keep_the_focus(
    asgi_server: str, page: Page
) -> None:
    factories.market(60)
    rows, count = page.get_by_test_id("service-row"), page.get_by_test_id("result-count")
    kind, output = (
        page.get_by_test_id("filter-type"),
        page.get_by_role("columnheader", name="Output"),
    )
    pagecheck.hearing(page)
    with pagecheck.watching(page, asgi_server) as watch:
        page.goto(asgi_server)
        expect(count).to_have_attribute("data-count", "60")
        expect(rows).to_have_count(25)
        page.get_by_test_id("filter-q").press_sequentially("whisper")
        expect(count).to_have_text("10 services")
        pagecheck.hears(page, "10 services")
        expect(page).to_have_url(re.compile(r"/\?q=whisper$"))
        expect(page.get_by_test_id("filter-q")).to_be_focused()
        # Links to other forms of the list follow the filters, and a choice of columns keeps them.
        expect(page.get_by_test_id("exact")).to_have_attribute("href", "/?q=whisper&exact=1")
        expect(page.locator("#columns-to")).to_have_value("/?q=whisper")
        page.get_by_test_id("filter-q").fill("")
        kind.select_option("fine-tuning")
        expect(page.locator("[data-kind='inference']")).to_have_count(0)
        expect(page).to_have_url(re.compile(r"/\?type=fine-tuning$"))
        kinds = rows.evaluate_all("rows => rows.map(row => row.dataset.kind)")
        assert set(kinds) == {"fine-tuning"}

        page.goto(f"{asgi_server}/?stake=100")
        kind.focus()
        kind.select_option("chatbot")
        expect(count).to_have_text("30 services")
        expect(kind).to_be_focused()
        expect(kind).to_have_value("chatbot")
        expect(page.get_by_test_id("filter-stake")).to_have_value("100")
        expect(page.locator("[data-toasts]")).to_contain_text("30 services")
        # Counts beside the choices follow the other filters.
        expect(page.get_by_test_id("filter-model").locator("option")).to_have_count(4)
        output.get_by_role("link").focus()
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile("sort=output_price"))
        expect(page.get_by_test_id("filter-sort")).to_have_value("output_price")
        expect(output).to_have_attribute("aria-sort", "ascending")
        expect(output.get_by_role("link")).to_be_focused()
        prices = rows.locator("[data-label=Output] [data-neuron]")
        expect(prices).to_have_count(25)
        page.get_by_role("link", name="Page 2", exact=True).focus()
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile("page=2"))
        expect(page.get_by_text("26–30 of 30 services")).to_be_visible()
        expect(count).to_be_focused()
        page.go_back()
        expect(page.get_by_text("1–25 of 30 services")).to_be_visible()
    assert watch.messages == []


def test_stars_and_comparison(asgi_server: str, page: Page) -> None:
    factories.market(60)
    with pagecheck.watching(page, asgi_server) as watch:
        page.goto(asgi_server)
        star = page.get_by_test_id("service-row").nth(1).get_by_role("button", name="Watch")
        star.click()
        expect(star).to_have_attribute("aria-pressed", "true")
        page.goto(f"{asgi_server}/?watched=1")
        expect(page.get_by_test_id("service-row")).to_have_count(1)

        # What another version of the site may have left there stops nobody.
        page.evaluate("sessionStorage.setItem('compare', '{}')")
        page.goto(asgi_server)
        boxes = page.get_by_test_id("service-row").get_by_role("checkbox")
        for number in range(3):
            boxes.nth(number).check()
        page.get_by_role("link", name="Page 2", exact=True).click()
        expect(page.get_by_text("26–50 of 60 services")).to_be_visible()
        boxes.nth(0).check()
        expect(page.get_by_text("Four is the most.")).to_be_visible()
        expect(boxes.nth(1)).to_be_disabled()
        # What the list was asked meanwhile goes along, whatever its form was loaded with.
        page.get_by_test_id("more-filters").locator("summary").click()
        page.get_by_label("Tokens in").fill("5000")
        page.keyboard.press("Tab")
        expect(page.get_by_role("columnheader", name="Your month")).to_be_visible()
        page.get_by_role("button", name="Compare").click()
        expect(page).to_have_url(re.compile(r"/compare\?s=.+&s=.+&s=.+&s=.+&tokens_in=5000"))
        expect(page.get_by_role("columnheader")).to_have_count(5)
        # From its own page a service joins the newest of them, and is kept in sight.
        page.goto(f"{asgi_server}/services/inference/{factories.address(8)}")
        watch_it = page.get_by_test_id("watch")
        watch_it.click()
        expect(watch_it).to_have_attribute("aria-pressed", "true")
        page.get_by_role("main").get_by_role("link", name="Compare").click()
        expect(page).to_have_url(re.compile(rf"/compare\?s=.+&s=.+&s=.+{factories.address(8)}$"))
    assert watch.messages == []


def test_both_work_without_script(asgi_server: str, browser: Browser) -> None:
    factories.market(12)
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{asgi_server}/?type=chatbot")
    page.get_by_test_id("service-row").first.get_by_role("button", name="Watch").click()
    expect(page).to_have_url(f"{asgi_server}/?type=chatbot")
    expect(page.locator(".star[aria-pressed=true]")).to_have_count(1)
    page.get_by_test_id("columns").locator("summary").click()
    for name in ("Provider", "Changed", "Compact rows"):
        page.get_by_label(name, exact=True).click()
    page.get_by_role("button", name="Show these").click()
    shown = "model.input.output.ttft.speed.uptime.verification"
    expect(page).to_have_url(f"{asgi_server}/?type=chatbot&columns={shown}&rows=compact#columns")
    expect(page.get_by_role("columnheader")).to_have_count(7)
    row = page.get_by_test_id("service-row").first
    assert row.evaluate("row => row.offsetHeight") == 36
    targets = row.locator("button, label").evaluate_all("all => all.map(one => one.offsetHeight)")
    assert len(targets) == 2 and min(targets) >= 24
    for number in (0, 1):
        page.get_by_test_id("service-row").nth(number).get_by_role("checkbox").check()
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("heading", name="Side by side")).to_be_visible()
    assert page.get_by_test_id("compare-row").count() > 15
    context.close()
