"""The pages of an operator, in one row."""

from __future__ import annotations

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts.pages_transaction import Link

TABS = (
    (gettext_noop("Earnings"), "/operator"),
    (gettext_noop("Settlements"), "/operator/settlements"),
    (gettext_noop("Customers"), "/operator/customers"),
    (gettext_noop("Market"), "/operator/market"),
    (gettext_noop("Listing"), "/operator/listing"),
    (gettext_noop("Setup check"), "/operator/setup"),
    (gettext_noop("Evidence self-test"), "/operator/selftest"),
    (gettext_noop("Notes"), "/operator/notes"),
    (gettext_noop("Profile"), "/operator/profile"),
)


def tabs(current: str) -> tuple[Link, ...]:
    """All of them, with the one that is `current`."""
    return tuple(Link(_(label), path, path == current) for label, path in TABS)
