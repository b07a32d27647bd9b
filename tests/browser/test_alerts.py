"""Alerts in a browser: chosen, found, told on the open page, read; at every width."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from accounts.models import User
from alerts import services, tasks
from alerts.models import Notification
from devnet.deploy import Contracts
from tests.browser.money import ALICE, caught_up, funded
from tests.browser.pagecheck import inaccessible, overflow, sound
from tests.browser.threads import in_thread
from tests.browser.wallet import Wallet, come_back
from tests.db.test_alert_telegram import Bot
from tests.db.test_alert_telegram import bot as bot


def test_an_alert_is_chosen_found_told_at_once_and_read(
    asgi_server: str,
    index: None,
    petra: str,
    wallet: Wallet,
    contracts: Contracts,
    page: Page,
    errors: list[str],
    bot: Bot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    funded(contracts, petra, moved=2)
    caught_up(contracts)
    page.emulate_media(reduced_motion="reduce")
    come_back(page, asgi_server, wallet)
    bell = page.get_by_test_id("inbox-bell")
    expect(bell).to_have_attribute("data-unread", "0")
    bell.click()
    expect(page.locator("main")).to_contain_text("You are told nothing until you ask for it")
    page.get_by_role("link", name="Choose alerts").click()
    page.get_by_test_id("rules-usual").click()
    expect(page.get_by_test_id("rule-row")).to_have_count(6)
    kind = page.get_by_label("Tell me when")
    kind.select_option("url")
    expect(kind).to_have_accessible_description(re.compile("acknowledgement survives it"))
    expect(page.get_by_label("Number", exact=True)).to_be_hidden()  # this kind takes none
    kind.select_option("low_available")
    expect(page.locator("#rule-number-note")).to_have_text("An amount of 0G. Empty: 1 0G.")
    page.get_by_label("Number", exact=True).fill("1,5")
    page.get_by_test_id("rule-add").click()
    expect(page.get_by_role("alert").filter(has_text="with a point")).to_be_visible()
    expect(page.get_by_label("Number", exact=True)).to_have_value("1,5")  # nothing typed is lost
    page.get_by_label("Number", exact=True).fill("9")
    page.get_by_test_id("rule-preview").click()
    expect(page.get_by_test_id("rule-past")).to_contain_text("falls below 9 0G")
    page.get_by_test_id("rule-add").click()
    expect(page.get_by_test_id("rule-row")).to_have_count(7)
    in_thread(services.sweep)
    expect(bell).to_have_attribute("data-unread", "1")  # without a reload
    row = page.get_by_test_id("rule-row").filter(has_text="available balance")
    row.get_by_role("button", name="Delete").click()
    page.get_by_test_id("rule-undo").click()
    expect(page.get_by_test_id("rule-row")).to_have_count(7)
    page.get_by_test_id("hook-new").click()
    page.get_by_label("URL").fill(f"{asgi_server}/hook")
    page.get_by_test_id("hook-create").click()
    expect(page.get_by_test_id("hook-secret")).to_contain_text("whsec_")
    page.get_by_test_id("hook-test").click()
    expect(page.locator("main")).to_contain_text("Deliveries")
    # A form that needs a fresh signature goes on after it, with what was typed.
    page.goto(f"{asgi_server}/account/alerts/hooks/new")
    page.get_by_label("URL").fill("https://later.example/hooks")
    with monkeypatch.context() as old:
        old.setattr("accounts.sessions.FRESH_SECONDS", -1)
        page.get_by_test_id("hook-create").click()
        page.get_by_role("button", name="Sign again").click()
    page.get_by_test_id("sign-in").click()
    expect(page.get_by_test_id("hook-secret")).to_contain_text("whsec_")
    expect(page.locator("main")).to_contain_text("https://later.example/hooks")
    # The address of the feed comes after a signature, and what is typed beside it stays.
    with monkeypatch.context() as old:
        old.setattr("accounts.sessions.FRESH_SECONDS", -1)
        page.goto(f"{asgi_server}/account/alerts")
    page.get_by_label("Tell me when").select_option("low_available")
    page.get_by_label("Number", exact=True).fill("7")
    page.get_by_role("button", name="Sign again").click()
    page.get_by_test_id("sign-in").click()
    expect(page.locator("#feed-part")).to_contain_text(".atom")
    expect(page.locator("#wallet-dialog")).to_be_hidden()
    expect(page.get_by_label("Number", exact=True)).to_have_value("7")
    for path in ("/account/alerts", "/account/alerts/telegram", "/account/inbox"):
        sound(page, f"{asgi_server}{path}")
    page.goto(f"{asgi_server}/account/alerts")
    page.get_by_test_id("telegram-new").click()
    page.get_by_test_id("telegram-ask").click()
    assert inaccessible(page) == []
    code = (page.get_by_test_id("telegram-open").get_attribute("href") or "").partition("=")[2]
    expect(page.get_by_test_id("telegram-code")).to_contain_text(f"/start {code}")
    bot.hears(f"/start {code}")
    in_thread(tasks.hear_telegram)
    page.goto(f"{asgi_server}/account/alerts")
    expect(page.get_by_test_id("hook-row").filter(has_text="t.me/market_bot")).to_be_visible()
    page.goto(f"{asgi_server}/account/inbox")
    page.get_by_test_id("inbox-row").get_by_role("link").click()
    expect(page).to_have_url(f"{asgi_server}/account?action=deposit")
    expect(bell).to_have_attribute("data-unread", "0")

    def ends() -> None:
        assert User.objects.get(address=ALICE.address).notifications.get().read_at is not None

    in_thread(ends)

    def many() -> None:
        row = User.objects.get(address=ALICE.address).notifications.get()
        same = {name: getattr(row, name) for name in ("user", "rule", "kind", "title", "path")}
        same["at"] = row.at
        made = (Notification(**same, occurrence=str(number)) for number in range(300))
        Notification.objects.bulk_create(made)

    # Amid many pages, on the narrowest phone; and no more is said of them than was counted.
    in_thread(many)
    page.set_viewport_size({"width": 320, "height": 640})
    page.goto(f"{asgi_server}/account/inbox?page=6")
    assert overflow(page, 320) == []
    expect(page.get_by_role("main")).to_contain_text("99+ unread")
