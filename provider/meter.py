"""Reading requests and answers without trusting either: what to forward, what it may cost, what it
did cost. Pure: bytes in, numbers out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import orjson

from protocol import fees, media
from protocol.fees import DurationRule, Tariff, Usage
from provider.errors import Refused
from provider.strict import strict_object

# English text has about four bytes a token; a reserve is only an estimate (5.2 adds 1 0G to it).
BYTES_PER_TOKEN = 4
DEFAULT_MAX_TOKENS = 1024
MAX_TOKENS = 1_000_000
MAX_CHOICES = 128
# A picture of a megapixel is about so many tokens; its bytes say nothing.
PICTURE_TOKENS = 1500
MAX_LINE_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Prompt:
    """A request as it goes upstream: its bytes, and a guess of its usage."""

    body: bytes
    expected: Usage


def read_prompt(raw: bytes, model: str) -> Prompt:
    """Check a chat request and prepare its bytes for the upstream, which knows `model`.

    The bytes stay as they came unless the model name has to change or a stream lacks
    `stream_options.include_usage`, without which nothing could be billed. Raises Refused 400.
    """
    document = strict_object(raw)
    changed: dict[str, Any] = {}
    if document.get("model") != model:
        changed["model"] = model
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
    answer = _longest(document) * _choices(document)
    count, size = _pictures(document["messages"])
    asked = (len(raw) - size) // BYTES_PER_TOKEN + 1 + count * PICTURE_TOKENS
    return Prompt(body, Usage(asked, answer))


def _pictures(messages: list[Any]) -> tuple[int, int]:
    """How many pictures travel inside the messages, and in how many bytes."""
    contents = [x.get("content") for x in messages if isinstance(x, dict)]
    parts = [part for x in contents if isinstance(x, list) for part in x if isinstance(part, dict)]
    shown = [part["image_url"] for part in parts if isinstance(part.get("image_url"), dict)]
    urls = [str(x.get("url")) for x in shown]
    inside = [len(url) for url in urls if url.startswith("data:")]
    return len(inside), sum(inside)


def _longest(document: dict[str, Any]) -> int:
    """Tokens that an answer may have: the largest limit given, as servers heed different ones, or a
    default; llama.cpp heeds `n_predict` before them, of which others know nothing."""
    given = [_limit(document, name) for name in ("max_completion_tokens", "max_tokens")]
    longest = max((value for value in given if value), default=DEFAULT_MAX_TOKENS)
    return max(longest, _limit(document, "n_predict"))


def _limit(document: dict[str, Any], name: str) -> int:
    """A token limit; 0 where it is not given."""
    value = document.get(name)
    if value is None:
        return 0
    if type(value) is not int or not 0 < value <= MAX_TOKENS:
        raise Refused(400, f"validate request: {name} must be between 1 and {MAX_TOKENS}")
    return value


def _choices(document: dict[str, Any]) -> int:
    value = document.get("n")
    if value is None:
        return 1
    if type(value) is not int or not 0 < value <= MAX_CHOICES:
        raise Refused(400, f"validate request: n must be between 1 and {MAX_CHOICES}")
    return value


class Meter(ABC):
    """Follows an answer, whole or streamed, and says what it costs at any moment."""

    #: Whether an answer may come as events.
    streams = True

    def __init__(self) -> None:
        self.done = False
        self._line = b""

    @abstractmethod
    def fee(self, tariff: Tariff) -> int:
        """Neuron so far."""

    @abstractmethod
    def whole(self, body: bytes) -> bool:
        """Read a complete answer; False if it is none."""

    @abstractmethod
    def read(self, document: dict[str, Any]) -> None:
        """Read the JSON object of one event."""

    def feed(self, part: bytes) -> None:
        """Read the next bytes of an event stream, cut anywhere."""
        *lines, rest = (self._line + part).split(b"\n")
        for line in lines:
            self._event(line)
        # A line that never ends may not fill the memory; it is no event anyway.
        self._line = rest if len(rest) <= MAX_LINE_BYTES else b""

    def end(self) -> None:
        """The stream is over."""
        # A last line may lack its newline.
        self._event(self._line)
        self._line = b""

    def _event(self, line: bytes) -> None:
        if not line.startswith(b"data:"):
            return
        data = line[5:].strip()
        if data == b"[DONE]":
            self.done = True
            return
        document = _object(data)
        if document is not None:
            self.read(document)


def _object(raw: bytes) -> dict[str, Any] | None:
    """The JSON object in `raw`, None where there is none."""
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None


class AnswerMeter(Meter):
    """The meter of chat completions."""

    def __init__(self) -> None:
        super().__init__()
        self.usage: Usage | None = None
        self._words: list[str] = []

    def fee(self, tariff: Tariff) -> int:
        """By the upstream's usage, else by the words seen."""
        if self.usage is not None:
            return fees.chat_fee(tariff, self.usage)
        return fees.words_fee(tariff.output_price, "".join(self._words))

    def whole(self, body: bytes) -> bool:
        document = _object(body)
        if document is None:
            return False
        self._take(document, "message")
        self.done = True
        return True

    def read(self, document: dict[str, Any]) -> None:
        self._take(document, "delta")

    def _take(self, document: dict[str, Any], part: str) -> None:
        self.usage = fees.chat_usage(document.get("usage")) or self.usage
        choices = document.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            message = choice.get(part) if isinstance(choice, dict) else None
            content = message.get("content") if isinstance(message, dict) else None
            if isinstance(content, str):
                self._words.append(content)


class SpeechMeter(Meter):
    """The meter of transcriptions (provider-protocol.md 1.3, 5.1)."""

    def __init__(self, rule: DurationRule) -> None:
        super().__init__()
        self._rule = rule
        self._body: bytes | None = None
        self._usage: media.SpeechUsage | None = None
        self._words: list[str] = []

    def fee(self, tariff: Tariff) -> int:
        """By usage, by the end of the last subtitle, else by the words seen; before the first word
        nothing."""
        if self._body is not None:
            return media.transcription(self._body).fee(tariff, self._rule)
        if self._usage is not None:
            return self._usage.fee(tariff, self._rule)
        said = "".join(self._words)
        return fees.speech_words_fee(tariff.output_price, said) if said else 0

    def whole(self, body: bytes) -> bool:
        self._body = body
        self.done = True
        return True

    def read(self, document: dict[str, Any]) -> None:
        kind, delta = document.get("type"), document.get("delta")
        if kind == "transcript.text.delta" and isinstance(delta, str):
            self._words.append(delta)
        if kind == "transcript.text.done":
            self._usage = media.speech_usage(document)
            self.done = True


class VectorMeter(Meter):
    """The meter of embeddings: the upstream's count of input tokens. Without one nothing could be
    billed, so such an answer is none."""

    streams = False

    def __init__(self) -> None:
        super().__init__()
        self._tokens = 0

    def fee(self, tariff: Tariff) -> int:
        """Every token at the input price; no source has a rule of its own for these."""
        return fees.chat_fee(tariff, Usage(self._tokens, 0))

    def whole(self, body: bytes) -> bool:
        document = _object(body)
        if document is None or not isinstance(document.get("data"), list):
            return False
        self.read(document)
        return self.done

    def read(self, document: dict[str, Any]) -> None:
        usage = document.get("usage")
        counted = fees.count(usage.get("prompt_tokens")) if isinstance(usage, dict) else None
        if counted is not None:
            self._tokens, self.done = counted, True
