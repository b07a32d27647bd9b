"""What only the engine of Safari does otherwise. Seen on 22 November 2026: selects that made pages
scroll sideways, a file input over *Send*, a press lost because its words changed meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict

import pytest
from django.conf import settings
from django.core.cache import cache

from accounts.models import User
from inference import abilities
from ledger import selectors as ledger
from tests import factories
from tests.browser import pagecheck, webkit
from tests.browser.session import session_of
from tests.browser.webkit import WebKit

pytestmark = pytest.mark.skipif(
    bool(webkit.missing()), reason="no WebKit (Debian: apt-get install webkit2gtk-driver xvfb)"
)
#: What a press reached, by the page's own account.
_LISTEN = """
() => {
  window.pressed = [];
  const name = (one) => one.closest('button, input, label')?.dataset.testid ?? one.outerHTML;
  addEventListener("click", (event) => {
    window.pressed.push(name(event.target));
    event.preventDefault();
    event.stopImmediatePropagation();
  }, true);
}
"""


@pytest.fixture
def safari() -> Iterator[WebKit]:
    with ExitStack() as stack:
        try:
            browser = stack.enter_context(webkit.started())
        except webkit.NotHere as error:
            pytest.skip(f"WebKit does not start here: {error}")
        yield browser


def test_pages_fit_and_presses_reach_what_lies_there(asgi_server: str, safari: WebKit) -> None:
    factories.market(27)
    faults = []
    safari.size(390, 900)
    for path in (path() for path in pagecheck.PATHS):
        safari.goto(asgi_server + path)
        width = safari.evaluate("() => innerWidth")
        assert width < 480, "beyond the last breakpoint"
        faults += [(path, fault) for fault in pagecheck.fits(safari, width)]
    assert not faults, "\n".join(map(str, faults))

    # A service that looks at pictures: the button for them lies beside *Send*.
    listing = ledger.service("inference", factories.address(0))
    assert listing is not None
    seeing = abilities.Abilities(pictures=True, said=True)
    cache.set(abilities._name(listing), asdict(seeing))
    alice = User.objects.for_address(factories.ALICE)
    safari.cookie(settings.SESSION_COOKIE_NAME, session_of(alice))
    for width in (390, 1280):
        safari.size(width, 900)
        for path, field, button in (
            (f"/playground/chat?provider={factories.address(0)}", "chat-input", "chat-send"),
            (f"/playground/images?provider={factories.address(2)}", "image-prompt", "image-make"),
        ):
            safari.goto(asgi_server + path)
            safari.type(f"[data-testid={field}]", "a harbour")
            safari.evaluate(_LISTEN)
            safari.click(f"[data-testid={button}]")
            assert safari.evaluate("() => window.pressed") == [button], (path, width)
