"""Recordings: WAV read, cut into pieces where nobody speaks, and written again. Pure.

Times are milliseconds from the start of the whole recording.
"""

from __future__ import annotations

import io
import struct
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from inference.errors import BadPrompt
from net.marks import N_
from protocol import media

MAX_SECONDS = 20 * 60
MAX_BYTES = 40 << 20
#: What one request to a provider carries at most: seconds, and bytes (brokers take 32 MiB).
PIECE_SECONDS = 5 * 60
PIECE_BYTES = 20 << 20
#: A cut is moved back by up to this share of a piece, to the quietest moment.
LEEWAY = 0.1
#: What is compared for quiet: windows of this length, seconds.
WINDOW = 0.05
RATES = range(8000, 48001)
#: MAX_SECONDS and MAX_BYTES in words.
RULE = N_("WAV (PCM, 16 bit), up to 20 minutes and 40 MB")


@dataclass(frozen=True)
class Recording:
    """16-bit samples, interleaved; `rate` of them a second and channel."""

    samples: array[int]
    rate: int
    channels: int

    @property
    def frames(self) -> int:
        return len(self.samples) // self.channels

    @property
    def ms(self) -> int:
        return self.frames * 1000 // self.rate


@dataclass(frozen=True)
class Piece:
    """A part of a recording as a WAV file of its own."""

    wav: bytes
    start_ms: int
    length_ms: int


def read(data: bytes, name: str) -> Recording:
    """The samples of a WAV file. Raises BadPrompt, naming the file and the rule."""
    name = name[-60:] or N_("The file")
    if len(data) > MAX_BYTES:
        raise BadPrompt(
            N_("%(name)s is larger than %(max_bytes)s MB; use %(rule)s."),
            name=name,
            max_bytes=MAX_BYTES >> 20,
            rule=RULE,
        )
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise BadPrompt(
            N_("%(name)s is %(data)s; without JavaScript only WAV can be read. Use %(rule)s."),
            name=name,
            data=media.recording_name(data) or N_("no recording"),
            rule=RULE,
        )
    form, samples = _chunks(data)
    if form is None or len(form) < 16 or samples is None:
        raise BadPrompt(
            N_("%(name)s is damaged: it has no samples. Use %(rule)s."), name=name, rule=RULE
        )
    tag, channels, rate, _speed, _align, bits = struct.unpack_from("<HHIIHH", form)
    # 0xFFFE names the real format in its extension; PCM is 1 there too.
    plain = tag == 1 or (tag == 0xFFFE and form[24:26] == b"\x01\x00")
    if not plain or bits != 16 or channels not in (1, 2) or rate not in RATES:
        raise BadPrompt(
            N_("%(name)s is a WAV that is not read here; use %(rule)s."), name=name, rule=RULE
        )
    whole = len(samples) // (2 * channels) * 2 * channels
    made = array("h", samples[:whole])
    if sys.byteorder == "big":
        made.byteswap()
    recording = Recording(made, rate, channels)
    if not recording.ms:
        raise BadPrompt(N_("%(name)s is empty."), name=name)
    if recording.ms > MAX_SECONDS * 1000:
        raise BadPrompt(
            N_("%(name)s is longer than %(max_seconds)s minutes."),
            name=name,
            max_seconds=MAX_SECONDS // 60,
        )
    return recording


def _chunks(data: bytes) -> tuple[bytes | None, bytes | None]:
    """The format and the samples among a RIFF file's chunks; sizes beyond the end are cut."""
    form = samples = None
    at = 12
    while at + 8 <= len(data) and samples is None:
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : at + 8 + size]
        if data[at : at + 4] == b"fmt ":
            form = body
        elif data[at : at + 4] == b"data":
            samples = body
        at += 8 + size + size % 2
    return form, samples


def cuts(recording: Recording, longest: int) -> list[int]:
    """Where to cut, in frames, the start and the end included: no piece is longer than `longest`
    frames, and each cut is at the quietest moment of the last tenth before it would be too long.
    """
    found = [0]
    window = max(1, int(recording.rate * WINDOW))
    while recording.frames - found[-1] > longest:
        last = found[-1] + longest
        first = max(found[-1] + 1, last - int(longest * LEEWAY))
        starts = range(first, max(first + 1, last - window + 1), window)
        quiet = min(starts, key=lambda at: (_loudness(recording, at, at + window), -at))
        found.append(min(quiet + window // 2, last))
    return [*found, recording.frames]


def _loudness(recording: Recording, start: int, end: int) -> int:
    """The loudest sample between two frames."""
    part = recording.samples[start * recording.channels : end * recording.channels]
    return max(max(part, default=0), -min(part, default=0))


def pieces(recording: Recording, seconds: float = PIECE_SECONDS) -> list[Piece]:
    """The recording in pieces that providers take; together they hold every sample, once."""
    longest = min(int(seconds * recording.rate), PIECE_BYTES // (2 * recording.channels))
    made = []
    for start, end in pairwise(cuts(recording, max(1, longest))):
        part = recording.samples[start * recording.channels : end * recording.channels]
        begin = start * 1000 // recording.rate
        length = end * 1000 // recording.rate - begin
        made.append(Piece(wav(part, recording.rate, recording.channels), begin, length))
    return made


def wav(samples: array[int], rate: int, channels: int) -> bytes:
    """A WAV file of 16-bit samples, with nothing else in it."""
    if sys.byteorder == "big":
        samples = array("h", samples)
        samples.byteswap()
    data = samples.tobytes()
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2, channels * 2, 16)
    out = io.BytesIO()
    out.write(b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt ")
    out.write(struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)))
    out.write(data)
    return out.getvalue()


def joined(wavs: Sequence[bytes]) -> bytes:
    """The whole recording again from the files that `pieces` made."""
    if len(wavs) == 1:
        return wavs[0]
    together = array("h")
    rate, channels = 16000, 1
    for data in wavs:
        recording = read(data, "")
        together.extend(recording.samples)
        rate, channels = recording.rate, recording.channels
    return wav(together, rate, channels)
