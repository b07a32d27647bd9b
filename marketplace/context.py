"""What every template may use besides its `page`: the network, how fresh the data is, and the way
around."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import Error as DatabaseError
from django.http import HttpRequest
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from chain import selectors as chain
from ledger import reconcile
from marketplace import announcements, freshness, links, releases
from net.words import kept_by_language
from probes import exchange


@dataclass(frozen=True)
class NavLink:
    """A link of the header or footer; `current` marks the section the visitor is in."""

    label: str
    path: str
    icon: str
    current: bool


#: Label, path and icon of each.
Entries = tuple[tuple[str, str, str], ...]
HEADER: Entries = (
    (gettext_noop("Models"), "/models", "box"),
    (gettext_noop("Providers"), "/providers", "server"),
    (gettext_noop("Playground"), "/playground/chat", "message-square"),
    (gettext_noop("Fine-tuning"), "/fine-tuning", "activity"),
    (gettext_noop("Changes"), "/changes", "activity"),
    (gettext_noop("Funds"), "/account", "wallet"),
)
FOOTER: Entries = (
    (gettext_noop("Verify"), "/verify", ""),
    (gettext_noop("Network"), "/network", ""),
    (gettext_noop("Status"), "/status", ""),
    (gettext_noop("API"), "/api/docs", ""),
    (gettext_noop("Data"), "/data", ""),
    (gettext_noop("Docs"), "/docs", ""),
    (gettext_noop("For operators"), "/operator", ""),
    (gettext_noop("Moderation log"), "/moderation/log", ""),
    (gettext_noop("Changelog"), "/docs/changelog", ""),
)
BOTTOM: Entries = (
    (gettext_noop("Models"), "/", "house"),
    (gettext_noop("Chat"), "/playground/chat", "message-square"),
    (gettext_noop("Funds"), "/account", "wallet"),
)

THEMES = ("light", "dark")


def site(request: HttpRequest) -> dict[str, Any]:
    fresh = current_freshness(request)
    theme = request.COOKIES.get("theme", "")
    price = exchange.current()
    return {
        "network": settings.NETWORK,
        "site_url": settings.SITE_URL,
        "request_id": getattr(request, "request_id", ""),
        "freshness": fresh,
        "banner": banner_of(request, fresh),
        "language": translation.get_language() or settings.LANGUAGE_CODE,
        "languages": settings.LANGUAGES,
        "theme": theme if theme in THEMES else "",
        "dollars": price,
        "dollars_shown": exchange.shown() is not None,
        "dollars_late": price is not None and price.late(timezone.now()),
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


def database_away(request: HttpRequest) -> bool:
    """Whether this request has waited for the database in vain (`views_errors.database_away`)."""
    return bool(getattr(request, "database_away", False))


def current_freshness(request: HttpRequest) -> freshness.Shown:
    """From the follower's own row. A dead database must not turn an error page into a second
    error, nor be waited for twice."""
    if database_away(request):
        return freshness.Shown("unknown")
    try:
        return freshness.judge(head_of(request))
    except DatabaseError:
        return freshness.Shown("unknown")


def banner_of(request: HttpRequest, fresh: freshness.Shown) -> freshness.Banner | None:
    """The one notice above every page. An announced incident goes before what we see of the index,
    which it often explains; the footer says how old the rows are either way."""
    announced = announcements.banner()
    if announced is not None and announced.tone == "bad":
        return announced
    return freshness.banner(fresh) or announced or drift_banner(request)


def drift_banner(request: HttpRequest) -> freshness.Banner | None:
    """For staff only: the last comparison with the contracts found differences."""
    if settings.SESSION_COOKIE_NAME not in request.COOKIES:
        return None  # nobody is signed in: no query, and the page stays the same for all
    if database_away(request):
        return None
    try:
        if not getattr(getattr(request, "user", None), "is_staff", False):
            return None
        last = reconcile.latest()
    except DatabaseError:
        return None
    return freshness.drift(last.drift, last.block) if last is not None and last.drift else None


def navigation(entries: Entries, here: str) -> list[NavLink]:
    """The entries whose page exists. The header's playground is one section, whatever one does in
    it; at the bottom of a phone the same page is the chat alone."""

    def current(path: str) -> bool:
        whole = path == "/playground/chat" and entries is not BOTTOM
        section = "/playground" if whole else path
        return here == path or (path != "/" and here.startswith(f"{section}/"))

    return [NavLink(label, path, icon, current(path)) for label, path, icon in _labelled(entries)]


@kept_by_language
def _labelled(entries: Entries) -> Entries:
    """Those whose page exists, in the reader's words; the changelog's names the version that runs
    here."""
    return tuple(
        (f"{_(label)} {releases.version()}" if path == releases.PAGE else _(label), path, icon)
        for label, path, icon in entries
        if links.exists(path)
    )
