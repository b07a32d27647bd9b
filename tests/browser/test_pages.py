"""The pages in Chromium: sound in every state, inert against strangers, usable by keyboard and
without script."""

from __future__ import annotations

import datetime as dt
import json
import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from attestation.selectors import ServiceKey
from ledger import topics
from ledger.models import Service
from marketplace import links
from tests import factories
from tests.browser import pagecheck
from tests.browser.axe import ENHANCED, KINDS
from tests.browser.live import listening
from tests.db import report_world


def test_every_page_is_sound(asgi_server: str, page: Page) -> None:
    factories.market(27)  # two pages
    factories.verdict_change(factories.address(0))
    pagecheck.all_sound(page, (asgi_server + path() for path in pagecheck.PATHS))


def test_letters_twice_as_large_leave_a_phone_half_its_width(asgi_server: str, page: Page) -> None:
    """In pixels of its letters a phone of 360 has 180 then (WCAG 1.4.4)."""
    factories.market(1)
    listed = f"/services/inference/{factories.address(0)}"
    report_world.development(key=ServiceKey("inference", factories.address(0), "inference-v1.0"))
    page.set_viewport_size({"width": 180, "height": 400})
    page.set_extra_http_headers({"Accept-Language": "de"})  # words are longer
    pages = ("/nothing-is-here", "/verify?what=answer", "/", listed, f"{listed}/changes")
    for path in (*pages, "/playground/chat", "/playground/images"):
        page.goto(asgi_server + path)
        page.locator(".more").evaluate_all("all => all.forEach((one) => (one.open = true))")
        assert pagecheck.overflow(page, 180) == [], path


def test_the_check_itself_finds_what_is_wrong(page: Page) -> None:
    """Kinds of text that passed are not judged again; one that failed is, wherever it stands."""
    table = "<tr><td class=%s>neuron</td></tr>"
    row, grey = table % "good", table % "bad"
    style = ".good { color: #000 } .bad { color: #bbb } img { width: 500px; height: 9px }"
    dark = "@media (prefers-color-scheme: dark) { body { background: #111 } }"
    page.set_content(f"<style>{style}{dark}</style><table>{row * 30}{grey}</table><img src=data:,>")
    page.emulate_media(color_scheme="light")
    for _ in range(2):
        assert [fault.split(":")[0] for fault in pagecheck.unreadable(page)] == ["color-contrast"]
    assert "image-alt" in {fault.split(":")[0] for fault in pagecheck.inaccessible(page)}
    page.emulate_media(color_scheme="dark")
    assert "good" in str(pagecheck.unreadable(page))
    page.set_viewport_size({"width": 320, "height": 640})
    assert pagecheck.overflow(page, 320) == ["scrolls sideways at 320 px: ['img.']"]
    page.emulate_media(color_scheme="light")
    page.locator(".bad").evaluate("one => one.closest('tr').remove()")
    assert pagecheck.unreadable(page) == []
    # What axe never judges, and so never passes, would be asked about on every page.
    page.set_content("<main><kbd>/</kbd><b style='font-size: 0'>name</b><a href=x>?</a></main>")
    assert [" a," in kind for kind in page.evaluate(KINDS)] == [True]
    # What axe passes because it is out of sight has not been judged.
    page.set_content(
        "<main style='background: #fff'><nav style='display: flex; overflow: auto'>"
        "<a style='flex: 0 0 500px'>first</a><a style='color: #767676'>last</a></nav></main>"
    )
    assert pagecheck.unreadable(page, ENHANCED) == []
    page.locator("a").first.evaluate("one => one.remove()")
    assert [x.split(":")[0] for x in pagecheck.unreadable(page, ENHANCED)] == [ENHANCED[1]]
    page.locator("a").last.evaluate("one => { one.style.color = '#aaa' }")
    assert [x.split(":")[0] for x in pagecheck.unreadable(page, ENHANCED)] == [ENHANCED[0]]


def test_every_list_is_sound_when_nothing_is_there(asgi_server: str, page: Page) -> None:
    factories.head()
    factories.contract()
    paths = ["/models", "/providers", "/changes", "/network", "/status", "/"]
    pagecheck.all_sound(page, (asgi_server + path for path in paths), schemes=("dark",))
    expect(page.get_by_role("heading", name="No services on this network")).to_be_visible()


