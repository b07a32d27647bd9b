"""A lasting key in a browser: explained, shown once, revoked on the chain."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from accounts.models import ProviderKey
from devnet.deploy import Contracts
from protocol import keys as wire
from tests.browser.money import NEURON, caught_up, funded, held
from tests.browser.pagecheck import before_script, inaccessible, sound
from tests.browser.wallet import Wallet, known, sign_in, to_final


def test_a_lasting_key_is_shown_once_and_keys_are_revoked_on_the_chain(
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
    known(page, asgi_server, wallet)
    with before_script(page, "keys", f"{asgi_server}/account/keys"):
        page.get_by_label("Name").fill(" ")
        page.get_by_test_id("key-new").click()
    expect(page.locator("[data-key-message]")).to_have_text("Give the key a name first.")
    page.get_by_label("Name").fill("nightly job")
    page.set_viewport_size({"width": 360, "height": 640})
    page.get_by_test_id("key-new").click()
    dialog = page.get_by_role("dialog", name="Make a key for this provider")
    assert dialog.evaluate("shown => shown.scrollTop") == 0, "on a phone it begins with its heading"
    page.set_viewport_size({"width": 1280, "height": 720})
    expect(dialog).to_contain_text("0 of 255")
    expect(dialog).to_contain_text("30 days")
    expect(dialog).to_contain_text("by which it alone can be revoked")
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
    slots = page.get_by_test_id("slots-row")
    expect(slots).to_have_attribute("data-revoked", "0")

    # Some others, and then all.
    page.goto(f"{asgi_server}/account?action=revoke_tokens&provider={petra}&slots=3,+x")
    expect(page.locator("#tx-slots-note")).to_contain_text("“x” is no slot")
    page.get_by_label("Slots").fill("3, 7-9")
    expect(page.locator('[data-effect="key_revoked"]')).to_have_count(4)
    expect(page.get_by_text("is no slot")).to_have_count(0)
    expect(page.get_by_label("Slots")).to_have_attribute("aria-invalid", "false")
    to_final(page)
    assert held(contracts, petra)["revokedBitmap"] == 1 << 0 | 1 << 3 | 0b111 << 7
    page.goto(f"{asgi_server}/account/keys")
    expect(slots).to_have_attribute("data-revoked", "0 3 7 8 9")
    slots.get_by_role("link", name="Revoke all").click()
    expect(page.get_by_test_id("tx-review")).to_contain_text("Every key for this provider stops")
    to_final(page)
    account = held(contracts, petra)
    assert (account["generation"], account["revokedBitmap"]) == (1, 0)


def test_an_old_sign_in_is_renewed_before_a_key_is_made_or_a_file_given(
    asgi_server: str,
    index: None,
    petra: str,
    wallet: Wallet,
    contracts: Contracts,
    page: Page,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    funded(contracts, petra)
    caught_up(contracts)
    sign_in(page, asgi_server)
    page.goto(f"{asgi_server}/account/keys")
    with monkeypatch.context() as old:
        old.setattr("accounts.sessions.FRESH_SECONDS", -1)
        page.get_by_label("Name").fill("nightly job")
        page.get_by_test_id("key-new").click()
        expect(page.get_by_test_id("sign-in")).to_be_focused()
    before = wallet.methods().count("personal_sign")
    page.get_by_test_id("sign-in").click()
    # What was asked for goes on, with what was typed.
    page.get_by_test_id("key-confirm").click()
    expect(page.get_by_test_id("key-secret")).to_be_visible()
    assert wallet.methods().count("personal_sign") == before + 2
    page.get_by_test_id("key-stored").click()
    expect(page.get_by_test_id("lasting-key")).to_contain_text("nightly job")
    expect(page.get_by_test_id("session-row")).to_have_count(1)
    # The file follows the signature that it asked for.
    page.goto(f"{asgi_server}/account/transactions?kind=transfer")
    with monkeypatch.context() as old:
        old.setattr("accounts.sessions.FRESH_SECONDS", -1)
        page.get_by_test_id("export").click()
        expect(page.get_by_test_id("step-up")).to_contain_text("at most 10 minutes old")
    page.get_by_role("button", name="Sign again").click()
    with page.expect_download() as download:
        page.get_by_test_id("sign-in").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_test_id("step-up")).to_contain_text("a file is in your downloads")
    rows = list(csv.DictReader(Path(download.value.path()).read_text().splitlines()))
    assert [(row["kind"], row["balance"], row["amount"]) for row in rows] == [
        ("transfer", "sub_account", str(4 * NEURON)),
        ("transfer", "available", str(-4 * NEURON)),
    ]
