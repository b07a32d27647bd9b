"""What leaves this process about itself (logs, Sentry) carries no secrets: pure, text in, text out.

Shapes that give themselves away are removed: keys, tokens, signatures, credentials in URLs, mail
addresses. 32-byte hex is shortened to its beginning, because a hash and a private key look alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable

REMOVED = "[removed]"
#: An exception's sentence that leaves the machine is at most this long (characters).
MOST = 300

_RULES: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    # `app-sk-` keys of providers, our personal tokens, webhook secrets, Fernet tokens, bots.
    (re.compile(r"app-sk-[\w+/=|.-]+"), REMOVED),
    (re.compile(r"\bzgm_[\w-]{8,}"), REMOVED),
    (re.compile(r"\bwhsec_[\w+/=-]+"), REMOVED),
    (re.compile(r"\bgAAAA[\w-]{20,}={0,2}"), REMOVED),
    (re.compile(r"(?<!\d)\d{6,20}:[\w-]{30,}+"), REMOVED),
    # Addresses that are the permission: a shared conversation, a private feed, the end of mails.
    (re.compile(r"(/shared/|/account/(?:feed|unsubscribe)/)[\w:-]{16,}"), rf"\1{REMOVED}"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[^\s'\",]+"), rf"\1 {REMOVED}"),
    (
        re.compile(
            r"(?i)\b(authorization|cookie|set-cookie|x-api-key|api[_-]?key|passw(?:or)?d|secret|"
            r"csrfmiddlewaretoken|csrftoken|sessionid|session_key)\b(['\"]?\s*[=:]\s*)(?:['\"][^'\"]*['\"]|[^\s'\",;&)}\]]+)"
        ),
        rf"\1\2{REMOVED}",
    ),
    # URLs: who signs in there and what is asked, never; the rest of the path may be a key too.
    (
        re.compile(r"\b([a-z][a-z0-9+.-]{1,20}://)(?:[^\s/'\"<>]*@)?([^\s/?#'\"<>]*)[^\s'\"<>]*"),
        r"\1\2",
    ),
    # Each run of characters is looked at once: strangers choose how long a line is (Host, paths).
    (re.compile(r"(?<![\w.+-])[\w.+-]++@[\w-]++\.[\w.-]+"), REMOVED),
    # Signatures, calldata and other long hex.
    (re.compile(r"\b(?:0x)?[0-9a-fA-F]{65,}\b"), REMOVED),
    (re.compile(r"\b((?:0x)?[0-9a-fA-F]{10})[0-9a-fA-F]{54}\b"), r"\1…"),
)
#: PostgreSQL repeats whole rows here.
_ROWS = re.compile(r"(?s)\b(?:DETAIL|CONTEXT|HINT):.*")
_QUOTED = re.compile(r"""(['"`])(?:(?!\1).){25,}\1""", re.S)


def text(value: str) -> str:
    """A line of a log: as it was, without secrets."""
    for shape, instead in _RULES:
        value = shape.sub(instead, value)
    return value


def outside(value: str) -> str:
    """A sentence that leaves the machine: its first line, without what it quotes at length (it may
    quote people), at most MOST characters."""
    value = _ROWS.sub("", value)
    value = _QUOTED.sub(rf"\1{REMOVED}\1", value)
    return text(value.strip().partition("\n")[0])[:MOST]
