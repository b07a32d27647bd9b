"""Images and speech through the broker: what is forwarded, signed and charged, byte by byte and
neuron by neuron."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import requests

from protocol import fees, media
from protocol.fees import Tariff
from tests.live.media_upstream import TRANSCRIPTS, MediaUpstream, drawn, picture
from tests.live.provider_lab import MODEL, ONE, Broker, Lab, Person, customer, served
from tests.live.signed import verdict

PICTURE_PRICE = 3 * 10**15
SECOND_PRICE, WORD_PRICE = 5 * 10**13, 8 * 10**13
GENERATIONS, EDITS = "/v1/proxy/images/generations", "/v1/proxy/images/edits"
TRANSCRIPTIONS = "/v1/proxy/audio/transcriptions"
BOUNDARY = "----WebKitFormBoundaryx7"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


@pytest.fixture(scope="module")
def upstream() -> Iterator[tuple[MediaUpstream, str]]:
    app = MediaUpstream()
    with served(app) as url:
        yield app, url + "/v1"


def started(lab: Lab, url: str, kind: str, prices: tuple[int, int], **settings: Any) -> Broker:
    service = {"type": kind, "input_price": prices[0], "output_price": prices[1]}
    limits = {"requests_per_minute": 1000}
    made = Broker(lab, lab.person(), url, service=service, limits=limits, **settings).start()
    lab.acknowledge(made.address)
    return made


@pytest.fixture(scope="module")
def painter(lab: Lab, upstream: tuple[MediaUpstream, str]) -> Iterator[Broker]:
    made = started(lab, upstream[1], "text-to-image", (0, PICTURE_PRICE))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def listener(lab: Lab, upstream: tuple[MediaUpstream, str]) -> Iterator[Broker]:
    made = started(lab, upstream[1], "speech-to-text", (SECOND_PRICE, WORD_PRICE))
    yield made
    made.stop()


def error(response: requests.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]


def wish(prompt: str = "cat", **more: Any) -> bytes:
    """A request for pictures with spacing of its own."""
    return json.dumps({"model": MODEL, "prompt": prompt, **more}, indent=1).encode()


def form(*parts: tuple[str, str | None, bytes]) -> bytes:
    """A form as a browser writes it."""
    written = []
    for name, filename, value in parts:
        head = f'Content-Disposition: form-data; name="{name}"'
        if filename is not None:
            head += f'; filename="{filename}"\r\nContent-Type: application/octet-stream'
        written.append(f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + value + b"\r\n")
    return b"".join(written) + f"--{BOUNDARY}--\r\n".encode()


def edit_form(prompt: bytes = b"cat", *more: tuple[str, str | None, bytes]) -> bytes:
    every_byte = bytes(range(256)) * 40
    return form(
        ("image", "in.png", every_byte),
        ("mask", "mask.png", every_byte[::-1]),
        ("prompt", None, prompt),
        ("model", None, MODEL.encode()),
        *more,
    )


def speech_form(word: str, *more: tuple[str, str | None, bytes]) -> bytes:
    sound = b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(200)
    return form(("model", None, MODEL.encode()), *more, ("file", f"{word}.wav", sound))


def ask(
    broker: Broker, user: Person, path: str, body: bytes, kind: str = "application/json"
) -> requests.Response:
    key = user.provider_key(broker.address)
    return broker.ask(key, body, path=path, headers={"Content-Type": kind})


# ---- pictures ------------------------------------------------------------------------------


def test_pictures_are_forwarded_untouched_signed_and_charged(
    lab: Lab, painter: Broker, upstream: tuple[MediaUpstream, str]
) -> None:
    user = customer(lab, painter)
    body = wish(n=3, response_format="b64_json", size="512x512", seed=2**53 + 1)
    response = ask(painter, user, GENERATIONS, body)
    assert response.status_code == 200 and response.content == drawn(3)
    assert upstream[0].bodies[-1] == body and upstream[0].paths[-1] == "/v1/images/generations"
    seen = upstream[0].headers[-1]
    assert seen["authorization"] == "Bearer upstream-secret" and user.address not in str(seen)
    assert response.headers["Provider"] == painter.address
    assert response.headers["X-RateLimit-Limit"] == "1000"
    chat_id = response.headers["ZG-Res-Key"]
    pictures = [picture(i) for i in range(3)]
    assert media.pictures(response.json()) == tuple(pictures)
    assert verdict(painter, chat_id, body, *pictures) == "verified"
    assert verdict(painter, chat_id, body, *pictures[::-1]) == "altered"
    assert painter.owes(user) == 3 * PICTURE_PRICE


def test_pictures_behind_urls_are_the_signed_ones(
    lab: Lab, painter: Broker, upstream: tuple[MediaUpstream, str]
) -> None:
    user = customer(lab, painter)
    body = wish(n=2, response_format="url")
    response = ask(painter, user, GENERATIONS, body)
    sent = json.loads(upstream[0].bodies[-1])
    assert sent == {**json.loads(body), "response_format": "b64_json"}
    chat_id, rows = response.headers["ZG-Res-Key"], response.json()["data"]
    base = f"{painter.url}/v1/proxy/images/{chat_id}"
    assert rows == [{"seed": i, "url": f"{base}/{i}"} for i in range(2)]
    found = [requests.get(row["url"], timeout=10) for row in rows]
    assert [answer.content for answer in found] == [picture(0), picture(1)]
    assert {answer.headers["content-type"] for answer in found} == {"image/png"}
    assert "sandbox" in found[0].headers["content-security-policy"]
    # How pictures travel is no part of the question: the signature is about it as it was sent.
    assert verdict(painter, chat_id, body, *[a.content for a in found]) == "verified"
    head = requests.head(rows[0]["url"], timeout=10)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(picture(0)))
    for path in (f"{base}/2", f"{base.rpartition('/')[0]}/{uuid4()}/0"):
        assert error(requests.get(path, timeout=10)) == (404, "image not found or expired")
    assert painter.owes(user) == 2 * PICTURE_PRICE
    painter.stop()
    painter.start()
    assert requests.get(rows[1]["url"], timeout=10).content == picture(1)


def test_nothing_asked_for_means_pictures_in_the_answer(lab: Lab, painter: Broker) -> None:
    body = wish()
    response = ask(painter, customer(lab, painter), GENERATIONS, body)
    assert response.content == drawn(1)
    assert verdict(painter, response.headers["ZG-Res-Key"], body, picture(0)) == "verified"


def test_an_edit_with_mask_is_forwarded_byte_by_byte(
    lab: Lab, painter: Broker, upstream: tuple[MediaUpstream, str]
) -> None:
    user = customer(lab, painter)
    body = edit_form(b"cat", ("n", None, b"2"), ("response_format", None, b"b64_json"))
    response = ask(painter, user, EDITS, body, FORM)
    assert response.status_code == 200, response.text
    assert upstream[0].bodies[-1] == body and upstream[0].paths[-1] == "/v1/images/edits"
    assert upstream[0].headers[-1]["content-type"] == FORM
    chat_id = response.headers["ZG-Res-Key"]
    assert verdict(painter, chat_id, body, picture(0), picture(1)) == "verified"
    assert painter.owes(user) == 2 * PICTURE_PRICE


def test_of_a_form_only_what_must_change_changes(
    lab: Lab, painter: Broker, upstream: tuple[MediaUpstream, str]
) -> None:
    user = customer(lab, painter)
    url = ("response_format", None, b"url")
    response = ask(painter, user, EDITS, edit_form(b"cat", url), FORM)
    wanted = edit_form(b"cat", ("response_format", None, b"b64_json"))
    assert upstream[0].bodies[-1] == wanted
    assert "url" in response.json()["data"][0]
    plain = edit_form()
    response = ask(painter, user, EDITS, plain, FORM)
    (added,) = [
        p for p in upstream[0].bodies[-1].split(b"--" + BOUNDARY.encode()) if p not in plain
    ]
    assert (
        added == b'\r\nContent-Disposition: form-data; name="response_format"\r\n\r\nb64_json\r\n'
    )
    assert verdict(painter, response.headers["ZG-Res-Key"], plain, picture(0)) == "verified"


def test_another_models_name_is_replaced_and_the_signature_says_so(
    lab: Lab, painter: Broker, upstream: tuple[MediaUpstream, str]
) -> None:
    user = customer(lab, painter)
    body = json.dumps(
        {"model": "dall-e-9", "prompt": "cat", "response_format": "b64_json"}
    ).encode()
    response = ask(painter, user, GENERATIONS, body)
    sent = upstream[0].bodies[-1]
    assert json.loads(sent) == {**json.loads(body), "model": MODEL}
    chat_id = response.headers["ZG-Res-Key"]
    assert verdict(painter, chat_id, body, picture(0)) == "rewritten"
    assert verdict(painter, chat_id, sent, picture(0)) == "verified"


def test_charged_is_what_was_made_and_never_more_than_asked(lab: Lab, painter: Broker) -> None:
    for word, made, paid in (("fewer", 2, 2), ("more", 4, 3)):
        user = customer(lab, painter)
        body = wish(word, n=3, response_format="b64_json")
        response = ask(painter, user, GENERATIONS, body)
        pictures = [picture(i) for i in range(made)]
        said = verdict(painter, response.headers["ZG-Res-Key"], body, *pictures)
        assert (said, painter.owes(user)) == ("verified", paid * PICTURE_PRICE), word


FAILURES = {
    "refuse": (400, {"error": {"message": "no cats"}}),
    "explode": (500, {"error": "boom"}),
    "denied": (502, {"error": "Bad Gateway"}),
    "huge": (502, {"error": "Bad Gateway"}),
    "html": (502, {"error": "Bad Gateway"}),
    "hosted": (502, {"error": "Bad Gateway"}),
    "broken": (502, {"error": "Bad Gateway"}),
}


def test_no_picture_no_fee(lab: Lab, painter: Broker) -> None:
    # One picture's worth: a reservation that stayed would refuse the next wish.
    user = customer(lab, painter, ONE + PICTURE_PRICE)
    for word, expected in FAILURES.items():
        response = ask(painter, user, GENERATIONS, wish(word))
        assert (response.status_code, response.json()) == expected, word
        assert "ZG-Res-Key" not in response.headers, word
        assert painter.owes(user) == 0, word
    # The place and the reservation are free again.
    assert ask(painter, user, GENERATIONS, wish()).status_code == 200


def test_pictures_are_reserved_before_they_are_made(lab: Lab, painter: Broker) -> None:
    user = customer(lab, painter, ONE + 2 * PICTURE_PRICE)
    status, said = error(ask(painter, user, GENERATIONS, wish(n=3)))
    assert status == 400 and "current request fee 0.009000 0G" in said
    assert ask(painter, user, GENERATIONS, wish(n=2)).status_code == 200


# ---- hostile uploads -----------------------------------------------------------------------


HOSTILE_WISHES = (
    b"",
    b'{"model":"m"}',
    wish(""),
    wish(n=0),
    wish(n=11),
    wish(n="2"),
    wish(n=True),
    wish(n=1.0),
    wish(response_format="png"),
    wish(stream=True),
    b'{"prompt":"cat","n":1,"n":10}',
    b'{"prompt":"cat","x":NaN}',
    b'{"prompt":"cat","x":1e999}',
)
HOSTILE_FORMS = {
    "two counts": edit_form(b"cat", ("n", None, b"1"), ("n", None, b"10")),
    "a count in a file": edit_form(b"cat", ("n", "n.txt", b"10")),
    "a list of counts": edit_form(b"cat", ("n[]", None, b"10")),
    "a count of words": edit_form(b"cat", ("n", None, b"ten")),
    "a count too far": edit_form(b"cat", ("n", None, b"11")),
    "no picture": form(("prompt", None, b"cat")),
    "a picture as text": form(("prompt", None, b"cat"), ("image", None, b"abc")),
    "no prompt": form(("image", "x.png", b"abc")),
    "many parts": form(("image", "x.png", b"a"), *[(f"x{i}", None, b"1") for i in range(40)]),
    "a field too long": edit_form(b"cat", ("user", None, b"x" * 300_000)),
    "not UTF-8": edit_form(b"cat", ("user", None, b"\xff")),
    "no end": edit_form()[:-4],
    "an epilogue": edit_form() + b"n=10",
    "a preamble": b"n=10\r\n" + edit_form(),
    "a bare line feed": edit_form().replace(b"\r\n--", b"\n--", 1),
    "another header": edit_form().replace(
        b"Content-Type:", b"Content-Transfer-Encoding: base64\r\nContent-Type:", 1
    ),
    "an odd name": edit_form().replace(b'name="mask"', b'name="a b"'),
    "a name in two ways": edit_form().replace(b'name="mask"', b'name="mask"; name="n"'),
    "the boundary inside": edit_form(b"cat", ("user", None, f"\r\n--{BOUNDARY}x".encode())),
}


BOUNDARIES = (
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=a; boundary=b",
    "multipart/mixed; boundary=b",
    f'multipart/form-data; boundary="{"b" * 71}"',
)


def test_malformed_wishes_and_forms_with_two_meanings_are_refused_and_free(
    lab: Lab, painter: Broker
) -> None:
    user, wrong = customer(lab, painter), []
    cases = [(repr(body), GENERATIONS, body, "application/json", "") for body in HOSTILE_WISHES]
    cases += [(name, EDITS, body, FORM, "") for name, body in HOSTILE_FORMS.items()]
    cases += [(kind, EDITS, edit_form(), kind, "boundary") for kind in BOUNDARIES]
    for name, path, body, kind, word in cases:
        status, said = error(ask(painter, user, path, body, kind))
        if status != 400 or not said.startswith("validate request: ") or word not in said:
            wrong.append(f"{name}: {status} {said}")
    assert not wrong, "\n".join(wrong)
    assert painter.owes(user) == 0


def test_an_upload_over_32_mib_is_refused(lab: Lab, painter: Broker) -> None:
    user = customer(lab, painter)
    body = form(("image", "x.png", bytes(33 << 20)), ("prompt", None, b"cat"))
    text = "Request body size exceeds the maximum allowed size of 32MB"
    assert error(ask(painter, user, EDITS, body, FORM)) == (413, text)
    # Undeclared, it is noticed on the way.
    parts = (body[at : at + (1 << 20)] for at in range(0, len(body), 1 << 20))
    headers = {"Authorization": user.provider_key(painter.address), "Content-Type": FORM}
    try:
        answer = requests.post(painter.url + EDITS, data=parts, headers=headers, timeout=30)
    except requests.exceptions.ConnectionError:
        pass  # it answered and closed before the client had finished sending
    else:
        assert error(answer) == (413, text)
    assert painter.owes(user) == 0


def test_a_large_upload_is_no_burden(
    lab: Lab, painter: Broker, upstream: tuple[MediaUpstream, str]
) -> None:
    """While it passes through, the broker holds a body twice (what came, and what it is made into)
    and a few MiB for the connection; afterwards nothing of it."""
    user, size, rest = customer(lab, painter), 20 << 20, 10 << 20

    def upload() -> None:
        body = form(("image", "x.png", bytes(size)), ("prompt", None, b"cat"))
        assert ask(painter, user, EDITS, body, FORM).status_code == 200
        sent = upstream[0].bodies[-1]
        assert sent.endswith(body[2:]) and len(sent) < len(body) + 200
        assert upstream[0].headers[-1]["content-length"] == str(len(sent))

    assert ask(painter, user, GENERATIONS, wish()).status_code == 200  # warm: code is loaded
    before = painter.memory()
    with painter.memory_peak() as peak:
        for _ in range(4):
            upload()
    assert peak[0] - before < 2 * size + rest
    assert painter.memory() - before < rest


def test_slow_senders_hold_their_own_places_only(lab: Lab, painter: Broker) -> None:
    slow, other = customer(lab, painter), customer(lab, painter)
    key = slow.provider_key(painter.address)
    assert ask(painter, other, GENERATIONS, wish()).status_code == 200  # known from here on
    head = f"POST {EDITS} HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\nContent-Type: {FORM}\r\n"
    place = urlsplit(painter.url)
    crawling = []
    for _ in range(8):
        crawler = socket.create_connection((place.hostname, place.port), timeout=15)
        crawler.sendall(f"{head}Content-Length: 30000000\r\n\r\nsome".encode())
        crawling.append(crawler)
    time.sleep(0.5)
    assert error(ask(painter, slow, GENERATIONS, wish())) == (503, "Service Unavailable")
    large = form(("image", "x.png", bytes(20 << 20)), ("prompt", None, b"cat"))
    assert ask(painter, other, EDITS, large, FORM).status_code == 200
    # Whoever falls silent is told, and the places are free again.
    for crawler in crawling:
        assert crawler.recv(100).startswith(b"HTTP/1.1 408 ")
        crawler.close()
    assert ask(painter, slow, GENERATIONS, wish()).status_code == 200


def test_pictures_can_be_fetched_120_times_a_minute(painter: Broker) -> None:
    if time.time() % 60 > 50:
        time.sleep(61 - time.time() % 60)
    url = f"{painter.url}/v1/proxy/images/{'0' * 36}/0"
    with requests.Session() as session:
        answers = [session.get(url, timeout=10) for _ in range(121)]
    assert {a.status_code for a in answers[:100]} == {404}
    assert error(answers[-1]) == (
        429,
        "Rate limit exceeded. Please slow down your request rate (limit: 120 requests/min).",
    )


# ---- speech --------------------------------------------------------------------------------

TARIFF = Tariff(SECOND_PRICE, WORD_PRICE)
SPEECH_FEES = {
    "duration": 7 * SECOND_PRICE,
    "tokens": fees.speech_fee(TARIFF, 100, 40),
    "verbose": 12 * SECOND_PRICE,
    "srt": 63 * SECOND_PRICE,  # 62.6 s
    "vtt": 10 * SECOND_PRICE,  # 9.5 s: a half is rounded up
    "text": 6 * WORD_PRICE,
    "empty": 100 * WORD_PRICE,
    "absurd": 4 * WORD_PRICE,  # not a number of seconds, so two units a word
    "cheeky": 4 * WORD_PRICE,
}


def test_transcripts_are_untouched_signed_and_charged(
    lab: Lab, listener: Broker, upstream: tuple[MediaUpstream, str]
) -> None:
    user, owed = customer(lab, listener), 0
    assert set(SPEECH_FEES) == set(TRANSCRIPTS)
    for word, (kind, text) in TRANSCRIPTS.items():
        body = speech_form(word, ("language", None, b"en"), ("temperature", None, b"0"))
        response = ask(listener, user, TRANSCRIPTIONS, body, FORM)
        assert response.status_code == 200, (word, response.text)
        assert (response.headers["content-type"], response.content) == (kind, text), word
        assert upstream[0].bodies[-1] == body, word
        assert upstream[0].headers[-1]["content-type"] == FORM, word
        assert response.headers["Provider"] == listener.address
        chat_id = response.headers["ZG-Res-Key"]
        assert verdict(listener, chat_id, body, text) == "verified", word
        before, owed = owed, listener.owes(user)
        assert owed - before == SPEECH_FEES[word], word


def test_a_streamed_transcript(lab: Lab, listener: Broker) -> None:
    user = customer(lab, listener)
    body = speech_form("stream", ("stream", None, b"true"))
    response = ask(listener, user, TRANSCRIPTIONS, body, FORM)
    assert response.headers["content-type"].startswith("text/event-stream")
    chat_id = response.headers["ZG-Res-Key"]
    assert verdict(listener, chat_id, body, response.content) == "verified"
    assert listener.owes(user) == 3 * SECOND_PRICE


def test_the_other_rule_for_seconds(lab: Lab, upstream: tuple[MediaUpstream, str]) -> None:
    made = started(lab, upstream[1], "speech-to-text", (SECOND_PRICE, WORD_PRICE))
    made.stop()
    made.set("service", speech_rule="broker")
    made.start()
    user = customer(lab, made)
    assert ask(made, user, TRANSCRIPTIONS, speech_form("verbose"), FORM).status_code == 200
    assert made.owes(user) == 13 * WORD_PRICE  # every second that was begun
    made.stop()


def test_a_refused_recording_is_free(lab: Lab, listener: Broker) -> None:
    user = customer(lab, listener)
    response = ask(listener, user, TRANSCRIPTIONS, speech_form("refuse"), FORM)
    assert (response.status_code, response.json()) == (400, {"error": {"message": "not audio"}})
    assert listener.owes(user) == 0


HOSTILE_RECORDINGS = (
    (b"{}", "application/json"),
    (form(("model", None, b"m")), FORM),
    (form(("file", "empty.wav", b"")), FORM),
    (form(("file", None, b"words")), FORM),
    (speech_form("text", ("model", None, b"other")), FORM),
    (
        speech_form("text", ("response_format", None, b"text"), ("response_format", None, b"x")),
        FORM,
    ),
)


def test_malformed_recordings_cost_nothing(lab: Lab, listener: Broker) -> None:
    user = customer(lab, listener)
    for body, kind in HOSTILE_RECORDINGS:
        status, said = error(ask(listener, user, TRANSCRIPTIONS, body, kind))
        assert status == 400 and said.startswith("validate request: "), (body, said)
    assert listener.owes(user) == 0


def test_a_long_recording_must_be_affordable(lab: Lab, listener: Broker) -> None:
    """By its own header: ten minutes of 8 kHz, 16 bit."""
    header = b"RIFF\0\0\0\0WAVEfmt " + (16).to_bytes(4, "little") + b"\1\0\1\0"
    header += (
        (8000).to_bytes(4, "little") + (16_000).to_bytes(4, "little") + b"\2\0\x10\0data\0\0\0\0"
    )
    recording = header + bytes(16_000 * 600)
    body = form(("file", "duration.wav", recording), ("model", None, MODEL.encode()))
    cost = fees.speech_duration_fee(TARIFF, Decimal(600), "sdk")
    poor, rich = customer(lab, listener, ONE + cost - 1), customer(lab, listener, ONE + cost)
    status, said = error(ask(listener, poor, TRANSCRIPTIONS, body, FORM))
    assert status == 400 and f"current request fee {Decimal(cost).scaleb(-18):.6f} 0G" in said
    assert ask(listener, rich, TRANSCRIPTIONS, body, FORM).status_code == 200


# ---- doors ---------------------------------------------------------------------------------


def test_each_service_has_its_own_doors(lab: Lab, painter: Broker, listener: Broker) -> None:
    closed = (400, "unsupported endpoint: endpoint not supported")
    user = customer(lab, painter)
    assert error(ask(painter, user, "/v1/proxy/chat/completions", b"{}")) == closed
    assert error(ask(painter, user, TRANSCRIPTIONS, b"{}")) == closed
    assert error(ask(listener, user, GENERATIONS, b"{}")) == closed
    assert error(ask(listener, user, "/v1/async/images/generations", wish())) == (
        503,
        "async processing is not enabled",
    )
    assert ask(painter, user, "/v1/proxy/v1/images/generations/", wish()).status_code == 200
    model = requests.get(painter.url + "/v1/models", timeout=10).json()["data"][0]
    assert (model["type"], model["pricing"]) == ("text-to-image", {"image": "0.003"})
    assert model["architecture"]["modality"] == "text+image->image"
