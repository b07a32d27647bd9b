"""Which pages may open a websocket: those of this site only, to the port.

Browsers send cookies to a websocket whatever page opens it, and cookies know no ports: without
this, a page of any other program on the same host name could speak with a person's session.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from channels.security.websocket import WebsocketDenier
from django.conf import settings

Scope = MutableMapping[str, Any]
Application = Callable[..., Awaitable[None]]


class SameOrigin:
    """Denies (403) websockets whose `Origin` is neither SITE_URL nor the host that was asked.

    Stands inside a check of the origin's host against ALLOWED_HOSTS, which names no port.
    """

    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        known = _header(scope, b"origin"), _header(scope, b"host")
        inner = self.application if same_origin(*known) else WebsocketDenier()
        await inner(scope, receive, send)


def same_origin(origin: str, host: str) -> bool:
    """Whether a page of `origin` belongs to the site that answers as `host`."""
    site = str(settings.SITE_URL)
    if origin == site:
        return True
    # Reached under another of its names: the same host and port, and no less protected.
    secure = site.startswith("https://")
    try:
        page = urlsplit(origin)
    except ValueError:
        return False
    same = bool(page.netloc) and page.netloc.lower() == host.lower()
    return same and page.scheme in (("https",) if secure else ("http", "https"))


def _header(scope: Scope, name: bytes) -> str:
    values = [value for key, value in scope["headers"] if key.lower() == name]
    return values[0].decode("latin-1") if len(values) == 1 else ""
