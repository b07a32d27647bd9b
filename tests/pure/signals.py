"""Recordings made for tests: tones, telephone keys, Morse code, noise, as WAV files."""

from __future__ import annotations

import io
import math
import random
import wave

from provider.answerer.hearing import HIGH, KEYS, LOW, MORSE

CODE = {letter: signs for signs, letter in MORSE.items()}


def tone(hertz: list[float], seconds: float, rate: int) -> list[int]:
    """Sine waves together."""
    turns = [math.tau * h / rate for h in hertz]
    share = 8000 / len(hertz)
    return [
        round(share * sum(math.sin(t * i) for t in turns)) for i in range(round(seconds * rate))
    ]


def silence(seconds: float, rate: int) -> list[int]:
    return [0] * round(seconds * rate)


def noise(seconds: float, rate: int, level: int = 6000) -> list[int]:
    dice = random.Random(1)
    return [dice.randint(-level, level) for _ in range(round(seconds * rate))]


def morse(text: str, rate: int, unit: float = 0.06, hertz: float = 600) -> list[int]:
    """Text as a hand sends it: a dash is three dots, a letter's end three, a word's end seven."""
    found: list[int] = []
    for word in text.split():
        for letter in word:
            for sign in CODE[letter]:
                found += tone([hertz], unit * (1 if sign == "." else 3), rate)
                found += silence(unit, rate)
            found += silence(2 * unit, rate)
        found += silence(4 * unit, rate)
    return found


def keys(text: str, rate: int) -> list[int]:
    """A number as a telephone dials it."""
    found: list[int] = []
    for key in text:
        row = next(i for i, keys in enumerate(KEYS) if key in keys)
        found += tone([LOW[row], HIGH[KEYS[row].index(key)]], 0.1, rate) + silence(0.08, rate)
    return found


def wav(samples: list[int], rate: int, *, width: int = 2, channels: int = 1) -> bytes:
    """A PCM file; every channel has the same samples."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate)
        if width == 1:
            one = [bytes([(x >> 8) + 128]) for x in samples]
        else:
            one = [(x << 8 * (width - 2)).to_bytes(width, "little", signed=True) for x in samples]
        writer.writeframes(b"".join(value * channels for value in one))
    return file.getvalue()
