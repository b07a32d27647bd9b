"""What every page of the site must satisfy, whoever wrote it: one list of paths, one set of checks.

A new page is checked by adding its path to `PATHS`; a page that needs a session or rows of its own
calls `sound(page, url)` from its own test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

from tests import factories

#: Public pages over `factories.market()`, as functions because some name an address.
PATHS: tuple[Callable[[], str], ...] = (
    lambda: "/",
    lambda: "/?q=qwen&type=chatbot&sort=-price",
    lambda: "/?q=nothing-is-called-this",
    lambda: "/?page=2",
    lambda: "/?view=cards&exact=1&tokens_in=2000000&tokens_out=500000&sort=cost",
    lambda: f"/compare?s=inference/{factories.address(0)}&s=inference/{factories.address(1)}",
    lambda: "/compare",
    lambda: "/models",
    lambda: "/models?q=nothing-is-called-this",
    lambda: "/models/qwen%2Fqwen-2.5-7b-instruct",
    lambda: "/providers",
    lambda: f"/providers/{factories.address(0)}",
    lambda: f"/providers/{factories.CHARLIE}",
    lambda: f"/services/inference/{factories.address(0)}",
    lambda: f"/services/inference/{factories.address(0)}/verification",
    lambda: f"/services/inference/{factories.address(0)}/changes",
    lambda: f"/services/inference/{factories.address(0)}/settlements",
    lambda: f"/services/inference/{factories.address(0)}/use",
    lambda: f"/services/inference/{factories.address(0)}/raw",
    lambda: f"/services/fine-tuning/{factories.address(5)}",
    lambda: f"/services/fine-tuning/{factories.address(5)}/use",
    lambda: f"/services/fine-tuning/{factories.address(5)}/raw",
    lambda: "/changes",
    lambda: "/network",
    lambda: "/network/settlements",
    lambda: "/network/settlements?by=day",
    lambda: "/network/accounts",
    lambda: "/status",
    lambda: "/verify",
    lambda: "/verify?what=answer",
    lambda: "/styleguide",
    lambda: "/playground/chat",
    lambda: "/playground/images",
    lambda: "/playground/audio",
    lambda: "/account",
    lambda: f"/accounts/{factories.CHARLIE}",
    lambda: "/docs",
    lambda: "/docs?q=refund",
    lambda: "/docs/how-money-moves",
    lambda: "/docs/start-developer",
    lambda: "/docs/broker",
    lambda: "/api/docs",
)

#: A visitor's own console is allowed to say that a page answered 404, where the test asked for one.
_STATUS_NOISE = "Failed to load resource: the server responded with a status of"

_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective}: ${event.blockedURI} ${event.sourceFile ??
  ""}`);
});
"""

#: A page has to fit before its scripts had time to draw anything anew: what they are told about
#: sizes waits while `heldBack` is set. Added with every page of a test, so it may run twice.
_HELD_BACK = """
if (!window.catchUp) {
  const waiting = [];
  window.ResizeObserver = class extends ResizeObserver {
    constructor(act) {
      super((...news) => (window.heldBack ? waiting.push(() => act(...news)) : act(...news)));
    }
  };
  window.catchUp = () => {
    window.heldBack = false;
    for (const act of waiting.splice(0)) act();
  };
}
"""


#: axe's rules about colours.
COLOURS = ("color-contrast", "link-in-text-block")


@dataclass
class Watch:
    """What a page said and asked for while it was open."""

    origin: str
    messages: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)


@contextmanager
def watching(page: Page, url: str) -> Iterator[Watch]:
    """Collect console errors, script errors, dialogs and requests to anybody else, from the first
    byte on."""
    parts = urlsplit(url)
    watch = Watch(f"{parts.scheme}://{parts.netloc}")

    def heard(message: object) -> None:
        kind, text = getattr(message, "type", ""), getattr(message, "text", "")
        if kind in ("error", "warning") and not text.startswith(_STATUS_NOISE):
            watch.messages.append(f"{kind}: {text}")

    def asked(request: object) -> None:
        target = getattr(request, "url", "")
        if not target.startswith(
            (watch.origin, watch.origin.replace("http", "ws", 1), "data:", "blob:")
        ):
            watch.strangers.append(target)

    def shown(dialog: object) -> None:
        watch.dialogs.append(getattr(dialog, "message", ""))
        dialog.dismiss()  # type: ignore[attr-defined]

    def failed(error: object) -> None:
        watch.messages.append(f"script: {error}")

    page.on("console", heard)
    page.on("pageerror", failed)
    page.on("request", asked)
    page.on("dialog", shown)
    page.add_init_script(_VIOLATIONS)
    page.add_init_script(_HELD_BACK)
    try:
        yield watch
    finally:
        page.remove_listener("console", heard)
        page.remove_listener("pageerror", failed)
        page.remove_listener("request", asked)
        page.remove_listener("dialog", shown)