def test_an_index_that_never_ran_says_so(asgi_server: str, page: Page) -> None:
    paths = ("/status", "/network", "/")
    pagecheck.all_sound(page, (asgi_server + path for path in paths), schemes=("light",))
    expect(page.get_by_test_id("freshness")).to_contain_text("not indexed yet")
    expect(page.get_by_role("heading", name="Not indexed yet")).to_be_visible()


def test_a_chain_out_of_reach_keeps_the_list_and_dates_it(asgi_server: str, page: Page) -> None:
    factories.market(3)
    factories.head(checked_at=timezone.now() - dt.timedelta(minutes=7), error="connection refused")
    paths = (f"/providers/{factories.address(0)}", "/status", "/")
    pagecheck.all_sound(page, (asgi_server + path for path in paths))
    expect(page.get_by_test_id("service-row")).to_have_count(3)
    expect(page.get_by_role("main").get_by_text("as of block 4,512,331, 7 min ago")).to_be_visible()
    expect(page.get_by_test_id("freshness")).to_have_attribute("data-state", "unreachable")
    expect(page.locator("#global-banner")).to_contain_text("The chain cannot be reached")
    assert "connection refused" not in page.content(), (
        "the follower's own error may hold a secret URL"
    )


def test_a_site_that_answers_no_more_is_said_on_every_page(asgi_server: str, page: Page) -> None:
    factories.market(1)
    factories.head()
    pagecheck.hearing(page)
    page.goto(f"{asgi_server}/network")
    line, banner = page.get_by_test_id("freshness"), page.locator("[data-no-answer]")
    ask = "htmx.trigger('#freshness', 'live')"
    page.route("**/freshness", lambda route: route.abort())
    page.evaluate(ask)
    expect(line).to_contain_text(re.compile(r"block 4,512,331 .* · not refreshed for \d+ s"))
    expect(banner).to_be_hidden()
    page.evaluate(ask)
    expect(banner).to_contain_text("This site does not answer")
    pagecheck.hears(page, banner.inner_text().strip())
    expect(line).to_have_text(re.compile("^(?:(?!not refreshed).)*not refreshed for[^·]*$"))
    page.unroute("**/freshness")
    page.evaluate(ask)
    expect(banner).to_be_hidden()
    expect(line).not_to_contain_text("not refreshed")
    # An answer brings what holds now above the page too, until it holds no longer.
    said = page.locator("#global-banner")
    factories.head(checked_at=timezone.now() - dt.timedelta(minutes=7), error="connection refused")
    page.evaluate(ask)
    expect(said).to_have_text(re.compile("cannot be reached.* newer than block 4,512,331;"))
    pagecheck.hears(page, said.inner_text().strip())
    factories.head()
    page.evaluate(ask)
    expect(said).to_be_empty()


def test_errors_have_the_look_and_a_request_id(asgi_server: str, page: Page) -> None:
    factories.head()
    for path, schemes in (
        ("/nothing-here", ("light", "dark")),
        ("/providers/0x12", ()),
        (f"/services/inference/{factories.ALICE}", ()),
        ("/services/x/y", ()),
    ):
        pagecheck.sound(page, asgi_server + path, status=404, schemes=schemes)
        expect(page.get_by_text(re.compile("Request id [0-9a-f]{16}"))).to_be_visible()


#: Two kinds: what wants to be run, and what wants to break lines and widths.
HOSTILE = {
    "script": '"><img src=x onerror="window.pwned=1"><script>window.pwned=1</script><h1>owned</h1>'
    "{{ request }} {% csrf_token %} ${7*7}\r\nSet-Cookie: x=1\n\n<b>",
    "shape": "gnp.\u202etxet\u2066 hidden\u200b"
    + "A" * 4096
    + "👩‍🔬🇺🇳" * 40
    + "z"
    + "\u0335" * 300
    + "\u4e00" * 2000,
}


#: What they may have done to a page, and its text.
DONE = """
() => [
  window.pwned ?? null,
  document.querySelectorAll("main :is(script, img, iframe, b)").length,
  document.querySelectorAll("a[href^='javascript:' i]").length,
  document.querySelector("main").innerText,
]
"""


