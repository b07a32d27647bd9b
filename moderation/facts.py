"""What a finding found, for staff: stored as the checks had it, said here in the reader's words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_

from attestation import words

#: What is shown of a finding's detail, in this order; the rest is for the checks alone.
_NAMES: Mapping[str, str] = {
    "endpoint": N_("Where"),
    "rows": N_("Checks that got worse"),
    "block": N_("In block"),
    "accounts": N_("Users who accepted the key of before"),
    "unknown": N_("Users of whom that is not known"),
    "other_service": N_("The other one’s service"),
    "other_kind": N_("The other one’s kind"),
    "other_since": N_("It had it since"),
}
_MOST = 300


def text(value: Any) -> str:
    """A value of a finding as a queue keeps it, 300 letters at most."""
    said = ", ".join(str(part) for part in value) if isinstance(value, list) else str(value)
    return said[:_MOST]


def pairs(detail: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Name and value of each fact that a person can use."""
    return tuple(
        (_(name), _value(key, text(detail[key]))) for key, name in _NAMES.items() if detail.get(key)
    )


def _value(key: str, said: str) -> str:
    if key == "endpoint":
        return words.endpoint(said)
    if key == "other_since":
        return f"{said[:16].replace('T', ' ')} UTC"
    # Items of before today hold lists as Python writes them.
    return re.sub(r"[\[\]']", "", said)


def turn(detail: Mapping[str, Any]) -> tuple[str, str]:
    """What it was and what it is, both empty where a finding is no change: verdicts, or (`judged`
    no) what the chain or a machine had."""
    first, last = ("from", "to") if judged(detail) else ("before", "after")
    return text(detail.get(first, "")), text(detail.get(last, ""))


def judged(detail: Mapping[str, Any]) -> bool:
    """Whether a finding is about a verdict that became worse."""
    return "to" in detail
