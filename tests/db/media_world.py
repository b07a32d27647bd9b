"""Alice with money and a key at a service that draws, or at one that listens, under a test's
control."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from array import array
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from django.core.cache import cache
from django.db import connection
from PIL import Image

from accounts import limits
from accounts.models import User
from inference.hub import Hub
from inference.media import recordings, studio, transcripts
from inference.media.models import File
from inference.media.pictures import Wish
from inference.media.services import Ask, Opened
from inference.media.uploads import Picture
from inference.models import State, Turn, Verdict
from tests import factories
from tests.db.chat_world import in_db, make_key
from tests.live.chat_upstream import SIGNER, Asked, Reply, Script, Upstream
from tests.live.chat_upstream import SIGNER_KEY as SIGNER_KEY

PICTURE_PRICE = 3 * 10**15
SECOND_PRICE = 10**13


def world(url: str, kind: str = "text-to-image", **service: Any) -> User:
    """Rows: the contract, Petra's service of that type at `url`, Alice's money and key."""
    price = PICTURE_PRICE if kind == "text-to-image" else SECOND_PRICE
    values = {"model": "painter", "input_price": price, "output_price": price, **service}
    factories.head()
    factories.contract()
    factories.service(url=url, tee_signer=SIGNER, service_type=kind, **values)
    factories.purse()
    factories.sub_account(acknowledged=True)
    alice = User.objects.for_address(factories.ALICE)
    cache.delete(limits.key("media", alice.address, limits.window(60)[0]))
    make_key(alice)
    return alice


def png(width: int = 64, height: int = 64, colour: str = "red", **save: Any) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(out, save.pop("format", "PNG"), **save)
    return out.getvalue()


def wav(seconds: float, rate: int = 8000) -> bytes:
    """A tone for a second, then a quarter of silence, and so on."""
    samples = array("h")
    for frame in range(int(seconds * rate)):
        loud = (frame / rate) % 1.25 < 1
        samples.append((8000 if frame // 8 % 2 else -8000) if loud else 0)
    return recordings.wav(samples, rate, 1)


def answer(*pictures: bytes) -> bytes:
    rows = [{"b64_json": base64.b64encode(x).decode(), "seed": i} for i, x in enumerate(pictures)]
    return json.dumps({"created": 7, "data": rows}).encode()


async def draws(reply: Reply, asked: Asked, body: bytes, *made: bytes) -> None:
    """Answer at once with `body`, signed as pictures are."""
    sign(reply.upstream, "made", asked, *made)
    await reply.whole(body, ZG_Res_Key="made", Content_Type="application/json")


def sign(upstream: Upstream, key: str, asked: Asked, *made: bytes) -> None:
    """Keep a signature for pictures: one hash each."""
    from protocol import replies

    hashes = [replies.sha256_hex(x) for x in made]
    text = replies.signed_text(replies.sha256_hex(asked.body), *hashes)
    signature = replies.sign_text(text, SIGNER_KEY)
    upstream.signatures[key] = {"text": text, "signature": signature, "signing_address": SIGNER}


@dataclass
class Stage:
    """Alice, the provider's side, and a hub of its own."""

    alice: User
    upstream: Upstream
    hub: Hub

    def ask(self, **given: Any) -> Ask:
        values = {"provider": factories.PETRA, "key": uuid4(), "process": self.hub.process}
        return Ask(self.alice, **{**values, **given})

    async def draw(
        self, prompt: str = "a harbour", source: Picture | None = None, **given: Any
    ) -> Opened:
        wish = Wish.of({"prompt": prompt, **given.pop("wish", {})})
        return await studio.draw(self.hub, self.ask(**given), wish, source)

    async def transcribe(self, seconds: float = 2, piece: float = 300, **given: Any) -> Opened:
        recording = recordings.read(wav(seconds), "sounds.wav")
        pieces = recordings.pieces(recording, piece)
        wish = transcripts.Wish(timed=True)
        return await studio.transcribe(self.hub, self.ask(**given), wish, pieces, "sounds.wav")

    async def ended(self, turn_id: int) -> Turn:
        """The turn once it has ended and been judged."""
        for _ in range(400):
            turn: Turn = await in_db(Turn.objects.select_related("chat__owner", "job__piece").get)(
                pk=turn_id
            )
            if turn.state != State.OPEN and turn.verdict != Verdict.PENDING:
                return turn
            await asyncio.sleep(0.025)
        raise AssertionError(f"turn still {turn.state}, verdict {turn.verdict}")


@asynccontextmanager
async def stage(
    script: Script, kind: str = "text-to-image", **service: Any
) -> AsyncIterator[Stage]:
    async with Upstream(script) as upstream:
        alice = await in_db(world)(upstream.url, kind, **service)
        hub = Hub()
        await hub.start()
        try:
            yield Stage(alice, upstream, hub)
        finally:
            await hub.close()


def alone(transactional_db: None) -> Iterator[None]:
    """A fixture: threads of async views keep their connection, and the database's end would wait
    for it."""
    yield
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def files(turn: Turn, role: str) -> list[bytes]:
    found = File.objects.select_related("chat").filter(turn=turn, role=role)
    return [file.data for file in found.order_by("number")]
