"""The pages of an operator, in one row; a page that does not exist yet has no tab."""

from __future__ import annotations

from functools import cache

from django.urls import Resolver404, resolve

from accounts.pages_transaction import Link

TABS = (
    ("Earnings", "/operator"),
    ("Settlements", "/operator/settlements"),
    ("Customers", "/operator/customers"),
    ("Market", "/operator/market"),
    ("Listing", "/operator/listing"),
    ("Setup check", "/operator/setup"),
    ("Evidence self-test", "/operator/selftest"),
    ("Notes", "/operator/notes"),
    ("Profile", "/operator/profile"),
)


def tabs(current: str) -> tuple[Link, ...]:
    """All of them, with the one that is `current`."""
    return tuple(Link(label, path, path == current) for label, path in TABS if _exists(path))


@cache
def _exists(path: str) -> bool:
    try:
        resolve(path)
    except Resolver404:
        return False
    return True
