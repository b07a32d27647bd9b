"""What we say to a chat provider and what it says back, as bytes and values. Pure: no clock, no
socket, no database.

A provider is a stranger: every number is checked, every text is bounded, every shape may be wrong.
Format: OpenAI chat completions over server-sent events (provider-protocol.md 1.2, 1.3).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import orjson

from inference import tools
from net import strictjson
from net.errors import BadAnswer
from net.limits import JsonLimits
from protocol import fees

Role = Literal["system", "user", "assistant", "tool"]

MAX_EVENT_BYTES = 256 << 10
MAX_ERROR_CHARS = 500
_CHUNK_SHAPE = JsonLimits(max_depth=24, max_bytes=MAX_EVENT_BYTES)
_BODY_SHAPE = JsonLimits(max_depth=24, max_bytes=4 << 20)


class BadStream(Exception):
    """The provider's bytes do not follow the format; the text says how."""


@dataclass(frozen=True)
class Picture:
    """A picture inside a message: a `data:` URL, and the most tokens it can be."""

    url: str
    most_tokens: int


@dataclass(frozen=True)
class Message:
    """One message of a conversation; with pictures it is sent in parts. `calls` are functions that
    the assistant called, `result_of` the id of the one whose result a tool's message is.
    """

    role: Role
    content: str
    pictures: tuple[Picture, ...] = ()
    calls: tuple[tools.ToolCall, ...] = ()
    result_of: str = ""

    @property
    def document(self) -> dict[str, Any]:
        if self.calls:
            called = [call.wire() for call in self.calls]
            return {"role": self.role, "content": self.content or None, "tool_calls": called}
        if self.result_of:
            return {"role": self.role, "tool_call_id": self.result_of, "content": self.content}
        return {"role": self.role, "content": self.parts}

    @property
    def parts(self) -> str | list[dict[str, Any]]:
        if not self.pictures:
            return self.content
        shown = [{"type": "image_url", "image_url": {"url": x.url}} for x in self.pictures]
        return [{"type": "text", "text": self.content}, *shown]


class Piece(NamedTuple):
    """What one chunk of an answer said. `done` marks the end of the stream, `error` a failure told
    inside it. (A tuple: one is made for every token of every answer.)
    """

    text: str = ""
    reasoning: str = ""
    finish_reason: str = ""
    usage: fees.Usage | None = None
    error: str = ""
    done: bool = False
    calls: tuple[tools.Part, ...] = ()


