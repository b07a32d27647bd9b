"""Facts across the market, in words, as seen from one provider's pages."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from attestation import selectors, words
from attestation.selectors import FindingView
from marketplace import links, verdicts

_OTHER = {
    "same_ppid": gettext_noop("The other one:"),
    "same_gpu": gettext_noop("The other one:"),
    "signer_reused": gettext_noop("The other one:"),
    "identical_evidence": gettext_noop("It came from"),
}


@dataclass(frozen=True)
class FindingRow:
    """A fact across the market, in words, seen from one provider's page."""

    kind: str
    title: str
    text: str
    said: str
    other: str
    other_path: str
    opened_at: dt.datetime
    closed_at: dt.datetime | None
    report: uuid.UUID | None


def rows(found: Iterable[FindingView], provider: str) -> tuple[FindingRow, ...]:
    return tuple(_finding(view, provider) for view in found)


def _finding(view: FindingView, provider: str) -> FindingRow:
    mine = view.provider == provider
    passed_on = not mine and view.kind == "identical_evidence"
    title, text = words.finding(view.kind, passed_on=passed_on)
    other = view.other_provider if mine else view.provider
    other = "" if other == provider else other
    return FindingRow(
        kind=view.kind,
        title=title,
        text=_moved(view.detail) + text,
        said=_(_OTHER["same_ppid"]) if passed_on else _(_OTHER.get(view.kind, "")) or _("See"),
        other=other,
        other_path=links.provider_path(other) if other else "",
        opened_at=view.opened_at,
        closed_at=view.closed_at,
        report=view.verification_id,
    )


def _moved(detail: Mapping[str, Any]) -> str:
    """The verdicts before and after a regression, in words."""
    before, after = detail.get("from"), detail.get("to")
    if not isinstance(before, str) or not isinstance(after, str):
        return ""
    return (
        _("From “%(before)s” to “%(after)s”.")
        % {
            "before": verdicts.word(before).text,
            "after": verdicts.word(after).text,
        }
        + " "
    )


def open_rows(provider: str) -> tuple[FindingRow, ...]:
    """What holds now about a provider (1 query)."""
    return rows(selectors.findings(provider, open_only=True), provider)
