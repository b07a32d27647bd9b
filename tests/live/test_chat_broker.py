"""Chat with real brokers on a real chain, through the real index: an honest one and a liar."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from PIL import Image

from accounts import keys
from accounts.models import User
from inference import attachments, conversations
from inference.errors import NotReady
from inference.hub import Hub
from inference.models import State, Turn, Verdict
from inference.options import Options
from ledger import services as index
from protocol.digests import sign
from protocol.keys import signing_digest
from provider.answerer.app import AnswererApp
from provider.answerer.search import Index
from tests.db.chat_world import in_db
from tests.live.provider_lab import INPUT_PRICE, ONE, OUTPUT_PRICE, Broker, Lab, Person, served
from tests.live.provider_lab import Upstream as Model
from tests.pure.test_tools import WEATHER

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def model() -> Iterator[str]:
    with served(Model()) as url:
        yield url + "/v1"


@pytest.fixture(scope="module")
def broker(lab: Lab, model: str) -> Iterator[Broker]:
    yield from started(Broker(lab, lab.person(), model))


@pytest.fixture(scope="module")
def liar(lab: Lab, model: str) -> Iterator[Broker]:
    yield from started(Broker(lab, lab.person(), model, tee={"backend": "lying"}))


@pytest.fixture
def fresh(lab: Lab, model: str) -> Iterator[Broker]:
    """One that has not read anything about the person yet."""
    yield from started(Broker(lab, lab.person(), model, chain={"cache_seconds": 1}))


@pytest.fixture
def seeing(lab: Lab, model: str) -> Iterator[Broker]:
    yield from started(Broker(lab, lab.person(), model, service={"takes_pictures": True}))


@pytest.fixture
def quoting(lab: Lab) -> Iterator[Broker]:
    """One in front of the demo's model."""
    with served(AnswererApp(Index([]), model="lab-model", rate=500)) as url:
        yield from started(Broker(lab, lab.person(), url + "/v1"))


def started(broker: Broker) -> Iterator[Broker]:
    broker.start()
    broker.lab.acknowledge(broker.address)
    yield broker
    broker.stop()


@pytest.fixture
def alice(lab: Lab, settings: Any) -> Person:
    settings.CHAIN_RPC_URLS = (lab.rpc,)
    return lab.person()


def ready(lab: Lab, alice: Person, broker: Broker, amount: int = 2 * ONE) -> User:
    """Funds on chain, rows by the indexer, and a key as the wallet makes it."""
    lab.fund(alice, broker.address, amount)
    index.follow(once=True)
    user = User.objects.for_address(alice.address)
    wanted = keys.prepare(user, broker.address)
    signature = "0x" + sign(signing_digest(wanted.raw), alice.key).hex()
    keys.store(user, broker.address, wanted.raw, signature, wanted.serving)
    return user


@asynccontextmanager
async def hub() -> AsyncIterator[Hub]:
    own = Hub()
    await own.start()
    try:
        yield own
    finally:
        await own.close()


async def ended(turn_id: int) -> Turn:
    for _ in range(400):
        turn: Turn = await in_db(Turn.objects.select_related("chat").get)(pk=turn_id)
        if turn.state != State.OPEN and turn.verdict != Verdict.PENDING:
            return turn
        await asyncio.sleep(0.025)
    raise AssertionError(f"{turn.state} {turn.verdict}")


async def ask(own: Hub, user: User, broker: Broker, text: str, stop_after: float = 0) -> Turn:
    chat = await in_db(conversations.create_chat)(user, broker.address)
    opened = await own.ask(chat, text)
    if stop_after:
        await asyncio.sleep(stop_after)
        await own.stop(opened.turn, own.process)
    return await ended(opened.turn)


async def test_an_honest_broker_is_verified_and_costs_what_it_says(
    lab: Lab, broker: Broker, alice: Person
) -> None:
    user = await sync_to_async(ready)(lab, alice, broker)
    async with hub() as own:
        turn = await ask(own, user, broker, "plain question")
        assert (turn.state, turn.verdict, turn.verdict_reason) == (
            "answered",
            "verified",
            "hashes_match",
        )
        assert turn.answer == "seven words are in this short answer"
        service = await sync_to_async(lab.service)(broker.address)
        assert turn.signer == service["teeSignerAddress"]
        owed = await sync_to_async(broker.owes)(alice)
        assert turn.fee == owed == 11 * INPUT_PRICE + 7 * OUTPUT_PRICE
        # the provider counted nothing: both sides bill the words of the answer
        turn = await ask(own, user, broker, "nousage please")
        assert (turn.fee_kind, turn.verdict) == ("estimated", "verified")
        owed, before = await sync_to_async(broker.owes)(alice), owed
        assert owed - before == turn.fee


