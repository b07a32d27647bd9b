"""Makes the README's pictures from a running `./run demo`, as a newcomer sees the site.

    ./run exec -- python scripts/screenshots.py [FOLDER]

Joins the demo through `.data/run.json`, signs in with the demo's account 1, pays, asks an honest
and a lying provider, and saves the pictures to docs/images (or FOLDER, with more widths and both
colour schemes).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Page, expect, sync_playwright  # noqa: E402

from devnet import accounts  # noqa: E402
from tests.browser.wallet import Wallet, sign_in  # noqa: E402

HONEST, LIAR = accounts.provider(1).address, accounts.provider(3).address


def pay(page: Page, url: str, amount: str) -> None:
    page.goto(url)
    page.get_by_test_id("tx-amount").fill(amount)
    page.get_by_test_id("tx-confirm").click()
    state = page.get_by_test_id("tx-state").first
    expect(state).to_have_attribute("data-state", "final", timeout=60_000)


def ask(page: Page, site: str, provider: str, question: str, verdict: str) -> str:
    page.goto(f"{site}/playground/chat?provider={provider}")
    page.get_by_test_id("chat-input").fill(question)
    page.get_by_test_id("chat-send").click()
    make = page.get_by_role("button", name="Make the key")
    if make.is_visible() or page.wait_for_timeout(1500) or make.is_visible():
        make.click()
    found = page.get_by_test_id("message-verdict").last
    expect(found).to_have_attribute("data-verdict", verdict, timeout=60_000)
    return page.url


def main() -> None:
    running = json.loads((ROOT / ".data" / "run.json").read_text())
    site, rpc = running["site_url"], running["rpc"]
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    every = len(sys.argv) > 1
    executable = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        Wallet(accounts.user(1), rpc).install(context)
        page = context.new_page()
        sign_in(page, site)
        pay(page, f"{site}/account", "5")
        pay(page, f"{site}/account?action=transfer&provider={HONEST}", "2")
        pay(page, f"{site}/account?action=transfer&provider={LIAR}", "2")
        good = ask(page, site, HONEST, "How do I get my money back?", "verified")
        bad = ask(page, site, LIAR, "What does a provider keep in reserve?", "altered")
        shots = {
            "home": "/",
            "funds": "/account",
            "chat": good.removeprefix(site),
            "chat-altered": bad.removeprefix(site),
        }
        if every:
            shots |= {
                "transfer": f"/account?action=transfer&provider={HONEST}&amount=1",
                "refunds": "/account/refunds",
                "transactions": "/account/transactions",
                "keys": "/account/keys",
                "public": f"/accounts/{accounts.user(3).address}",
                "service": f"/services/inference/{HONEST}",
                "changes": f"/services/inference/{HONEST}/changes",
                "settlements": f"/services/inference/{HONEST}/settlements",
                "use": f"/services/inference/{HONEST}/use",
                "raw": f"/services/inference/{HONEST}/raw",
                "provider": f"/providers/{HONEST}",
                "models": "/models",
                "status": "/status",
                "network": "/network",
                "feed": "/changes",
                "docs": "/docs",
                "api": "/api/docs",
                "styleguide": "/styleguide",
            }
        for scheme in ("light", "dark") if every else ("light",):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            for width in (1440, 768, 390) if every else (1280,):
                page.set_viewport_size({"width": width, "height": 860})
                for name, path in shots.items():
                    page.goto(site + path)
                    page.wait_for_timeout(300)
                    suffix = f"-{width}-{scheme}" if every else ""
                    page.screenshot(path=folder / f"{name}{suffix}.png", full_page=every)
        browser.close()


if __name__ == "__main__":
    main()
