"""How much a request may bring, decided before Django reads it: what Django takes in goes to disk,
whole, before any view can look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from django.http import HttpRequest

from inference.media.recordings import MAX_BYTES as RECORDING
from inference.media.uploads import MAX_UPLOAD_BYTES as PICTURE
from inference.openai.reply import Receive, Send
from marketplace import problems
from marketplace.middleware import identifier_of

#: For a form's other fields beside its file.
FRAME = 1 << 20
#: Verification takes exported conversations of several MB; nothing else comes near.
USUAL = 24 << 20
#: A proxy sends on what it has taken in; whoever sends slowly reads the answer meanwhile.
HEARD_OUT_SECONDS = 10.0
_PATHS = {
    "/playground/audio/transcribe": RECORDING + FRAME,
    "/playground/images/make": PICTURE + FRAME,
}


def most(path: str) -> int:
    """Bytes that a request to `path` may bring."""
    return _PATHS.get(path, USUAL)


def declared(scope: dict[str, Any]) -> int:
    """What a request says it brings; 0 where it does not say."""
    text = dict(scope["headers"]).get(b"content-length", b"0")
    return int(text) if text.isdigit() and len(text) < 16 else 0


async def refuse(send: Send, limit: int) -> None:
    """Answer a program 413, as a problem document, and close."""
    words = f"This is larger than {limit >> 20} MB, which is the most that is taken here."
    request = HttpRequest()
    request.request_id = identifier_of("")  # type: ignore[attr-defined]
    body = problems.document(request, problems.Problem("too_large", words)).content
    headers = [
        (b"connection", b"close"),
        (b"access-control-allow-origin", b"*"),
        (b"x-request-id", request.request_id.encode()),  # type: ignore[attr-defined]
        (b"content-type", problems.CONTENT_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def heard_out(
    receive: Receive, send: Send, answer: Callable[[Send], Awaitable[None]]
) -> None:
    """Pass on what `answer` sends; it ends when its request has come whole, or after
    `HEARD_OUT_SECONDS`. A proxy that is still sending when we close never reads the answer, and
    says 502 for us. What `answer` took it has given back before: whoever sends slowly would keep
    the few connections to the database from everybody.
    """

    async def not_ended(message: dict[str, Any]) -> None:
        body = message["type"] == "http.response.body"
        await send({**message, "more_body": True} if body else message)

    await answer(not_ended)
    with suppress(TimeoutError):
        async with asyncio.timeout(HEARD_OUT_SECONDS):
            while (await receive()).get("more_body"):  # neither the last one, nor who has gone
                pass
    await send({"type": "http.response.body", "body": b""})


def unread() -> Receive:
    """A request without its body, from somebody who waits for the answer."""
    told = False

    async def next_message() -> dict[str, Any]:
        nonlocal told
        if told:
            await asyncio.Event().wait()
        told = True
        return {"type": "http.request", "body": b"", "more_body": False}

    return next_message


class Bounded:
    """`receive` that hangs up on whoever sends more than they said, or did not say how much; `over`
    from then on.
    """

    def __init__(self, receive: Receive, limit: int) -> None:
        self.over = False
        self._receive, self._left = receive, limit

    async def __call__(self) -> dict[str, Any]:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        self.over = self._left < 0
        return {"type": "http.disconnect"} if self.over else message
