"""A table of settlements as pages show it: items, or sums by payer or day, with its filters."""

from __future__ import annotations

from dataclasses import dataclass

from accounts.addresses import short
from ledger import records
from marketplace import links, parts, settlements
from marketplace.parts import Chip, Link, Pager, name
from marketplace.settlements import GROUPS, WINDOW_LABELS, Asked, Group

#: Settlement statuses in words (contracts.md 6.4, 6.5).
STATUSES = {
    "success": ("Paid in full", "ok"),
    "partial": ("Paid in part: the user ran out", "warn"),
    "provider_mismatch": ("Refused: sent from another wallet", "bad"),
    "no_tee_signer": ("Refused: signer not acknowledged", "bad"),
    "invalid_nonce": ("Refused: sent twice", "bad"),
    "invalid_signature": ("Refused: signature does not match the signer", "bad"),
    "acknowledged": ("Result acknowledged, paid", "ok"),
    "penalty": ("Result not acknowledged, penalty paid", "warn"),
    "abandoned": ("Abandoned", "bad"),
}


@dataclass(frozen=True)
class SettlementRow:
    entry: records.SettlementEntry
    label: str
    tone: str
    user_path: str
    provider_path: str

    @classmethod
    def of(cls, entry: records.SettlementEntry) -> SettlementRow:
        label, tone = STATUSES.get(entry.status, (name(entry.status), ""))
        return cls(
            entry,
            label,
            tone,
            links.account_path(entry.user),
            links.provider_path(entry.provider),
        )


@dataclass(frozen=True)
class GroupRow:
    """A payer or a day with the rows behind its sums."""

    group: Group
    path: str
    user_path: str


@dataclass(frozen=True)
class SettledTable:
    """`rows` or `groups` by what was asked; `everywhere`: of all providers, so each row names
    its own. `said`: the filters in words."""

    asked: Asked
    rows: tuple[SettlementRow, ...]
    groups: tuple[GroupRow, ...]
    pager: Pager
    views: tuple[Link, ...]
    statuses: tuple[Link, ...]
    windows: tuple[Link, ...]
    chips: tuple[Chip, ...]
    said: str
    everywhere: bool


def table(asked: Asked, at: str) -> SettledTable:
    """The table at a path (3 queries)."""
    rows: tuple[SettlementRow, ...] = ()
    groups: tuple[GroupRow, ...] = ()
    if asked.by:
        found = settlements.payers(asked) if asked.by == "payer" else settlements.days(asked)
        groups = tuple(
            GroupRow(
                group,
                asked.path(at, by="", user=group.user)
                if group.day is None
                else asked.path(at, by="", window="", day=group.day.isoformat(), status="paid"),
                links.account_path(group.user),
            )
            for group in found.items
        )
        pager = _pager(found, asked, at, "payers" if asked.by == "payer" else "days")
    else:
        entries = settlements.items(asked)
        rows = tuple(SettlementRow.of(entry) for entry in entries.items)
        pager = _pager(entries, asked, at, "settlements")
    return SettledTable(
        asked=asked,
        rows=rows,
        groups=groups,
        pager=pager,
        views=tuple(
            Link(label, asked.path(at, by=by), asked.by == by)
            for by, label in (("", "Items"), ("payer", "By payer"), ("day", "By day"))
        ),
        statuses=(
            *(
                (Link("All results", asked.path(at, status=""), not asked.status),)
                if asked.provider or asked.user
                else ()
            ),
            *(
                Link(label, asked.path(at, status=key), asked.status == key)
                for key, (label, _) in GROUPS.items()
            ),
        ),
        windows=(
            Link("All time", asked.path(at, window="", day=""), not asked.window and not asked.day),
            *(
                Link(label, asked.path(at, window=key, day=""), asked.window == key)
                for key, label in WINDOW_LABELS.items()
            ),
        ),
        chips=tuple(_chips(asked, at)),
        said=asked.said,
        everywhere=not asked.provider,
    )


def _chips(asked: Asked, at: str) -> list[Chip]:
    chips = []
    if asked.user:
        chips.append(Chip(f"of {short(asked.user)}", asked.path(at, user="")))
    if asked.day:
        chips.append(Chip(f"on {asked.day.isoformat()} UTC", asked.path(at, day="")))
    return chips


def _pager(found: records.Page[parts.Item], asked: Asked, at: str, what: str) -> Pager:
    """At most `MOST_PAGES` pages, whatever the count."""
    most = settlements.MOST_PAGES * found.size
    bound = records.Page(found.items, min(found.count, most), found.number, found.size)
    shown = parts.pager(bound, what, lambda number: asked.path(at, page=number))
    return Pager(**{**shown.__dict__, "count": found.count})
