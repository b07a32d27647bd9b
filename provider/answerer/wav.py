"""WAV recordings as one channel of samples at about 8 kHz. Pure."""

from __future__ import annotations

import io
import sys
import wave
from array import array
from dataclasses import dataclass

from protocol.media import recording_name

MAX_SECONDS = 600
RATE = 8000
MAX_RATE = 192_000
MAX_CHANNELS = 8


class BadRecording(ValueError):
    """Not a recording that can be read here; the text says why and what would be."""


@dataclass(frozen=True)
class Recording:
    """16-bit samples, `rate` of them a second; `seconds` is the length of the original."""

    samples: array[int]
    rate: float
    seconds: float


def read(data: bytes) -> Recording:
    """Decode a PCM WAV of up to ten minutes. Raises BadRecording."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        what = recording_name(data) or "something else"
        raise BadRecording(f"this stand-in reads WAV recordings (PCM) only, and this is {what}")
    try:
        with wave.open(io.BytesIO(data)) as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            frames = file.getnframes()
            if not (RATE // 2 <= rate <= MAX_RATE and channels <= MAX_CHANNELS and width <= 4):
                raise BadRecording(f"{rate} samples a second in {channels} channels are not read")
            if frames > MAX_SECONDS * rate:
                raise BadRecording(f"longer than {MAX_SECONDS // 60} minutes")
            raw = file.readframes(frames)
    except (wave.Error, EOFError, OSError, RuntimeError) as error:
        # The library's reader has errors of its own for chunks that lead nowhere.
        raise BadRecording(f"the WAV file cannot be read ({str(error) or 'damaged'})") from error
    samples = _as_16_bit(raw, width)
    # The header may promise more than there is.
    length = len(samples) // channels
    if not length:
        raise BadRecording("the recording is empty")
    step = max(rate // RATE, 1)
    return Recording(_mixed(samples, channels, step), rate / step, length / rate)


def _as_16_bit(raw: bytes, width: int) -> array[int]:
    """Signed 16-bit samples of any width, the lower bits dropped."""
    found = array("h")
    if width == 1:
        found.extend((value - 128) << 8 for value in raw)
        return found
    whole = raw[: len(raw) // width * width]
    upper = bytearray(2 * (len(whole) // width))
    upper[0::2], upper[1::2] = whole[width - 2 :: width], whole[width - 1 :: width]
    found.frombytes(bytes(upper))
    if sys.byteorder == "big":
        found.byteswap()
    return found


def _mixed(samples: array[int], channels: int, step: int) -> array[int]:
    """All channels in one, and every `step` samples in one: their averages."""
    together = channels * step
    if together == 1:
        return samples
    whole = samples[: len(samples) // together * together]
    slices = (whole[offset::together] for offset in range(together))
    return array("h", (sum(group) // together for group in zip(*slices, strict=True)))
