"""Transcripts: what a provider heard, put together from the pieces of a recording and written as
text, subtitles or JSON. Pure.

Times are milliseconds from the start of the recording. A provider's words and numbers are a
stranger's: times are held inside their piece, texts are bounded, and nothing can leave its cue.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import orjson

from inference.errors import BadPrompt
from inference.options import ticked
from net import strictjson
from net.errors import BadAnswer
from net.limits import JsonLimits
from net.marks import N_
from protocol import fees

PATH = "/audio/transcriptions"
MAX_ANSWER_BYTES = 4 << 20
MAX_SEGMENTS = 20_000
MAX_WORDS = 50_000
#: Of passages that are put together from words.
PAUSE_MS, PASSAGE_WORDS = 1000, 14
#: How far ahead in a passage a word is looked for: long lists are a stranger's too.
GAP_CHARS = 200
MAX_TEXT_CHARS = 400_000
FORMS = {
    "txt": "text/plain; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
    "json": "application/json",
}
#: ISO 639-1, as OpenAI's API takes them, with their names.
LANGUAGES = {
    "ar": N_("Arabic"),
    "zh": N_("Chinese"),
    "cs": N_("Czech"),
    "da": N_("Danish"),
    "nl": N_("Dutch"),
    "en": N_("English"),
    "fi": N_("Finnish"),
    "fr": N_("French"),
    "de": N_("German"),
    "el": N_("Greek"),
    "he": N_("Hebrew"),
    "hi": N_("Hindi"),
    "hu": N_("Hungarian"),
    "id": N_("Indonesian"),
    "it": N_("Italian"),
    "ja": N_("Japanese"),
    "ko": N_("Korean"),
    "no": N_("Norwegian"),
    "pl": N_("Polish"),
    "pt": N_("Portuguese"),
    "ro": N_("Romanian"),
    "ru": N_("Russian"),
    "es": N_("Spanish"),
    "sv": N_("Swedish"),
    "th": N_("Thai"),
    "tr": N_("Turkish"),
    "uk": N_("Ukrainian"),
    "vi": N_("Vietnamese"),
}
_SHAPE = JsonLimits(max_depth=12, max_bytes=MAX_ANSWER_BYTES)


class NoTranscript(ValueError):
    """The answer is no transcript; the text says what it is instead."""


@dataclass(frozen=True)
class Wish:
    """What is wanted; `language` "" lets the provider detect it, `timed` asks for segments, `words`
    for the times of words too.
    """

    language: str = ""
    timed: bool = True
    words: bool = False
    verified: bool = False

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Raises BadPrompt."""
        language = str(given.get("language") or "")
        if language and language not in LANGUAGES:
            raise BadPrompt(N_("Choose a language from the list, or let the provider detect it."))
        return cls(
            language=language,
            timed=ticked(given.get("timed")),
            words=ticked(given.get("words")),
            verified=ticked(given.get("verified")),
        )

    def stored(self) -> dict[str, Any]:
        return asdict(self)

    def wire(self, model: str) -> list[tuple[str, str]]:
        """The plain fields of the request. Passages are what every provider that gives times gives
        unasked; who asks for words has to ask for both.
        """
        timed = self.timed or self.words
        grains = ("word", "segment") if self.words else ()
        return [
            ("model", model),
            ("response_format", "verbose_json" if timed else "json"),
            *([("language", self.language)] if self.language else []),
            *(("timestamp_granularities[]", grain) for grain in grains),
        ]


@dataclass(frozen=True)
class Segment:
    """Some words and when they were said; a single one has no `words` of its own."""

    start_ms: int
    end_ms: int
    text: str
    words: tuple[Segment, ...] = ()

    def later(self, ms: int) -> Segment:
        words = tuple(word.later(ms) for word in self.words)
        return Segment(self.start_ms + ms, self.end_ms + ms, self.text, words)

    @property
    def bits(self) -> tuple[tuple[int | None, str], ...]:
        """Its text in pieces, with the time of those that are words. Providers leave signs or
        capitals out of their lists of words: what is read is the text.
        """
        found: list[tuple[int | None, str]] = []
        at = 0
        for word in self.words:
            begin = self.text.find(word.text, at, at + len(word.text) + GAP_CHARS)
            if begin < 0:
                continue
            if begin > at:
                found.append((None, self.text[at:begin]))
            at = begin + len(word.text)
            found.append((word.start_ms, word.text))
        return (*found, (None, self.text[at:])) if at < len(self.text) else tuple(found)


#: "No linguistic content" of ISO 639-2: what a provider says where it heard no words.
NO_SPEECH = "zxx"


@dataclass(frozen=True)
class Heard:
    """One piece's transcript; no segments where the provider gave no times."""

    text: str
    segments: tuple[Segment, ...] = ()
    language: str = ""


