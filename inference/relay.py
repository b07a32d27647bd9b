"""One chat request to one provider, as typed events. Knows the provider's protocol; knows no Django
and no browser.

Bytes are hashed exactly as they arrive, before anything reads them: the hash is what the provider's
signature must cover (provider-protocol.md 3.1).
"""

from __future__ import annotations

import hashlib
import re
import time
import zlib
from array import array
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

import orjson

from inference import failures, tools, wire
from inference.failures import Failure
from inference.thoughts import Thoughts
from net.client import Answer, Client
from net.errors import (
    BadAnswer,
    BadStatus,
    BadUrl,
    BrokenOff,
    NetError,
    Refused,
    TimedOut,
    TooLarge,
    Unreachable,
)
from net.limits import Limits
from net.patience import Progress
from protocol import fees

MAX_ANSWER_BYTES = 16 << 20
MAX_ANSWER_CHARS = 400_000
#: More than this of packed response bytes is not kept; their hash always is.
MAX_PACKED_BYTES = 4 << 20
#: Gathered before they are packed: each packing lets go of the interpreter, which another thread
#: may then keep for milliseconds.
_PACKED_AT_ONCE = 16 << 10
MAX_HEADERS = 40
#: Of so many reads is kept when they came: of a longer answer the beginning.
MAX_ARRIVALS = 2_000
#: Only characters that are safe in a path.
ANSWER_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_SECRET_HEADERS = {"set-cookie", "authorization", "proxy-authorization"}


@dataclass(frozen=True)
class Timeouts:
    """Seconds. Progress means text: a provider that only sends comments is as silent as one that
    sends nothing.
    """

    connect: float = 5.0
    first_token: float = 20.0
    between_tokens: float = 30.0
    whole: float = 600.0
    after_done: float = 3.0


@dataclass(frozen=True)
class Call:
    """What to send where. `body` are the exact bytes, `authorization` the header's whole value."""

    url: str
    authorization: str
    body: bytes


@dataclass
class Record:
    """What is known about a call so far; exact at every moment, also when the caller cancels in the
    middle.

    `response_sha256` covers every byte received. `complete` says that the provider ended its answer
    itself, so that the hash may be compared with a signed one. Times are seconds since `started`
    (monotonic clock). `arrivals`: of the first reads the milliseconds and the bytes, in turn.
    """

    request_sha256: str = ""
    answer_id: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: tools.Calls = field(default_factory=tools.Calls)
    thoughts: Thoughts = field(default_factory=Thoughts)
    usage: fees.Usage | None = None
    finish_reason: str = ""
    complete: bool = False
    sent: bool = False
    received_bytes: int = 0
    started: float = 0.0
    first_token_seconds: float | None = None
    first_text_seconds: float | None = None
    last_progress: float = 0.0
    seconds: float = 0.0
    arrivals: array[int] = field(default_factory=lambda: array("Q"))
    _hash: hashlib._Hash = field(default_factory=hashlib.sha256)
    # A small window: some hundred answers are packed at the same time.
    _packer: zlib._Compress = field(
        default_factory=lambda: zlib.compressobj(1, wbits=12, memLevel=5)
    )
    _packed: list[bytes] = field(default_factory=list)
    _packed_bytes: int = 0
    _loose: list[bytes] = field(default_factory=list)
    _loose_bytes: int = 0

    @property
    def response_sha256(self) -> str:
        return self._hash.hexdigest()

    def took(self, data: bytes) -> None:
        self._hash.update(data)
        self.received_bytes += len(data)
        if self._packed_bytes <= MAX_PACKED_BYTES:
            self._loose.append(data)
            self._loose_bytes += len(data)
            if self._loose_bytes >= _PACKED_AT_ONCE:
                self._pack()
        self.seconds = time.monotonic() - self.started
        if len(self.arrivals) < 2 * MAX_ARRIVALS:
            self.arrivals.extend((int(self.seconds * 1000), len(data)))

    def _pack(self) -> None:
        packed = self._packer.compress(b"".join(self._loose))
        self._loose, self._loose_bytes = [], 0
        self._packed_bytes += len(packed)
        self._packed.append(packed)

    def packed(self) -> bytes:
        """All bytes received, compressed (zlib); b"" where they were too many to keep."""
        self._pack()
        if self._packed_bytes > MAX_PACKED_BYTES:
            return b""
        return b"".join(self._packed) + self._packer.copy().flush()

    def packed_arrivals(self) -> bytes:
        """`arrivals` as JSON; b"" where nothing came."""
        return orjson.dumps(self.arrivals.tolist()) if self.arrivals else b""


