"""Operations in a browser: the page lives, a command runs with its output coming in, the second
factor is enrolled, and `/admin/` works under its own policy."""

from __future__ import annotations

import re
import threading
from base64 import b32decode
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as site
from django.core.cache import cache
from django.utils import timezone
from django_otp.oath import TOTP
from playwright.sync_api import BrowserContext, Page, expect

from accounts import roles
from accounts.models import User
from accounts.roles import Role
from chain.models import NodeState
from ledger.models import Reconciliation
from marketplace.models import Announcement, ComponentDay, Update
from ops import failures, jobs, staff
from ops.models import Job
from tests import factories
from tests.browser.pagecheck import overflow, sound, watching
from tests.browser.session import enter

PASSWORD = "correct horse battery staple"


@pytest.fixture
def rows(asgi_server: str) -> str:
    """A site with something to say."""
    cache.clear()
    factories.market(4)
    NodeState.objects.create(
        chain_id=site.CHAIN_ID,
        position=0,
        name="https://one.example",
        state="ok",
        head_block=4_512_332,
        latency_ms=81,
        requests=900,
        updated_at=timezone.now(),
    )
    NodeState.objects.create(
        chain_id=site.CHAIN_ID,
        position=1,
        name="https://a-rather-long-host.node.example:8545",
        state="resting",
        reason="HTTP 503 <b>busy</b>",
        failures=9,
        updated_at=timezone.now(),
    )
    Reconciliation.objects.create(
        at=timezone.now(), scope="sample", block=4_512_320, compared={"ledgers": 40}, drift=2
    )
    error = ValueError("cannot read <script>alert(1)</script> of https://u:p@x.example/key")
    for number in range(3):
        failures.keep("inference.check_reply", str(number), error, [42], {})
    failures.keep("finetune.fetch", "9", TimeoutError("no answer"), ["app-sk-abc"], {})
    return asgi_server


def admin(context: BrowserContext, url: str) -> User:
    user = User.objects.for_address(factories.address("admin"))
    roles.give(user, Role.ADMIN)
    enter(context, url, user)
    return user


def work(stop: threading.Event) -> None:
    """A worker: takes what waits."""
    from django.db import connection

    while not stop.is_set():
        for job in Job.objects.filter(state="waiting"):
            jobs.run(str(job.pk))
        stop.wait(0.1)
    connection.close()


def test_operations(page: Page, context: BrowserContext, rows: str) -> None:
    admin(context, rows)
    now = timezone.now()
    for back in range(1, 9):
        day = (now - timedelta(days=back)).date()
        ComponentDay.objects.create(component="index", day=day, up=280, down=back % 3)
    told = Announcement.objects.create(
        kind="incident", title="The chat stops <b>early</b>", starts_at=now
    )
    Update.objects.create(announcement=told, at=now, text="Since noon.\nWe look into it.")
    Announcement.objects.create(
        kind="maintenance", title="A new disk", starts_at=now - timedelta(9), ends_at=now
    )
    sound(page, f"{rows}/ops/announcements")
    sound(page, f"{rows}/status")
    sound(page, f"{rows}/ops")
    page.set_viewport_size({"width": 180, "height": 400})  # a phone's, with letters twice as large
    assert overflow(page, 180) == []
    page.set_viewport_size({"width": 1280, "height": 900})
    expect(page.locator("[data-alarm=drift]")).to_contain_text("2 values differ")
    expect(page.get_by_test_id("failure-row")).to_have_count(2)
    # It asks again by itself, and takes the focus from nobody.
    link = page.locator("[data-alarm=drift] a")
    link.focus()
    with page.expect_response("**/ops?part=live"):
        pass
    page.wait_for_function("() => !document.querySelector('#live.htmx-request, .htmx-settling')")
    expect(link).to_be_focused()
    Reconciliation.objects.create(
        at=timezone.now(), scope="sample", block=4_512_321, compared={"ledgers": 40}
    )
    expect(page.locator("[data-alarm=drift]")).to_have_count(0, timeout=30_000)
    # What destroys wants its name.
    page.get_by_test_id("ops-replay").click()
    assert page.url == f"{rows}/ops", "the browser holds it back"
    stop = threading.Event()
    worker = threading.Thread(target=work, args=(stop,), daemon=True)
    worker.start()
    try:
        page.get_by_test_id("ops-prune_dry_run").click()
        job = page.get_by_test_id("ops-job")
        expect(job).to_have_attribute("data-state", "ended", timeout=30_000)
        expect(job).to_contain_text("would go")
        sound(page, page.url, schemes=())
    finally:
        stop.set()
        worker.join(20)


def test_a_password_account_enrols_and_looks_at_rows(
    page: Page, context: BrowserContext, rows: str, settings: Any
) -> None:
    user = staff.create("rosa", PASSWORD, Role.ADMIN)
    sound(page, f"{rows}/ops/sign-in?next=/admin/", schemes=("light",))
    page.set_viewport_size({"width": 1280, "height": 900})
    with watching(page, rows) as watch:
        form = page.get_by_test_id("staff-password")
        form.get_by_label("Name").fill("rosa")
        form.get_by_label("Password").fill(PASSWORD)
        form.get_by_role("button").click()
        secret = page.get_by_test_id("staff-secret").inner_text()
        assert page.locator(".qr").evaluate("image => image.naturalWidth") > 100
        code = TOTP(b32decode(secret.replace(" ", ""))).token()
        page.get_by_label("Code").fill(f"{code:06d}")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_test_id("recovery-codes").locator("li")).to_have_count(10)
        page.get_by_role("link", name="I have kept them").click()
        expect(page).to_have_url(re.compile("/admin/$"))
        page.goto(f"{rows}/admin/accounts/user/{user.pk}/change/")
        expect(page.get_by_label("Reason")).to_be_visible()
        page.goto(f"{rows}/admin/ledger/service/")
        expect(page.locator("#result_list tbody tr")).not_to_have_count(0)
        address = page.locator("#result_list").get_by_text("0x").first
        lines = "(cell) => Math.round(cell.getBoundingClientRect().height / 20)"
        assert address.evaluate(lines) == 1, "a table is scrolled"
        page.set_viewport_size({"width": 320, "height": 700})
        assert address.evaluate("(cell) => cell.getBoundingClientRect().right") <= 320
        label = "(it) => parseFloat(getComputedStyle(it.closest('th, td'), '::before').height)"
        assert address.evaluate(label) < 30, "what it is stays one word"
        address.click()
        expect(page.get_by_text("Tee signer acknowledged")).to_be_visible()
        assert overflow(page, 320) == []
        assert page.evaluate("window.violations") == []
    assert watch.messages == [] and watch.strangers == []
