"""What can be heard in a recording without a model: sounds and pauses, tones, telephone keys, Morse
code, each with its times. Pure.

It does not understand speech and never pretends to: a voice is "[sound]". What it does write down
was really in the recording.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from provider.answerer.wav import Recording

FRAME_SECONDS = 0.01
QUIET = 250  # of 32,768: below this nothing is a sound
SHORTEST_SECONDS = 0.03
# Sounds closer than this are one; letters of Morse code are further apart than their signs.
JOIN_SECONDS = 0.35
HEARD_SECONDS = 0.2  # of a tone, to find its pitch
PURE = 0.6  # share of the energy that makes a sound a tone

LOW, HIGH = (697, 770, 852, 941), (1209, 1336, 1477, 1633)
KEYS = ("123A", "456B", "789C", "*0#D")
MORSE = {
    **{".-": "A", "-...": "B", "-.-.": "C", "-..": "D", ".": "E", "..-.": "F", "--.": "G"},
    **{"....": "H", "..": "I", ".---": "J", "-.-": "K", ".-..": "L", "--": "M", "-.": "N"},
    **{"---": "O", ".--.": "P", "--.-": "Q", ".-.": "R", "...": "S", "-": "T", "..-": "U"},
    **{"...-": "V", ".--": "W", "-..-": "X", "-.--": "Y", "--..": "Z", "-----": "0"},
    **{".----": "1", "..---": "2", "...--": "3", "....-": "4", ".....": "5", "-....": "6"},
    **{"--...": "7", "---..": "8", "----.": "9", ".-.-.-": ".", "--..--": ",", "..--..": "?"},
}
MIN_MORSE_SIGNS = 4


@dataclass(frozen=True)
class Word:
    """One thing that was heard, in seconds from the start."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Segment:
    """Things that belong together."""

    text: str
    words: tuple[Word, ...]

    @property
    def start(self) -> float:
        return self.words[0].start

    @property
    def end(self) -> float:
        return self.words[-1].end


@dataclass(frozen=True)
class _Mark:
    """One uninterrupted sound: a telephone key, a tone of `hertz`, or neither."""

    start: float
    end: float
    key: str = ""
    hertz: float = 0.0

    @property
    def seconds(self) -> float:
        return self.end - self.start


def listen(recording: Recording) -> list[Segment]:
    """Everything heard, in order."""
    marks = [_named(recording, *edges) for edges in _sounds(recording)]
    found: list[Segment] = []
    at = 0
    while at < len(marks):
        end = at + 1
        while end < len(marks) and _alike(marks[end - 1], marks[end]):
            end += 1
        found += _segments(marks[at:end])
        at = end
    return found


