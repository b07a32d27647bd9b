"""What the site asks of inference providers: answers, pictures, transcripts, embeddings,
signatures."""

from __future__ import annotations

from typing import Any

import orjson
from channels.db import database_sync_to_async

from accounts import tokens
from accounts.models import User
from inference import abilities, relay, signatures
from inference.hub import Hub
from inference.media import asking as media
from inference.media.pictures import NoPictures, Sent
from inference.media.uploads import NoPicture
from inference.models import State, Turn
from inference.openai import app, asks, choose
from inference.openai.choose import Grant
from inference.openai.reply import Reply
from inference.openai.room import Room
from net.client import Client
from net.errors import BadStatus
from protocol import fees
from tests import factories
from tests.live.hostile_calls import JSON, TAKEN, call, listing, policy, same, words


@call(
    "inference/abilities.py:look",
    **same("said=False"),
)
async def models(url: str) -> str:
    async with Client(policy()) as client:
        return str(await abilities.look(client, listing(url)))


@call("inference/signatures.py:fetch")
async def signature(url: str) -> str:
    async with Client(policy()) as client:
        try:
            found = await signatures.fetch(client, url, "answer", "test-model")
        except signatures.Later as error:
            return str(error)
        except BadStatus as error:
            return f"status {error.status}"
    return f"{TAKEN}: {str(found)[:100]}"


def _kinds(*given: str) -> str:
    return "|".join(f"^{kind}\\b" for kind in given)


_FAILURES = {
    "slow": _kinds("slow_start", "stalled", "unreachable", "cut_off"),
    "large": _kinds("too_large", "bad_answer", "provider_error"),
    "broken": _kinds("bad_answer", "cut_off", "unreachable"),
    "elsewhere": _kinds("provider_error"),
    "refused": _kinds("blocked_address"),
}


@call("inference/relay.py:stream", **_FAILURES)
async def chat(url: str) -> str:
    record = relay.Record()
    last: Any = None
    async with Client(policy()) as client:
        async for event in relay.stream(client, relay.Call(url, "Bearer x", b"{}"), record):
            last = event
    assert len("".join(record.text)) <= relay.MAX_ANSWER_CHARS
    if isinstance(last, relay.Failed):
        return f"{last.failure.kind}: {last.failure.detail}"
    return f"{TAKEN}: {last}"


def _outcome(found: media.Outcome) -> str:
    return f"{found.failure.kind}: {found.failure.detail}" if found.failure else TAKEN


def _media_call(url: str, **given: Any) -> media.Call:
    return media.Call(url, "Bearer x", "/images/generations", "application/json", b"{}", **given)


async def _told(_: object) -> None: ...


@call("inference/media/asking.py:_posted", patient=True, **_FAILURES)
async def transcript(url: str) -> str:
    async with Client(policy()) as client:
        return _outcome(await media.transcribe(client, _media_call(url, length_ms=1_000)))


@call("inference/media/asking.py:_posted", patient=True, **_FAILURES)
async def embedded(url: str) -> str:
    async with Client(policy()) as client:
        return _outcome(await media.embed(client, _media_call(url, count=1)))


@call(
    "inference/media/asking.py:_look",
    patient=True,
    **{
        **_FAILURES,
        "slow": _kinds("slow_start", "stalled"),
        "large": _kinds("too_large", "bad_answer", "slow_start"),
        "broken": _kinds("bad_answer", "cut_off", "slow_start"),
        "elsewhere": _kinds("bad_answer"),
        # It was begun, so that nobody may be told that nothing was charged.
        "refused": _kinds("provider_error"),
    },
)
async def picture_job(url: str) -> str:
    """A job that was begun before: asked for again and again until the whole patience ends."""
    call = _media_call(url, remote="job-1")
    async with Client(policy()) as client:
        return _outcome(await media.draw(client, call, _told, media.Patience(look=60.0)))


@call("inference/media/asking.py:_picture")
async def picture(url: str) -> str:
    sent = Sent(url=f"{url}/v1/proxy/images/abc/0")
    async with Client(policy()) as client:
        try:
            return await words(media._picture(client, _media_call(url), sent))
        except (NoPicture, NoPictures) as error:
            return str(error)


@call("inference/openai/forward.py:_asked", patient=True, costly=True, **_FAILURES)
async def relayed(url: str) -> str:
    """`/v1`: what the program is told, and what the row says of it."""
    ask = asks.read(
        "chat/completions",
        JSON,
        b'{"model":"test-model","messages":[{"role":"user","content":"x"}],"max_tokens":5}',
        pin="",
    )
    own, sent = Hub(), bytearray()

    async def send(message: dict[str, Any]) -> None:
        sent.extend(message.get("body", b""))

    grant = await database_sync_to_async(_grant)(url)
    # Before there is a row, as in the relay itself: the hubs beside it end rows of dead processes.
    await own.start()
    try:
        begun = app._begin(own, grant, ask, Reply(send, {}), Room())
        turn, _, going = await own.whole(begun)
        await going
    finally:
        await own.close()
    row = await database_sync_to_async(Turn.objects.get)(pk=turn)
    assert row.state != State.OPEN
    if not row.failure:
        return f"{TAKEN}: {bytes(sent[:300])!r}"
    # Where nothing had been passed on yet, the failure is a document of our own.
    told = "" if row.state == State.CUT_OFF else orjson.loads(sent)["error"]["message"]
    return f"{row.failure}: {told}"


def _grant(url: str) -> Grant:
    owner = User.objects.for_address(factories.ALICE)
    wanted = tokens.Wanted.of({"label": "job", "scopes": ["inference"]})
    made = tokens.create(owner, wanted).row
    return Grant(
        token=made.pk,
        digest=made.digest,
        owner=owner.pk,
        chat=choose.relay_chat(owner),
        listing=listing(url),
        signer=None,
        authorization="Bearer x",
        tariff=fees.tariff(1, 1, ""),
        until=0.0,
    )
