"""Reading requests and answers without trusting either: what to forward, what it may cost, what it
did cost. Pure: bytes in, numbers out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import orjson

from protocol import fees
from protocol.fees import Tariff, Usage
from provider.errors import Refused

# English text has about four bytes a token; a reserve is only an estimate (5.2 adds 1 0G to it).
BYTES_PER_TOKEN = 4
DEFAULT_MAX_TOKENS = 1024
MAX_TOKENS = 1_000_000
MAX_CHOICES = 128
MAX_LINE_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Prompt:
    """A request as it goes upstream: its bytes, whether it streams, and a guess of its usage."""

    body: bytes
    stream: bool
    expected: Usage


def read_prompt(raw: bytes, model: str, upstream_model: str) -> Prompt:
    """Check a chat request and prepare its bytes for the upstream.

    The bytes stay as they came unless the model name has to change or a stream lacks
    `stream_options.include_usage`, without which nothing could be billed. Raises Refused 400.
    """
    document = _strict_object(raw)
    changed: dict[str, Any] = {}
    if document.get("model") != (upstream_model or model):
        changed["model"] = upstream_model or model
    stream = document.get("stream", False)
    if not isinstance(stream, bool | None):
        raise Refused(400, "validate request: stream must be a boolean")
    if stream:
        options = document.get("stream_options")
        options = options if isinstance(options, dict) else {}
        if options.get("include_usage") is not True:
            changed["stream_options"] = {**options, "include_usage": True}
    if not isinstance(document.get("messages"), list):
        raise Refused(400, "validate request: messages must be a list")
    body = orjson.dumps({**document, **changed}) if changed else raw
    answer = _bounded(document, "max_completion_tokens", "max_tokens") * _choices(document)
    return Prompt(body, bool(stream), Usage(len(raw) // BYTES_PER_TOKEN + 1, answer))


def _strict_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in `raw`. A repeated key is refused: two parsers could read two requests."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("repeated key")
        return found

    try:
        document = json.loads(raw.decode(), object_pairs_hook=once)
        orjson.dumps(document)  # no lone surrogates, no numbers that JSON cannot carry
    except (ValueError, TypeError, RecursionError) as error:
        raise Refused(400, "validate request: the body is not valid JSON") from error
    if not isinstance(document, dict):
        raise Refused(400, "validate request: the body is not a JSON object")
    return document


def _bounded(document: dict[str, Any], *names: str) -> int:
    """The first token limit given, else a default."""
    for name in names:
        value = document.get(name)
        if value is not None:
            if type(value) is not int or not 0 < value <= MAX_TOKENS:
                raise Refused(400, f"validate request: {name} must be between 1 and {MAX_TOKENS}")
            return value
    return DEFAULT_MAX_TOKENS


def _choices(document: dict[str, Any]) -> int:
    value = document.get("n")
    if value is None:
        return 1
    if type(value) is not int or not 0 < value <= MAX_CHOICES:
        raise Refused(400, f"validate request: n must be between 1 and {MAX_CHOICES}")
    return value


class AnswerMeter:
    """Follows an answer, whole or streamed, and says what it costs at any moment."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.done = False
        self._words: list[str] = []
        self._line = b""

    def fee(self, tariff: Tariff) -> int:
        """Neuron so far: by the upstream's usage, else by the words seen."""
        if self.usage is not None:
            return fees.chat_fee(tariff, self.usage)
        return fees.words_fee(tariff.output_price, "".join(self._words))

    def whole(self, body: bytes) -> bool:
        """Read a complete JSON answer; False if it is none."""
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            return False
        if not isinstance(document, dict):
            return False
        self._read(document, "message")
        self.done = True
        return True

    def feed(self, part: bytes) -> None:
        """Read the next bytes of an event stream, cut anywhere."""
        *lines, rest = (self._line + part).split(b"\n")
        for line in lines:
            self._event(line)
        # A line that never ends may not fill the memory; it is no event anyway.
        self._line = rest if len(rest) <= MAX_LINE_BYTES else b""

    def end(self) -> None:
        """The stream is over: a last line may lack its newline."""
        self._event(self._line)
        self._line = b""

    def _event(self, line: bytes) -> None:
        if not line.startswith(b"data:"):
            return
        data = line[5:].strip()
        if data == b"[DONE]":
            self.done = True
            return
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError:
            return
        if isinstance(document, dict):
            self._read(document, "delta")

    def _read(self, document: dict[str, Any], part: str) -> None:
        self.usage = fees.chat_usage(document.get("usage")) or self.usage
        choices = document.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            message = choice.get(part) if isinstance(choice, dict) else None
            content = message.get("content") if isinstance(message, dict) else None
            if isinstance(content, str):
                self._words.append(content)
