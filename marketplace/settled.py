"""A table of settlements as pages show it: items, or sums by payer or day, with its filters."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts.addresses import short
from accounts.pages_parts import Pager, pager
from accounts.pages_transaction import Link
from ledger import records
from marketplace import links, parts, settlements
from marketplace.parts import Chip, name
from marketplace.settlements import GROUPS, WINDOW_LABELS, Asked, Group

#: Settlement statuses in words (contracts.md 6.4, 6.5).
STATUSES = {
    "success": (gettext_noop("Paid in full"), "ok"),
    "partial": (gettext_noop("Paid in part: the user ran out"), "warn"),
    "provider_mismatch": (gettext_noop("Refused: sent from another wallet"), "bad"),
    "no_tee_signer": (gettext_noop("Refused: signer not acknowledged"), "bad"),
    "invalid_nonce": (gettext_noop("Refused: sent twice"), "bad"),
    "invalid_signature": (gettext_noop("Refused: signature does not match the signer"), "bad"),
    "acknowledged": (gettext_noop("Result acknowledged, paid"), "ok"),
    "penalty": (gettext_noop("Result not acknowledged, penalty paid"), "warn"),
    "abandoned": (gettext_noop("Abandoned"), "bad"),
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
        label, tone = STATUSES.get(entry.status, ("", ""))
        label = _(label) or name(entry.status)
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

    @property
    def twins(self) -> tuple[Link, ...]:
        """The items of these filters for programs; sums of them have no twin."""
        if not self.rows:
            return ()
        contract = self.rows[0].entry.service_name if self.asked.serving else ""
        whose = {"provider": self.asked.provider, "service_name": contract}
        return (Link("JSON", self.asked.path("/api/v1/settlements", **whose)),)


def table(asked: Asked, at: str) -> SettledTable:
    """The table at a path (3 queries)."""
    rows: tuple[SettlementRow, ...] = ()
    groups: tuple[GroupRow, ...] = ()
    if asked.by:
        status = asked.status or "paid"
        found = settlements.payers(asked) if asked.by == "payer" else settlements.days(asked)
        groups = tuple(
            GroupRow(
                group,
                asked.path(at, by="", user=group.user, status=status)
                if group.day is None
                else asked.path(at, by="", day=group.day.isoformat(), status=status),
                links.account_path(group.user),
            )
            for group in found.items
        )
        pager = _pager(found, asked, at, _("payers") if asked.by == "payer" else _("days"))
    else:
        entries = settlements.items(asked)
        rows = tuple(SettlementRow.of(entry) for entry in entries.items)
        pager = _pager(entries, asked, at, _("settlements"))
    # Sums are of what was paid: of refused items there are none.
    summed = "" if asked.status == "refused" else asked.status
    return SettledTable(
        asked=asked,
        rows=rows,
        groups=groups,
        pager=pager,
        views=tuple(
            Link(
                label, asked.path(at, by=by, status=summed if by else asked.status), asked.by == by
            )
            for by, label in (("", _("Items")), ("payer", _("By payer")), ("day", _("By day")))
        ),
        statuses=(
            *(
                (Link(_("All results"), asked.path(at, status=""), not asked.status),)
                if asked.provider or asked.user
                else ()
            ),
            *(
                Link(_(group[0]), asked.path(at, status=key), asked.status == key)
                for key, group in GROUPS.items()
                if not (asked.by and key == "refused")
            ),
        ),
        windows=(
            Link(
                _("All time"),
                asked.path(at, window="", day=""),
                not asked.window and not asked.day,
            ),
            *(
                Link(_(label), asked.path(at, window=key, day=""), asked.window == key)
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
        chips.append(Chip(_("of %(who)s") % {"who": short(asked.user)}, asked.path(at, user="")))
    if asked.day:
        text = _("on %(day)s UTC") % {"day": asked.day.isoformat()}
        chips.append(Chip(text, asked.path(at, day="")))
    return chips


def _pager(found: records.Page[parts.Item], asked: Asked, at: str, what: str) -> Pager:
    def path(number: int) -> str:
        return asked.path(at, page=number)

    return pager(found, what, path, most=settlements.MOST_PAGES)
