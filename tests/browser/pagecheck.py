"""What every page of the site must satisfy, whoever wrote it: one list of paths, one set of checks.

A new page is checked by adding its path to `PATHS`; a page that needs a session or rows of its own
calls `sound(page, url)` from its own test.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit
from weakref import WeakSet

from playwright.sync_api import Error, Page, Route

from tests import factories
from tests.browser.axe import inaccessible as inaccessible
from tests.browser.axe import unreadable as unreadable

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
    lambda: "/data",
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
    lambda: "/playground/embeddings",
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
#: A search that the next letter replaced; what failed is said as `htmx:sendError` too.
_REPLACED = ("htmx:afterRequest", "htmx:sendAbort")
#: Chromium says so of the font of every page where a busy machine has not drawn it in seconds.
_SLOW_NOISE = "was preloaded using link preload but not used within a few seconds"

_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective}: ${event.blockedURI} ${event.sourceFile ??
  ""}`);
});
"""

#: A page has to fit before its scripts had time to draw anything anew: what they are told about
#: sizes waits while `heldBack` is set.
_HELD_BACK = """
{
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
#: Pages that have both scripts: one that is added twice would run twice, at every address.
_watched: WeakSet[Page] = WeakSet()

#: What was looked at is not drawn anew in the size and colours that the next address begins with.
_PUT_AWAY = """
() => {
  if (document.activeElement !== document.body) return;
  window.heldBack = true;
  document.documentElement.style.display = "none";
}
"""

_HEARD = """
window.heard = [];
addEventListener("DOMContentLoaded", () => new MutationObserver((changes) => {
  for (const { addedNodes } of changes) for (const one of addedNodes) heard.push(one.textContent);
}).observe(document.querySelector("[data-toasts]"), { childList: true }));
"""

_SHAPE = """
() => [
  document.querySelectorAll("h1").length, document.querySelectorAll("main").length, document.title,
  [...document.querySelectorAll("[data-testid=freshness]")].map((line) => [
    line.innerText.trim(), line.getAttribute("data-block"), line.getAttribute("data-lag-seconds"),
  ]),
]
"""
_OVERFLOW = """
(width) => document.documentElement.scrollWidth <= width ? null
  : [...document.body.querySelectorAll("*")]
    .filter((e) => e.getBoundingClientRect().right > width + 1)
    .filter((e) => !e.closest("pre, .table-wrap, .tabs"))
    .slice(0, 4)
    .map((e) => `${e.tagName.toLowerCase()}.${e.className}`)
"""
#: Pieces that are wider than the cell, list item or section they stand in.
_STICKING_OUT = """
() => {
  const folded = "details:not([open]) > :not(summary)"; // has no place of its own
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
      + `${held.tagName.toLowerCase()}.${held.className} ${held.dataset.label ?? ""}`);
}
"""

#: Fields of smaller text than 16 px, into which iOS zooms on a phone and stays there.
_ZOOMED = """
() => [...document.querySelectorAll("input, select, textarea")]
  .filter((field) => !field.matches("[type=checkbox], [type=radio], [type=range], [type=file]"))
  .filter((field) => field.checkVisibility() && parseFloat(getComputedStyle(field).fontSize) < 16)
  .slice(0, 4)
  .map((field) => `${field.localName}.${field.className} ${field.name}`)
"""
#: Words of a notice that its button leaves no room.
_SQUEEZED = """
() => [...document.querySelectorAll("main .notice > span")]
  .filter((words) => words.checkVisibility() && words.offsetHeight > 90
    && words.offsetWidth < words.parentElement.clientWidth / 2)
  .map((words) => words.innerText)
"""
#: Words of a tick box that go on below the box.
_UNDER = """
() => [...document.querySelectorAll("label:has(> [type=checkbox])")]
  .filter((label) => getComputedStyle(label).display === "inline" && label.checkVisibility())
  .map((label) => label.innerText)