@dataclass(frozen=True)
class Delta:
    """Text that one upstream read delivered; several tokens may share one."""

    text: str
    reasoning: str = ""


@dataclass(frozen=True)
class Calling:
    """More of a function that the answer calls, its `number`th from 1; `id` and `name` are said
    where it begins.
    """

    number: int
    arguments: str
    id: str = ""
    name: str = ""


@dataclass(frozen=True)
class Finished:
    """The answer ended by itself; why is in `Record.finish_reason`."""


@dataclass(frozen=True)
class Failed:
    """The answer did not come, or not to its end."""

    failure: Failure


Event = Delta | Calling | Finished | Failed


async def stream(
    client: Client, call: Call, record: Record, timeouts: Timeouts | None = None
) -> AsyncGenerator[Event, None]:
    """Send `call`, yield what comes, end with exactly one Finished or Failed; `record` is filled on
    the way.

    Closing the iterator (or cancelling) closes the connection to the provider at once.
    """
    timeouts = timeouts or Timeouts()
    record.request_sha256 = hashlib.sha256(call.body).hexdigest()
    record.started = time.monotonic()
    try:
        async with client.open(
            "POST",
            f"{call.url.rstrip('/')}/v1/proxy/chat/completions",
            headers={
                "Authorization": call.authorization,
                "Content-Type": "application/json",
                "Accept": "text/event-stream",
            },
            body=call.body,
            limits=Limits(
                connect=timeouts.connect,
                first_byte=timeouts.first_token,
                between=max(timeouts.between_tokens, timeouts.first_token),
                total=timeouts.whole,
                max_bytes=MAX_ANSWER_BYTES,
                max_redirects=0,
            ),
        ) as answer:
            record.sent = True
            record.answer_id = answer_id(answer)
            record.headers = headers(answer)
            reading = _streamed if "event-stream" in answer.header("Content-Type") else _whole
            async with aclosing(reading(answer, record, timeouts)) as events:
                async for event in events:
                    yield event
    except (NetError, wire.BadStream) as error:
        record.seconds = time.monotonic() - record.started
        began = record.first_token_seconds is not None
        yield Failed(failure_of(error, began=began, sent=record.sent))


async def _streamed(
    answer: Answer, record: Record, timeouts: Timeouts
) -> AsyncGenerator[Event, None]:
    parser, reader = wire.EventParser(), wire.ChunkReader()
    length = 0
    done = False
    progress = _progress(record, timeouts)
    async with aclosing(answer.chunks(progress)) as chunks:
        while chunk := await _next(chunks, record, done):
            record.took(chunk)
            if done:
                progress.until = time.monotonic() + timeouts.after_done
                continue  # hashed, for the signature may cover it, but the answer has ended
            # Nothing behind the closing mark: how the bytes were cut must not matter.
            pieces = list(reader.read(parser.feed(chunk)))
            length += sum(map(_chars, pieces))
            _bounded(length, record)  # before it is kept
            for event in _events(pieces, record):
                _bounded(length, record)  # with the functions that it calls
                yield event
                if isinstance(event, Failed):
                    return
            if record.last_progress:
                progress.stage, progress.seconds = "between", timeouts.between_tokens
                progress.until = record.last_progress + timeouts.between_tokens
            if pieces and pieces[-1].done:
                done = True
                progress.until = time.monotonic() + timeouts.after_done
    record.complete = record.complete and (answer.delimited or done)
    if done or record.finish_reason:
        yield Finished()
    else:
        yield Failed(Failure("cut_off", "the answer ended without its closing mark"))


async def _next(chunks: AsyncGenerator[bytes, None], record: Record, done: bool) -> bytes:
    """The next bytes, or nothing at the end. After the closing mark no failure matters any more."""
    try:
        chunk = await anext(chunks, b"")
    except NetError:
        if done:
            return b""
        raise
    record.complete = not chunk
    return chunk


