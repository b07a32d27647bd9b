"""WebKit, the engine of Safari, by its WebDriver (W3C WebDriver 2): what Playwright would need a
build of its own for."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests

from runner.processes import free_port

#: How a reference to an element is spelled on the wire (WebDriver, section 12).
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_REST = """
async (selector) => {
  document.querySelector(selector).scrollIntoView({ block: "nearest", behavior: "instant" });
  for (let frame = 0; frame < 2; frame++) await new Promise(requestAnimationFrame);
}
"""
#: For pages that live for a second: their layers are drawn as one instead of put together by a
#: graphics card that is emulated, and to optimize their scripts would take longer than it spares.
_QUICK = (
    "WEBKIT_DISABLE_COMPOSITING_MODE=1",
    "WEBKIT_DISABLE_DMABUF_RENDERER=1",
    "JSC_useDFGJIT=0",
)
#: Debian: webkit2gtk-driver, xvfb.
NEEDED = ("WebKitWebDriver", "Xvfb")


def missing() -> list[str]:
    return [name for name in NEEDED if shutil.which(name) is None]


class NotHere(Exception):
    """There is no session, as on a machine that lacks what WebKit needs."""


class WebKit:
    """One window. Every method waits for its answer; what WebKit refuses is an AssertionError."""

    def __init__(self, driver: str) -> None:
        self._http = requests.Session()
        self._http.trust_env = False
        self._base = driver
        self._base += "/session/" + self._ask("POST", "/session", capabilities={})["sessionId"]

    def _ask(self, method: str, path: str, **body: Any) -> Any:
        sent = body if method == "POST" else None
        answer = self._http.request(method, self._base + path, json=sent, timeout=60)
        value = answer.json()["value"]
        assert answer.ok, f"{path}: {value.get('error')}: {value.get('message')}"
        return value

    def size(self, width: int, height: int) -> None:
        self._ask("POST", "/window/rect", width=width, height=height)

    def goto(self, url: str) -> None:
        self._ask("POST", "/url", url=url)

    def cookie(self, name: str, value: str) -> None:
        """For the site whose page is open."""
        self._ask("POST", "/cookie", cookie={"name": name, "value": value})

    def evaluate(self, function: str, *given: Any) -> Any:
        """The result of a JavaScript function, which may be a promise."""
        script = f"return ({function})(...arguments)"
        return self._ask("POST", "/execute/sync", script=script, args=given)

    def click(self, selector: str) -> None:
        """As a hand does: in its middle, on whatever lies there, once it rests."""
        self.evaluate(_REST, selector)
        self._ask("POST", f"/element/{self._find(selector)}/click")

    def type(self, selector: str, text: str) -> None:
        self._ask("POST", f"/element/{self._find(selector)}/value", text=text)

    def _find(self, selector: str) -> str:
        using = {"using": "css selector", "value": selector}
        return str(self._ask("POST", "/element", **using)[_ELEMENT])

    def end(self) -> None:
        self._ask("DELETE", "")


@contextmanager
def started() -> Iterator[WebKit]:
    """A window on a screen of its own."""
    port = free_port()
    screen = subprocess.Popen(
        ["Xvfb", "-displayfd", "1", "-screen", "0", "1400x1000x24", "-nolisten", "tcp"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert screen.stdout is not None
    shown = [f"DISPLAY=:{screen.stdout.readline().strip()}"]
    driver = subprocess.Popen(
        ["env", *_QUICK, *shown, "WebKitWebDriver", "--host=127.0.0.1", f"--port={port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(200):
            try:
                requests.get(url + "/status", timeout=5)
                break
            except requests.ConnectionError:
                time.sleep(0.05)
        try:
            browser = WebKit(url)
        except (AssertionError, requests.RequestException) as error:
            raise NotHere(str(error)) from error
        try:
            yield browser
        finally:
            browser.end()
    finally:
        for process in (driver, screen):
            process.terminate()
            process.wait(20)
        screen.stdout.close()
