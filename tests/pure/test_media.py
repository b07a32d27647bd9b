"""Recordings and transcripts, to the sample and the millisecond; forms to the byte."""

from __future__ import annotations

import base64
import json
import random
import tracemalloc
from array import array
from itertools import pairwise
from typing import Any

import pytest

from attestation.verify import Exchange, Signer, reply
from inference.errors import BadPrompt
from inference.media import forms, masks, pictures, recordings, transcripts
from inference.media.forms import Part
from inference.media.pictures import NoPictures
from inference.media.recordings import Recording
from inference.media.sieve import Sieve
from inference.media.transcripts import Heard, NoTranscript, Segment
from net.errors import BadAnswer
from protocol import replies
from provider.forms import read_form
from tests.live.chat_upstream import SIGNER, SIGNER_KEY

RATE = 1000


def speech(*parts: tuple[float, int], channels: int = 1) -> Recording:
    """Seconds of a loudness each, every sample of its own."""
    samples = array("h")
    for seconds, loud in parts:
        for frame in range(int(seconds * RATE)):
            samples.extend([loud if frame % 2 else -loud] * channels)
    return Recording(samples, RATE, channels)


@pytest.mark.parametrize("channels", [1, 2])
def test_pieces_hold_every_sample_once_and_are_cut_where_it_is_quiet(channels: int) -> None:
    # the only pause near the end of the first piece is from 9.3 to 9.5 s
    recording = speech((9.3, 9000), (0.2, 0), (9.7, 9000), (0.8, 500), channels=channels)
    pieces = recordings.pieces(recording, 10)
    assert [x.start_ms for x in pieces][:2] == [0, pytest.approx(9400, abs=120)]
    assert all(x.length_ms <= 10_000 for x in pieces)
    assert sum(x.length_ms for x in pieces) == recording.ms == 20_000
    for before, after in pairwise(pieces):
        assert before.start_ms + before.length_ms == after.start_ms
    again = array("h")
    for piece in pieces:
        again.extend(recordings.read(piece.wav, "").samples)
    assert again == recording.samples
    joined = recordings.read(recordings.joined([x.wav for x in pieces]), "")
    assert (joined.samples, joined.rate, joined.channels) == (recording.samples, RATE, channels)


@pytest.fixture(autouse=True)
def slow_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "RATES", range(RATE, 48_001))


def test_cuts_never_stand_still() -> None:
    for length in (1, 5, 99, 100, 101, 1000):
        cuts = recordings.cuts(speech((length / RATE, 5)), 10)
        assert cuts[0] == 0 and cuts[-1] == length
        assert all(0 < after - before <= 10 for before, after in pairwise(cuts))


def test_files_that_are_no_recording_are_named() -> None:
    good = recordings.wav(array("h", [1, 2, 3] * 1000), 8000, 1)
    for data, words in (
        (b"\x1aE\xdf\xa3" + bytes(50), "a.wav is WebM"),
        (b"<html>", "a.wav is no recording"),
        (good[:20], "it has no samples"),
        (good[:22] + b"\x09\x00" + good[24:], "a WAV that is not read here"),
        (good[:34] + b"\x20\x00" + good[36:], "a WAV that is not read here"),
        (good[:44], "is empty"),
        (recordings.wav(array("h", bytes(2 * 1300 * RATE)), RATE, 1), "longer than 20 minutes"),
        (good + bytes(recordings.MAX_BYTES), "larger than 40 MB"),
    ):
        with pytest.raises(BadPrompt) as refused:
            recordings.read(data, "a.wav")
        assert words in refused.value.sentence
    # chunks before the samples, sizes beyond the end
    odd = (
        good[:12] + b"LIST\x05\x00\x00\x00hello\x00" + good[12:40] + b"\xff\xff\xff\xff" + good[44:]
    )
    assert recordings.read(odd, "a.wav").frames == 3000


def said(**more: Any) -> bytes:
    return json.dumps({"text": " hello ", **more}).encode()


