"""What an answer's bytes say about itself: tokens, the end, a failure, and what it costs. Pure.

Streams are not read while they pass: everything that counts stands near their end, so the last
TAIL_BYTES are kept and read once. Only an answer whose provider counted nothing has to be read
whole, which those up to TAIL_BYTES can be.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from dataclasses import dataclass

import orjson

from inference import costs, wire
from inference.openai.asks import EMBEDDINGS, TRANSCRIPTIONS, Ask
from net import strictjson
from net.errors import BadAnswer
from net.limits import JsonLimits
from protocol import fees, media

TAIL_BYTES = 256 << 10
#: A line of its own: an answer may speak of the mark, and inside JSON no line begins.
_DONE = re.compile(rb"[\r\n]data: ?\[DONE\][ \t]*(?=[\r\n]|\Z)")
#: What of the mark may have come before the rest of it.
_DONE_BYTES = len(b"\rdata: [DONE]") - 1
_USAGE = re.compile(rb'"usage"\s*:\s*(\{[^{}]{0,500}\})')
_END_BYTES = 4096
#: Bytes as `forward` reads them; beside its pictures an answer is small.
_PICTURES = JsonLimits(max_bytes=64 << 20, max_marks=100_000)


class Tail:
    """The hash of all bytes that passed, their number, and the last of them."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self._last = b"\n"
        self.size = 0
        #: Whether the closing mark of a stream has come.
        self.done = False

    def took(self, data: bytes) -> None:
        self._hash.update(data)
        length = len(data)
        self.size += length
        self._kept.append(data)
        self._kept_bytes += length
        while self._kept_bytes - len(self._kept[0]) >= TAIL_BYTES:
            self._kept_bytes -= len(self._kept.popleft())
        if not self.done:
            seen = self._last + data
            self.done = b"[DONE]" in seen and _DONE.search(seen) is not None
            self._last = seen[-_DONE_BYTES:]

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    @property
    def whole(self) -> bool:
        """Whether nothing was let go."""
        return self.size == self._kept_bytes

    def bytes(self) -> bytes:
        return b"".join(self._kept)


@dataclass(frozen=True)
class Outcome:
    """`usage` is the provider's count; `text` all words where that had to be read;
    `readable`: whether the answer could be read at all.
    """

    usage: fees.Usage | None = None
    finish_reason: str = ""
    error: str = ""
    text: str = ""
    readable: bool = True


def of_stream(tail: Tail) -> Outcome:
    """What the end of an event stream says. A line that was cut at the front is left out."""
    data = tail.bytes()
    if not tail.whole:
        data = data[data.find(b"\n\n") + 2 :]
    usage: fees.Usage | None = None
    reason = error = ""
    words: list[str] = []
    try:
        for piece in wire.ChunkReader().read(wire.EventParser().feed(data)):
            usage = piece.usage or usage
            reason = piece.finish_reason or reason
            error = error or piece.error
            words.append(piece.text)
    except wire.BadStream:
        return Outcome(usage, reason, error, readable=False)
    return Outcome(usage, reason, error, "".join(words) if tail.whole else "", tail.whole)


class Beginning:
    """A stream up to its first token, as a chat knows it: comments, and pieces that say nothing,
    are none."""

    def __init__(self) -> None:
        self._parser, self._reader = wire.EventParser(), wire.ChunkReader()
        self._readable = True

    def speaks(self, data: bytes) -> bool:
        """Whether these bytes bring it; never where the stream cannot be read."""
        try:
            pieces = self._reader.read(self._parser.feed(data)) if self._readable else ()
            return any(piece.text or piece.reasoning or piece.calls for piece in pieces)
        except wire.BadStream:
            self._readable = False
            return False


def of_chat(body: bytes) -> Outcome:
    """What a chat answer in one document says."""
    try:
        piece = wire.read_body(body)
    except wire.BadStream:
        return Outcome(readable=False)
    return Outcome(piece.usage, piece.finish_reason, piece.error, piece.text)


def of_pictures(body: bytes) -> tuple[str, ...] | None:
    """The hash of each picture, in order; None where they do not travel inside the answer."""
    try:
        found = media.pictures(strictjson.loads(body, _PICTURES))
    except BadAnswer:
        return None
    return None if found is None else tuple(hashlib.sha256(x).hexdigest() for x in found)


def addresses(body: bytes) -> int:
    """How many pictures an answer has elsewhere, where nobody here looks at them."""
    try:
        return media.addresses(strictjson.loads(body, _PICTURES))
    except BadAnswer:
        return 0


def of_embeddings(body: bytes) -> Outcome:
    """What an answer with embeddings says. Only the count of tokens is read of it, which stands
    before the numbers or behind them: those may be many megabytes.
    """
    ends = body if len(body) <= 2 * _END_BYTES else body[:_END_BYTES] + b"\n" + body[-_END_BYTES:]
    for text in reversed(_USAGE.findall(ends)):
        try:
            tokens = fees.count(orjson.loads(text).get("prompt_tokens"))
        except orjson.JSONDecodeError:
            continue
        if tokens is not None:
            return Outcome(fees.Usage(tokens, 0))
    return Outcome(readable=False)


# --- money ----------------------------------------------------------------------------------------


def most(ask: Ask, tariff: fees.Tariff, max_tokens: int) -> int:
    """The most that `ask` can cost; neuron. `max_tokens` is assumed where it says none."""
    if ask.pictures:
        return costs.of_pictures(tariff.output_price, ask.count)
    if ask.endpoint == TRANSCRIPTIONS:
        seconds = -(-len(ask.body) // media.SPEECH_BYTES_PER_SECOND)
        return costs.most_of_speech(tariff.input_price, tariff.output_price, seconds)
    if ask.endpoint == EMBEDDINGS:
        # A byte may be a token; what comes as numbers of tokens has two bytes for each.
        return costs.most(tariff, len(ask.body) + ask.beyond, 0)
    answer = (ask.max_tokens or max_tokens) * ask.count
    seen = ask.drawn // _PICTURE_BYTES_PER_TOKEN + ask.linked * MOST_PICTURE_TOKENS
    return costs.most(tariff, len(ask.body) - ask.drawn, answer, seen)


#: Vision models make fewer tokens of a photograph; a guess for the reserve only.
_PICTURE_BYTES_PER_TOKEN = 3
#: Of a picture that the provider fetches itself: where Qwen's models end, which take the most.
MOST_PICTURE_TOKENS = 16_384


def cost(ask: Ask, tariff: fees.Tariff, body: bytes, outcome: Outcome, maximum: int) -> costs.Cost:
    """What an answer that came whole costs, and how sure that is."""
    if ask.pictures:
        found = of_pictures(body)
        count = min(len(found), ask.count) if found else ask.count
        return costs.Cost(costs.of_pictures(tariff.output_price, count), "known")
    if ask.endpoint == TRANSCRIPTIONS:
        return costs.of_transcript(tariff, body)
    if outcome.usage is None and not (outcome.readable and ask.count == 1):  # one answer is read
        return costs.Cost(maximum, "unknown")
    if ask.endpoint == EMBEDDINGS and outcome.usage is not None:
        return costs.of_embeddings(tariff, outcome.usage.prompt_tokens)
    return costs.of_answer(
        tariff,
        usage=outcome.usage,
        text=outcome.text,
        finished=True,
        failure=None,
        maximum=maximum,
    )
