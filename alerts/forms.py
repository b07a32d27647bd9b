"""The form of a rule, from what a browser sent to a checked wish."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from django.utils.translation import gettext as _

from accounts import actions, money
from accounts.errors import Problem
from alerts.kinds import SORTS, Kind
from alerts.services import Wish

_MOST_TYPED = 60
_MOST_PERCENT = 1_000


class Typed(TypedDict):
    """What stands in the form, untouched."""

    kind: str
    provider: str
    number: str
    email: bool
    hook: bool


def typed(fields: Mapping[str, str]) -> Typed:
    kind = fields.get("kind", "")
    return Typed(
        kind=kind if kind in set(Kind) else Kind.REFUND_UNLOCKED.value,
        provider=fields.get("provider", "")[:_MOST_TYPED].strip(),
        number=fields.get("number", "")[:_MOST_TYPED].strip(),
        email=fields.get("email") == "on",
        hook=fields.get("hook") == "on",
    )


def wish(form: Typed) -> Wish:
    """Raises Problem with a sentence for the field that is wrong."""
    sort = SORTS[Kind(form["kind"])]
    provider = form["provider"] if sort.scoped else ""
    if provider:
        try:
            provider = actions.address(provider)
        except ValueError as error:
            raise Problem(
                "invalid_provider", _("The provider %(error)s.") % {"error": error}
            ) from None
    number = form["number"] or sort.default
    return Wish(
        kind=sort.kind,
        provider=provider,
        threshold=_amount(number) if sort.unit == "0G" else None,
        percent=_percent(number) if sort.unit == "%" else None,
        by_email=form["email"],
        by_hook=form["hook"],
    )


def _amount(text: str) -> int:
    try:
        amount = money.parse(text)
    except ValueError as error:
        raise Problem("invalid_number", str(error)) from None
    if amount == 0:
        raise Problem("invalid_number", _("The amount is zero."), _("Write an amount of 0G."))
    return amount


def _percent(text: str) -> int:
    text = text.removesuffix("%").strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and int(text) <= _MOST_PERCENT):
        raise Problem(
            "invalid_number",
            _("Write a whole number of percent, from 0 to %(most_percent)s.")
            % {"most_percent": _MOST_PERCENT},
        )
    return int(text)
