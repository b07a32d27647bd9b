"""Forms of this app: what was typed becomes a decision, or a problem with what is missing."""

from __future__ import annotations

from collections.abc import Mapping

from django.utils.translation import gettext as _

from accounts.errors import Problem
from moderation.decisions import Decision
from moderation.fold import Action
from moderation.models import PUBLIC_TEXT, REASON
from moderation.phrases import BY_NAME

FIELDS = ("act", "reason", "public_text", "hours", "label", "template")


def typed(given: Mapping[str, str]) -> dict[str, str]:
    """The form's fields as they stand; an empty text takes its template's."""
    found = {
        name: str(given.get(name, "")).replace("\x00", "").replace("\r\n", "\n") for name in FIELDS
    }
    found["reason"] = found["reason"].strip()[: REASON + 1]
    found["public_text"] = found["public_text"].strip()[: PUBLIC_TEXT + 1]
    template = BY_NAME.get(found["template"])
    if template is not None:
        found["reason"] = found["reason"] or template.reason
        found["public_text"] = found["public_text"] or template.public_text
    return found


def hours_of(fields: Mapping[str, str]) -> int | None:
    """How long it shall hold; None where that was not said, or is no number."""
    hours = fields["hours"]
    return int(hours) if hours.isascii() and hours.isdigit() and len(hours) < 6 else None


def decision(fields: Mapping[str, str]) -> Decision:
    """What a form asks for; `act` may carry a label or an outcome: `unlabel:beta`. Raises
    Problem."""
    name, _colon, more = fields["act"].partition(":")
    try:
        action = Action(name)
    except ValueError:
        raise Problem("no_act", _("Choose what to do.")) from None
    hours = hours_of(fields)
    if fields["hours"] and hours is None:
        raise Problem("wrong_end", _("The end is a number of hours."))
    return Decision(
        action=action,
        reason=fields["reason"],
        public_text=fields["public_text"],
        hours=hours,
        label=more or fields["label"],
        outcome=more if action == Action.ANSWER else "",
    )
