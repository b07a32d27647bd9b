"""A lasting key in a browser: explained, shown once, revoked on the chain."""

from __future__ import annotations

import time
from typing import Any

from playwright.sync_api import Page, expect

from accounts.models import ProviderKey
from devnet.deploy import Contracts
from protocol import keys as wire
from tests.browser.money import caught_up, funded, held
from tests.browser.pagecheck import inaccessible, sound
from tests.browser.wallet import Wallet, sign_in, to_final


def test_a_lasting_key_is_shown_once_and_revoked_on_the_chain(
    asgi_server: str,
    index: None,
    petra: str,
    wallet: Wallet,
    contracts: Contracts,
    page: Page,
    errors: list[str],
) -> None:
    funded(contracts, petra)
    caught_up(contracts)
    page.emulate_media(reduced_motion="reduce")
    sign_in(page, asgi_server)
    page.goto(f"{asgi_server}/account/keys")
    page.get_by_test_id("key-new").click()
    expect(page.locator("[data-key-message]")).to_have_text("Give the key a name first.")
    page.get_by_label("Name").fill("nightly job")
    page.get_by_test_id("key-new").click()
    dialog = page.get_by_role("dialog", name="Make a key for this provider")
    expect(dialog).to_contain_text("0 of 255")
    expect(dialog).to_contain_text("30 days")
    page.get_by_test_id("key-confirm").click()
    secret = page.get_by_test_id("key-secret")
    expect(secret).to_contain_text("app-sk-")
    assert inaccessible(page) == []
    page.keyboard.press("Escape")  # must not lose it
    expect(secret).to_be_visible()
    text = secret.inner_text()
    page.get_by_test_id("key-stored").click()
    row = page.get_by_test_id("lasting-key")
    expect(row).to_have_attribute("data-state", "active")
    assert text not in page.content()
    sound(page, f"{asgi_server}/account/keys")
    now, account = int(time.time()), held(contracts, petra)
    state = wire.Revocation(account["generation"], account["revokedBitmap"])
    header = wire.authorization(text)
    assert wire.verify(header, provider=petra, now=now, state=state).token_id == 0
    assert ProviderKey.objects.get().sealed == ""

    row.get_by_role("link", name="Revoke").click()
    expect(page.get_by_test_id("tx-review")).to_contain_text("Key revoked")
    to_final(page)
    assert held(contracts, petra)["revokedBitmap"] == 1
    page.goto(f"{asgi_server}/account/keys")
    expect(row).to_have_attribute("data-state", "revoked")
    expect(page.get_by_test_id("slots-row")).to_have_attribute("data-revoked", "0")


def test_an_old_sign_in_is_renewed_before_a_key_is_made(
    asgi_server: str,
    index: None,
    petra: str,
    wallet: Wallet,
    contracts: Contracts,
    page: Page,
    settings: Any,
    monkeypatch: Any,
) -> None:
    funded(contracts, petra)
    caught_up(contracts)
    sign_in(page, asgi_server)
    page.goto(f"{asgi_server}/account/keys")
    monkeypatch.setattr("accounts.sessions.FRESH_SECONDS", -1)
    page.get_by_label("Name").fill("nightly job")
    page.get_by_test_id("key-new").click()
    expect(page.get_by_test_id("sign-in")).to_be_focused()
    monkeypatch.undo()
    before = wallet.methods().count("personal_sign")
    page.get_by_test_id("sign-in").click()
    expect(page.get_by_test_id("wallet-address")).to_be_visible()
    assert wallet.methods().count("personal_sign") == before + 1
    expect(page.get_by_test_id("session-row")).to_have_count(1)
    expect(page.get_by_test_id("lasting-key")).to_have_count(0)