@pytest.mark.parametrize("name", HOSTILE)
def test_strangers_words_are_inert(asgi_server: str, page: Page, name: str) -> None:
    evil = HOSTILE[name]
    address = "javascript:window.pwned=1\r\n" + evil
    factories.head()
    factories.contract()
    factories.contract(kind="fine-tuning")
    info = json.dumps(
        {"TEEVerifier": evil, "ProviderIdentity": address, evil[:50]: evil, "ImageName": evil}
    )
    factories.service(
        url=address,
        model=evil,
        service_type=evil,
        verifiability=evil,
        additional_info=info,
        input_price=2**256 - 1,
    )
    factories.service(
        factories.BOB, additional_info=evil, model=evil, url=f"https://host.example/{evil}"
    )
    factories.service(
        kind="fine-tuning",
        url=address,
        model_list=[evil, evil],
        quota={
            "cpu_count": 2**63,
            "node_memory": 0,
            "gpu_count": 1,
            "node_storage": 0,
            "gpu_type": evil,
        },
    )
    for number, kind in enumerate(
        ("url", "model", "type", "verifiability", "additional_info", "models")
    ):
        word = address if kind == "url" else evil
        factories.change(
            change=kind,
            before={kind: word},
            after={kind: [word] if kind == "models" else word + " "},
            block=5 + number,
        )
    factories.change(change=evil[:20], before={evil[:80]: {evil[:40]: evil}}, after=[evil])
    factories.change(change="registered", before=None, after={"model": evil, "service_type": evil})
    factories.change(change="quota", before={"quota": {evil[:80]: evil}}, after={"quota": 1})
    one = f"/services/inference/{factories.PETRA}"
    tuning = f"/services/fine-tuning/{factories.PETRA}"
    paths = ["/", "/models", "/changes", f"/providers/{factories.PETRA}", one, tuning]
    paths += [f"{one}/{tab}" for tab in ("changes", "settlements", "use", "raw")]
    paths += [f"{tuning}/raw", f"/services/inference/{factories.BOB}/use"]
    if links.model_path(evil):
        paths.append(links.model_path(evil))
    paths.append(f"/?q={name}&model={name}&type=%22%3E%3Cscript%3E")
    for path in paths:
        # Leaves the page open, so that what it did can be looked at.
        pagecheck.sound(page, asgi_server + path, schemes=())
        pwned, elements, addresses, text = page.evaluate(DONE)
        assert pwned is None and elements == addresses == 0, path
        assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b]", text), path


def test_nothing_found_names_the_filters_and_offers_the_way_back(
    asgi_server: str, page: Page
) -> None:
    factories.market(6)
    page.goto(f"{asgi_server}/?q=zzz&type=chatbot")
    expect(page.get_by_role("heading", name="Nothing matches “zzz” and Chat")).to_be_visible()
    page.get_by_role("link", name="Chat Remove this filter").click()
    expect(page).to_have_url(re.compile(r"\?q=zzz$"))
    page.get_by_role("link", name="Clear all filters").click()
    expect(page.get_by_test_id("service-row")).to_have_count(6)


def test_a_service_shows_its_facts(asgi_server: str, page: Page) -> None:
    factories.market(1)
    provider = factories.address(0)
    page.goto(f"{asgi_server}/services/inference/{provider.lower()}")
    expect(page).to_have_url(f"{asgi_server}/services/inference/{provider}")
    expect(page.get_by_test_id("service-verdict")).to_have_attribute("data-verdict", "never")
    prices = page.locator("[data-neuron='420000000000000000']")
    expect(prices).to_have_text("0.42 0G / 1M tokens")
    assert "420,000,000,000 neuron per token" in (prices.get_attribute("title") or "")
    trust = page.get_by_role("region", name="Who trusts this signer").get_by_role("listitem")
    expect(trust).to_have_count(3)
    expect(trust.nth(0)).to_contain_text("Owner of the 0G contract")
    expect(trust.nth(1)).to_contain_text("You")
    expect(trust.nth(2)).to_contain_text("Not checked yet")
    page.get_by_role("link", name="Settlements").click()
    rows = page.get_by_test_id("settlement-row")
    expect(rows).to_have_count(2)
    expect(rows.filter(has_text="Paid in part: the user ran out")).to_have_count(1)


def test_copy_theme_and_search_keys(asgi_server: str, page: Page) -> None:
    factories.market(1)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{asgi_server}/providers/{factories.address(0)}")
    page.get_by_role("button", name="Copy address").first.click()
    assert page.evaluate("navigator.clipboard.readText()") == factories.address(0)
    expect(page.get_by_role("button", name="Copied").first).to_be_visible()
    page.get_by_role("button", name="Change colour scheme").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    page.get_by_role("button", name="Change colour scheme").click()
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    pagecheck.drawn(page)
    page.keyboard.press("/")
    page.keyboard.type(factories.address(0).lower())
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{asgi_server}/providers/{factories.address(0)}")


