"""Who may come in: loopback, then a token, then a session with a secret in every form.

Loopback alone is not enough: other users of the machine are there too, and so is the browser that
shows a stranger's page. A name that resolves to 127.0.0.1 (DNS rebinding), a form posted from
elsewhere, and a proxy that makes the port public are refused.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from hashlib import sha256
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from provider.errors import Refused
from provider.http import Request
from provider.keyfiles import kept

COOKIE = "zg_broker"
SESSION_SECONDS = 8 * 3600
TRIES_PER_MINUTE = 10
PROXIED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
_HOST = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::[0-9]{1,5})?\Z")
_SESSION = re.compile(r"([0-9]{1,12})\.([0-9a-f]{64})\Z")


def kept_token(state: Path) -> str:
    """The token in the state folder, made once, readable by its owner only."""
    return kept(state / "admin.token", lambda: secrets.token_hex(32) + "\n")


class Guard:
    """Checks requests. Sessions end with the process."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._key = secrets.token_bytes(32)
        self._tries: list[float] = []

    def near(self, request: Request) -> None:
        """It comes from this machine, and asks for it by name. Raises Refused 403."""
        try:
            local = ip_address(request.peer).is_loopback
        except ValueError:
            local = False
        named = _HOST.match(request.headers.get("host", ""))
        if not local or not named or any(name in request.headers for name in PROXIED):
            raise Refused(403, "this door is for programs on this machine, by its loopback address")

    def own(self, request: Request) -> None:
        """A form of our own page, as far as the browser says. Raises Refused 403."""
        origin = request.headers.get("origin")
        strange = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
        site = request.headers.get("sec-fetch-site", "same-origin")
        if strange or site not in ("same-origin", "none"):
            raise Refused(403, "the form came from another site")

    def bearer(self, request: Request) -> bool:
        """Whether the request carries the token itself, which no other site can make a browser do.

        Raises Refused 401 for a wrong one, 429 for too many.
        """
        given = request.headers.get("authorization", "")
        if not given:
            return False
        if not given.startswith("Bearer ") or not self.knows(given[7:]):
            raise Refused(401, "the token is wrong")
        return True

    def knows(self, token: str) -> bool:
        """Whether it is the token. Raises Refused 429 after too many that were not."""
        now = time.monotonic()
        self._tries = [at for at in self._tries if now - at < 60]
        if len(self._tries) >= TRIES_PER_MINUTE:
            raise Refused(429, "too many wrong tokens: wait a minute", {"Retry-After": "60"})
        if hmac.compare_digest(token.encode(), self._token.encode()):
            return True
        self._tries.append(now)
        return False

    def session(self) -> str:
        """A new session's cookie."""
        until = str(int(time.time()) + SESSION_SECONDS)
        return f"{until}.{self._mac('session', until)}"

    def form_secret(self, request: Request) -> str:
        """What forms of the request's session carry, "" without a session."""
        try:
            found = SimpleCookie(request.headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return ""
        match = _SESSION.match(found.value) if found else None
        if match is None or not hmac.compare_digest(match[2], self._mac("session", match[1])):
            return ""
        return self._mac("form", match[1]) if int(match[1]) > time.time() else ""

    def _mac(self, what: str, text: str) -> str:
        return hmac.new(self._key, f"{what} {text}".encode(), sha256).hexdigest()
