"""Static files, before Django: a first visit brings some forty of them, and behind the middleware
of pages each one cost what a small page costs.
"""

from __future__ import annotations

from typing import Any

from whitenoise.middleware import WhiteNoiseMiddleware

from inference.openai.reply import Receive, Scope, Send

#: What WhiteNoise reads of a request, by the names it knows.
_READ = {
    b"accept-encoding": "HTTP_ACCEPT_ENCODING",
    b"if-modified-since": "HTTP_IF_MODIFIED_SINCE",
    b"if-none-match": "HTTP_IF_NONE_MATCH",
    b"range": "HTTP_RANGE",
}
_NOSNIFF = (b"x-content-type-options", b"nosniff")


class Assets:
    """Answers for files below `STATIC_URL` (at most some 100 KB each, so they are read at once).
    All else is for `otherwise`, and so is a name without a file: that is a missing page like any.
    """

    def __init__(self, otherwise: Any) -> None:
        self._otherwise = otherwise
        self._files: Any = WhiteNoiseMiddleware(None)  # for what it makes of the settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._find(scope["path"])
        if found is None:
            await self._otherwise(scope, receive, send)
            return
        asked = {_READ[n]: v.decode("latin-1") for n, v in scope["headers"] if n in _READ}
        answer = found.get_response(scope["method"], asked)
        body = b""
        if answer.file is not None:
            with answer.file as file:
                body = file.read()
        headers = [(name.lower().encode(), value.encode()) for name, value in answer.headers]
        start = {"type": "http.response.start", "status": int(answer.status)}
        await send({**start, "headers": [*headers, _NOSNIFF]})
        await send({"type": "http.response.body", "body": body})

    def _find(self, path: str) -> Any:
        if not path.startswith(self._files.static_prefix):
            return None
        return (
            self._files.find_file(path) if self._files.autorefresh else self._files.files.get(path)
        )
