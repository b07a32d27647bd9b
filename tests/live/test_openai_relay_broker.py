"""The relay in front of real brokers on a real chain: chat, pictures, speech and embeddings with
the `openai` client, each answer verified and counted as the broker counts it.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from accounts import tokens
from accounts.models import AccessToken
from inference.models import Turn
from inference.openai import app
from provider.answerer.app import AnswererApp
from provider.answerer.search import Index
from tests.live.media_upstream import MediaUpstream
from tests.live.provider_lab import INPUT_PRICE, MODEL, OUTPUT_PRICE, Broker, Lab, served
from tests.live.provider_lab import Upstream as Model
from tests.live.test_chat_broker import ready
from tests.live.test_openai_relay import ended
from tests.live.test_provider_media import PICTURE_PRICE, SECOND_PRICE, started

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def brokers(lab: Lab) -> Iterator[tuple[Broker, ...]]:
    program = AnswererApp(Index([]), model=MODEL, rate=1000)
    with served(Model()) as words, served(MediaUpstream()) as media, served(program) as space:
        found = (
            started(lab, words + "/v1", "chatbot", (INPUT_PRICE, OUTPUT_PRICE)),
            started(lab, media + "/v1", "text-to-image", (0, PICTURE_PRICE)),
            started(lab, media + "/v1", "speech-to-text", (SECOND_PRICE, 1)),
            started(lab, space + "/v1", "embedding", (INPUT_PRICE, OUTPUT_PRICE)),
        )
        yield found
        for broker in found:
            broker.stop()


def test_everything_is_verified_and_counted_as_the_broker_does(
    asgi_server: str, lab: Lab, brokers: tuple[Broker, ...], settings: Any
) -> None:
    settings.CHAIN_RPC_URLS = (lab.rpc,)
    app.relay.forget()
    chat, painter, listener, embedder = brokers
    alice = lab.person()
    for broker in brokers:
        user = ready(lab, alice, broker)
    wanted = tokens.Wanted("all", scopes=("inference",), spend_limit=10**18, per_minute=600)
    key = tokens.create(user, wanted).secret
    own = openai.OpenAI(base_url=f"{asgi_server}/v1", api_key=key, timeout=30, max_retries=0)

    def last(broker: Broker) -> Turn:
        turn = ended(pk=Turn.objects.filter(provider=broker.address).order_by("-pk")[0].pk)
        assert (turn.state, turn.verdict, turn.verdict_reason) == (
            "answered", "verified", "hashes_match",
        )  # fmt: skip
        return turn

    listed = {m.id: m for m in own.models.list().data}
    assert len(listed) == 4
    asked = f"{MODEL}@{chat.address}"
    # A name that the list has with its providers alone is no unknown one.
    with pytest.raises(openai.BadRequestError) as caught:
        own.models.retrieve(MODEL)
    assert caught.value.code == "provider_ambiguous" and asked in str(caught.value.body)
    for name, pin in ((asked, {}), (MODEL, {"X-Provider": chat.address.lower()})):
        assert own.models.retrieve(name, extra_headers=pin).id == asked
    with pytest.raises(openai.NotFoundError):
        own.models.retrieve("nobody-has-it")
    with pytest.raises(openai.BadRequestError, match="X-Provider must be an address"):
        own.models.retrieve(MODEL, extra_headers={"X-Provider": "petra"})
    question: Any = [{"role": "user", "content": "plain question"}]
    answer = own.chat.completions.with_raw_response.create(model=asked, messages=question)
    assert answer.headers["x-verification"] == "verified"
    assert last(chat).fee == chat.owes(alice) == 11 * INPUT_PRICE + 7 * OUTPUT_PRICE
    stream = own.chat.completions.create(model=asked, messages=question, stream=True)
    text = "".join(c.choices[0].delta.content or "" for c in stream if c.choices)
    assert text == "seven words are in this short answer"
    assert last(chat).fee_kind == "known"

    made = own.images.with_raw_response.generate(
        model=MODEL,
        prompt="cat",
        n=2,
        response_format="b64_json",
        extra_headers={"X-Provider": painter.address},
    )
    assert made.headers["x-cost-neuron"] == str(2 * PICTURE_PRICE) == str(painter.owes(alice))
    turn = last(painter)
    pictures = [base64.b64decode(x.b64_json or "") for x in made.parse().data or []]
    assert len(pictures) == len(turn.response_sha256.split(",")) == 2
    picture = io.BytesIO(pictures[0])
    picture.name = "cat.png"
    own.images.edit(
        model=f"{MODEL}@{painter.address}", image=picture, prompt="cat", response_format="b64_json"
    )
    assert last(painter).endpoint == "images/edits"
    # Pictures that come as addresses are not fetched, but they are two.
    placed = own.images.with_raw_response.generate(
        model=f"{MODEL}@{painter.address}", prompt="cat", n=2, response_format="url"
    )
    turn = ended(pk=int(placed.headers["x-verification-id"]))
    assert (turn.quantity, turn.fee, turn.complete) == ("2 pictures", 2 * PICTURE_PRICE, False)

    sound = io.BytesIO(b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(200))
    sound.name = "duration.wav"
    heard = own.audio.transcriptions.create(model=f"{MODEL}@{listener.address}", file=sound)
    assert heard.text == "hello"
    assert last(listener).fee == listener.owes(alice) == 7 * SECOND_PRICE
    found = own.embeddings.create(model=f"{MODEL}@{embedder.address}", input=["a lamp", "lamps"])
    assert [len(row.embedding) for row in found.data] == [256, 256]
    assert last(embedder).fee == embedder.owes(alice) == found.usage.prompt_tokens * INPUT_PRICE
    total = sum(Turn.objects.values_list("fee", flat=True))
    assert AccessToken.objects.get().spent == total

    # a name alone means the one verified provider, and nobody where there are none or several
    with pytest.raises(openai.BadRequestError) as error:
        own.chat.completions.create(model=MODEL, messages=question)
    assert isinstance(error.value.body, dict)
    assert [x["provider"] for x in error.value.body["choices"]] == [chat.address]