async def test_functions_and_their_results_pass_through_untouched(
    lab: Lab, quoting: Broker, alice: Person
) -> None:
    user = await sync_to_async(ready)(lab, alice, quoting)
    offer = Options.of({"tools": json.dumps([WEATHER]), "tool_choice": "required"})
    async with hub() as own:
        chat = await in_db(conversations.create_chat)(user, quoting.address)
        opened = await own.ask(chat, "Rain in Bonn?", options=offer)
        turn = await ended(opened.turn)
        opened = await own.ask(chat, "", called=turn.pk, results=("All day.",))
        done = await ended(opened.turn)
        opened = await own.ask(chat, "And in Rome?")
        again = await ended(opened.turn)
    assert (turn.state, turn.verdict, turn.finish_reason) == ("answered", "verified", "tool_calls")
    (call,) = turn.calls
    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"town": "Rain in Bonn?"})
    assert turn.fee_kind == "known" and turn.completion_tokens
    # signed is what was sent: the broker changed neither functions nor results
    assert done.verdict == "verified" and "> All day." in done.answer and not done.calls
    assert done.signed_request == done.request_sha256
    assert again.verdict == "verified" and len(again.calls) == 1, "required, as the settings say"


async def test_a_lying_broker_is_altered(lab: Lab, liar: Broker, alice: Person) -> None:
    user = await sync_to_async(ready)(lab, alice, liar)
    async with hub() as own:
        turn = await ask(own, user, liar, "plain question")
    assert (turn.state, turn.verdict, turn.verdict_reason) == (
        "answered",
        "altered",
        "answer_differs",
    )
    assert turn.signer == turn.expected_signer


async def test_a_stopped_answer_is_billed_whole_and_said_so(
    lab: Lab, broker: Broker, alice: Person
) -> None:
    user = await sync_to_async(ready)(lab, alice, broker)
    async with hub() as own:
        turn = await ask(own, user, broker, "slowly please", stop_after=0.6)
    assert turn.state == "stopped" and 0 < turn.answer.count("drip") < 40
    assert turn.verdict == "not_comparable"
    assert turn.fee_kind == "unknown"
    charged = 0
    for _ in range(100):
        charged = await sync_to_async(broker.owes)(alice)
        if charged:
            break
        await asyncio.sleep(0.1)
    assert charged == 11 * INPUT_PRICE + 7 * OUTPUT_PRICE, "a provider bills what nobody reads"
    assert charged <= turn.fee, "what was called the most is the most"


async def test_pictures_are_declared_sent_signed_and_paid(
    lab: Lab, seeing: Broker, alice: Person
) -> None:
    user = await sync_to_async(ready)(lab, alice, seeing)
    out = io.BytesIO()
    Image.effect_noise((1200, 900), 80).save(out, "PNG")
    async with hub() as own:
        chat = await in_db(conversations.create_chat)(user, seeing.address)
        file = await in_db(attachments.keep)(chat, out.getvalue(), "noise.png")
        opened = await own.ask(chat, "plain question", pictures=(file.pk,))
        turn = await ended(opened.turn)
    assert (turn.state, turn.verdict) == ("answered", "verified")
    assert turn.request_bytes > turn.picture_bytes > 100_000
    assert await sync_to_async(seeing.owes)(alice) == turn.fee


@pytest.mark.parametrize(
    ("behaviour", "failure"),
    [("error", "provider_error"), ("garbage", "bad_answer"), ("busy", "rate_limited")],
)
async def test_failing_models(
    lab: Lab, broker: Broker, alice: Person, behaviour: str, failure: str
) -> None:
    user = await sync_to_async(ready)(lab, alice, broker)
    async with hub() as own:
        turn = await ask(own, user, broker, f"{behaviour} now")
    assert turn.state in ("failed", "cut_off")
    assert turn.failure == failure


async def test_a_key_that_the_broker_no_longer_takes_is_forgotten(
    lab: Lab, fresh: Broker, alice: Person
) -> None:
    """Revoked on chain behind the back of our index: the broker refuses, the next question asks
    for a new key.
    """
    user = await sync_to_async(ready)(lab, alice, fresh)
    revoke = lab.contracts.inference.send
    await sync_to_async(revoke)(alice.wallet, "revokeAllTokens", fresh.address)
    async with hub() as own:
        turn = await ask(own, user, fresh, "plain question")
        assert (turn.state, turn.failure, turn.fee_kind) == ("failed", "key_rejected", "none")
        with pytest.raises(NotReady) as caught:
            await ask(own, user, fresh, "plain question")
    assert caught.value.code == "no_key"
