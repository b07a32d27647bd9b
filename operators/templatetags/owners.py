"""The way to an operator's pages, for those who have any."""

from __future__ import annotations

from collections.abc import Sequence

from django import template
from django.utils.translation import gettext as _

from accounts.pages_transaction import Link
from ledger import selectors
from net.cache import keep, recall

register = template.Library()
#: So long a page may not know yet that a wallet registered its first service, seconds.
KEPT_SECONDS = 60


@register.simple_tag
def with_operator(tabs: Sequence[Link], user: object) -> tuple[Link, ...]:
    """The pages of an account, and "Operator" behind them for wallets that have or had a service:
    it appears and never greys out (1 query a minute)."""
    address = getattr(user, "address", "")
    if not address or not _owns(address):
        return tuple(tabs)
    return (*tabs, Link(_("Operator"), "/operator"))


def _owns(address: str) -> bool:
    key = f"operators:owns:{address}"
    known = recall(key)
    if known is None:
        known = selectors.offers(address)
        keep(key, known, KEPT_SECONDS)
    return bool(known)
