"""A personal token in a browser: made, shown once, used, its secret replaced, revoked."""

from __future__ import annotations

from typing import Any

import requests
from playwright.sync_api import Page, expect

from tests.browser.pagecheck import inaccessible, sound
from tests.browser.wallet import Wallet, known


def models(url: str, secret: str) -> int:
    header = {"Authorization": f"Bearer {secret}"}
    return requests.get(f"{url}/v1/models", headers=header, timeout=20).status_code


def test_a_token_is_shown_once_replaced_and_revoked(
    asgi_server: str,
    wallet: Wallet,
    page: Page,
    errors: list[str],
    monkeypatch: Any,
) -> None:
    # what the relay knows of a token is a moment old; here no time passes between two clicks
    monkeypatch.setattr("inference.openai.choose.CACHED_SECONDS", 0)
    page.emulate_media(reduced_motion="reduce")
    known(page, asgi_server, wallet)
    page.goto(f"{asgi_server}/account/keys")
    form = page.locator("[data-token-form]")
    page.get_by_test_id("token-new").click()
    expect(form.get_by_role("status")).to_have_text("Say what it is for first.")
    form.get_by_label("What it is for").fill("report script")
    form.get_by_label("ask models (inference)").uncheck()
    page.get_by_test_id("token-new").click()
    expect(form.get_by_role("status")).to_have_text("Choose what it may do.")
    form.get_by_label("ask models (inference)").check()
    form.get_by_label("Spend limit, 0G").fill("1,5")
    page.get_by_test_id("token-new").click()
    expect(form.get_by_role("status")).to_contain_text("with a point")
    form.get_by_label("Spend limit, 0G").fill("1.5")
    # Where the signature is too old it is made anew, and what was typed goes on.
    with monkeypatch.context() as old:
        old.setattr("accounts.sessions.FRESH_SECONDS", -1)
        page.get_by_test_id("token-new").press("Enter")
        expect(page.get_by_role("dialog", name="Sign in")).to_contain_text("10 minutes old")
    page.get_by_test_id("sign-in").click()
    dialog = page.get_by_role("dialog", name="Your token")
    secret = page.get_by_test_id("token-secret").inner_text()
    assert secret.startswith("zgm_") and inaccessible(page) == []
    for _ in range(3):  # must not lose it; browsers ask a script about the first alone
        page.keyboard.press("Escape")
    expect(dialog).to_be_visible()
    # What the page says under a modal dialog nobody would see, hear or press.
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error()); }")
    page.evaluate("() => { document.execCommand = () => false; }")
    page.get_by_role("button", name="Copy", exact=True).click()
    expect(dialog.get_by_role("status")).to_contain_text("refused to copy")
    dialog.get_by_role("button", name="Dismiss").click()
    page.get_by_test_id("token-stored").click()
    row = page.get_by_test_id("token-row")
    expect(row).to_have_attribute("data-state", "active")
    expect(row).to_contain_text("report script")
    assert secret not in page.content() and models(asgi_server, secret) == 200
    sound(page, f"{asgi_server}/account/keys")

    # Pressed twice it is replaced once: the second would end the first that is shown.
    row.get_by_role("button", name="New secret").dblclick()
    newer = page.get_by_test_id("token-secret").inner_text()
    page.get_by_role("button", name="Copy", exact=True).dblclick()
    expect(page.get_by_role("button", name="Copied", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Copy", exact=True)).to_be_visible()
    page.get_by_test_id("token-stored").click()
    expect(row).to_contain_text("old secret until")
    assert newer != secret
    assert models(asgi_server, secret) == models(asgi_server, newer) == 200
    page.get_by_test_id("token-change").click()
    expect(form.get_by_label("Spend limit, 0G")).to_have_value("1.5")
    form.get_by_label("Spend limit, 0G").fill("2.5")
    form.get_by_label("What it is for").fill("nightly script")
    page.get_by_test_id("token-new").click()
    expect(row).to_contain_text("nightly script")
    expect(row).to_contain_text("of 2.5 0G")
    # Ended for good: asked once more.
    page.get_by_test_id("token-revoke").click()
    expect(row).to_have_attribute("data-state", "active")
    page.get_by_test_id("token-revoke-go").click()
    expect(row).to_have_attribute("data-state", "revoked")
    assert models(asgi_server, secret) == models(asgi_server, newer) == 401
