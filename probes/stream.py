"""How fast an answer streams, read off its events: pure; the caller's clock in milliseconds."""

from __future__ import annotations

from typing import Any

from net import strictjson
from net.errors import BadAnswer
from net.limits import JsonLimits
from probes.seen import Spoken

#: The most tokens that are asked for; a count beyond it is not believed.
MAX_TOKENS = 40
#: With fewer pieces than this an answer came at once rather than as a stream: no speed is told.
LEAST_PIECES = 6
_LINE = 64 << 10
_SHAPE = JsonLimits(max_depth=12, max_bytes=_LINE)


class Meter:
    """Feed it bytes as they arrive; times are milliseconds since the question was sent."""

    def __init__(self) -> None:
        self._rest = b""
        self._first: int | None = None
        self._last = 0
        self._pieces = 0
        self._tokens: int | None = None
        self._usage_last = False
        self._done = False

    def feed(self, data: bytes, at_ms: int) -> None:
        """Raises BadAnswer for a line that does not end."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LINE:
            raise BadAnswer("a line of the stream does not end")
        for line in lines:
            self._line(line.strip(), at_ms)

    def result(self) -> Spoken:
        """What was measured until now; `failed` without a single token."""
        elapsed = self._last - (self._first or 0)
        streamed = self._pieces >= LEAST_PIECES and elapsed > 0
        return Spoken(
            failed=self._first is None,
            first_token_ms=self._first,
            tokens=self._tokens if streamed else None,
            stream_ms=elapsed if streamed else None,
            usage_last=self._usage_last if self._done or self._pieces else None,
        )

    def _line(self, line: bytes, at_ms: int) -> None:
        if not line.startswith(b"data:"):
            return
        text = line.removeprefix(b"data:").strip()
        if text == b"[DONE]":
            self._done = True
            return
        try:
            event = strictjson.loads(text, _SHAPE)
        except BadAnswer:
            return
        if not isinstance(event, dict):
            return
        if _speaks(event):
            self._first = at_ms if self._first is None else self._first
            self._last = at_ms
            self._pieces += 1
        usage = event.get("usage")
        tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
        self._usage_last = isinstance(usage, dict)
        if isinstance(tokens, int) and 1 < tokens <= MAX_TOKENS:
            self._tokens = tokens


def _speaks(event: dict[str, Any]) -> bool:
    """Whether an event brings text, of the answer or of the reasoning before it."""
    choices = event.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    delta = choice.get("delta") if isinstance(choice, dict) else None
    if not isinstance(delta, dict):
        return False
    return any(
        isinstance(delta.get(name), str) and delta[name]
        for name in ("content", "reasoning_content", "reasoning")
    )


def tokens_per_10s(tokens: int | None, stream_ms: int | None) -> int | None:
    """After the first token, which waits for the whole prompt; None where it was not measured."""
    if tokens is None or not stream_ms:
        return None
    return (tokens - 1) * 10_000 // stream_ms
