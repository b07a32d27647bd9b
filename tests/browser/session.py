"""A browser that is signed in without the wallet's dialog, which has tests of its own."""

from __future__ import annotations

from django.conf import settings
from django.test import Client
from playwright.sync_api import BrowserContext

from accounts.models import User
from tests.db.personal_world import sign_in


def session_of(user: User) -> str:
    """The value of the cookie that a wallet's signature would have brought a moment ago."""
    client = Client()
    sign_in(client, user)
    return client.cookies[settings.SESSION_COOKIE_NAME].value


def enter(context: BrowserContext, url: str, user: User) -> None:
    """From the next page on, a browser of this user's."""
    name = settings.SESSION_COOKIE_NAME
    context.add_cookies([{"name": name, "value": session_of(user), "url": url}])