def read_answer(body: bytes, length_ms: int) -> Heard:
    """A transcript of a piece of that length; times count from the piece's start.

    Raises NoTranscript.
    """
    try:
        document = strictjson.loads(body, _SHAPE)
    except BadAnswer as error:
        raise NoTranscript(str(error)) from None
    text = document.get("text") if isinstance(document, dict) else None
    if not isinstance(text, str):
        raise NoTranscript("the answer holds no text")
    if len(text) > MAX_TEXT_CHARS:
        raise NoTranscript(f"a text of more than {MAX_TEXT_CHARS:,} characters")
    segments = _segments(document.get("segments"), "text", length_ms, MAX_SEGMENTS)
    words = _segments(document.get("words"), "word", length_ms, MAX_WORDS)
    language = document.get("language")
    named = _line(language)[:40] if isinstance(language, str) else ""
    passages = _with_words(segments, words) if segments else _passages(words)
    return Heard(text.replace("\x00", "\ufffd").strip(), passages, named)


def _segments(rows: object, key: str, length_ms: int, most: int) -> list[Segment]:
    rows = rows if isinstance(rows, list) else []
    if len(rows) > most:
        raise NoTranscript(f"more than {most:,} {key}s with times")
    found: list[Segment] = []
    for row in rows:
        segment = _segment(row, key, length_ms, found[-1].start_ms if found else 0)
        if segment is not None:
            found.append(segment)
    return found


def _with_words(segments: list[Segment], words: list[Segment]) -> tuple[Segment, ...]:
    """Each word goes to the last passage that had begun with it."""
    starts = [segment.start_ms for segment in segments]
    own: list[list[Segment]] = [[] for _ in segments]
    for word in words:
        own[max(bisect_right(starts, word.start_ms) - 1, 0)].append(word)
    return tuple(replace(x, words=tuple(said)) for x, said in zip(segments, own, strict=True))


def _passages(words: list[Segment]) -> tuple[Segment, ...]:
    """Passages of a provider that times only words: up to a full stop, a pause or some words."""
    found: list[list[Segment]] = []
    for word in words:
        last = found[-1] if found else []
        paused = not last or word.start_ms - last[-1].end_ms > PAUSE_MS
        if paused or len(last) >= PASSAGE_WORDS or last[-1].text.endswith((".", "?", "!", "。")):
            found.append([])
        found[-1].append(word)
    return tuple(
        Segment(x[0].start_ms, x[-1].end_ms, " ".join(word.text for word in x), tuple(x))
        for x in found
    )


def _segment(row: object, key: str, length_ms: int, after: int) -> Segment | None:
    """One segment, its times in order and inside the piece; None without words or times."""
    if not isinstance(row, dict) or not isinstance(row.get(key), str):
        return None
    start, end = fees.seconds(row.get("start")), fees.seconds(row.get("end"))
    text = _line(row[key])
    if start is None or end is None or not text:
        return None
    first = min(max(int(start * 1000), after), length_ms)
    return Segment(first, min(max(int(end * 1000), first), length_ms), text)


def _line(text: str) -> str:
    """In one line: an empty one would end a cue."""
    return " ".join(text.replace("\x00", "\ufffd").split())


def together(parts: Sequence[tuple[int, Heard]]) -> Heard:
    """The transcript of a whole recording, of its pieces' (start in ms, transcript)."""
    moved = tuple(x.later(start) for start, heard in parts for x in heard.segments)
    languages = dict.fromkeys(heard.language for _, heard in parts if heard.language)
    if len(languages) > 1:
        languages.pop(NO_SPEECH, None)
    text = "\n".join(heard.text for _, heard in parts if heard.text)
    return Heard(text, moved, ", ".join(languages))


def render(heard: Heard, form: str, facts: Mapping[str, Any]) -> bytes:
    """The transcript as one of FORMS; `facts` go along in the JSON."""
    if form == "txt":
        return (heard.text + "\n").encode("utf-8", "replace")
    if form == "srt":
        cues = [
            f"{number}\n{clock(x.start_ms, ',')} --> {clock(x.end_ms, ',')}\n{_srt(x.text)}\n"
            for number, x in enumerate(heard.segments, 1)
        ]
        return "\n".join(cues).encode("utf-8", "replace")
    if form == "vtt":
        cues = [
            f"{clock(x.start_ms, '.')} --> {clock(x.end_ms, '.')}\n{_vtt(x.text)}\n"
            for x in heard.segments
        ]
        return "\n".join(["WEBVTT\n", *cues]).encode("utf-8", "replace")
    rows = [_row(x, "text") for x in heard.segments]
    words = [_row(word, "word") for x in heard.segments for word in x.words]
    document = {
        "text": heard.text,
        "language": heard.language,
        "segments": rows,
        **({"words": words} if words else {}),
        **facts,
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2)


def _row(said: Segment, key: str) -> dict[str, Any]:
    return {"start": said.start_ms / 1000, "end": said.end_ms / 1000, key: said.text}


def clock(ms: int, point: str = "") -> str:
    """`00:01:02,345`; without `point` as short as can be read: `1:02`, `1:01:02`."""
    seconds, rest = divmod(ms, 1000)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    if point:
        return f"{hours:02}:{minute:02}:{second:02}{point}{rest:03}"
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def _srt(text: str) -> str:
    # An arrow would read as the times of another cue; tags would be styled by some players.
    return re.sub(r"-{2,}>", "→", text).replace("<", "‹").replace(">", "›")


def _vtt(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
