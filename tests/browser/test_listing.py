"""An operator registers, changes and describes a service with a wallet; nothing typed is lost."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from devnet import accounts as cast
from devnet.deploy import Contracts
from devnet.owner import acknowledge_signer
from operators import tasks
from operators.models import Note, SetupRun
from tests.browser.money import caught_up
from tests.browser.pagecheck import sound
from tests.browser.threads import in_thread
from tests.browser.wallet import Wallet, known, to_final
from tests.db.probe_world import peer

SELLER, SIGNER = cast.provider(1), cast.signer(1)
EDIT = "/operator/listing/inference/edit"


@pytest.fixture
def wallet(contracts: Contracts, context: BrowserContext) -> Wallet:
    return Wallet(SELLER, contracts.chain.rpc.url).install(context)


def fill(page: Page, **typed: str) -> None:
    for name, text in typed.items():
        page.locator(f"#listing-{name}").fill(text)


def test_an_operator_registers_changes_and_says_something(
    asgi_server: str,
    index: None,
    wallet: Wallet,
    contracts: Contracts,
    page: Page,
    errors: list[str],
) -> None:
    caught_up(contracts)
    known(page, asgi_server, wallet)
    page.goto(f"{asgi_server}/operator/listing")
    page.get_by_role("link", name="Register inference service").click()
    review, state = page.get_by_test_id("tx-review"), page.get_by_test_id("tx-state")
    with peer() as server:
        fill(page, url="ftp://nowhere", model="llama-3")
        note = page.locator("#note-url")
        expect(note).to_contain_text("must start with http")
        expect(page.locator("#listing-url")).to_have_attribute("aria-invalid", "true")
        fill(page, url=server.url, input_price="0", output_price="0.4", tee_signer=SIGNER.address)
        expect(page.locator("#note-output_price")).to_contain_text("400,000,000,000 neuron")
        expect(page.locator("#listing-url")).not_to_have_attribute("aria-invalid", "true")
        expect(review).to_contain_text("Stake")

        # The JSON and its fields follow each other, and unknown keys stay.
        info = page.locator("#listing-additional_info")
        page.get_by_label("Evidence format").select_option("dstack")
        expect(info).to_have_value('{"TEEVerifier":"dstack"}')
        info.fill('{"own": {"a": 1}, "ProviderType": "centralized"}')
        expect(page.get_by_label("Provider type")).to_have_value("centralized")
        expect(page.get_by_label("Evidence format")).to_have_value("")
        page.get_by_label("Cached input costs").fill("4")
        expect(info).to_have_value(
            '{"own":{"a":1},"ProviderType":"centralized","cacheTokenBilling":{"divisor":4}}'
        )
        expect(page.get_by_test_id("listing-diff")).to_contain_text("cacheTokenBilling")
        expect(state).to_have_attribute("data-state", "prechecked")
        page.reload()
        expect(page.locator("#listing-model")).to_have_value("llama-3")
        expect(page.get_by_test_id("consequences")).to_contain_text("100 0G of stake")
        sound(page, asgi_server + EDIT)
        to_final(page)
        now = page.get_by_test_id("own-listing")
        expect(now).to_contain_text("signer not acknowledged")
        assert contracts.inference.view("getService", SELLER.address)["model"] == "llama-3"

        acknowledge_signer(contracts, SELLER.address)
        caught_up(contracts)
        page.goto(asgi_server + EDIT)
        expect(now).to_have_attribute("data-acknowledged", "yes")
        fill(page, output_price="0.8")
        expect(page.get_by_test_id("consequences")).to_contain_text("Up to 100 % dearer")
        fill(page, model="llama-4")
        expect(page.get_by_test_id("consequences")).to_contain_text("Resets acknowledgement")
        expect(page.locator('[data-effect="signer_acknowledged"]')).to_be_visible()
        page.get_by_role("button", name="Review", exact=True).click()
        expect(page.get_by_test_id("listing-diff")).to_be_in_viewport(ratio=1)
        to_final(page)
        expect(now).to_have_attribute("data-acknowledged", "no")

        # A form that is refused for now stays, and is not called a part that was not refreshed.
        refuse = {"status": 429, "headers": {"Retry-After": "7"}}
        page.route(f"{asgi_server}/operator/listing/**", lambda route: route.fulfill(**refuse))
        page.get_by_role("button", name="Review", exact=True).click()
        said = page.get_by_text("This was not answered; what you typed is still here.")
        expect(said).to_have_text(re.compile(r"Try again in 7 s\."))
        page.unroute_all()

        # What is typed outlives the session: the refused form comes as a page, and is sent again.
        page.context.clear_cookies(name="sessionid")
        page.locator("#listing-model").fill("llama-5")
        page.get_by_role("button", name="Review", exact=True).click()
        expect(page.get_by_role("heading", name="Your session is over")).to_be_visible()
        page.get_by_test_id("connect-wallet").click()
        page.get_by_test_id("wallet-option").first.click()
        page.get_by_test_id("sign-in").click()
        expect(page.get_by_text(f"sent as {SELLER.address}")).to_be_visible()
        page.get_by_role("button", name="Send again").click()
        expect(page.locator("#listing-model")).to_have_value("llama-5")
        fill(page, model="llama-4")
        # htmx says so, too.
        errors[:] = [text for text in errors if not re.search("Error Code 4(03|29)", text)]

        page.goto(f"{asgi_server}/operator/setup")
        page.get_by_test_id("setup-start").click()
        run = page.get_by_test_id("setup-run")
        expect(run).to_have_attribute("data-state", "queued")
        in_thread(lambda: tasks.check_setup(str(SetupRun.objects.get().pk)))
        expect(run).to_have_attribute("data-state", "done")
    wrong = page.locator('[data-check="models"]')
    expect(wrong).to_have_attribute("data-result", "bad")
    expect(wrong).to_contain_text("Publish the name that the list has")
    sound(page, page.url, schemes=("dark",))

    page.goto(f"{asgi_server}/operator/notes")
    page.get_by_label("From, UTC").fill("2026-01-01T10:00")
    page.get_by_label("What users should know").fill("New disks <b>today</b>.")
    page.get_by_test_id("note-write").click()
    expect(page.get_by_text("Maintenance has a planned end.")).to_be_visible()
    expect(page.get_by_label("What users should know")).to_have_value("New disks <b>today</b>.")
    page.get_by_label("Kind").select_option("incident")
    page.get_by_label("From, UTC").fill(page.evaluate("new Date().toISOString().slice(0, 16)"))
    page.get_by_test_id("note-write").click()
    wallet.reject.add("personal_sign")
    page.get_by_test_id("statement-sign").click()
    expect(page.get_by_text("You declined. Nothing was published.")).to_be_visible()
    wallet.reject.clear()
    sound(page, f"{asgi_server}/operator/notes")
    page.get_by_test_id("statement-sign").click()
    expect(page.get_by_test_id("own-note")).to_contain_text("New disks <b>today</b>.")
    assert Note.objects.get().provider == SELLER.address
    sound(page, f"{asgi_server}/providers/{SELLER.address}", schemes=("light",))
    expect(page.get_by_test_id("provider-note")).to_contain_text("New disks")
    for path in ("/operator/listing", "/operator/profile", "/operator/selftest"):
        sound(page, asgi_server + path, schemes=("light",))

    page.goto(f"{asgi_server}/operator/listing")
    page.get_by_role("link", name="Remove").click()
    expect(page.get_by_test_id("consequences")).to_contain_text("Your stake of 100 0G returns")
    sound(page, page.url, schemes=("dark",))
    to_final(page)
    assert not contracts.inference.view("serviceExists", SELLER.address)
    page.goto(f"{asgi_server}/operator/listing")
    expect(page.get_by_text(re.compile("This wallet offers nothing yet"))).to_be_visible()
