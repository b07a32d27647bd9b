"""The site in German: fits where English fits, switches without script, and its scripts speak it
too."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import Browser, Page, expect

from ledger import topics
from tests import factories
from tests.browser import pagecheck
from tests.browser.live import listening


@pytest.fixture
def german(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(locale="de-DE")
    yield context.new_page()
    context.close()


def test_every_page_is_sound_in_german(asgi_server: str, german: Page) -> None:
    """German words are longer: nothing scrolls sideways or leaves its cell."""
    factories.market(27)
    factories.verdict_change(factories.address(0))
    faults = []
    for path in (path() for path in pagecheck.PATHS):
        # What documents say is English, whoever reads.
        if not path.startswith("/docs/"):
            try:
                pagecheck.sound(german, asgi_server + path, schemes=())
            except AssertionError as fault:
                faults.append(str(fault))
            assert german.locator("html").get_attribute("lang") == "de"
    assert not faults, "\n".join(faults)
    # What a list is searched by is read whole on a phone.
    german.set_viewport_size({"width": 360, "height": 740})
    german.goto(f"{asgi_server}/models")
    frame, field = german.locator("form.query-row"), german.locator("form.query-row .query")
    whole = "form => form.clientWidth"
    assert field.evaluate(whole) == frame.evaluate(whole)
    german.goto(f"{asgi_server}/?q=nix")
    expect(german.get_by_role("heading", name="Nichts passt zu „nix“")).to_be_visible()


def test_the_language_is_chosen_without_script(asgi_server: str, browser: Browser) -> None:
    factories.market(30)
    context = browser.new_context(java_script_enabled=False, viewport={"width": 320, "height": 800})
    page = context.new_page()
    page.goto(f"{asgi_server}/?q=qwen&sort=-price")
    count = page.get_by_test_id("result-count")
    amounts = page.locator("main [data-neuron]")
    shown = [amounts.nth(at).get_attribute("data-neuron") for at in range(amounts.count())]
    page.get_by_role("button", name="Deutsch").click()
    expect(page).to_have_url(f"{asgi_server}/?q=qwen&sort=-price")
    expect(page.locator("html")).to_have_attribute("lang", "de")
    expect(count).to_contain_text("Dienste")
    assert [amounts.nth(at).get_attribute("data-neuron") for at in range(amounts.count())] == shown
    assert len(shown) > 10
    page.goto(f"{asgi_server}/status")
    expect(page.get_by_role("main")).to_contain_text("Der Index stimmt mit der Chain überein.")
    page.get_by_role("button", name="English").click()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    expect(page.get_by_role("main")).to_contain_text("The index agrees with the chain.")
    # Nothing of the menu is above a small phone's screen, where one cannot scroll to it.
    page.set_viewport_size({"width": 320, "height": 568})
    page.locator(".bottom-bar summary").click()
    for link in page.locator(".bottom-bar .menu a").all():
        expect(link).to_be_in_viewport(ratio=1)
    context.close()


def test_what_comes_later_is_german_too(asgi_server: str, german: Page) -> None:
    """What a socket announced, what the footer asks again, and what scripts say."""
    factories.market(3)
    with listening(german) as sockets:
        german.goto(asgi_server)
    footer = german.get_by_test_id("freshness")
    expect(footer).to_contain_text("indexiert bis Block 4,512,331")
    factories.head(indexed_block=4_512_340)
    with sockets[0].expect_event("framereceived"), ThreadPoolExecutor(1) as pool:
        touched = [factories.address(0)]
        pool.submit(topics.publish_ledger, 4_512_340, 4_512_330, [], touched).result()
    notice = german.get_by_role("main").get_by_text(
        "Etwas hier Gezeigtes hat sich auf der Chain geändert."
    )
    expect(notice).to_be_visible()
    expect(footer).to_contain_text("indexiert bis Block 4,512,340")
    german.get_by_role("button", name="Zeigen").click()
    expect(notice).to_be_hidden()
    expect(german.get_by_test_id("result-count")).to_have_text("3 Dienste")
    german.get_by_role("button", name="Farbschema wechseln").click()
    expect(german.get_by_role("button", name="Helle Farben")).to_be_visible()
