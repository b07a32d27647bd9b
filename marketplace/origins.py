"""Who may open a websocket: pages of this site only, to the port, and programs the public one.

Browsers send cookies to a websocket whatever page opens it, and cookies know no ports: without
this, a page of any other program on the same host name could speak with a person's session.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from channels.security.websocket import AllowedHostsOriginValidator, WebsocketDenier
from django.conf import settings

Scope = MutableMapping[str, Any]
Application = Callable[..., Awaitable[None]]


#: Tells everybody the same, and who is signed in does not matter to it.
PUBLIC = "/ws/live"


class Guarded:
    """The public socket for programs as they come, everything else through both checks of a page's
    origin. Every browser names that (RFC 6455, 4.1): whoever names none is no page, and acts with
    nobody's cookies but their own.
    """

    def __init__(self, application: Application) -> None:
        self.application = application
        self.checked: Application = AllowedHostsOriginValidator(SameOrigin(application))

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        named = any(key.lower() == b"origin" for key, _ in scope["headers"])
        program = scope["path"] == PUBLIC and not named
        await (self.application if program else self.checked)(scope, receive, send)


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