def test_times_of_a_piece_are_held_inside_it_and_moved_to_where_it_was_said() -> None:
    rows = [
        {"start": 0.5, "end": 1.25, "text": " one\n\ntwo "},
        {"start": 0.1, "end": 99999, "text": "late"},
        {"start": -1, "end": 2, "text": "negative"},
        {"start": "nan", "end": 2, "text": "nan"},
        {"start": 1e300, "end": 1e300, "text": "far"},
        {"start": 2, "end": 3, "text": "  "},
        {"text": "no times"},
        "no segment",
    ]
    first = transcripts.read_answer(said(segments=rows, language="en\n\n1"), 3000)
    assert first.text == "hello" and first.language == "en 1"
    assert first.segments == (Segment(500, 1250, "one two"), Segment(500, 3000, "late"))
    timed = [{"word": x, "start": n, "end": n + 0.5} for n, x in enumerate(("one", "mo", "two"))]
    worded = transcripts.read_answer(said(segments=rows[:1], words=[{}, *timed]), 3000)
    assert worded.segments[0].bits == ((0, "one"), (None, " "), (2000, "two"))
    later = transcripts.together([(0, worded), (3000, worded)])
    assert later.segments[1].bits[0] == (3000, "one")
    assert json.loads(transcripts.render(later, "json", {}))["words"][3]["start"] == 3
    alone = transcripts.read_answer(said(words=timed), 3000).segments
    assert alone == (Segment(0, 2500, "one mo two", alone[0].words),)
    whole = transcripts.together([(0, first), (3000, first)])
    assert [x.start_ms for x in whole.segments] == [500, 500, 3500, 3500]
    assert whole.text == "hello\nhello" and whole.language == "en 1"
    for bad in (b"", b"[]", b'{"text":5}', b'{"text":"%s"}' % (b"x" * 400_001), b"[" * 99999):
        with pytest.raises(NoTranscript):
            transcripts.read_answer(bad, 1000)


def test_subtitles_cannot_be_broken_by_what_is_said() -> None:
    hostile = Segment(3_661_007, 3_662_000, "<script> 00:00 --> 99:99 & more")
    heard = Heard("text", (Segment(0, 500, "one"), hostile))
    srt = transcripts.render(heard, "srt", {}).decode()
    assert srt.split("\n\n") == [
        "1\n00:00:00,000 --> 00:00:00,500\none",
        "2\n01:01:01,007 --> 01:01:02,000\n‹script› 00:00 → 99:99 & more\n",
    ]
    vtt = transcripts.render(heard, "vtt", {}).decode()
    assert vtt.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:00.500\none\n")
    assert "&lt;script&gt; 00:00 --&gt; 99:99 &amp; more" in vtt
    document = json.loads(transcripts.render(heard, "json", {"name": "x"}))
    assert document["segments"][1]["start"] == 3661.007 and document["name"] == "x"


def test_our_forms_are_read_by_the_strictest_broker() -> None:
    parts = [
        Part("model", b"painter"),
        Part("n", b"2"),
        Part("prompt", "ä\r\n--x\r\n".encode()),
        Part("image", bytes(range(256)) * 9, "image.png", "image/png"),
    ]
    body = forms.build(parts, "b0")
    form = read_form(body, forms.content_type("b0"), once=("model", "n"))
    assert form.text("prompt") == "ä\r\n--x\r\n"
    image = form.file("image")
    assert image is not None and bytes(form.data(image)) == parts[3].data
    assert forms.boundary_of(forms.content_type("b0")) == "b0"
    for bad in (Part('a"b', b""), Part("a", b"b0"), Part("a", b"", 'x"\r\ny.png')):
        with pytest.raises(ValueError):
            forms.build([bad], "b0")


def test_only_the_providers_own_place_is_an_address_of_pictures() -> None:
    home = "https://p.example/base/"
    assert pictures.own_address(home, "https://p.example/base/v1/proxy/images/k-1/0")
    for other in (
        "https://p.example/v1/proxy/images/k/0",
        "https://p.example/base/v1/proxy/images/k/0?x=http://10.0.0.1",
        "https://p.example/base/v1/proxy/images/../../../admin/0",
        "https://p.example/base/v1/proxy/images/%2e%2e/0",
        "https://p.example@10.0.0.1/base/v1/proxy/images/k/0",
        "http://169.254.169.254/latest/meta-data",
        "",
    ):
        assert not pictures.own_address(home, other)


