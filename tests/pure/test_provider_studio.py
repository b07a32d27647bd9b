"""The stand-ins for image and speech models: honest, repeatable, and safe to feed."""

from __future__ import annotations

import contextlib
import json
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import media
from provider.answerer import hearing, paint, png, transcript, vectors, wav
from provider.answerer.hearing import Segment, Word
from provider.answerer.png import BadPng, Picture
from provider.answerer.wav import BadRecording
from tests.pure import signals

# ---- pictures ------------------------------------------------------------------------------


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def file(
    width: int, height: int, raw: bytes, *, depth: int = 8, colour: int = 2, lace: int = 0
) -> bytes:
    """A PNG with any header, however wrong."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, lace)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    return png.SIGNATURE + body


@given(st.integers(1, 9), st.integers(1, 9), st.randoms())
def test_a_picture_survives_its_file(width: int, height: int, dice: object) -> None:
    rgb = bytes(dice.randrange(256) for _ in range(3 * width * height))  # type: ignore[attr-defined]
    picture = Picture(width, height, rgb)
    data = png.encode(picture, {"Description": "ü 日本"})
    assert png.decode(data) == picture and "ü 日本".encode() in data


def filtered(rows: list[bytes], kinds: list[int], pixel: int) -> bytes:
    """Rows as an encoder with those filters writes them (PNG 9.2), computed the plain way."""
    found = b""
    above = bytes(len(rows[0]))
    for row, kind in zip(rows, kinds, strict=True):
        found += bytes([kind])
        for i, value in enumerate(row):
            left = row[i - pixel] if i >= pixel else 0
            corner = above[i - pixel] if i >= pixel else 0
            guess = left + above[i] - corner
            nearest = min((left, above[i], corner), key=lambda x: abs(guess - x))
            minus = (0, left, above[i], (left + above[i]) // 2, nearest)[kind]
            found += bytes([(value - minus) & 255])
        above = row
    return found


@given(
    st.sampled_from([(0, 1), (2, 3), (4, 2), (6, 4)]),
    st.lists(st.integers(0, 4), min_size=1, max_size=5),
    st.randoms(),
)
def test_every_filter_and_colour_type_is_read(
    kind: tuple[int, int], kinds: list[int], dice: object
) -> None:
    colour, pixel = kind
    width = 5
    rows = [
        bytes(dice.randrange(256) for _ in range(width * pixel))  # type: ignore[attr-defined]
        for _ in kinds
    ]
    read = png.decode(file(width, len(rows), filtered(rows, kinds, pixel), colour=colour))
    flat = b"".join(rows)
    assert read.rgb[0::3] == flat[0::pixel]
    assert read.rgb[2::3] == flat[(2 if pixel > 2 else 0) :: pixel]
    assert read.alpha == (flat[pixel - 1 :: pixel] if pixel in (2, 4) else None)


def test_a_palette_with_a_clear_colour() -> None:
    header = struct.pack(">IIBBBBB", 3, 1, 8, 3, 0, 0, 0)
    body = chunk(b"PLTE", b"\1\2\3\4\5\6") + chunk(b"tRNS", b"\0")
    data = chunk(b"IDAT", zlib.compress(b"\0\0\1\1")) + chunk(b"IEND", b"")
    read = png.decode(png.SIGNATURE + chunk(b"IHDR", header) + body + data)
    assert (read.rgb, read.alpha) == (b"\1\2\3\4\5\6\4\5\6", b"\0\xff\xff")


def bomb(megabytes: int) -> bytes:
    """What `zlib.compress` makes of so many zeros, without compressing them all: after a full flush
    the same bytes give the same block."""
    packer, zeros = zlib.compressobj(), bytes(1 << 20)
    first, again = (packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + again * (megabytes - 1)


BOMB = bomb(200)
HEADER = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no PNG"),
        (b"\xff\xd8\xff\xe0 JFIF", "no PNG"),
        (png.SIGNATURE, "incomplete"),
        (file(100_000, 100_000, b""), "at most 1024"),
        (file(0, 1, b""), "at most 1024"),
        (file(2**31 - 1, 1, b""), "at most 1024"),
        (file(2, 2, bytes(13)), "not as many"),
        (file(2, 2, bytes(15)), "not as many"),
        (file(1, 1, b"\5\0\0\0"), "unknown filter"),
        (file(1, 1, bytes(4), lace=1), "interlacing"),
        (file(1, 1, bytes(7), depth=16), "8 bits"),
        (file(1, 1, bytes(2), colour=3), "palette"),
        (file(1, 1, bytes(4))[:-20], "damaged"),
        (file(1, 1, bytes(4)).replace(b"IDAT", b"iDAT"), "damaged"),
        (
            png.SIGNATURE + chunk(b"IHDR", HEADER) + chunk(b"IDAT", BOMB) + chunk(b"IEND", b""),
            "not as many",
        ),
        (png.SIGNATURE + chunk(b"IHDR", HEADER) + chunk(b"IDAT", b"abc"), "unpacked"),
    ],
)
def test_hostile_pictures_are_refused(data: bytes, said: str) -> None:
    with pytest.raises(BadPng, match=said):
        png.decode(data)


@settings(max_examples=200)
@given(st.integers(0, 90), st.binary(min_size=1, max_size=8))
def test_damage_is_noticed(at: int, noise: bytes) -> None:
    data = png.encode(Picture(4, 4, bytes(range(48))), {})
    damaged = data[:at] + noise + data[at + len(noise) :]
    try:
        assert png.decode(damaged).width == 4
    except BadPng:
        assert damaged != data


def test_the_same_words_and_seed_are_the_same_picture() -> None:
    first = paint.paint("a lighthouse at night by the sea", 7, 96, 80)
    assert paint.paint("a lighthouse at night by the sea", 7, 96, 80) == first
    assert len(first.rgb) == 3 * 96 * 80
    assert paint.paint("a lighthouse at night by the sea", 8, 96, 80) != first
    assert paint.paint("a lighthouse at noon by the sea", 7, 96, 80) != first


@pytest.mark.parametrize("prompt", ["", "forest", "city at night", "snow", "red sunset sea", "é\n"])
@pytest.mark.parametrize("size", [(64, 64), (64, 1024), (333, 65)])
def test_any_words_at_any_size(prompt: str, size: tuple[int, int]) -> None:
    made = paint.paint(prompt, 1, *size)
    assert len(made.rgb) == 3 * size[0] * size[1]
    assert len(set(made.rgb)) > 20


def test_night_is_darker_than_day() -> None:
    night, day = (sum(paint.paint(word, 3, 64, 64).rgb) for word in ("night", "noon"))
    assert night * 2 < day


def test_the_caption_is_in_the_picture() -> None:
    """Light letters on the strip at the lower edge, the same at every seed but for its number."""
    one, two = paint.paint("noon", 111, 512, 128), paint.paint("noon", 999, 512, 128)

    def letters(made: Picture) -> list[int]:
        strip = made.rgb[-3 * 512 * 22 :]
        return [i for i in range(0, len(strip), 3) if strip[i : i + 3] == b"\xf0\xf0\xf0"]

    shared = set(letters(one)) & set(letters(two))
    assert len(shared) > 400 and letters(one) != letters(two)


# ---- recordings ----------------------------------------------------------------------------


def heard(samples: list[int], rate: int = 8000) -> list[str]:
    return [s.text for s in hearing.listen(wav.read(signals.wav(samples, rate)))]


@pytest.mark.parametrize(
    ("rate", "width", "channels"),
    [(8000, 1, 1), (8000, 2, 1), (16_000, 2, 2), (44_100, 2, 2), (48_000, 3, 1), (22_050, 4, 1)],
)
def test_every_format_is_heard_alike(rate: int, width: int, channels: int) -> None:
    samples = signals.silence(0.5, rate) + signals.keys("16600", rate) + signals.silence(1.5, rate)
    samples += signals.tone([440], 0.5, rate) + signals.silence(0.5, rate)
    recording = wav.read(signals.wav(samples, rate, width=width, channels=channels))
    assert recording.seconds == pytest.approx(len(samples) / rate)
    dialled, beep = hearing.listen(recording)
    assert dialled.text == "[keys] 1 6 6 0 0" and beep.text == "[tone 440 Hz 2.9–3.4 s]"
    assert [word.start for word in dialled.words] == pytest.approx(
        [0.5 + 0.18 * i for i in range(5)], abs=0.021
    )
    assert dialled.words[0].end == pytest.approx(0.6, abs=0.021)


@settings(max_examples=12, deadline=None)
@given(
    st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=3, max_size=8),
    st.sampled_from([0.04, 0.06, 0.1]),
    st.sampled_from([450, 600, 880]),
)
def test_any_morse_code_is_read(text: str, unit: float, hertz: float) -> None:
    if len("".join(signals.CODE[letter] for letter in text)) < hearing.MIN_MORSE_SIGNS:
        return
    if len(set("".join(signals.CODE[letter] for letter in text))) < 2:
        return  # only dots or only dashes: nobody can tell which
    assert heard(signals.morse(text, 8000, unit, hertz)) == [f"[Morse] {text}"]


def test_words_of_morse_code_have_times() -> None:
    samples = signals.silence(1, 8000) + signals.morse("HELLO 0G", 8000)
    (segment,) = hearing.listen(wav.read(signals.wav(samples, 8000)))
    assert [word.text for word in segment.words] == ["HELLO", "0G"]
    assert segment.start == pytest.approx(1, abs=0.021)


def test_what_is_no_signal_is_a_sound_and_what_is_nothing_nothing() -> None:
    quiet = signals.silence(0.6, 8000)
    rattle = signals.noise(0.8, 8000)
    assert heard(quiet + rattle + quiet) == ["[sound 0.6–1.4 s]"]
    assert heard(quiet + rattle + signals.silence(0.2, 8000) + rattle) == ["[sound 0.6–2.4 s]"]
    assert len(heard(quiet + rattle + quiet + rattle)) == 2
    assert heard(quiet) == [] == heard(signals.noise(1, 8000, level=100))
    assert len(heard(rattle)) == 1  # without a pause to compare with
    # Four tones that are no letters stay tones.
    beeps = []
    for seconds in (0.1, 0.2, 0.45, 0.15):
        beeps += signals.tone([500], seconds, 8000) + signals.silence(0.3, 8000)
    assert all(text.startswith("[tone 500 Hz") for text in heard(beeps))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "something else"),
        (b"\x1aE\xdf\xa3" + bytes(60), "WebM"),
        (b"ID3" + bytes(60), "MP3"),
        (b"\0\0\0 ftypM4A " + bytes(60), "MP4"),
        (b"RIFF\0\0\0\0WAVE", "cannot be read"),
        (signals.wav([0] * 10, 8000)[:40], "cannot be read"),
        (signals.wav([], 8000), "empty"),
        (signals.wav([0] * 10, 1000), "not read"),
        (signals.wav([0] * 10, 8000, channels=9), "not read"),
        (signals.wav([0], 8000)[:40] + b"\xff\xff\xff\x7f" + bytes(9), "longer than 10 minutes"),
        (signals.wav([0], 8000).replace(b"\1\0\1\0", b"\3\0\1\0", 1), "cannot be read"),
    ],
)
def test_hostile_recordings_are_refused(data: bytes, said: str) -> None:
    with pytest.raises(BadRecording, match=said):
        wav.read(data)


@given(st.binary(max_size=200))
def test_noise_in_a_header_is_refused_politely(noise: bytes) -> None:
    data = signals.wav([1000, -1000] * 400, 8000)
    for damaged in (data[:12] + noise + data[12:], data[:30] + noise + data[30:]):
        with contextlib.suppress(BadRecording):
            hearing.listen(wav.read(damaged))


# ---- transcripts ---------------------------------------------------------------------------

SEGMENTS = [
    Segment("[keys] 1 6", (Word("1", 0.5, 0.6), Word("6", 0.68, 0.7825))),
    Segment("[sound 3661.0–3662.0 s]", (Word("[sound 3661.0–3662.0 s]", 3661.0, 3662.0),)),
]


def test_all_formats() -> None:
    def rendered(form: str, *, with_words: bool = False) -> str:
        return transcript.render(SEGMENTS, 3700.25, form, with_words=with_words).decode()

    text = "[keys] 1 6\n[sound 3661.0–3662.0 s]"
    usage = {"type": "duration", "seconds": 3700.25}
    assert json.loads(rendered("json")) == {"text": text, "usage": usage}
    assert rendered("text") == text + "\n"
    assert rendered("srt") == (
        "1\n00:00:00,500 --> 00:00:00,782\n[keys] 1 6\n\n"
        "2\n01:01:01,000 --> 01:01:02,000\n[sound 3661.0–3662.0 s]\n"
    )
    assert rendered("vtt").startswith("WEBVTT\n\n00:00:00.500 --> 00:00:00.782\n[keys] 1 6\n")
    verbose = json.loads(rendered("verbose_json"))
    assert (verbose["duration"], verbose["language"]) == (3700.25, "zxx")
    assert [(s["id"], s["start"], s["end"]) for s in verbose["segments"]] == [
        (0, 0.5, 0.782),
        (1, 3661.0, 3662.0),
    ]
    assert "words" not in verbose
    words = json.loads(rendered("verbose_json", with_words=True))["words"]
    assert words[0] == {"word": "1", "start": 0.5, "end": 0.6} and len(words) == 3
    # What the broker charges by is in every format but plain text.
    assert (
        media.subtitle_seconds(rendered("srt")) == media.subtitle_seconds(rendered("vtt")) == 3662
    )
    assert transcript.render([], 1, "text", with_words=False) == b"[no sound]\n"


def test_a_streamed_transcript_adds_up_to_the_whole() -> None:
    *deltas, done, end = transcript.events(SEGMENTS, 2)
    text = "".join(json.loads(delta)["delta"] for delta in deltas)
    assert text == json.loads(done)["text"] and end == b"[DONE]"


# ---- vectors -------------------------------------------------------------------------------


def closeness(one: str, other: str) -> float:
    pairs = zip(vectors.vector(one), vectors.vector(other), strict=True)
    return sum(a * b for a, b in pairs)


def test_texts_with_words_in_common_point_the_same_way() -> None:
    lamp = "The lighthouse keeper lit the lamp"
    assert closeness(lamp, lamp.upper()) == pytest.approx(1, abs=1e-4)
    assert closeness(lamp, "A keeper of the lighthouse") > 0.3
    assert abs(closeness(lamp, "quarterly invoices")) < 0.3


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=1, max_size=60).filter(str.strip), st.integers(16, 1024))
def test_a_vector_has_its_size_and_length_one(text: str, size: int) -> None:
    try:
        found = vectors.vector(text, size)
    except UnicodeEncodeError:
        return  # a lone surrogate, which no request can hold
    assert len(found) == size
    assert sum(value * value for value in found) == pytest.approx(1, abs=0.01)
