"""Makes the pictures of README and documentation from a fresh `./run demo`, as people see the site.

    ./run demo                                        (in another terminal)
    ./run exec -- python -m scripts.screenshots [--to FOLDER] [NAME …]

Joins the demo through `.data/run.json`; its people pay, ask, report and look after the site, each
with a wallet of their own. Every picture has a dark twin. Drawings are made by `scripts.diagrams`.
What differs between two runs is times and the numbers of blocks.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"

from eth_account.signers.local import LocalAccount  # noqa: E402
from PIL import Image  # noqa: E402
from playwright.sync_api import Browser, Page, expect, sync_playwright  # noqa: E402

from devnet import accounts  # noqa: E402
from runner.chromium import chromium  # noqa: E402
from tests.browser.wallet import Wallet, sign_in  # noqa: E402

HONEST, LIAR = accounts.provider(1).address, accounts.provider(3).address
SIZE = (1280, 800)
#: Whose page it is, by the picture's name.
VISITORS = {
    "home": accounts.user(1),
    "funds": accounts.user(1),
    "chat": accounts.user(1),
    "chat-altered": accounts.user(1),
    "operator": accounts.provider(1),
    "moderation": accounts.user(3),
    "ops": accounts.user(4),
}
PICTURES = tuple(VISITORS)


@dataclass
class Demo:
    """The running demo, with a signed-in page for each person who was needed so far."""

    browser: Browser
    site: str
    rpc: str
    pages: dict[str, Page] = field(default_factory=dict)

    def page(self, who: LocalAccount) -> Page:
        if who.address not in self.pages:
            width, height = SIZE
            context = self.browser.new_context(
                viewport={"width": width, "height": height}, reduced_motion="reduce"
            )
            Wallet(who, self.rpc).install(context)
            page = context.new_page()
            sign_in(page, self.site)
            self.pages[who.address] = page
        return self.pages[who.address]

    def pay(self, page: Page, path: str, amount: str) -> None:
        page.goto(self.site + path)
        page.get_by_test_id("tx-amount").fill(amount)
        page.get_by_test_id("tx-confirm").click()
        state = page.get_by_test_id("tx-state").first
        expect(state).to_have_attribute("data-state", "final", timeout=60_000)

    def ask(self, page: Page, provider: str, question: str, verdict: str) -> str:
        """A question about whose answer the verdict is known; the path of its conversation."""
        page.goto(f"{self.site}/playground/chat?provider={provider}")
        page.get_by_test_id("chat-input").fill(question)
        page.get_by_test_id("chat-send").click()
        make = page.get_by_role("button", name="Make the key")
        found = page.get_by_test_id("message-verdict").last
        expect(make.or_(found).first).to_be_visible(timeout=60_000)
        if make.is_visible():
            make.click()
        expect(found).to_have_attribute("data-verdict", verdict, timeout=60_000)
        return page.url.removeprefix(self.site)


def manage(*arguments: str) -> None:
    subprocess.run([sys.executable, "manage.py", *arguments], cwd=ROOT, check=True)


def prepare(demo: Demo, wanted: Sequence[str]) -> dict[str, str]:
    """Let happen what the pictures show; the path of each."""
    paths = {"home": "/", "funds": "/account", "operator": "/operator", "ops": "/ops"}
    if {"funds", "chat", "chat-altered"} & set(wanted):
        page = demo.page(accounts.user(1))
        demo.pay(page, "/account", "5")
        for provider in (HONEST, LIAR):
            demo.pay(page, f"/account?action=transfer&provider={provider}", "2")
        question = "How do I get my money back?"
        paths["chat"] = demo.ask(page, HONEST, question, "verified")
        question = "What does a provider keep in reserve?"
        paths["chat-altered"] = demo.ask(page, LIAR, question, "altered")
    if "moderation" in wanted:
        page = demo.page(accounts.user(2))
        page.goto(f"{demo.site}/services/inference/{LIAR}")
        page.get_by_test_id("report-link").click()
        page.get_by_test_id("report-category").select_option("privacy")
        page.get_by_test_id("report-body").fill("It answered with somebody else’s conversation.")
        page.get_by_test_id("report-send").click()
        expect(page.get_by_test_id("report-row").first).to_be_visible()
        manage("create_moderator", accounts.user(3).address)
        paths["moderation"] = "/moderation"
    if "ops" in wanted:
        manage("grant_role", accounts.user(4).address, "admin")
    return paths


def shoot(page: Page, url: str, scheme: str) -> bytes:
    """The page as it is when it has come to rest, in few colours: a small file, and the same one
    for the same page."""
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    page.goto(url)
    page.wait_for_load_state("networkidle")
    page.evaluate("document.fonts.ready")
    picture = Image.open(io.BytesIO(page.screenshot(caret="hide", animations="disabled")))
    small = io.BytesIO()
    picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


def names(name: str) -> dict[str, str]:
    """`colour scheme -> name of the file`."""
    return {"light": f"{name}.png", "dark": f"{name}-dark.png"}


def make(demo: Demo, wanted: Sequence[str], folder: Path, say: Callable[[str], None]) -> None:
    paths = prepare(demo, wanted)
    for name in wanted:
        page = demo.page(VISITORS[name])
        for scheme, file in names(name).items():
            (folder / file).write_bytes(shoot(page, demo.site + paths[name], scheme))
            say(file)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.screenshots", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PICTURES))
    parser.add_argument("--to", type=Path, default=IMAGES, help="another folder")
    options = parser.parse_args()
    wanted = options.names or PICTURES
    if strange := set(wanted) - set(PICTURES):
        parser.error(f"no picture {', '.join(sorted(strange))}; there are: {', '.join(PICTURES)}")
    try:
        running = json.loads((ROOT / ".data" / "run.json").read_text())
    except FileNotFoundError:
        parser.error("no demo runs in this checkout: start ./run demo first")
    options.to.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        demo = Demo(browser, running["site_url"], running["rpc"])
        make(demo, wanted, options.to, lambda file: print(options.to / file, flush=True))
        browser.close()


if __name__ == "__main__":
    main()
