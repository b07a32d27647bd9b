"""Paths that open a form of the funds page with a position chosen."""

from __future__ import annotations

from urllib.parse import urlencode

from ledger.records import Position


def form(action: str, position: Position) -> str:
    return "/account?" + urlencode({"action": action, **_account(position)})


def spendable(position: Position) -> str:
    """The page that says how much of a position can be spent now."""
    return "/account/spendable?" + urlencode(_account(position))


def _account(position: Position) -> dict[str, str]:
    return {"account": f"{position.service_name}:{position.provider}"}
