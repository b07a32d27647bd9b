"""Reports, standings and `/verify` in Chromium: on a phone and a desk, without script, by
keyboard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from attestation.engine.evidence import Evidence
from attestation.models import Finding, Standing, Verification
from inference.models import Turn
from tests import factories
from tests.browser import pagecheck
from tests.browser.session import enter
from tests.db import chat_world
from tests.db import report_world as world
from tests.db.report_world import KEY, development, machine, path, stored, unreachable
from tests.pure.attestation_lab import lab

TAB = f"/services/inference/{factories.PETRA}/verification"


@pytest.fixture
def site(asgi_server: str) -> str:
    factories.head()
    factories.contract()
    factories.service()
    return asgi_server


def failed() -> Verification:
    made = machine()
    context = lab().context(made, onchain_signer=factories.ALICE)
    return stored(Evidence("report", lab().body(made)), context)


STATES: dict[str, Callable[[], Verification]] = {
    "development": development,
    "failed": failed,
    "unreachable": unreachable,
    "unreadable": lambda: stored(Evidence("report", b"<html>"), lab().context(machine())),
    "upload": lambda: development(key=None),
}


def the_five_questions_come_before_any_row(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    questions = page.get_by_test_id("verdict-question")
    first_row = page.get_by_test_id("check-row").first.bounding_box()
    last = questions.last.bounding_box()
    assert first_row and last and last["y"] + last["height"] <= first_row["y"]
    for question in questions.all():
        box = question.bounding_box()
        assert box and box["height"] >= 64 and box["width"] >= 340


def test_a_report_is_sound_in_every_state(site: str, page: Page) -> None:
    """Unfolded it shows all that it does folded, and axe looks at nothing else."""
    faults = []
    for name, state in STATES.items():
        page.emulate_media(color_scheme="light", reduced_motion="reduce")
        try:
            pagecheck.sound(page, site + path(state()), schemes=())
        except AssertionError as fault:
            faults.append(f"{name}: {fault}")
        if name == "development":
            the_five_questions_come_before_any_row(page)
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
        found = []
        for width in (320, 1440):
            page.set_viewport_size({"width": width, "height": 900})
            found += pagecheck.overflow(page, width) + pagecheck.inaccessible(page)
        page.emulate_media(color_scheme="dark")
        found += pagecheck.unreadable(page)
        faults += [f"{name}, with everything unfolded: {fault}" for fault in found]
    assert not faults, "\n".join(faults)


def test_a_report_is_whole_without_script(site: str, browser: Browser) -> None:
    run = failed()
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(site + path(run))
    expect(page.get_by_test_id("verdict-question")).to_have_count(5)
    expect(page.get_by_test_id("check-row")).to_have_count(len(run.rows))
    wrong = page.locator('[data-check="bind.onchain"]')
    expect(wrong.get_by_text("retrieve what you hold")).to_be_visible()
    expect(wrong.locator("mark").first).to_be_visible()
    # A step that passed opens by itself too: it is a disclosure, not a script's.
    passed = page.locator('[data-check="tdx.sig"]')
    expect(passed.get_by_text("tdx.sig")).to_be_hidden()
    passed.locator("summary").click()
    expect(passed.get_by_text("tdx.sig")).to_be_visible()
    page.context.close()


def test_eight_equal_gpus_open_by_keyboard(site: str, page: Page) -> None:
    page.goto(site + path(development(machine(gpus=8))))
    fold = page.locator("details", has=page.get_by_role("heading", name="8 of 8 GPUs agree"))
    row = page.locator('[data-check="gpu7.sig"]')
    expect(row).to_be_hidden()
    pagecheck.drawn(page)
    fold.first.locator("> summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator("summary:focus")).to_contain_text("GPU 0")
    fold.get_by_text("GPU 7", exact=True).click()
    expect(row).to_be_visible()


def test_the_downloaded_evidence_brought_to_verify_is_a_report(
    site: str, page: Page, tmp_path: Path
) -> None:
    page.goto(site + path(development()))
    with page.expect_download() as caught:
        page.get_by_role("link", name="Download evidence").click()
    file = tmp_path / "evidence.zip"
    caught.value.save_as(file)
    page.goto(f"{site}/verify")
    page.get_by_label("File").set_input_files(file)
    page.get_by_role("button", name="Verify", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Evidence somebody brought")
    expect(page.get_by_test_id("verdict-question")).to_have_count(5)
    page.goto(f"{site}/verify")
    page.get_by_label("Or paste a report").fill('{"quote": ')
    page.get_by_role("button", name="Verify", exact=True).click()
    expect(page.get_by_test_id("verify-error")).to_contain_text("cannot be read")


def test_the_tab_follows_a_check_until_it_is_done(site: str, page: Page) -> None:
    development()
    unreachable()
    Standing.objects.update(unreachable_since=timezone.now())
    Finding.objects.create(
        kind="same_ppid", provider=factories.PETRA, other_provider=factories.BOB,
        service_kind="inference", service_name=KEY.service_name, subject="ab" * 16,
        opened_at=timezone.now(),
    )  # fmt: skip
    pagecheck.sound(page, site + TAB)
    expect(page.get_by_text("One machine behind two providers")).to_be_visible()
    badge = page.get_by_alt_text("Present verdict as a badge")
    expect(badge).to_be_visible()
    badge.scroll_into_view_if_needed()
    assert badge.evaluate("(image) => image.decode().then(() => image.naturalWidth)") > 100
    asked = int(timezone.now().timestamp())
    page.goto(f"{site}{TAB}?asked={asked}")
    expect(page.locator("#standing").get_by_text("waits for its turn")).to_be_visible()
    expect(page.get_by_test_id("verify-now")).to_be_disabled()
    world.stand(KEY, development(), tried_at=timezone.now(), unreachable_since=None)
    expect(page.locator("#standing").get_by_text("Checked just now")).to_be_visible(timeout=6_000)
    expect(page.get_by_test_id("verify-now")).to_be_enabled()


def test_a_refusal_to_send_explains_itself_and_keeps_the_text(asgi_server: str, page: Page) -> None:
    chat = chat_world.world("http://127.0.0.1:9")
    enter(page.context, asgi_server, chat.owner)
    page.goto(f"{asgi_server}/playground/chat?provider={factories.PETRA}")
    expect(page.get_by_test_id("service-verdict")).to_have_attribute("data-verdict", "never")
    page.get_by_test_id("chat-verified").check()
    page.get_by_test_id("chat-input").fill("Something private")
    page.get_by_test_id("chat-send").click()
    error = page.locator("[data-error-text]")
    expect(error).to_contain_text("Nothing was sent: you send only to verified providers")
    expect(page.get_by_test_id("chat-input")).to_have_value("Something private")
    assert Turn.objects.count() == 0


def test_an_address_in_clear_is_warned_about(asgi_server: str, page: Page, settings: Any) -> None:
    chat_world.world("http://provider.example")
    page.goto(f"{asgi_server}/playground/chat?provider={factories.PETRA}")
    expect(page.get_by_text("travel readable")).to_have_count(0)  # a devnet's providers are local
    settings.IS_DEVNET = False
    page.reload()
    expect(page.get_by_text("your key and every word travel readable")).to_be_visible()