"""


@dataclass
class Watch:
    """What a page said and asked for while it was open."""

    origin: str
    messages: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)


@contextmanager
def before_script(page: Page, name: str, url: str) -> Iterator[None]:
    """Inside, `url` is open and its script `name` is still on its way; at the end it comes."""
    held: list[Route] = []
    free = False
    where = re.compile(rf"/js/{name}\.[^/]*$")

    def hold(route: Route) -> None:
        if free:
            route.continue_()
        else:
            held.append(route)

    page.route(where, hold)  # for good: what is asked for while that ends may wait for ever
    with page.expect_request(where):
        page.goto(url, wait_until="commit")
    yield
    free = True
    for route in held:
        route.continue_()
    page.wait_for_load_state("load")


@contextmanager
def watching(page: Page, url: str) -> Iterator[Watch]:
    """Collect console errors, script errors, dialogs and requests to anybody else, from the first
    byte on."""
    parts = urlsplit(url)
    watch = Watch(f"{parts.scheme}://{parts.netloc}")

    def heard(message: object) -> None:
        kind, text = getattr(message, "type", ""), getattr(message, "text", "")
        noise = text.startswith((_STATUS_NOISE, *_REPLACED)) or _SLOW_NOISE in text
        if kind in ("error", "warning") and not noise:
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
    if page not in _watched:
        page.add_init_script(_VIOLATIONS + _HELD_BACK)
        _watched.add(page)
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

    def paint(scheme: str) -> None:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]

    if page in _watched:
        with suppress(Error):  # it is going away by itself
            page.evaluate(_PUT_AWAY)
    if schemes:
        paint(schemes[0])
    with watching(page, url) as watch:
        page.set_viewport_size({"width": 1280, "height": 900})
        response = page.goto(url)
        if response is None or response.status != status:
            faults.append(f"answered {response and response.status} instead of {status}")
        faults += shape(page)
        for number, scheme in enumerate(schemes):
            if number:
                paint(scheme)
            found = unreadable(page) if number else inaccessible(page)
            faults += [f"{scheme}: {fault}" for fault in found]
        page.evaluate("window.heldBack = true")
        for width in (768, 320):  # the last breakpoint is at 480: 320 has the least room of a phone
            page.set_viewport_size({"width": width, "height": 844})
            faults += fits(page, width, again=width > 320)
        if schemes:  # at the width where most has to scroll or is folded away
            faults += [f"narrow: {fault}" for fault in inaccessible(page)]
        faults += [
            f"content security policy: {text}" for text in page.evaluate("window.violations")
        ]
    faults += watch.messages
    faults += [f"asked a third party: {target}" for target in watch.strangers]
    faults += [f"opened a dialog: {text}" for text in watch.dialogs]
    assert not faults, f"{url}\n  " + "\n  ".join(faults)


def all_sound(page: Page, urls: Iterable[str], **options: Any) -> None:
    """`sound` of each; what is wrong with any of them is told in the end."""
    faults = []
    for url in urls:
        try:
            sound(page, url, **options)
        except AssertionError as fault:
            faults.append(str(fault))
    page.set_viewport_size({"width": 1280, "height": 900})  # to look at the last of them
    assert not faults, "\n".join(faults)


def hearing(page: Page) -> None:
    """From the next page on, `window.heard` has what is announced there, in order."""
    page.add_init_script(_HEARD)


def hears(page: Page, text: str, times: int = 1) -> None:
    """Wait until it was announced, so many times and no more."""
    count = "(text) => window.heard.filter((said) => said === text).length"
    page.wait_for_function(f"([text, times]) => ({count})(text) >= times", arg=[text, times])
    assert page.evaluate(count, text) == times, page.evaluate("window.heard")


def drawn(page: Page) -> None:
    """Wait until the page is loaded and was drawn: before, Chromium drops what is typed."""
    page.wait_for_load_state("load")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def shape(page: Page) -> list[str]:
    """One title, one heading, one main, and the freshness line."""
    headings, mains, title, freshness = page.evaluate(_SHAPE)
    faults = []
    if headings != 1:
        faults.append(f"{headings} first-level headings")
    if mains != 1 or not title.endswith("· 0G Market"):
        faults.append("main or title is missing")
    if len(freshness) != 1 or not freshness[0][0]:
        faults.append("the freshness line is missing")
    else:
        for name, value in zip(("data-block", "data-lag-seconds"), freshness[0][1:], strict=True):
            if value is None or not (value == "" or value.isdigit()):
                faults.append(f"freshness {name} is {value!r}")
    return faults


def overflow(page: Page, width: int) -> list[str]:
    """Elements that make the page scroll sideways (scrolling boxes of their own may)."""
    return _too_wide(width, page.evaluate(_OVERFLOW, width))


class Asked(Protocol):
    """A page of any engine."""

    def evaluate(self, expression: str, arg: Any = None) -> Any: ...


def fits(page: Asked, width: int, *, again: bool = False) -> list[str]:
    """Before and after the scripts learn of the new width, in one question: a dozen of them at
    each page cost more than the answers. `again`: they learn of the next one as late."""
    early, late, out, zoomed, under, squeezed = page.evaluate(
        f"""([width, again]) => {{
          const [overflow, out, zoomed] = [{_OVERFLOW}, {_STICKING_OUT}, {_ZOOMED}];
          const early = overflow(width);
          window.catchUp?.();
          window.heldBack = again;
          return [early, overflow(width), out(), width > 640 ? [] : zoomed(), ({_UNDER})(),
            ({_SQUEEZED})()];
        }}""",
        [width, again],
    )
    faults = _too_wide(width, early) + _too_wide(width, late)
    faults += [f"iOS zooms into it at {width} px: {name}" for name in zoomed]
    faults += [f"goes on under its box at {width} px: {words}" for words in under]
    faults += [f"has no room at {width} px: {words}" for words in squeezed]
    return faults + [f"sticks out at {width} px: {name}" for name in out]


def _too_wide(width: int, found: list[str] | None) -> list[str]:
    return [] if found is None else [f"scrolls sideways at {width} px: {found}"]
