"""Reading without JavaScript, and every address of the site on the narrowest phone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from django.urls import resolve
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests import factories
from tests.browser import pagecheck
from tests.browser.axe import ENHANCED
from tests.db import report_world
from tests.db.permission_world import World, routes
from tests.db.report_world import development, machine
from tests.db.test_permissions import spelled, table

pytestmark = pytest.mark.django_db(transaction=True)
NARROW = {"width": 320, "height": 640}


@pytest.fixture
def plain(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(java_script_enabled=False, viewport=NARROW)  # type: ignore[arg-type]
    yield context
    context.close()


def fits(page: Page) -> None:
    """Without a script there is no measuring inside the page: the picture of all of it is as wide
    as the window."""
    assert page.locator("body").bounding_box() is not None
    width = page.locator("html").evaluate("(one) => one.scrollWidth")
    assert width <= NARROW["width"], f"{page.url} is {width} wide"


def test_everything_can_be_read_without_javascript(
    asgi_server: str, plain: BrowserContext, tmp_path: Path
) -> None:
    factories.market(30)
    run = development(machine())
    page = plain.new_page()
    provider = factories.address(0)
    page.goto(asgi_server)
    # Nothing offers what only a script could do.
    assert page.locator("[type=button]").count()
    assert not page.locator("[type=button]:visible").count()
    # Filters are a form, sorting and pages are links.
    page.get_by_test_id("filter-q").fill("qwen")
    page.get_by_role("button", name="Apply").click()
    expect(page).to_have_url(re.compile(r"[?&]q=qwen"))
    expect(page.get_by_test_id("result-count")).to_have_text("15 services")
    fits(page)
    page.get_by_test_id("service-row").first.get_by_role("link").first.click()
    expect(page).to_have_url(re.compile(r"/services/"))
    assert page.locator(".copy").count() and not page.locator(".copy:visible").count()
    for tab in ("Verification", "Changes", "Settlements", "Use it", "Raw"):
        link = page.get_by_role("navigation", name="Service").get_by_role("link", name=tab)
        link.click()
        expect(link).to_have_attribute("aria-current", "page")
        fits(page)
    # The report: five questions, every step of it a disclosure of the browser's own.
    page.goto(asgi_server + report_world.path(run))
    expect(page.get_by_test_id("verdict-question")).to_have_count(5)
    step = page.locator('[data-check="tdx.sig"]')
    step.locator("summary").click()
    expect(step.get_by_text("tdx.sig", exact=True)).to_be_visible()
    fits(page)
    # Who, which model, what it means.
    for path, words in (
        (f"/providers/{provider}", provider[:6]),
        ("/models", "qwen"),
        ("/models/qwen%2Fqwen-2.5-7b-instruct", "qwen"),
        ("/docs", "Getting started"),
        ("/docs/what-is-verified", "verified"),
        ("/changes", "Changes"),
        ("/search?q=qwen", "qwen"),
        ("/status", "Block"),
        ("/network", "Contracts"),
    ):
        page.goto(asgi_server + path)
        expect(page.get_by_role("main")).to_contain_text(words, ignore_case=True)
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        assert page.locator("main [data-testid=time-zone], dialog:visible").count() == 0
        fits(page)
    # Evidence that somebody has as a file is judged from a form.
    page.goto(f"{asgi_server}/verify")
    nonsense = tmp_path / "evidence.json"
    nonsense.write_text("{}")
    page.locator("main input[type=file]").first.set_input_files(nonsense)
    page.locator("main form[enctype] button[type=submit]").first.click()
    expect(page.get_by_role("main")).to_contain_text(re.compile("evidence", re.I))
    assert "/verify" in page.url or "/verifications/" in page.url
    fits(page)
    # What is not there says so, in the same clothes, and leads on.
    answer = page.goto(f"{asgi_server}/nothing-here")
    assert answer is not None and answer.status == 404
    expect(page.get_by_role("main").get_by_role("link").first).to_be_visible()
    fits(page)


def test_no_address_of_the_site_scrolls_sideways(asgi_server: str, page: Page) -> None:
    """Every pattern that answers anybody's GET with a page; `permissions.txt` names them all, so a
    new one is looked at from its first day. Those of `pagecheck.PATHS` are looked at closer, and
    of those that are the same but for their own address and number one."""
    world = World()
    public = {resolve(path().split("?")[0]).route for path in pagecheck.PATHS}
    pages = [
        route
        for (method, route), said in sorted(table().items())
        if method == "GET" and said[0] in ("200", "404") and not route.startswith("api/v1/")
    ]
    known = {spelled(route) for route in routes()}
    assert set(pages) <= known and len(pages) > 60
    page.set_viewport_size(NARROW)  # type: ignore[arg-type]
    faults, seen = [], set[bytes]()
    for route in (route for route in pages if route.removeprefix("(home)") not in public):
        url = asgi_server + world.path("" if route == "(home)" else route)
        answer = page.request.get(url, max_redirects=0)
        if "text/html" not in answer.headers.get("content-type", "") or answer.status >= 500:
            continue
        if b"<main" not in answer.body():
            continue  # a part of a page
        # The rest is the same on every page; a word of hexadecimal digits is the request's number.
        main = answer.body().partition(b"<main")[2].partition(b"</main>")[0]
        for one in (quote(urlsplit(url).path), quote(urlsplit(url).path, safe="")):
            main = re.sub(b'(?<==)%s(?=&|")' % re.escape(one.encode()), b"", main)
        main = re.sub(rb"\b[0-9a-f]{16}\b|\b\w{64}\b", b"", main)
        look = b"".join((*re.findall(rb"<link[^>]*stylesheet[^>]*>", answer.body()), main))
        if look in seen:
            continue
        seen.add(look)
        page.goto(url)
        faults += [f"{route}: {fault}" for fault in pagecheck.overflow(page, NARROW["width"])]
    assert faults == []
    assert len(seen) > 20


def test_more_contrast_for_those_who_ask_for_it(asgi_server: str, page: Page) -> None:
    factories.market(5)
    run = development(machine())
    too_pale: list[str] = []
    for path in ("/", f"/services/inference/{factories.address(0)}", report_world.path(run)):
        page.goto(asgi_server + path)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, contrast="more", reduced_motion="reduce")
            too_pale += pagecheck.unreadable(page, ENHANCED)  # nobody is held to it otherwise
    assert too_pale == [], "\n".join(sorted(set(too_pale)))
