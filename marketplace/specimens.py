"""What the style guide shows: every piece of the kit with example values, marked as examples."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.utils import timezone

from accounts import pages
from accounts.pages_parts import Option, Pager
from accounts.pages_transaction import Link, Step
from ledger.records import Account, Purse
from marketplace import formats, verdicts
from marketplace.changes import ChangeRow
from marketplace.parts import Chip, Column, Fact
from marketplace.specimens_charts import ChartSpecimens, specimens

EXAMPLE = "0x8ba1f109551bD432803012645Ac136ddd64DBA72"
OTHER = "0x71C7656EC7ab88b098defB751B7401B5f6d8976F"

#: Every verdict of interfaces.md 3 and 4, of answers and of services.
ANSWERS = ("pending", "verified", "rewritten", "altered", "not_comparable", "failed", "unavailable")
VERDICTS = tuple(word for word in verdicts.WORDS if word not in ANSWERS)


@dataclass(frozen=True)
class StyleguidePage:
    """Example values for every piece; `amounts` covers each rule of ux.md 2."""

    address: str
    verdicts: tuple[str, ...]
    answers: tuple[str, ...]
    amounts: tuple[int, ...]
    signed: tuple[int, ...]
    prices: tuple[formats.Price, ...]
    options: tuple[Option, ...]
    tabs: tuple[Link, ...]
    columns: tuple[Column, ...]
    pager: Pager
    chips: tuple[Chip, ...]
    facts: tuple[Fact, ...]
    balances: pages.Balances
    steps: tuple[Step, ...]
    changes: tuple[ChangeRow, ...]
    hash: str
    moment: dt.datetime
    soon_unix: int
    past_unix: int
    code: str
    drawn: ChartSpecimens


def page() -> StyleguidePage:
    now, milli = timezone.now(), formats.ONE // 1000
    purse = Purse(12_600 * milli, 7_250 * milli, "", 0, False)
    return StyleguidePage(
        address=EXAMPLE,
        verdicts=VERDICTS,
        answers=ANSWERS,
        amounts=(
            0,
            1,
            421_300_000_000_000,
            12_500_000_000_000_000_000,
            1_234_567_891_234_567_891_234,
        ),
        signed=(1_500_000_000_000_000_000, -200_000_000_000_000_000),
        prices=(
            *formats.prices("chatbot", 420_000_000_000, 1_200_000_000_000),
            *formats.prices("text-to-image", 0, 3_000_000_000_000_000),
        ),
        options=(
            Option("day", "24 h", False),
            Option("week", "7 d", True),
            Option("month", "30 d", False),
        ),
        tabs=(
            Link("Overview", "#tabs", True),
            Link("Changes", "#tabs", False, 12),
            Link("Raw", "#tabs"),
        ),
        columns=(
            Column("Model", False, "#table", "ascending"),
            Column("Type", False, "#table"),
            Column("Input", True, "#table"),
        ),
        pager=Pager(
            26,
            50,
            1_212,
            "services",
            tuple(Link(str(n), "#pager", n == 2) for n in (1, 2, 3)),
            "#pager",
            "#pager",
            "",
        ),
        chips=(Chip("Chat", "#chips"), Chip("“qwen”", "#chips")),
        facts=(
            Fact(
                "Owner of the 0G contract",
                "Acknowledged signer 0x71C7…976F",
                "yes",
                now - dt.timedelta(days=3),
            ),
            Fact(
                "You", "Acknowledged another signer: it was 0x8ba1…BA72, now 0x71C7…976F", "changed"
            ),
            Fact("0G Market", "Its attestation was not checked by us", "unknown", verdict="never"),
        ),
        balances=pages.balances(Account(EXAMPLE, purse, ()), None),
        steps=(
            Step("Review", "done"),
            Step("Confirm in the wallet", "current"),
            Step("In a block", "next"),
            Step("Final", "next"),
        ),
        changes=_changes(now),
        hash="0x" + "4f" * 32,
        moment=now - dt.timedelta(minutes=3),
        soon_unix=int(now.timestamp()) + 8_040,
        past_unix=int(now.timestamp()) - 60,
        code=(
            'curl https://provider.example/v1/proxy/models \\\n  -H "Authorization: Bearer $ZG_KEY"'
        ),
        drawn=specimens(now),
    )


def _changes(now: dt.datetime) -> tuple[ChangeRow, ...]:
    def row(title: str, tone: str, before: str | None, after: str | None, days: int) -> ChangeRow:
        return ChangeRow(
            title=title,
            tone=tone,
            before=before,
            after=after,
            at=now - dt.timedelta(days=days),
            block=4_512_331 - days * 8_000,
            tx_hash="0x" + "3d" * 32,
            pending=days == 0,
            provider=OTHER if days else "",
            provider_path="#timeline",
            service_path="#timeline" if days else "",
            service="qwen/qwen3-32b",
            kind_label="Inference",
        )

    return (
        row("Price changed", "", "input 0.5 0G / 1M", "input 0.42 0G / 1M", 0),
        row("Endpoint URL changed", "warn", "https://old.example", "https://new.example", 1),
        row("Registered", "ok", None, None, 2),
    )
