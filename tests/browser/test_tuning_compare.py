"""Runs of fine-tuning beside each other: two lines of one chart, a table, and choosing."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from accounts.models import User
from finetune import follow
from finetune.models import LogPart
from tests import factories
from tests.browser import pagecheck
from tests.browser.session import enter
from tests.browser.threads import in_thread
from tests.db.test_tuning_compare import losses, run

pytestmark = pytest.mark.django_db(transaction=True)


def test_runs_are_chosen_and_their_losses_drawn(page: Page, asgi_server: str) -> None:
    factories.head()
    alice = User.objects.for_address(factories.ALICE)
    run(alice, losses("2.5", "1.5", "1.25"))
    run(alice, losses("2.5", "1.75"), epochs=2, minutes=3)
    enter(page.context, asgi_server, alice)
    page.goto(f"{asgi_server}/fine-tuning")
    page.get_by_test_id("tuning-compare").click()
    boxes = page.locator("main").get_by_role("checkbox")
    boxes.nth(0).check()
    boxes.nth(1).check()
    page.get_by_test_id("compare-go").click()
    expect(page.locator("[data-plot] canvas")).to_be_visible()
    expect(page.get_by_test_id("compare-runs")).to_contain_text("lowest")
    expect(page.locator("tr[data-differs]").filter(has_text="Epochs")).to_have_count(1)
    pagecheck.sound(page, page.url)


def test_the_chart_of_a_training_grows_with_its_log(page: Page, asgi_server: str) -> None:
    factories.head()
    alice = User.objects.for_address(factories.ALICE)
    task = run(alice, "step 1/9 loss: 2.5\nstep 2/9 loss: 1.5\n", progress="Training")
    enter(page.context, asgi_server, alice)
    page.goto(f"{asgi_server}/fine-tuning/tasks/{task.pk}")
    title = page.get_by_test_id("loss-chart").get_by_role("heading")
    expect(title).to_have_text("Loss 2.5 → 1.5")
    page.get_by_text("Show as table").click()
    drawn = page.locator("[data-plot] canvas").element_handle()
    LogPart.objects.create(task=task, offset=99, text="step 3/9 loss: 1.25\n")
    in_thread(lambda: follow.tell(task))
    expect(title).to_have_text("Loss 2.5 → 1.25")
    expect(page.locator(".chart tbody tr")).to_have_count(3)  # open as before, with the new row
    expect(page.locator("[data-plot] canvas")).to_have_count(1)
    assert not drawn.evaluate("one => one.isConnected")
