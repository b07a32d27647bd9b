"""Which pictures an answer holds, and what a transcription costs."""

from __future__ import annotations

import base64
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import media
from protocol.fees import Tariff
from provider.meter import SpeechMeter

TARIFF = Tariff(3, 5)


def fee(body: object, rule: Any = "sdk") -> int:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return media.transcription_fee(TARIFF, rule, raw)


@pytest.mark.parametrize(
    ("usage", "sdk", "broker"),
    [
        ({"type": "duration", "seconds": 0.4}, 3, 5),
        ({"type": "duration", "seconds": 12.49}, 36, 65),
        ({"type": "duration", "seconds": 12.5}, 39, 65),
        ({"seconds": "7.2"}, 21, 40),
        ({"type": "tokens", "input_tokens": 10, "output_tokens": 2, "seconds": 9}, 40, 40),
        ({"input_tokens": 10, "seconds": 9}, 27, 45),
        ({"input_tokens": 10}, 30, 30),
        # A type whose own number is missing is charged by words: two units each.
        ({"type": "duration", "seconds": 0, "input_tokens": 10}, 20, 20),
        ({"type": "tokens", "seconds": 9}, 20, 20),
        ({"type": "duration", "seconds": -9}, 20, 20),
        ({"type": "duration", "seconds": "many"}, 20, 20),
        ({}, 20, 20),
        ([], 20, 20),
        # Nobody speaks for a hundred hours.
        ({"type": "duration", "seconds": 10**9}, 3 * 356_400, 5 * 356_400),
    ],
)
def test_usage_decides(usage: object, sdk: int, broker: int) -> None:
    body = {"text": "two words", "usage": usage}
    assert (fee(body), fee(body, "broker")) == (sdk, broker)


def test_without_usage_the_length_then_the_subtitles_then_the_words() -> None:
    assert fee({"text": "a", "duration": 9.6}) == 30
    assert fee({"text": "a", "duration": "9.6", "usage": {"type": "duration"}}) == 30
    srt = b"1\r\n00:00:00,000 --> 01:00:02,500\r\nhi\r\n\r\n2\r\n00:00:03,000 --> 00:00:04,000\r\n"
    assert fee(srt) == 3 * 3603
    assert fee(b"WEBVTT\n\n00:01.000 --> 00:02.000 position:10%\nhi") == 6
    assert fee(b"hi there\nyou") == 5 * 6
    assert fee(b"") == 500 and fee({"text": ""}) == 500
    assert fee({"usage": None}) == 500 and fee(b"[1]") == 5 * 2


@pytest.mark.parametrize(
    "line",
    [
        "he said 00:00:01,000 --> 09:00:00,000 and left",
        "00:00:01,000 -->",
        "--> 00:00:09,000",
        "00:00:01,000 --> 00:99:00,000",
        "00:00:01,000 --> 999:00:00,000",
        "00:00:01,000 --> 00:00:1e9",
        "00:00:01,000 --> 00:00:09,000x",
        "00:00:01,000 --> ٠٠:٠٠:٠٩",
    ],
)
def test_prose_is_no_subtitle(line: str) -> None:
    assert media.subtitle_seconds(line) is None
    assert media.subtitle_seconds(f"{line}\n00:01.5 --> 00:02.25\n{line}") == Decimal("2.25")


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_body_has_a_fee(body: bytes) -> None:
    assert fee(body) >= 0 and fee(b"[" * 100_000 + body) > 0


def test_a_stream_is_charged_by_its_end_else_by_its_words() -> None:
    lines = (
        b'data: {"type":"transcript.text.delta","delta":"one two"}\n\n'
        b'data: {"type":"transcript.text.delta","delta":" three"}\n\n'
        b'data: {"type":"transcript.text.done","text":"one two three",'
        b'"usage":{"type":"duration","seconds":4}}\n\n'
    )
    for cut in range(len(lines)):
        meter = SpeechMeter("sdk")
        assert meter.fee(TARIFF) == 0
        meter.feed(lines[:cut])
        assert meter.fee(TARIFF) in (0, 20, 30, 12)
        meter.feed(lines[cut:])
        assert meter.done and meter.fee(TARIFF) == 12


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=5))
def test_pictures_come_out_as_they_went_in(pictures: list[bytes]) -> None:
    data = [{"b64_json": base64.b64encode(p).decode(), "seed": 1} for p in pictures]
    assert media.pictures({"data": data}) == tuple(pictures)


@pytest.mark.parametrize(
    "document",
    [
        None,
        {},
        {"data": []},
        {"data": {}},
        {"data": [{"url": "http://x"}]},
        {"data": [{"b64_json": ""}]},
        {"data": [{"b64_json": "QQ"}]},
        {"data": [{"b64_json": "Q Q="}]},
        {"data": [{"b64_json": "QQ==\n"}]},
        {"data": [{"b64_json": "Ü==="}]},
        {"data": [{"b64_json": "QQ=="}, 7]},
        {"data": [{"b64_json": "QQ=="}] * 65},
        {"data": [{"b64_json": "QQ=="}, {"b64_json": None}]},
    ],
)
def test_half_an_answer_is_none(document: object) -> None:
    assert media.pictures(document) is None