def test_a_signature_of_several_pictures_is_compared_in_their_order() -> None:
    request, one, two = ("a" * 64, "b" * 64, "c" * 64)

    def judged(*hashes: str, got: str, pictures: bool = True) -> str:
        text = replies.signed_text(request, *hashes)
        document = {"text": text, "signature": replies.sign_text(text, SIGNER_KEY)}
        document["signing_address"] = SIGNER
        exchange = Exchange(request, got, complete=True, pictures=pictures)
        return reply(document, exchange, Signer(SIGNER, True)).verdict

    assert judged(one, two, got=f"{one},{two}") == "verified"
    assert judged(two, one, got=f"{one},{two}") == "altered"
    assert judged(one, got=f"{one},{two}") == "altered"
    assert judged(one, got=one) == "verified"
    assert judged(one, two, got=f"{one},{two}", pictures=False) == "unavailable"
    assert judged(*[one] * 11, got=one) == "unavailable"


def test_masks_are_whole_thousandths_inside_the_picture() -> None:
    mask = masks.Mask.of('[[900,0,500,1000],{"r":0,"p":[[1,2]]}]')
    assert mask.stored() == [[900, 0, 100, 1000], {"r": 1, "p": [[1, 2]]}]
    assert masks.Mask.of(mask.stored()) == mask and not masks.Mask.of("")
    for bad in ("[[true,0,1,1]]", "[[0.5,0,1,1]]", '[{"r":1,"p":[]}]', "[[1001,0,1,1]]"):
        with pytest.raises(BadPrompt):
            masks.Mask.of(bad)
    with pytest.raises(BadPrompt):
        masks.Mask.of([[1, 1, 1, 1]] * 101)


def test_pictures_taken_out_of_an_answer_are_those_that_are_in_it() -> None:
    """Cut anywhere, escaped as JSON allows, beside strings that look like them."""
    rng = random.Random(11)
    for _ in range(12):
        raws = [rng.randbytes(rng.choice((10, 49_152, 49_155, 90_001))) for _ in range(3)]
        rows = [{"b64_json": base64.b64encode(raw).decode(), "seed": 1} for raw in raws]
        document = {"a": 'quote " and \\', "data": rows, "long": "\u00e4" * 70_000, "z": [None, ""]}
        text = json.dumps(document)
        text = text.replace("/", "\\/") if rng.random() < 0.5 else text
        body, at, sieve = text.encode(), 0, Sieve(pictures.MAX_PICTURE_BYTES)
        while at < len(body):
            step = rng.choice((1, 2, 3, 1_000, 65_536))
            sieve.feed(body[at : at + step])
            at += step
        found = sieve.document()
        assert [one.data for one in pictures.sent(found, sieve)] == raws
        assert (found["a"], found["z"]) == (document["a"], document["z"])


def test_escapes_and_crumbs_cost_the_sieve_no_more_than_other_pictures() -> None:
    """A provider may write each slash as two characters, and send four of them at a time."""

    class Counted(Sieve):
        steps = 0

        def _add(self, part: bytes) -> None:
            self.steps += 1
            super()._add(part)

    sieve = Counted(pictures.MAX_PICTURE_BYTES)
    sieve.feed(b'{"data":[{"b64_json":"')
    tracemalloc.start()
    try:
        for _ in range(16):
            sieve.feed(b"\\/" * 32_768)
        assert sieve.steps <= 32
        for _ in range(32_768):
            sieve.feed(b"////")
        held, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    sieve.feed(b'"}]}')
    (found,) = pictures.sent(sieve.document(), sieve)
    assert found.data == b"\xff" * (3 * (16 * 32_768 // 4 + 32_768))
    assert held < 2 * len(found.data), held


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"data": [{"b64_json": "%s"}]}' % ("A" * 70_001), "no base64"),
        ('{"data": [{"b64_json": "%s"}]}' % ("AA==" * 20_000), "no base64"),
        ('{"data": [{"b64_json": "%s"}]}' % ("A" * 70_000 + "\\u0041" * 4), "no base64"),
        ('{"data": [{"b64_json": "%s"}]}' % ("A" * (24 << 20)), "more than 16 MB"),
        ('{"data": [{"b64_json": "%s"' % ("A" * 70_000), "not JSON"),
        ('{"data": [{"b64_json": "%s' % ("A" * 70_000), "not JSON"),
        ('{"data": [%s]}' % ("1," * 600_000), "beside its pictures"),
        ("[" * 50, "deeper"),
    ],
)
def test_what_is_no_answer_with_pictures_is_told_by_the_sieve(text: str, words: str) -> None:
    sieve = Sieve(pictures.MAX_PICTURE_BYTES)
    with pytest.raises((NoPictures, BadAnswer), match=words):
        for at in range(0, len(text), 65_536):
            sieve.feed(text[at : at + 65_536].encode())
        pictures.sent(sieve.document(), sieve)
