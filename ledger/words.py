"""Changes of listings in words, for everybody who shows a history of them."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from ledger.stored import fields

#: What each sort of change is called (`ServiceChange.change`; "occupied" depends on its value).
CHANGES = {
    "registered": gettext_noop("Registered"),
    "price": gettext_noop("Price changed"),
    "url": gettext_noop("Endpoint URL changed"),
    "model": gettext_noop("Model changed"),
    "type": gettext_noop("Type changed"),
    "verifiability": gettext_noop("Declared verifiability changed"),
    "signer": gettext_noop("Signer changed"),
    "additional_info": gettext_noop("Additional information changed"),
    "quota": gettext_noop("Hardware changed"),
    "models": gettext_noop("Models changed"),
    "acknowledged": gettext_noop("Signer acknowledged by the contract’s owner"),
    "unacknowledged": gettext_noop("Owner’s acknowledgement withdrawn"),
    "staked": gettext_noop("Stake changed"),
    "stake_returned": gettext_noop("Stake returned"),
    "removed": gettext_noop("Removed"),
}


def change(sort: str, after: Any) -> str:
    """A change of a listing in the reader's language; empty for a sort that has no words."""
    if sort == "occupied":
        return _("Now occupied") if fields(after).get("occupied") else _("Free again")
    return _(CHANGES[sort]) if sort in CHANGES else ""
