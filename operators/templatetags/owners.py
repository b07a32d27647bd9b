"""The way to an operator's pages, for those who have any."""

from __future__ import annotations

from collections.abc import Sequence

from django import template

from accounts.pages_transaction import Link
from operators import selectors

register = template.Library()


@register.simple_tag
def with_operator(tabs: Sequence[Link], user: object) -> tuple[Link, ...]:
    """The pages of an account, and "Operator" behind them for wallets that have or had a service
    (1 query): it appears and never greys out."""
    address = getattr(user, "address", "")
    if not address or not selectors.owns(address):
        return tuple(tabs)
    return (*tabs, Link("Operator", "/operator"))
