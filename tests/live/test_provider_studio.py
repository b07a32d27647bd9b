"""The whole way, with a client nobody here wrote: `openai`, our broker, our stand-ins."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
import requests

from protocol import media
from provider.answerer import paint, png, vectors
from provider.answerer.app import AnswererApp
from provider.answerer.corpus import load
from provider.answerer.png import Picture
from provider.answerer.search import Index
from tests.live.provider_lab import MODEL, ONE, ROOT, Broker, Lab, Person, served
from tests.live.signed import verdict
from tests.pure import signals

PICTURE_PRICE, SECOND_PRICE, TOKEN_PRICE = 10**15, 10**13, 10**11


@pytest.fixture(scope="module")
def answerer() -> Iterator[str]:
    app = AnswererApp(Index(load(ROOT)), model="reader", rate=1000, key="upstream-secret")
    with served(app) as url:
        yield url + "/v1"


def started(lab: Lab, url: str, kind: str, price: int) -> Broker:
    service = {"type": kind, "input_price": price, "output_price": price}
    made = Broker(lab, lab.person(), url, service=service).start()
    lab.acknowledge(made.address)
    return made


@pytest.fixture(scope="module")
def painter(lab: Lab, answerer: str) -> Iterator[Broker]:
    made = started(lab, answerer, "text-to-image", PICTURE_PRICE)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def listener(lab: Lab, answerer: str) -> Iterator[Broker]:
    made = started(lab, answerer, "speech-to-text", SECOND_PRICE)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def embedder(lab: Lab, answerer: str) -> Iterator[Broker]:
    made = started(lab, answerer, "embedding", TOKEN_PRICE)
    yield made
    made.stop()


def customer(lab: Lab, broker: Broker) -> tuple[Person, openai.OpenAI]:
    person = lab.person()
    lab.fund(person, broker.address, 2 * ONE)
    key = person.provider_key(broker.address).removeprefix("Bearer ")
    url = f"{broker.url}/v1/proxy"
    # What is hashed is what travels (provider-protocol.md 10, trap 11).
    headers = {"Accept-Encoding": "identity"}
    return person, openai.OpenAI(api_key=key, base_url=url, max_retries=0, default_headers=headers)


def test_pictures_by_the_openai_library(lab: Lab, painter: Broker) -> None:
    user, client = customer(lab, painter)
    with client:
        raw = client.images.with_raw_response.generate(
            model=MODEL,
            prompt="a lighthouse at dusk",
            n=2,
            size="256x256",
            response_format="b64_json",
            extra_body={"seed": 41},
        )
        answer = raw.parse()
    pictures = [base64.b64decode(row.b64_json or "") for row in answer.data or ()]
    assert len(pictures) == 2
    for seed, data in zip((41, 42), pictures, strict=True):
        assert png.decode(data) == paint.paint("a lighthouse at dusk", seed, 256, 256)
        assert b"no AI model" in data and f"seed {seed}".encode() in data
    assert (
        verdict(painter, raw.headers["ZG-Res-Key"], raw.http_request.content, *pictures)
        == "verified"
    )
    assert painter.owes(user) == 2 * PICTURE_PRICE


def test_an_edit_changes_what_the_mask_leaves_open(lab: Lab, painter: Broker) -> None:
    user, client = customer(lab, painter)
    old = paint.paint("noon", 1, 128, 96)
    hole = range(3 * 128 * 20, 3 * 128 * 60)
    alpha = bytes(0 if 3 * i in hole else 255 for i in range(128 * 96))
    with client:
        raw = client.images.with_raw_response.edit(
            model=MODEL,
            image=("old.png", png.encode(old, {})),
            mask=("mask.png", rgba(Picture(128, 96, bytes(len(old.rgb)), alpha))),
            prompt="night",
            response_format="b64_json",
            extra_body={"seed": 5},
        )
        answer = raw.parse()
    (data,) = media.pictures(answer.model_dump()) or ()
    edited, new = png.decode(data), paint.paint("night", 5, 128, 96)
    assert edited.rgb[hole.start : hole.stop] == new.rgb[hole.start : hole.stop]
    assert edited.rgb[: hole.start] == old.rgb[: hole.start]
    assert edited.rgb[hole.stop :] == old.rgb[hole.stop :]
    assert verdict(painter, raw.headers["ZG-Res-Key"], raw.http_request.read(), data) == "verified"
    assert painter.owes(user) == PICTURE_PRICE


def rgba(picture: Picture) -> bytes:
    """A PNG with transparency, which our own writer does not write."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    assert picture.alpha is not None
    rows = b""
    for y in range(picture.height):
        row = bytearray(4 * picture.width)
        for c in range(3):
            row[c::4] = picture.rgb[3 * picture.width * y + c : 3 * picture.width * (y + 1) : 3]
        row[3::4] = picture.alpha[picture.width * y : picture.width * (y + 1)]
        rows += b"\0" + bytes(row)
    header = struct.pack(">IIBBBBB", picture.width, picture.height, 8, 6, 0, 0, 0)
    return (
        png.SIGNATURE
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"size": "4096x4096"}, "size must be WIDTHxHEIGHT"),
        ({"size": "63x64"}, "size must be WIDTHxHEIGHT"),
        ({"extra_body": {"seed": -1}}, "seed must be a whole number"),
        ({"extra_body": {"output_format": "webp"}}, "output_format must be png"),
        ({"prompt": "x" * 4001}, "prompt must be a text of up to 4000"),
    ],
)
def test_what_it_cannot_draw_it_says_and_nobody_pays(
    lab: Lab, painter: Broker, changes: dict[str, object], said: str
) -> None:
    user, client = customer(lab, painter)
    wish: dict[str, object] = {"model": MODEL, "prompt": "x", **changes}
    with client, pytest.raises(openai.BadRequestError, match=said):
        client.images.generate(**wish)  # type: ignore[call-overload]
    assert painter.owes(user) == 0


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        (b"GIF89a" + bytes(50), "it is no PNG"),
        (b"\xff\xd8\xff\xe0" + bytes(50), "it is no PNG"),
        (png.encode(Picture(1025, 1, bytes(3075)), {}), "at most 1024 x 1024"),
        (png.encode(Picture(10, 10, bytes(300)), {}), "at least 64 pixels"),
    ],
    ids=["GIF", "JPEG", "too large", "too small"],
)
def test_pictures_it_cannot_edit(lab: Lab, painter: Broker, picture: bytes, said: str) -> None:
    user, client = customer(lab, painter)
    with client, pytest.raises(openai.BadRequestError, match=said):
        client.images.edit(model=MODEL, image=("x.png", picture), prompt="x")
    assert painter.owes(user) == 0


