"""Django's admin needs messages between requests; no other page does."""

from __future__ import annotations

from typing import Any

from django.contrib.messages.middleware import MessageMiddleware
from django.http import HttpRequest

PREFIX = "/admin/"


class AdminMessages(MessageMiddleware):
    """Costs other pages nothing: no session, no cookie, no change of threads."""

    def __call__(self, request: HttpRequest) -> Any:
        if request.path.startswith(PREFIX):
            return super().__call__(request)
        return self.get_response(request)
