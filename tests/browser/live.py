"""The live socket in tests: what is published before the server hears it is nobody's news."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Page, WebSocket


@contextmanager
def listening(page: Page) -> Iterator[list[WebSocket]]:
    """Open the page inside; afterwards its socket stands in the list, and hears what is published.

    The socket's first frame tells: it is sent once the server has accepted, which is after it
    joined the group. It may be sent before the page has loaded, so it is counted from the start;
    not that of the page that is being left, which may open its own at the last moment.
    """
    greeted: list[WebSocket] = []

    def watch(socket: WebSocket) -> None:
        if socket.url.endswith("/ws/live"):
            socket.on("framesent", lambda _: greeted.append(socket))

    def left(_: object) -> None:
        greeted.clear()

    page.on("websocket", watch)
    page.on("framenavigated", left)
    yield greeted
    for _ in range(1_000):
        greeted[:] = [socket for socket in greeted if not socket.is_closed()]
        if greeted:
            break
        page.wait_for_timeout(20)
    page.remove_listener("websocket", watch)
    page.remove_listener("framenavigated", left)
    assert greeted, "the page opened no live socket"