def request_body(
    *,
    model: str,
    messages: Sequence[Message],
    max_tokens: int,
    options: Mapping[str, Any] | None = None,
) -> bytes:
    """The exact bytes of a streaming chat request.

    `max_tokens` bounds what a stopped answer can still cost (a provider bills the whole answer),
    and asking for usage ourselves keeps brokers from rewriting the request, which would break its
    hash (provider-protocol.md 12).
    """
    document: dict[str, Any] = {
        "model": model,
        "messages": [m.document for m in messages],
        **(options or {}),
        "max_tokens": max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return orjson.dumps(document)


_DONE = Piece(done=True)
#: What it costs to learn the shape of a stream's chunks; each chunk of a known shape earns one, so
#: that a stream which changes its shape all the time is soon read without.
_LEARNING = 4
#: Chunks beyond this are not learnt from, and of the places where a chunk's text may stand only so
#: many are tried: every try reads the whole chunk again, and a stranger chooses how many there are.
_LEARNT_BYTES = 16 << 10
_TRIES = 4


class EventParser:
    """Cuts server-sent events out of bytes that arrive in any pieces; `feed` returns the data of
    complete events.

    Follows the WHATWG rules for what we need: lines end in LF, CR LF or CR; several data lines join
    with LF; comments and other fields are skipped; a leading byte order mark is ignored. Work is
    linear in the bytes, memory bounded. Raises BadStream for a line or an event beyond
    MAX_EVENT_BYTES.
    """

    def __init__(self) -> None:
        self._line: list[bytes] = []
        self._line_size = 0
        self._data: list[bytes] = []
        self._data_size = 0
        self._after_cr = False
        self._first = True

    def feed(self, data: bytes) -> list[bytes]:
        events: list[bytes] = []
        if self._first or self._after_cr or b"\r" in data:
            self._feed(data, events)
            return events
        # Nearly every event is one data line, whole, between blank lines: those are cut at once,
        # as soon as what was begun before is complete; only the rest is read line by line.
        begun = 0
        if self._line or self._data:
            begun = data.find(b"\n\n") + 2
            if begun < 2:
                begun = len(data)
            self._feed(data[:begun], events)
        end = data.rfind(b"\n\n", begun)
        if end >= begun and not self._line and not self._data:
            self._cut(data[begun:end], events)
            begun = end + 2
        if begun < len(data):
            self._feed(data[begun:], events)
        return events

    def _cut(self, data: bytes, events: list[bytes]) -> None:
        """Whole events, without the blank line behind the last."""
        parts = data.split(b"\n\ndata: ")
        ends = 2 * (len(parts) - 1)
        if data[:6] == b"data: " and len(data) <= MAX_EVENT_BYTES and data.count(b"\n") == ends:
            parts[0] = parts[0][6:]
            events += parts
            return
        for part in data.split(b"\n\n"):
            if part[:6] == b"data: " and len(part) <= MAX_EVENT_BYTES and b"\n" not in part:
                events.append(part[6:])
            else:
                self._feed(part + b"\n\n", events)

    def _feed(self, data: bytes, events: list[bytes]) -> None:
        if self._after_cr and data:
            self._after_cr = False
            if data[:1] == b"\n":
                data = data[1:]
        for part in data.splitlines(keepends=True):
            end = part[-1]
            if end not in b"\r\n":
                self._hold(part)
                continue
            self._after_cr = end == 0x0D
            self._hold(part.rstrip(b"\r\n"))
            line, self._line, self._line_size = b"".join(self._line), [], 0
            if self._first:
                self._first = False
                line = line.removeprefix(b"\xef\xbb\xbf")
            self._take(line, events)
        # Only a CR at the very end may be half of a CR LF.
        self._after_cr = self._after_cr and data.endswith(b"\r")

    def _hold(self, part: bytes) -> None:
        self._line_size += len(part)
        if self._line_size > MAX_EVENT_BYTES:
            raise BadStream("a line of the stream is too long")
        self._line.append(part)

    def _take(self, line: bytes, events: list[bytes]) -> None:
        if not line:
            if self._data:
                events.append(b"\n".join(self._data))
            self._data, self._data_size = [], 0
            return
        name, _, value = line.partition(b":")
        if name != b"data":
            return
        value = value.removeprefix(b" ")
        self._data_size += len(value) + 1
        if self._data_size > MAX_EVENT_BYTES:
            raise BadStream("an event of the stream is too long")
        self._data.append(value)


class ChunkReader:
    """Reads the events of one stream: what `read_event` says of each, with the texts of neighbours
    that say nothing else in one piece.

    The chunks of a stream mostly differ in one string. What stands around it is learnt from a chunk
    and proven by reading that chunk with another string in its place, one that nobody can have put
    anywhere else: the chunk's digest. Of a chunk between the same two ends, only the string is
    parsed. (Where it is not one whole JSON string, or empty, all is.)
    """

    def __init__(self) -> None:
        self._start = self._end = b"\x00"  # begins no chunk
        self._reasoning = False
        self._credit = _LEARNING * 4

    def read(self, events: list[bytes]) -> Iterator[Piece]:
        """The pieces up to the closing mark, which is the last one. Raises BadStream."""
        texts: list[str] = []
        begun, ended = self._start, self._end
        first, last, least = len(begun) - 1, len(ended) - 1, len(begun) + len(ended)
        for data in events:
            if data.startswith(begun) and data.endswith(ended) and len(data) >= least:
                try:
                    text = orjson.loads(data[first : len(data) - last])
                except orjson.JSONDecodeError:
                    text = ""
                # Beside an empty text another field may count (`reasoning`).
                if text:
                    texts.append(text)
                    continue
            if texts:
                yield self._said(texts)
                texts = []
            yield (piece := read_event(data))
            if piece.done:
                return
            if self._credit >= _LEARNING and self._learn(data, piece):
                begun, ended = self._start, self._end
                first, last, least = len(begun) - 1, len(ended) - 1, len(begun) + len(ended)
        if texts:
            yield self._said(texts)

    def _said(self, texts: list[str]) -> Piece:
        self._credit += len(texts)
        text = _clean("".join(texts))
        return Piece(reasoning=text) if self._reasoning else Piece(text)

    def _learn(self, data: bytes, piece: Piece) -> bool:
        """Take over what stands around the string of a chunk that says nothing else, if it can be
        proven.
        """
        text = piece.text or piece.reasoning
        if not text or piece not in (Piece(text), Piece(reasoning=text)):
            return False
        self._credit -= _LEARNING
        if len(data) > _LEARNT_BYTES:
            return False
        probe = hashlib.sha256(data).hexdigest()
        said = b'"%s"' % text.encode("utf-8", "replace")
        at = -1
        for _ in range(_TRIES):
            at = data.find(said, at + 1)
            if at < 0:
                return False
            start, end = data[: at + 1], data[at + len(said) - 1 :]
            try:
                found = read_event(start + probe.encode() + end)
            except BadStream:
                continue  # it stood between two strings: the word "," does in most chunks
            if found in (Piece(probe), Piece(reasoning=probe)):
                self._start, self._end, self._reasoning = start, end, bool(found.reasoning)
                return True
        return False


def read_event(data: bytes) -> Piece:
    """What one event of a streamed answer says. Raises BadStream for anything that is not a
    chunk.
    """
    if len(data) < 16 and data.strip() == b"[DONE]":
        return _DONE
    return _piece(data, _CHUNK_SHAPE, "delta")


def read_body(data: bytes) -> Piece:
    """The same for a whole answer sent as one JSON document by a provider that does not stream."""
    return _piece(data, _BODY_SHAPE, "message")._replace(done=True)


def read_error(body: bytes) -> str:
    """The sentence in an error body: `error`, `error.message`, `message` or `detail`; plain text as
    it is; bounded.
    """
    try:
        document = strictjson.loads(body, _CHUNK_SHAPE)
    except BadAnswer:
        return _clean(body.decode("utf-8", "replace"))[:MAX_ERROR_CHARS].strip()
    return _error_text(document)


#: Half of an escaped character, alone or (`whole`) with its other half, behind escaped backslashes.
_HALF = re.compile(
    rb"(?<!\\)((?:\\\\)*+)"
    rb"(?:(?P<whole>\\u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2})"
    rb"|\\u[dD][89a-fA-F][\da-fA-F]{2})"
)
#: So many are looked at in one document: a stranger's may have nothing else.
_MOST_HALVES = 10_000


def _document(data: bytes, shape: JsonLimits) -> tuple[dict[str, Any], bytes]:
    """With the bytes that it was read from."""
    try:
        document = strictjson.loads(data, shape)
    except BadAnswer:
        data = _whole(data[: shape.max_bytes + 1])
        try:
            document = strictjson.loads(data, shape)
        except BadAnswer as error:
            raise BadStream(str(error)) from None
    if not isinstance(document, dict):
        raise BadStream("a chunk of the stream is not an object")
    return document, data


def _whole(data: bytes) -> bytes:
    """A server that cuts between the halves of a character must not cost the answer: each shows
    as one that cannot be."""
    return _HALF.sub(
        lambda found: found[0] if found["whole"] else found[1] + b"\\ufffd", data, _MOST_HALVES
    )


def _piece(data: bytes, shape: JsonLimits, where: str) -> Piece:
    document, data = _document(data, shape)
    if document.get("error"):
        return Piece(error=_error_text(document) or "the provider reported an error")
    said = document.get("usage")
    usage = fees.chat_usage(said) if said is not None else None
    choices = document.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        return Piece(usage=usage)
    content = choice.get(where)
    content = content if isinstance(content, dict) else {}
    reasoning = content.get("reasoning_content") or content.get("reasoning")
    reason = choice.get("finish_reason")
    called = content.get("tool_calls")
    if called and tools.as_values(called):
        called = json.loads(data)["choices"][0][where]["tool_calls"]  # whole numbers of any size
    return Piece(
        _text(content.get("content")),
        _text(reasoning) if reasoning is not None else "",
        _text(reason)[:40] if reason is not None else "",
        usage,
        calls=tools.parts(called, whole=where == "message") if called else (),
    )


def _text(value: object) -> str:
    return _clean(value) if isinstance(value, str) else ""


def _clean(text: str) -> str:
    # PostgreSQL cannot store NUL, and no reader misses it.
    return text.replace("\x00", "\ufffd") if "\x00" in text else text


def _error_text(document: object) -> str:
    if not isinstance(document, dict):
        return ""
    value = document.get("error") or document.get("message") or document.get("detail")
    if isinstance(value, dict):
        value = value.get("message") or value.get("code")
    return _text(value)[:MAX_ERROR_CHARS].strip()
