"""What every template may use besides its `page`: the network, how fresh the data is, and the way
around."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import Error as DatabaseError
from django.http import HttpRequest

from chain import selectors as chain
from ledger import reconcile
from marketplace import freshness, links


@dataclass(frozen=True)
class NavLink:
    """A link of the header or footer; `current` marks the section the visitor is in."""

    label: str
    path: str
    icon: str
    current: bool


HEADER = (
    ("Models", "/models", "box"),
    ("Providers", "/providers", "server"),
    ("Playground", "/playground/chat", "message-square"),
    ("Fine-tuning", "/fine-tuning", "activity"),
    ("Changes", "/changes", "activity"),
    ("Funds", "/account", "wallet"),
)
FOOTER = (
    ("Verify", "/verify", ""),
    ("Network", "/network", ""),
    ("Status", "/status", ""),
    ("API", "/api/docs", ""),
    ("Docs", "/docs", ""),
    ("For operators", "/operator", ""),
    ("Moderation log", "/moderation/log", ""),
    ("Changelog", "/docs/changelog", ""),
    ("Style guide", "/styleguide", ""),
)
BOTTOM = (
    ("Models", "/", "house"),
    ("Chat", "/playground/chat", "message-square"),
    ("Funds", "/account", "wallet"),
)

THEMES = ("light", "dark")


def site(request: HttpRequest) -> dict[str, Any]:
    fresh = current_freshness(request)
    theme = request.COOKIES.get("theme", "")
    return {
        "network": settings.NETWORK,
        "site_url": settings.SITE_URL,
        "request_id": getattr(request, "request_id", ""),
        "freshness": fresh,
        "banner": freshness.banner(fresh) or drift_banner(request),
        "theme": theme if theme in THEMES else "",
        "header_links": navigation(HEADER, request.path),
        "footer_links": navigation(FOOTER, request.path),
        "bottom_links": navigation(BOTTOM, request.path),
    }


def head_of(request: HttpRequest) -> chain.Freshness:
    """Where the follower stands, asked once per request: the rows and the footer of a page speak
    of the same block."""
    known: chain.Freshness | None = getattr(request, "chain_head", None)
    if known is None:
        known = request.chain_head = chain.head()  # type: ignore[attr-defined]
    return known


def current_freshness(request: HttpRequest) -> freshness.Freshness:
    """From the follower's own row. A dead database must not turn an error page into a second
    error."""
    try:
        return freshness.judge(head_of(request))
    except DatabaseError:
        return freshness.Freshness("none")


def drift_banner(request: HttpRequest) -> freshness.Banner | None:
    """For staff only: the last comparison with the contracts found differences."""
    if settings.SESSION_COOKIE_NAME not in request.COOKIES:
        return None  # nobody is signed in: no query, and the page stays the same for all
    try:
        if not getattr(getattr(request, "user", None), "is_staff", False):
            return None
        last = reconcile.latest()
    except DatabaseError:
        return None
    return freshness.drift(last.drift, last.block) if last is not None and last.drift else None


def navigation(entries: tuple[tuple[str, str, str], ...], here: str) -> list[NavLink]:
    """The entries whose page exists. The playground is one section, whatever one does in it."""

    def current(label: str, path: str) -> bool:
        section = "/playground" if label == "Playground" else path
        return here == path or (path != "/" and here.startswith(f"{section}/"))

    return [
        NavLink(label, path, icon, current(label, path))
        for label, path, icon in entries
        if links.exists(path)
    ]