def recording() -> bytes:
    rate = 16_000
    samples = signals.silence(0.4, rate) + signals.morse("0G", rate) + signals.silence(1.5, rate)
    return signals.wav(samples + signals.noise(0.7, rate) + signals.silence(0.5, rate), rate)


def test_transcripts_by_the_openai_library(lab: Lab, listener: Broker) -> None:
    user, client = customer(lab, listener)
    sound = recording()
    seconds = (len(sound) - 44) / 32_000
    paid = 0
    with client:
        raw = client.audio.transcriptions.with_raw_response.create(
            model=MODEL,
            file=("sound.wav", sound),
            response_format="verbose_json",
            timestamp_granularities=["word"],
        )
        paid += round(seconds) * SECOND_PRICE
        answer = raw.parse()
        assert [s.text.split(" ")[0] for s in answer.segments or ()] == ["[Morse]", "[sound"]
        assert answer.duration == pytest.approx(seconds, abs=0.001)
        assert answer.words and (answer.words[0].word, answer.words[0].start) == ("0G", 0.4)
        request = raw.http_request.read()
        assert verdict(listener, raw.headers["ZG-Res-Key"], request, raw.content) == "verified"
        srt = client.audio.transcriptions.create(
            model=MODEL, file=("sound.wav", sound), response_format="srt"
        )
        assert str(srt).startswith("1\n00:00:00,400 --> 00:00:0") and "[Morse] 0G" in str(srt)
        paid += round(media.subtitle_seconds(str(srt)) or 0) * SECOND_PRICE
        events = list(
            client.audio.transcriptions.create(
                model=MODEL, file=("sound.wav", sound), response_format="json", stream=True
            )
        )
        paid += round(seconds) * SECOND_PRICE
        assert [e.type for e in events] == [*["transcript.text.delta"] * 2, "transcript.text.done"]
    assert listener.owes(user) == paid


def test_recordings_it_cannot_read(lab: Lab, listener: Broker) -> None:
    user, client = customer(lab, listener)
    with client, pytest.raises(openai.BadRequestError, match=r"WAV recordings .* this is WebM"):
        client.audio.transcriptions.create(
            model=MODEL, file=("a.webm", b"\x1aE\xdf\xa3" + bytes(500))
        )
    assert listener.owes(user) == 0


@pytest.mark.parametrize(
    "form", ["float", openai.omit], ids=["floats", "as the library asks: base64"]
)
def test_embeddings_by_the_openai_library(lab: Lab, embedder: Broker, form: Any) -> None:
    user, client = customer(lab, embedder)
    texts = ["a lighthouse at dusk", "a lighthouse at dawn"]
    with client:
        raw = client.embeddings.with_raw_response.create(
            model=MODEL, input=texts, encoding_format=form
        )
        found = raw.parse()
        refused = {"": "input must be a text or a list of texts", " ": "more than spaces"}
        for wrong, said in refused.items():
            with pytest.raises(openai.BadRequestError) as error:
                client.embeddings.create(model=MODEL, input=wrong)
            assert said in error.value.response.text
    assert [row.embedding for row in found.data] == [
        pytest.approx(vectors.vector(text), abs=1e-6) for text in texts
    ]
    assert json.loads(raw.content)["about"].endswith("no AI model")
    chat_id = raw.headers["ZG-Res-Key"]
    assert verdict(embedder, chat_id, raw.http_request.content, raw.content) == "verified"
    # what was refused costs nothing
    assert embedder.owes(user) == found.usage.prompt_tokens * TOKEN_PRICE == 10 * TOKEN_PRICE


def test_an_embedding_service_says_what_it_takes_and_has_no_other_door(
    lab: Lab, embedder: Broker
) -> None:
    user, _client = customer(lab, embedder)
    (entry,) = requests.get(f"{embedder.url}/v1/models", timeout=10).json()["data"]
    assert (entry["type"], entry["architecture"]["modality"]) == ("embedding", "text->embeddings")
    assert entry["pricing"] == {"prompt": "0.0000001"}
    key = user.provider_key(embedder.address)
    answer = embedder.ask(key, b"{}", path="/v1/proxy/chat/completions")
    assert (answer.status_code, "unsupported endpoint" in answer.text) == (400, True)
