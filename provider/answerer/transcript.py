"""What was heard, in the formats of OpenAI's transcriptions. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from provider.answerer.hearing import Segment

FORMATS = {
    "json": "application/json",
    "verbose_json": "application/json",
    "text": "text/plain; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
}
# ISO 639-2 for "no linguistic content".
LANGUAGE = "zxx"
NOTHING = "[no sound]"


def render(segments: Sequence[Segment], seconds: float, form: str, *, with_words: bool) -> bytes:
    """The transcript of a recording of that length, in one of FORMATS."""
    if form == "json":
        return orjson.dumps({"text": spoken(segments), "usage": usage(seconds)})
    if form == "verbose_json":
        return orjson.dumps(_verbose(segments, seconds, with_words))
    if form == "text":
        return f"{spoken(segments)}\n".encode()
    if form == "srt":
        cues = (
            f"{number}\n{_time(s.start, ',')} --> {_time(s.end, ',')}\n{s.text}\n"
            for number, s in enumerate(segments, 1)
        )
        return "\n".join(cues).encode()
    cues = (f"{_time(s.start, '.')} --> {_time(s.end, '.')}\n{s.text}\n" for s in segments)
    return "\n".join(["WEBVTT\n", *cues]).encode()


def events(segments: Sequence[Segment], seconds: float) -> Iterator[bytes]:
    """The transcript as the data of server-sent events."""
    for number, segment in enumerate(segments):
        delta = segment.text if not number else f"\n{segment.text}"
        yield orjson.dumps({"type": "transcript.text.delta", "delta": delta})
    done = {"type": "transcript.text.done", "text": spoken(segments), "usage": usage(seconds)}
    yield orjson.dumps(done)
    yield b"[DONE]"


def spoken(segments: Sequence[Segment]) -> str:
    """All of it, one segment a line."""
    return "\n".join(segment.text for segment in segments) or NOTHING


def usage(seconds: float) -> dict[str, Any]:
    """What it is charged by."""
    return {"type": "duration", "seconds": round(seconds, 3)}


def _verbose(segments: Sequence[Segment], seconds: float, with_words: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "task": "transcribe",
        "language": LANGUAGE,
        "duration": round(seconds, 3),
        "text": spoken(segments),
        "segments": [_segment(number, segment) for number, segment in enumerate(segments)],
        "usage": usage(seconds),
    }
    if with_words:
        found["words"] = [
            {"word": word.text, "start": round(word.start, 3), "end": round(word.end, 3)}
            for segment in segments
            for word in segment.words
        ]
    return found


def _segment(number: int, segment: Segment) -> dict[str, Any]:
    """The numbers of a language model are those of certainty: nothing here is guessed."""
    return {
        "id": number,
        "seek": 0,
        "start": round(segment.start, 3),
        "end": round(segment.end, 3),
        "text": segment.text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": 0.0,
        "compression_ratio": 1.0,
        "no_speech_prob": 1.0,
    }


def _time(seconds: float, point: str) -> str:
    thousandths = round(seconds * 1000)
    minutes, rest = divmod(thousandths, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}{point}{rest % 1000:03}"