async def _whole(answer: Answer, record: Record, timeouts: Timeouts) -> AsyncGenerator[Event, None]:
    """A provider that answers in one JSON document although we asked for a stream."""
    body = bytearray()
    async with aclosing(answer.chunks(_progress(record, timeouts))) as chunks:
        while chunk := await _next(chunks, record, False):
            record.took(chunk)
            body += chunk
    piece = wire.read_body(bytes(body))
    length = _chars(piece)
    _bounded(length, record)
    record.complete = record.complete and answer.delimited
    for event in _events([piece], record):
        _bounded(length, record)
        yield event
        if isinstance(event, Failed):
            return
    yield Finished()


def _chars(piece: wire.Piece) -> int:
    called = sum([len(part.arguments) for part in piece.calls])
    return len(piece.text) + len(piece.reasoning) + called


def _bounded(length: int, record: Record) -> None:
    """Raises TooLarge; `length`: of text, reasoning and what functions are called with."""
    if length > MAX_ANSWER_CHARS:
        raise TooLarge(f"an answer of more than {MAX_ANSWER_CHARS} characters")
    if len(record.calls) > tools.MAX_CALLS:
        raise TooLarge(f"an answer that calls more than {tools.MAX_CALLS} functions")


def _events(pieces: list[wire.Piece], record: Record) -> list[Event]:
    """The events of one read: all its text as one Delta, then functions called, then a failure told
    inside the stream. What else it says goes into `record`.
    """
    events: list[Event] = []
    pieces = [record.thoughts.take(piece) for piece in pieces]
    text = "".join([piece.text for piece in pieces])
    reasoning = "".join([piece.reasoning for piece in pieces])
    calling = [x for piece in pieces for part in piece.calls if (x := _calling(part, record))]
    if text or reasoning or calling:
        now = time.monotonic()
        if record.first_token_seconds is None:
            record.first_token_seconds = now - record.started
        record.last_progress = now
        record.seconds = now - record.started
        if (text or calling) and record.first_text_seconds is None:
            record.first_text_seconds = now - record.started
    if text or reasoning:
        record.text.append(text)
        record.reasoning.append(reasoning)
        events.append(Delta(text, reasoning))
    events += calling
    for piece in pieces:
        if not piece.finish_reason and piece.usage is None and not piece.error:
            continue
        record.finish_reason = piece.finish_reason or record.finish_reason
        record.usage = piece.usage if piece.usage is not None else record.usage
        if piece.error:
            events.append(Failed(Failure("provider_error", piece.error)))
            break
    return events


def _calling(part: tools.Part, record: Record) -> Calling | None:
    """None for what says nothing: a provider that sends only that is silent."""
    number, began = record.calls.take(part)
    if began:
        return Calling(number, part.arguments, *record.calls.called(number))
    return Calling(number, part.arguments) if number and part.arguments else None


def _progress(record: Record, timeouts: Timeouts) -> Progress:
    """How long the first text may take."""
    first = timeouts.first_token
    return Progress("first_byte", first, record.started + first)


def failure_of(error: NetError | wire.BadStream, *, began: bool, sent: bool) -> Failure:
    """What went wrong, in the words of a failed answer. `began`: some of it had come; `sent`: the
    provider had the request.
    """
    match error:
        case BadStatus():
            return failures.of_status(error.status, wire.read_error(error.body), error.retry_after)
        case TimedOut(stage="connect"):
            return Failure("unreachable", str(error))
        case TimedOut():
            return Failure("stalled" if began else "slow_start", str(error))
        case BadUrl() | Refused():
            return Failure("blocked_address", str(error))
        case Unreachable() if not sent:
            return Failure("unreachable", str(error))
        case BrokenOff() | Unreachable():
            return Failure("cut_off", str(error))
        case TooLarge():
            return Failure("too_large", str(error))
        case BadAnswer() | wire.BadStream():
            return Failure("bad_answer", str(error))
    return Failure("unreachable", str(error))


def answer_id(answer: Answer) -> str:
    """The id under which the provider keeps its signature; "" where it has no ANSWER_ID."""
    value = answer.header("ZG-Res-Key").strip()
    return value if ANSWER_ID.fullmatch(value) else ""


def headers(answer: Answer) -> dict[str, str]:
    """What the provider said about its answer, bounded; nothing that could be a secret."""
    names = [name for name in answer.header_names if name.lower() not in _SECRET_HEADERS]
    return {name[:60]: answer.header(name)[:300] for name in names[:MAX_HEADERS]}
