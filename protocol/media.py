"""Pictures and speech on the wire: which bytes an image answer holds, and what a transcription
costs (provider-protocol.md 1.3, 3.1, 5.1).

Answers come from strangers: nothing here raises for hostile input, and no number is believed beyond
its bound.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal

from protocol import fees
from protocol.fees import DurationRule, Tariff
from protocol.marks import marks

# The longest recording anybody is charged for (as the reference broker caps it): one absurd number
# from an upstream must not empty a sub-account.
MAX_SPEECH_SECONDS = Decimal(99 * 3600)

# Of recordings whose length is not known: 32 kbit/s, a low rate for speech. Only a guess for the
# reserve; charged is what the upstream measures.
SPEECH_BYTES_PER_SECOND = 4000

# More than anybody is asked for; a signed text names each of them.
MAX_PICTURES = 64

# Of a transcription with the times of every word, of a day; nobody else is answered while they
# become objects.
_MOST_MARKS = 1 << 21

#: What recordings other than WAV begin with.
_RECORDINGS = (
    (b"\x1aE\xdf\xa3", "WebM"),
    (b"OggS", "Ogg"),
    (b"fLaC", "FLAC"),
    (b"ID3", "MP3"),
    (b"\xff\xfb", "MP3"),
    (b"\xff\xf3", "MP3"),
)
_TIME = r"(?:(\d{1,2}):)?([0-5]?\d):([0-5]?\d(?:[.,]\d{1,6})?)"
_CUE = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?", re.ASCII)


@dataclass(frozen=True)
class SpeechUsage:
    """What a transcription is charged by: `seconds` where given, else tokens."""

    seconds: Decimal | None
    input_tokens: int = 0
    output_tokens: int = 0

    def fee(self, tariff: Tariff, rule: DurationRule) -> int:
        """Neuron for it."""
        if self.seconds is None:
            return fees.speech_fee(tariff, self.input_tokens, self.output_tokens)
        return fees.speech_duration_fee(tariff, min(self.seconds, MAX_SPEECH_SECONDS), rule)


def recording_name(data: bytes) -> str:
    """What a recording other than WAV is called, by its first bytes; "" where it is on no list."""
    if data[4:8] == b"ftyp":
        return "MP4 audio"
    return next((name for start, name in _RECORDINGS if data.startswith(start)), "")


def pictures(document: object) -> tuple[bytes, ...] | None:
    """The decoded `data[].b64_json` of an image answer, in order: what its signature is about.

    None unless every entry holds a picture this way, and for more than MAX_PICTURES.
    """
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, list) or not 0 < len(data) <= MAX_PICTURES:
        return None
    found = []
    for entry in data:
        text = entry.get("b64_json") if isinstance(entry, dict) else None
        if not isinstance(text, str) or not text:
            return None
        try:
            found.append(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError):
            return None
    return tuple(found) if all(found) else None


def addresses(document: object) -> int:
    """How many entries of an image answer hold a picture's address instead of the picture."""
    data = document.get("data") if isinstance(document, dict) else None
    entries = data[:MAX_PICTURES] if isinstance(data, list) else []
    return sum(isinstance(x, dict) and isinstance(x.get("url"), str) for x in entries)


def speech_usage(document: object) -> SpeechUsage | None:
    """The usage of a JSON transcription: its `usage` object, else the `duration` that verbose_json
    carries; None where there is nothing to charge by."""
    if not isinstance(document, dict):
        return None
    return _stated(document.get("usage")) or _duration(document.get("duration"))


def _stated(usage: object) -> SpeechUsage | None:
    """A `usage` object; a stated type is charged by its own numbers and by no others."""
    if not isinstance(usage, dict):
        return None
    kind = usage.get("type")
    if kind != "tokens":
        by_time = _duration(usage.get("seconds"))
        if by_time or kind == "duration":
            return by_time
    tokens_in = fees.count(usage.get("input_tokens")) or 0
    tokens_out = fees.count(usage.get("output_tokens")) or 0
    return SpeechUsage(None, tokens_in, tokens_out) if tokens_in or tokens_out else None


def _duration(value: object) -> SpeechUsage | None:
    seconds = fees.seconds(value)
    return SpeechUsage(seconds) if seconds else None


def subtitle_seconds(text: str) -> Decimal | None:
    """The end of the last cue in an SRT or WebVTT text; None where there is no cue."""
    ends = [
        _seconds(*match.group(4, 5, 6))
        for line in text.splitlines()
        if "-->" in line and (match := _CUE.fullmatch(line))
    ]
    return max(ends, default=None)


def _seconds(hours: str | None, minutes: str, seconds: str) -> Decimal:
    return int(hours or 0) * 3600 + int(minutes) * 60 + Decimal(seconds.replace(",", "."))


@dataclass(frozen=True)
class Transcription:
    """What a whole transcription is charged by: `usage`, else the words of its `text`. `counted`:
    its provider said so, else the end of the last subtitle does.
    """

    usage: SpeechUsage | None
    text: str
    counted: bool

    def fee(self, tariff: Tariff, rule: DurationRule) -> int:
        """Neuron for it."""
        if self.usage is not None:
            return self.usage.fee(tariff, rule)
        return fees.speech_words_fee(tariff.output_price, self.text)


def transcription(body: bytes) -> Transcription:
    """What a whole transcription says of its price, whatever its format."""
    text = body.decode("utf-8", "replace")
    document = None
    if marks(body) <= _MOST_MARKS:
        with suppress(ValueError, RecursionError):
            document = json.loads(text)
    if isinstance(document, dict):
        usage, said = speech_usage(document), document.get("text")
        return Transcription(usage, said if isinstance(said, str) else "", usage is not None)
    end = subtitle_seconds(text)
    return Transcription(SpeechUsage(end) if end else None, text, counted=False)