def test_what_is_chosen_can_be_told_where_the_system_chooses_the_colours(
    asgi_server: str, page: Page
) -> None:
    page.emulate_media(forced_colors="active")
    page.goto(f"{asgi_server}/styleguide")
    look = "es => es.map(e => { const s = getComputedStyle(e); return [%s].join(); })"
    edges = page.locator("main .tabs a").evaluate_all(look % "s.borderBottomColor, s.outlineStyle")
    assert len(set(edges)) == 2 and edges.count(edges[0]) == 1
    options = page.locator(".segmented label").evaluate_all(look % "s.outlineStyle, s.outlineColor")
    assert len(set(options)) == 2
    steps = page.locator(".stepper li").evaluate_all(look % "s.outlineStyle")
    assert steps.count("solid") == 1
    factories.market(3)
    page.goto(f"{asgi_server}/?view=cards")
    sort = page.locator("#by-provider")
    sort.focus()  # in the head of a table that shows as cards
    assert sort.evaluate("e => getComputedStyle(e.closest('thead')).clipPath") == "none"


def test_a_change_on_chain_is_offered_not_forced(asgi_server: str, page: Page) -> None:
    factories.market(3)
    row = page.get_by_test_id("service-row").filter(has_text="qwen/qwen")
    with (
        pagecheck.watching(page, asgi_server) as watch,
        listening(page) as sockets,
    ):
        pagecheck.hearing(page)
        page.goto(asgi_server)
    expect(row).to_contain_text("0.42 0G / 1M")
    Service.objects.filter(provider=factories.address(0)).update(input_price=390_000_000_000)

    def publish(*providers: str, listings: tuple[str, ...] = ()) -> None:
        # Playwright's loop runs in this thread: the follower's call needs one of its own.
        said = partial(topics.publish_ledger, 4_512_340, 4_512_330, [], providers, listings)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(said).result()

    notice = page.get_by_role("main").get_by_text("Something shown here changed on chain.")
    with sockets[0].expect_event("framereceived"):
        publish(factories.CHARLIE)
    expect(notice).to_be_hidden()
    with sockets[0].expect_event("framereceived"):
        publish(factories.CHARLIE, factories.address(0))
    expect(notice).to_be_visible()
    pagecheck.hears(page, "Something shown here changed on chain.")
    expect(row).to_contain_text("0.42 0G / 1M")
    page.get_by_role("button", name="Show it").click()
    expect(row).to_contain_text("0.39 0G / 1M")
    expect(notice).to_be_hidden()
    assert watch.messages == []
    # The network's numbers are everybody's: anybody's change is their news.
    with listening(page):
        page.goto(f"{asgi_server}/network")
    expect(notice).to_be_hidden()
    publish(factories.CHARLIE)
    expect(notice).to_be_visible()
    # A list of every listing: news are those of listings, not of who holds money where.
    notice = page.get_by_role("main").get_by_text("Listings changed on chain.")
    with listening(page) as sockets:
        page.goto(f"{asgi_server}/changes")
    with sockets[0].expect_event("framereceived"):
        publish(factories.CHARLIE)
    expect(notice).to_be_hidden()
    publish(factories.CHARLIE, listings=(factories.CHARLIE,))
    expect(notice).to_be_visible()
    # Between the rendering of a page and its socket lies a second at least.
    factories.head(indexed_block=5_000_000, head_block=5_000_000)
    page.goto(asgi_server)
    Service.objects.filter(provider=factories.address(0)).update(block=5_000_001)
    factories.head(indexed_block=5_000_001, head_block=5_000_001)
    expect(page.get_by_role("main").get_by_text("Something shown here")).to_be_visible()


def test_the_live_socket_only_listens(asgi_server: str, page: Page) -> None:
    page.goto(f"{asgi_server}/freshness")
    code = page.evaluate(
        """() => new Promise((done) => {
            const socket = new WebSocket(location.origin.replace("http", "ws") + "/ws/live");
            socket.onopen = () => socket.send("{}");
            socket.onclose = (event) => done(event.code);
        })"""
    )
    assert code == 4400


def test_a_page_that_needs_an_account_lets_one_connect(asgi_server: str, page: Page) -> None:
    factories.head()
    page.goto(asgi_server + "/account/refunds")
    page.get_by_role("main").get_by_role("button", name="Connect").click()
    expect(page.get_by_role("dialog", name="Connect a wallet")).to_be_visible()
