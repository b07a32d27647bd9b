"""For the relay what Django's middleware does for pages: an id, and a line in the log."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from inference.openai.reply import Receive, Scope, Send
from marketplace import logs, traffic
from marketplace.middleware import identifier_of

Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class Tagged:
    """Gives each request its id (`scope["request_id"]`) and says how it ended."""

    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = [value for name, value in scope["headers"] if name == b"x-request-id"]
        identifier = identifier_of(given[0].decode("latin-1") if len(given) == 1 else "")
        began, status = time.perf_counter(), 0

        async def noted(message: dict[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.application({**scope, "request_id": identifier}, receive, noted)
        finally:
            traffic.count(scope["path"], status, began)
            said(scope, status, began)


def said(scope: Scope, status: int, began: float) -> None:
    """One line, without the ids and names at the end of a path; `began` on the clock of
    `time.perf_counter`, `status` 0 for who left before."""
    parts = [part for part in str(scope["path"])[:200].split("/") if part]
    endpoint = "/".join(parts[: 2 if parts[1:2] in (["models"], ["verifications"]) else 3])
    took = round((time.perf_counter() - began) * 1000, 1)
    logs.requests.info(
        "%s /%s %s",
        *(scope["method"], endpoint, status),
        extra={"status": status, "milliseconds": took},
    )
