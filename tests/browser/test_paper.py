"""Reports and statements on paper: ink on white, whole addresses, heads on each sheet, a source."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import BrowserContext, Page

from accounts.models import User
from finetune.models import LogPart, Task
from inference.models import Chat
from operators.models import BatchGas
from tests import factories
from tests.browser import pdf
from tests.browser.session import enter
from tests.browser.test_operator import earning as earning  # a fixture
from tests.db import report_world
from tests.db.personal_world import person
from tests.db.report_world import development, machine

pytestmark = pytest.mark.django_db(transaction=True)
#: Width of what is printed of an A4 sheet, CSS pixels.
SHEET = 703
#: An answer's table that scrolls on the screen.
WIDE = """(answers) => answers.forEach((one) => {
  const cells = "<td>what to do about it in more words</td><td>invalid_signature</td>".repeat(4);
  one.insertAdjacentHTML("beforeend", `<div><table><tbody><tr>${cells}</tr></tbody></table></div>`);
})"""


def printed(page: Page, url: str, scheme: str = "dark") -> tuple[str, bytes]:
    """The words (without spaces) and the file, printed by somebody who reads in the dark."""
    page.emulate_media(media="print", color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(url)
    page.wait_for_load_state("networkidle")
    data = page.pdf(prefer_css_page_size=True, print_background=True)
    return pdf.text(data), data


def on_white(page: Page) -> None:
    """As the printer sees it: no navigation, white paper, and nothing wider than the sheet."""
    page.set_viewport_size({"width": SHEET, "height": 1000})
    page.emulate_media(media="print")
    fields = "main :is(input, textarea, select)"
    for gone in (".site-header", ".bottom-bar", ".site-footer", "main button:visible", fields):
        assert page.locator(gone).locator("visible=true").count() == 0, gone
    colours = page.evaluate(
        """() => [document.body, ...document.querySelectorAll("main *")].filter((one) =>
            one.checkVisibility() && one.innerText?.trim()).map((one) => {
              const style = getComputedStyle(one);
              return `${style.color} on ${style.backgroundColor}`;
            })"""
    )
    dark = [colour for colour in colours if _lightness(colour.split(" on ")[0]) > 0.75]
    assert dark == [], "ink that cannot be read on white"
    cut = page.evaluate(
        """(width) => [...document.querySelectorAll("main *")].filter((one) => {
            const aside = one.closest(".visually-hidden, svg, .chart");
            if (!one.checkVisibility() || aside) return false;
            const box = one.getBoundingClientRect(), style = getComputedStyle(one);
            const hides = ["hidden", "clip", "auto", "scroll"].includes(style.overflowX);
            const tight = hides || one.matches("li > div");
            return box.right > width + 1 || (tight && one.scrollWidth > one.clientWidth + 1);
          }).map((one) => `${one.tagName}.${one.className} ${one.innerText?.slice(0, 40)}`)""",
        SHEET,
    )
    assert cut == []
    # Firefox breaks no page inside an item of a grid.
    grids = page.locator("#turns, .turn").evaluate_all(
        "all => all.filter((one) => getComputedStyle(one).display === 'grid').map((one) => one.id)"
    )
    assert grids == []
    page.emulate_media(media="screen")


def _lightness(colour: str) -> float:
    channels = colour[colour.index("(") + 1 : -1].replace(",", " ").split()[:3]
    numbers = [float(part) for part in channels if part not in ("from",)]
    return sum(numbers) / len(numbers) / 255


def folded(page: Page) -> list[str]:
    """The longest text inside of each fold that is closed on the screen, and is meant for paper."""
    found: list[str] = page.evaluate(
        """() => {
            const closed = [...document.querySelectorAll("main details:not([open])")].filter(
              (one) => !one.matches(".twin, .raw-parts .whole"));
            closed.forEach((one) => { one.open = true; });
            const texts = closed.map((one) => {
              const inside = [...one.querySelectorAll("*")].filter((part) => !part.children.length
                && part.checkVisibility() && part.closest("details") === one
                && !part.closest("summary"));
              const said = inside.map((part) => part.textContent.trim());
              return said.reduce((a, b) => (b.length > a.length ? b : a), "");
            });
            closed.forEach((one) => { one.open = false; });
            return texts.filter((text) => text);
          }"""
    )
    return found


def test_reports_and_statements_are_printed_whole(
    earning: str, page: Page, context: BrowserContext
) -> None:
    site, day = earning, timezone.now().strftime("%Y-%m-%d")
    petra, alice = factories.PETRA, person("alice")
    batch = BatchGas.objects.latest("block")
    run = development(machine(gpus=2))
    task = Task.objects.get(user=alice)
    LogPart.objects.create(task=task, offset=100, text="\n" + "long-line-" * 60 + "\nthe end")
    chat = Chat.objects.filter(owner=alice, medium="chat").exclude(key_sealed="").get()
    enter(context, site, User.objects.for_address(petra))
    # As wide as rows are on a chain with millions of blocks.
    wide: dict[str, Any] = {"settled": 123_456_789_012_345_678, "unsettled": 98_765_432_109_876_543}
    factories.settlement(petra, status="penalty", block=14_123_456, at=timezone.now(), **wide)
    folds = 0
    wanted = {
        "report": (report_world.path(run), (petra, run.onchain_signer, str(run.content_hash)), 22),
        "settlements": ("/operator/settlements?period=all", (str(batch.tx_hash),), 16),
        "batch": (f"/operator/settlements/{batch.tx_hash}", (factories.ALICE, factories.BOB), 4),
        "analytics": ("/operator?period=all", (), 10),
        "service": (f"/services/inference/{petra}", (petra,), 4),
    }
    for name, (path, words, most) in wanted.items():
        said, data = printed(page, site + path)
        inside = folded(page)
        folds += len(inside)
        for word in (*words, *inside):
            assert re.sub(r"\s", "", word) in said, f"{name}: {word}"
        assert 1 <= pdf.pages(data) <= most, f"{name}: {pdf.pages(data)} sheets"
        assert f"{site}{path.split('?')[0]}" in said, f"{name} does not say where it is from"
        assert re.search(rf"block\d+·{day}", said), name
        assert "Skiptocontent" not in said and "Connect" not in said
        on_white(page)
    assert folds > 20, "reports fold most of what they say"
    # Heads stand on every sheet of a long table.
    said, data = printed(page, site + "/operator/settlements?period=all")
    assert pdf.pages(data) > 1
    head = page.locator("main thead").first.inner_text().split()[0]
    assert said.count(head) >= pdf.pages(data) - 1

    context.clear_cookies()
    enter(context, site, alice)
    for name, path, words in (
        ("statement", "/account/statement", ("Statement",)),
        ("funds", "/account", ("Available",)),
        ("transactions", "/account/transactions", ()),
        (
            "chat",
            f"/playground/chat/{chat.pk}",
            ("canary-of-aliceasked", "canary-of-aliceanswered"),
        ),
        ("task", f"/fine-tuning/tasks/{task.pk}", ("long-line-" * 60, "theend", petra)),
    ):
        said, data = printed(page, site + path)
        for word in words:
            assert word in said, f"{name}: {word[:60]}"
        assert f"{site}{path}" in said and pdf.pages(data) <= 4, name
        page.locator(".prose").evaluate_all(WIDE)
        on_white(page)
