"""The palette by keyboard alone, the shortcuts and their off switch, and search without script."""

from __future__ import annotations

import re

from playwright.sync_api import Browser, Page, expect

from tests import factories
from tests.browser import pagecheck


def test_anything_is_reached_by_keyboard_alone(asgi_server: str, page: Page) -> None:
    factories.market(6)
    provider = factories.address(0)
    with pagecheck.watching(page, asgi_server) as watch:
        page.goto(f"{asgi_server}/network")
        pagecheck.drawn(page)
        page.keyboard.press("Control+k")
        palette = page.get_by_test_id("palette")
        field = palette.get_by_role("searchbox")
        expect(field).to_be_focused()
        expect(palette.get_by_role("link", name="Changes")).to_be_visible()
        page.keyboard.type("qwen")
        expect(palette.get_by_test_id("found-count")).to_contain_text("for “qwen”")
        faults = pagecheck.inaccessible(page)
        page.keyboard.press("ArrowDown")
        expect(palette.get_by_role("link").first).to_be_focused()
        page.keyboard.press("ArrowUp")
        expect(field).to_be_focused()
        page.keyboard.press("ArrowDown")
        page.keyboard.type("x")
        expect(field).to_have_value("qwenx")
        page.keyboard.press("Escape")
        expect(palette).to_be_hidden()
        page.keyboard.press("Control+k")
        page.keyboard.type(provider.lower())
        expect(palette.get_by_role("link", name=provider).first).to_be_visible()
        # A search that is still under way when the page goes is an error of the console.
        expect(palette.get_by_test_id("found-count")).to_contain_text(provider.lower())
        page.keyboard.press("Enter")
        expect(page).to_have_url(f"{asgi_server}/providers/{provider}")
        pagecheck.drawn(page)
        page.keyboard.press("g")
        page.keyboard.press("m")
        expect(page).to_have_url(f"{asgi_server}/models")
        pagecheck.drawn(page)
        page.keyboard.press("j")
        page.keyboard.press("j")
        page.keyboard.press("k")
        expect(page.locator("main .row-link").first).to_be_focused()
    assert watch.messages == [] and faults == []
    for width in (320, 768):
        page.set_viewport_size({"width": width, "height": 700})
        page.keyboard.press("Control+k")
        expect(palette).to_be_visible()
        assert pagecheck.overflow(page, width) == []
        page.keyboard.press("Escape")


def test_rows_are_ticked_and_compared_and_a_page_says_what_it_offers(
    asgi_server: str, page: Page
) -> None:
    factories.market(6)
    said = page.locator("[data-toasts]")
    page.goto(f"{asgi_server}/?type=chatbot")
    pagecheck.drawn(page)
    page.keyboard.press("x")
    expect(said).to_contain_text("Choose a row with j and k first.")
    for key in ("j", "x", "c"):
        page.keyboard.press(key)
    expect(said).to_contain_text("Tick two to four with x first.")
    for key in ("j", "x"):
        page.keyboard.press(key)
    expect(page.locator("input[form=compare]:checked")).to_have_count(2)
    # A letter is nothing that one writes into a box, where the mouse left the focus.
    boxes, names = page.locator("input[form=compare]"), page.locator(".row-link")
    boxes.nth(0).click()
    page.keyboard.press("j")
    expect(names.nth(1)).to_be_focused()
    boxes.nth(2).click()
    page.keyboard.press("c")
    expect(page).to_have_url(re.compile(r"/compare\?s=[^&]+&s=[^&]+$"))
    page.goto(f"{asgi_server}/services/inference/{factories.address(0)}")
    pagecheck.drawn(page)
    page.keyboard.press(".")
    offered = page.get_by_role("dialog", name="On this page")
    expect(offered.get_by_role("link", name="Settlements")).to_be_visible()
    assert pagecheck.inaccessible(page) == []
    expect(offered.get_by_role("button", name="Close")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(offered.locator(".found a").first).to_be_focused()
    offered.get_by_role("link", name="Settlements").click()
    expect(page).to_have_url(re.compile("/settlements$"))
    pagecheck.drawn(page)
    page.keyboard.press(".")
    expect(offered).to_be_visible()  # its script is fetched with the key
    page.keyboard.press("Escape")
    expect(offered).to_be_hidden()


def test_letters_alone_can_be_turned_off(asgi_server: str, page: Page) -> None:
    factories.market(1)
    page.goto(f"{asgi_server}/models")
    pagecheck.drawn(page)
    page.keyboard.press("?")
    listed = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(listed).to_be_visible()
    assert pagecheck.inaccessible(page) == []
    listed.get_by_role("checkbox").uncheck()
    page.keyboard.press("Escape")
    page.reload()
    pagecheck.drawn(page)
    for key in ("?", "g", "p", "/", "x", "c", "."):
        page.keyboard.press(key)
    expect(listed).to_be_hidden()
    expect(page).to_have_url(f"{asgi_server}/models")
    assert page.evaluate("document.activeElement.tagName") == "BODY"
    page.keyboard.press("Control+k")
    expect(page.get_by_test_id("palette")).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Shortcuts").click()
    listed.get_by_role("checkbox").check()
    page.keyboard.press("Escape")
    expect(listed).to_be_hidden()
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "q"
    # Where the browser keeps nothing, they work, and the switch holds on its page.
    page.add_init_script(
        "Object.defineProperty(window, 'localStorage',"
        " {get() { throw new DOMException('blocked', 'SecurityError'); }})"
    )
    page.reload()
    pagecheck.drawn(page)
    page.keyboard.press("?")
    listed.get_by_role("checkbox").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(listed).to_be_hidden()


def test_search_needs_no_script(asgi_server: str, browser: Browser) -> None:
    factories.market(6)
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{asgi_server}/search")
    page.get_by_test_id("search-q").fill("qwen")
    page.get_by_role("main").get_by_role("button", name="Search").click()
    page.get_by_role("main").get_by_role("link", name=re.compile("qwen-2.5-7b")).first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("qwen/qwen-2.5-7b-instruct")
    context.close()


def test_pages_about_change_are_sound(asgi_server: str, page: Page) -> None:
    factories.market(6)
    provider = factories.address(0)
    paths = (
        "/search?q=qwen",
        "/search?q=zzzz",
        f"/changes?change=price&kind=inference&provider={provider}",
        "/changes?provider=0x12",
        f"/services/inference/{provider}/changes?change=staked",
    )
    pagecheck.all_sound(page, (asgi_server + path for path in paths))
