"""Addresses of pages, and which pages exist: nothing on the site links to a path that answers
404."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import quote, urlencode, urlsplit

from django.urls import Resolver404, resolve


@lru_cache(maxsize=64)
def exists(path: str) -> bool:
    """Whether some app serves this path; apps come and go with the release, not at run time."""
    try:
        resolve(path)
    except Resolver404:
        return False
    return True


def provider_path(address: str) -> str:
    return f"/providers/{address}"


def account_path(address: str) -> str:
    return f"/accounts/{address}"


def model_path(model: str) -> str:
    """A model's page. Browsers fold `.` and `..` away even when encoded, so these names get no
    page."""
    if not model or model.strip("./") == "" or "\x00" in model:
        return ""
    return "/models/" + quote(model, safe="")


def with_query(path: str, **values: str | int) -> str:
    """A path, which may have a query, with the non-empty values added to it. A list's first page is
    what its address without a page shows."""
    given = {name: value for name, value in values.items() if value not in ("", None)}
    if given.get("page") == 1:
        del given["page"]
    return f"{path}{'&' if '?' in path else '?'}{urlencode(given)}" if given else path


def web_url(text: str) -> str | None:
    """A provider's URL without trailing slash if it is plain http or https, else None. Never an
    `href`: shown as text."""
    try:
        parts = urlsplit(text)
        valid = (
            parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None
        )
        _ = parts.port
    except ValueError:
        return None
    printable = (
        text.isprintable() and text.isascii() and not any(c in text for c in " \"'<>\\^`{|}")
    )
    return text.rstrip("/") if valid and printable else None
