"""One frozen dataclass per page: the whole of what its template sees as `page`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_

from accounts.pages_parts import Option, Pager
from accounts.pages_transaction import Link
from moderation import phrases
from moderation.models import Act, Report
from moderation.phrases import TEMPLATES, Template
from moderation.queue import Evidence, Filter, Row
from moderation.reports import Allowance
from moderation.selectors import Decided, Said

#: How long a decision can hold, by the value of the choice; "" is until somebody lifts it.
ENDS = (
    ("", N_("until lifted")),
    ("24", N_("24 hours")),
    ("168", N_("7 days")),
    ("720", N_("30 days")),
)


@dataclass(frozen=True)
class Form:
    """A decision as typed. `preview`: what the public would read, where that was asked for."""

    typed: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    preview: Said | None = None

    @property
    def ends(self) -> tuple[Option, ...]:
        chosen = self.typed.get("hours", "")
        return tuple(Option(value, _(label), value == chosen) for value, label in ENDS)


@dataclass(frozen=True)
class QueuePage:
    """`/moderation`. `done`: the visitor's own act that can still be undone; `undone`: the number
    of the act that just took one back, else 0. `own`: what is shown is the visitor's own, which a
    colleague decides. `query`: the part of the list that is shown; `following`: the item below, or
    0."""

    tabs: tuple[Link, ...]
    rows: tuple[Row, ...]
    count: int
    pager: Pager
    asked: Filter
    filtered: bool
    closed: bool
    query: str
    following: int
    evidence: Evidence | None
    form: Form
    can_decide: bool
    me: str
    done: Act | None
    undone: int = 0
    own: bool = False

    @property
    def kept(self) -> str:
        """What the address of a form ends with, to come back to the same list."""
        onward = f"next={self.following}" if self.following else ""
        kept = "&".join(part for part in (self.query, onward) if part)
        return f"?{kept}" if kept else ""

    @property
    def can_act(self) -> bool:
        """Whether the visitor decides about what is shown."""
        return self.can_decide and not self.own

    @property
    def templates(self) -> tuple[Template, ...]:
        """What is often said about such a subject."""
        kind = self.evidence.subject.kind if self.evidence else ""
        return tuple(one for one in TEMPLATES if kind in one.kinds)


@dataclass(frozen=True)
class Altered:
    """One value that an act found and left; None where there was or is none."""

    name: str
    before: str | None
    after: str | None


def _read(stored: str) -> dict[str, str]:
    """What an act keeps as JSON, as names and values to read; a value without a name is what was
    in force (`state.named`)."""
    found = json.loads(stored)
    if found is None:
        return {}
    named = found if isinstance(found, dict) else {_("In force"): found}
    return {phrases.value_name(name): _value(value) for name, value in named.items()}


def _value(value: object) -> str:
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, list):
        return ", ".join(_value(one) for one in value) or _("nothing")
    if isinstance(value, dict):
        return ", ".join(f"{name} {_value(one)}" for name, one in value.items()) or _("nothing")
    return _("nothing") if value in (None, "") else str(value)


@dataclass(frozen=True)
class LogRow:
    """One act. `path`: the page of what it is about; `undone_by`: the act that took it back."""

    act: Act
    said: str
    label: str
    title: str
    path: str
    undone_by: int | None
    over: bool
    proposed_by: str

    @property
    def answers(self) -> int | None:
        found = self.act.said.get("answers")
        return found if isinstance(found, int) else None

    @property
    def altered(self) -> tuple[Altered, ...]:
        """What it found and left, by name, what stayed as it was included."""
        old, new = _read(self.act.before), _read(self.act.after)
        return tuple(Altered(name, old.get(name), new.get(name)) for name in {**old, **new})

    @property
    def area(self) -> str:
        return phrases.area(self.act.area)

    @property
    def about(self) -> str:
        """What sort of thing it is about."""
        return phrases.sort(self.act.subject_kind)

    @property
    def role(self) -> str:
        """What gave its actor the right; empty for a command of the machine's own shell."""
        return phrases.held(self.act.role)


@dataclass(frozen=True)
class LogPage:
    """`/moderation/log`, and `/moderation/record` for staff (`whole`)."""

    rows: tuple[LogRow, ...]
    pager: Pager
    actions: tuple[Option, ...]
    provider: str
    wrong: str
    filtered: bool
    head: tuple[int, str]
    twins: tuple[Link, ...]
    contact: str
    whole: bool = False
    areas: tuple[Option, ...] = ()


@dataclass(frozen=True)
class ReportPage:
    """The form of a report."""

    kind: str
    key: str
    title: str
    path: str
    categories: tuple[Option, ...]
    typed: Mapping[str, str]
    allowance: Allowance
    #: Where a moderator decides about it; empty for everybody else.
    decide_path: str = ""
    error: str = ""


@dataclass(frozen=True)
class AnywayPage:
    """`/moderation/anyway`; `then`: where the person goes on."""

    key: str
    title: str
    decided: Decided
    then: str


@dataclass(frozen=True)
class OwnReport:
    report: Report
    title: str
    path: str


@dataclass(frozen=True)
class OwnReportsPage:
    """`/account/reports`."""

    rows: tuple[OwnReport, ...]
    allowance: Allowance
    sent: bool
    tabs: tuple[Link, ...]
    freshness: None = None

    @property
    def waits(self) -> bool:
        """Whether any of the reports has no answer yet."""
        return any(not row.report.outcome for row in self.rows)