def sound(
    page: Page, url: str, *, status: int = 200, schemes: tuple[str, ...] = ("light", "dark")
) -> None:
    """Open a page and hold it to all rules; an AssertionError lists everything that is wrong with
    it.

    Without `schemes` axe stays out: for tests that open many pages for another reason.
    """
    faults: list[str] = []
    with watching(page, url) as watch:
        page.set_viewport_size({"width": 1280, "height": 900})
        response = page.goto(url)
        if response is None or response.status != status:
            faults.append(f"answered {response and response.status} instead of {status}")
        page.wait_for_load_state("load")
        faults += shape(page)
        for number, scheme in enumerate(schemes):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
            rules = COLOURS if number else ()  # nothing else depends on the scheme
            faults += [f"{scheme}: {fault}" for fault in inaccessible(page, rules)]
        for width in (320, 390, 768):
            page.evaluate("window.heldBack = true")
            page.set_viewport_size({"width": width, "height": 844})
            faults += overflow(page, width)
            page.evaluate("window.catchUp()")
            faults += overflow(page, width) + sticking_out(page, width)
        if schemes:
            faults += [f"narrow: {fault}" for fault in inaccessible(page)]
        faults += [
            f"content security policy: {text}" for text in page.evaluate("window.violations")
        ]
    faults += watch.messages
    faults += [f"asked a third party: {target}" for target in watch.strangers]
    faults += [f"opened a dialog: {text}" for text in watch.dialogs]
    assert not faults, f"{url}\n  " + "\n  ".join(faults)


def shape(page: Page) -> list[str]:
    """One title, one heading, one main, and the freshness line."""
    faults = []
    if page.locator("h1").count() != 1:
        faults.append(f"{page.locator('h1').count()} first-level headings")
    if page.locator("main").count() != 1 or not page.title().endswith("· 0G Market"):
        faults.append("main or title is missing")
    freshness = page.get_by_test_id("freshness")
    if freshness.count() != 1 or not freshness.inner_text().strip():
        faults.append("the freshness line is missing")
    else:
        for name in ("data-block", "data-lag-seconds"):
            value = freshness.get_attribute(name)
            if value is None or not (value == "" or value.isdigit()):
                faults.append(f"freshness {name} is {value!r}")
    return faults


def inaccessible(page: Page, rules: tuple[str, ...] = ()) -> list[str]:
    """axe-core's findings, of all rules or of `rules`."""
    if page.evaluate("typeof axe === 'undefined'"):
        page.evaluate(AXE_SCRIPT)  # half a megabyte: once per page
    options: dict[str, object] = {"resultTypes": ["violations"]}
    if rules:
        options["runOnly"] = {"type": "rule", "values": rules}
    found = page.evaluate(
        "options => axe.run(document, options).then(found => found.violations)", options
    )
    return [
        f"{rule['id']}: {node['target']} {node.get('failureSummary', '').splitlines()[1:2]}"
        for rule in found
        for node in rule["nodes"][:3]
    ]


def overflow(page: Page, width: int) -> list[str]:
    """Elements that make the page scroll sideways (scrolling boxes of their own may)."""
    found = page.evaluate(
        """(width) => document.documentElement.scrollWidth <= width ? null
            : [...document.body.querySelectorAll("*")]
            .filter((e) => e.getBoundingClientRect().right > width + 1)
            .filter((e) => !e.closest("pre, .table-wrap, .tabs"))
            .slice(0, 4)
            .map((e) => `${e.tagName.toLowerCase()}.${e.className}`)""",
        width,
    )
    return [] if found is None else [f"scrolls sideways at {width} px: {found}"]


def sticking_out(page: Page, width: int) -> list[str]:
    """Pieces that are wider than the cell, list item or section they stand in."""
    found = page.evaluate(
        """() => { const folded = "details:not([open]) > :not(summary)"; // has no place of its own
          return [...document.querySelectorAll(
              "main :is(.verdict, .badge, .button, .amount, .address, .chip)")]
            .map((piece) => [piece, piece.closest("td, th, li, dd, section")])
            .filter(([piece, held]) => held && piece.offsetParent && held !== piece)
            .filter(([piece]) => !piece.closest("pre, .visually-hidden, " + folded))
            .filter(([piece, held]) => {
              const [inner, outer] = [piece.getBoundingClientRect(), held.getBoundingClientRect()];
              return inner.width && outer.width
                && (inner.right > outer.right + 1 || inner.left < outer.left - 1);
            })
            .slice(0, 4)
            .map(([piece, held]) => `${piece.className} “${piece.innerText.slice(0, 30)}” in `
              + `${held.tagName.toLowerCase()}.${held.className} ${held.dataset.label ?? ""}`); }"""
    )
    return [f"sticks out at {width} px: {name}" for name in found]