def _sounds(recording: Recording) -> list[tuple[float, float]]:
    """Where it is louder than its own background, in seconds."""
    size = max(round(recording.rate * FRAME_SECONDS), 1)
    levels = [
        _level(recording.samples[i : i + size]) for i in range(0, len(recording.samples), size)
    ]
    background = sorted(levels)[len(levels) // 5]
    # A recording without a pause has no background to compare with.
    limit = max(min(3 * background, max(levels) / 4), QUIET)
    spans: list[tuple[float, float]] = []
    start: int | None = None
    for i, level in enumerate([*levels, 0.0]):
        if level > limit and start is None:
            start = i
        elif level <= limit and start is not None:
            step = size / recording.rate
            if (i - start) * step >= SHORTEST_SECONDS:
                spans.append((start * step, min(i * step, recording.seconds)))
            start = None
    return spans


def _level(frame: array[int]) -> float:
    return math.sqrt(sum(x * x for x in frame) / len(frame))


def _named(recording: Recording, start: float, end: float) -> _Mark:
    """What a sound is, by its middle."""
    middle = (start + end) / 2
    half = min(end - start, HEARD_SECONDS) / 2 * 0.8
    first, last = round((middle - half) * recording.rate), round((middle + half) * recording.rate)
    part = recording.samples[first:last]
    energy = sum(x * x for x in part)
    if not energy:
        return _Mark(start, end)
    low = [_power(part, hertz, recording.rate) for hertz in LOW]
    high = [_power(part, hertz, recording.rate) for hertz in HIGH]
    scale = len(part) / 2 * energy  # what a pure tone would have
    if max(low) + max(high) > PURE * scale and min(max(low), max(high)) > 0.1 * scale:
        return _Mark(start, end, key=KEYS[low.index(max(low))][high.index(max(high))])
    hertz = _pitch(part, recording.rate)
    if hertz and _power(part, hertz, recording.rate) > PURE * scale:
        return _Mark(start, end, hertz=hertz)
    return _Mark(start, end)


def _power(part: Sequence[int], hertz: float, rate: float) -> float:
    """Energy at one frequency (Goertzel)."""
    turn = 2 * math.cos(math.tau * hertz / rate)
    before = last = 0.0
    for x in part:
        before, last = last, x + turn * last - before
    return last * last + before * before - turn * last * before


def _pitch(part: Sequence[int], rate: float) -> float:
    """Hertz by the upward zero crossings, 0 where there are too few."""
    rises = [i for i in range(1, len(part)) if part[i - 1] < 0 <= part[i]]
    if len(rises) < 3:
        return 0.0
    edges = [_crossing(part, i) for i in (rises[0], rises[-1])]
    return (len(rises) - 1) * rate / (edges[1] - edges[0])


def _crossing(part: Sequence[int], i: int) -> float:
    return i - part[i] / (part[i] - part[i - 1])


def _alike(a: _Mark, b: _Mark) -> bool:
    """Whether `b` continues what `a` is part of."""
    pause = b.start - a.end
    if a.key and b.key:
        return pause < 4 * JOIN_SECONDS
    if a.hertz and b.hertz:
        return abs(a.hertz - b.hertz) < 0.06 * a.hertz and pause < 4 * JOIN_SECONDS
    return not (a.key or a.hertz or b.key or b.hertz) and pause < JOIN_SECONDS


def _segments(marks: Sequence[_Mark]) -> list[Segment]:
    if marks[0].key:
        words = tuple(Word(m.key, m.start, m.end) for m in marks)
        return [Segment("[keys] " + " ".join(w.text for w in words), words)]
    if marks[0].hertz:
        return _morse(marks) or [_tone(mark) for mark in marks]
    return [_segment("sound", marks[0].start, marks[-1].end)]


def _tone(mark: _Mark) -> Segment:
    return _segment(f"tone {mark.hertz:.0f} Hz", mark.start, mark.end)


def _segment(what: str, start: float, end: float) -> Segment:
    text = f"[{what} {start:.1f}–{end:.1f} s]"
    return Segment(text, (Word(text, start, end),))


def _morse(marks: Sequence[_Mark]) -> list[Segment]:
    """The marks as Morse code, one segment; nothing where they are not."""
    if len(marks) < MIN_MORSE_SIGNS:
        return []
    unit = _unit(marks)
    if unit is None:
        return []
    words: list[Word] = []
    signs, start = "", marks[0].start
    letters: list[Word] = []
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        signs += "." if mark.seconds < 2 * unit else "-"
        pause = following.start - mark.end if following else math.inf
        if pause < 2 * unit:
            continue
        if signs not in MORSE:
            return []
        letters.append(Word(MORSE[signs], start, mark.end))
        signs, start = "", following.start if following else 0.0
        if pause > 5 * unit:
            spelt = "".join(letter.text for letter in letters)
            words.append(Word(spelt, letters[0].start, letters[-1].end))
            letters = []
    return [Segment("[Morse] " + " ".join(word.text for word in words), tuple(words))]


def _unit(marks: Sequence[_Mark]) -> float | None:
    """Seconds of a dot, if every mark is a dot or a dash (three dots) of the same hand."""
    lengths = sorted(mark.seconds for mark in marks)
    pauses = sorted(b.start - a.end for a, b in pairwise(marks))
    # The shortest pause is one unit long, also where there are only dashes.
    unit = min(lengths[0], pauses[0] * 1.2)
    fits = all(0.6 < x / unit < 1.6 or 2.2 < x / unit < 3.9 for x in lengths)
    return unit if fits else None
