"""Transcripts: pieces asked for one after another, each judged and paid once; what fails can be
gone on with; nobody else hears or reads any."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any
from uuid import uuid4

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError
from django.test import AsyncClient, Client

from accounts.addresses import short
from accounts.models import User
from inference import inspector, markdown, signatures
from inference.errors import BadPrompt
from inference.media import endings, selectors, services, studio
from inference.media.models import File, Role
from inference.media.transcripts import Wish
from inference.media.words import failure
from inference.models import Chat, State, Turn
from tests import factories
from tests.db import media_world
from tests.db.chat_world import in_db
from tests.db.media_world import SECOND_PRICE, Stage, stage, wav, world
from tests.db.personal_world import prove
from tests.live.chat_upstream import Asked, Reply

pytestmark = pytest.mark.django_db(transaction=True)

alone = pytest.fixture(autouse=True)(media_world.alone)
WITH = {"kind": "speech-to-text", "model": "listener"}


async def listens(reply: Reply, asked: Asked) -> None:
    """Says how long each piece is, signed; refuses the second request of a test that wants it."""
    number = len([x for x in reply.upstream.asked if x.method == "POST"])
    seconds = (asked.body.count(b"\0\0") and len(asked.body)) / 16_000
    if reply.upstream.signatures.get("refuse") == number:
        await reply.whole(b'{"error":"Rate limit exceeded."}', 429, Retry_After="3")
        return
    body = json.dumps(
        {
            "text": f"piece {number}",
            "language": "en",
            "segments": [{"start": 0.2, "end": 0.9, "text": f"piece {number}"}],
            "usage": {
                "type": "duration",
                "seconds": reply.upstream.signatures.get("seconds", round(seconds)),
            },
        }
    ).encode()
    reply.upstream.sign(f"id-{number}", asked, body)
    await reply.whole(body, ZG_Res_Key=f"id-{number}", Content_Type="application/json")


async def settled(s: Stage, pieces: int) -> list[Turn]:
    """All turns once so many have ended and been judged."""
    for _ in range(400):
        turns = await in_db(lambda: list(Turn.objects.order_by("pk")))()
        if len(turns) == pieces and all(
            x.state != State.OPEN and x.verdict != "pending" for x in turns
        ):
            return list(turns)
        await asyncio.sleep(0.025)
    raise AssertionError([(x.state, x.verdict) for x in turns])


async def test_pieces_are_asked_for_in_turn_and_put_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # what is shown as text is not laid out, which takes seconds for what a stranger may send
    monkeypatch.setattr(markdown, "render", None)
    settle = signatures.settle
    stopped: list[bool] = []

    async def looked_at(*given: Any, **more: Any) -> Any:
        verdict = await settle(*given, **more)
        chat = await in_db(Chat.objects.get)()
        stopped.append((await in_db(selectors.transcript_page)(chat)).can_go_on)
        return verdict

    monkeypatch.setattr(signatures, "settle", looked_at)
    async with stage(listens, **WITH) as s:
        opened = await s.transcribe(seconds=6, piece=2.5)
        turns = await settled(s, 3)
        chat = await in_db(Chat.objects.get)(pk=opened.chat)
        page = await in_db(selectors.transcript_page)(chat)
        whole = await in_db(selectors.recording_of)(chat)
        bodies = [await in_db(_rebuilt)(x.pk) for x in turns]
        assert (await in_db(inspector.page)(turns[0])).turn.answer
    assert whole == wav(6)
    assert stopped == [False] * 3, "a page that looks now sees a recording that goes on"
    assert [x.verdict for x in turns] == ["verified"] * 3
    posted = [x for x in s.upstream.asked if x.method == "POST"]
    assert [x.path for x in posted] == ["/v1/proxy/audio/transcriptions"] * 3
    assert bodies == [x.body for x in posted]
    assert b'name="response_format"\r\n\r\nverbose_json' in posted[0].body
    assert b"sounds.wav" not in posted[0].body
    # times count from the start of the whole recording, in order
    starts = [x.at for x in page.segments]
    assert starts[0] == "0.200" and 2 < float(starts[1]) < 3 and 4 < float(starts[2]) < 5.5
    assert page.heard.text == "piece 1\npiece 2\npiece 3"
    assert (page.count, page.done, page.verdict, page.length) == (3, 3, "verified", "0:06")
    assert page.fee == sum(int(x.fee) for x in turns) and page.fee_kind == "known"
    assert 4 * SECOND_PRICE <= page.fee <= 8 * SECOND_PRICE
    assert all(re.fullmatch(r"[1-3](\.\d)? s", x.quantity) for x in turns)


async def test_seconds_that_providers_round_differently_are_no_known_cost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(chat: Chat) -> None:
        raise OperationalError("the database is away as the next piece is looked for")

    async with stage(listens, **WITH) as s:
        s.upstream.signatures["seconds"] = 8.4
        await s.transcribe(seconds=8.4)
        monkeypatch.setattr(services, "next_piece", away)  # this one is judged all the same
        (turn,) = await settled(s, 1)
        client = AsyncClient()
        await client.aforce_login(s.alice)
        log = (await client.get("/playground/requests")).content.decode()
    assert (turn.fee, turn.fee_kind, turn.quantity) == (8 * SECOND_PRICE, "estimated", "8.4 s")
    assert "about" in log


def _rebuilt(turn_id: int) -> bytes:
    turn = Turn.objects.select_related("chat", "job__piece").get(pk=turn_id)
    return endings.request_body(turn)


async def test_what_failed_is_gone_on_with_and_nothing_is_paid_twice() -> None:
    async with stage(listens, **WITH) as s:
        s.upstream.signatures["refuse"] = 2
        key = uuid4()
        opened = await s.transcribe(seconds=6, piece=2.5, key=key)
        first, second = await settled(s, 2)
        assert (first.state, second.state, second.failure) == ("answered", "failed", "rate_limited")
        assert second.fee == 0
        # the same form again is the same recording
        assert (await s.transcribe(seconds=6, piece=2.5, key=key)).chat == opened.chat
        client = AsyncClient()
        await client.aforce_login(s.alice)
        path = f"/playground/audio/{opened.chat}"
        page = (await client.get(path)).content.decode()
        assert "limits how often you may ask" in page and 'data-testid="go-on"' in page
        assert "The 1 piece that is there is not paid for again." in page
        await in_db(Turn.objects.filter(pk=second.pk).update)(fee_kind="unknown")
        assert "until settled" in (await client.get(path)).content.decode()
        chat = await in_db(Chat.objects.select_related("owner").get)(pk=opened.chat)
        await studio.go_on(s.hub, s.ask(), Wish(), chat)
        turns = await settled(s, 4)
        with pytest.raises(BadPrompt, match="All of this recording"):
            await studio.go_on(s.hub, s.ask(), Wish(), chat)
        await in_db(len)([])
    assert [x.state for x in turns] == ["answered", "failed", "answered", "answered"]
    assert await in_db(File.objects.filter(role=Role.SPOKEN).count)() == 3
    assert len([x for x in s.upstream.asked if x.method == "POST"]) == 4


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>It works</html>", "bad_answer"),
        (b'{"text":["a"]}', "bad_answer"),
        (b"[" * 50_000, "bad_answer"),
        (b'{"text":"' + b"x" * (5 << 20) + b'"}', "too_large"),
    ],
)
async def test_what_is_no_transcript_is_said(body: bytes, kind: str) -> None:
    async def provider(reply: Reply, asked: Asked) -> None:
        await reply.whole(body)

    async with stage(provider, **WITH) as s:
        await s.transcribe()
        (turn,) = await settled(s, 1)
    assert (turn.state, turn.failure, turn.fee_kind) == ("failed", kind, "unknown")
    assert turn.fee == 2 * SECOND_PRICE
    assert ("thrown away" in failure(kind).text) == (not turn.response_sealed)


async def test_a_restart_ends_what_was_being_transcribed_and_never_asks_again() -> None:
    asked_it = asyncio.Event()

    async def provider(reply: Reply, asked: Asked) -> None:
        asked_it.set()
        await asyncio.sleep(60)

    async with stage(provider, **WITH) as s:
        opened = await s.transcribe()
        await asyncio.wait_for(asked_it.wait(), 20)
        client = AsyncClient()
        await client.aforce_login(s.alice)
        page = (await client.get(f"/playground/audio/{opened.chat}")).content.decode()
        assert "Transcribing, running" in page and 'href="/account/alerts?kind=work#new"' in page
        await s.hub.close()
        (turn,) = await settled(s, 1)
    assert (turn.failure, turn.verdict, turn.fee_kind) == (
        "interrupted", "not_comparable", "unknown"
    )  # fmt: skip
    assert len(s.upstream.asked) == 1


async def test_only_the_owner_hears_and_reads_and_files_come_in_ranges() -> None:
    async with stage(listens, **WITH) as s:
        opened = await s.transcribe(seconds=2)
        await settled(s, 1)
        owner, stranger = AsyncClient(), AsyncClient()
        await owner.aforce_login(s.alice)
        await stranger.aforce_login(await in_db(User.objects.for_address)(factories.BOB))
        await in_db(prove)(owner, 0)
        path = f"/playground/audio/{opened.chat}"
        for end in ("", "/body", "/recording.wav", ".txt", ".srt", ".vtt", ".json"):
            assert (await owner.get(path + end)).status_code == 200, end
            assert (await stranger.get(path + end)).status_code == 404, end
        for end in ("/delete", "/undo", "/go-on", "/recheck"):
            assert (await stranger.post(path + end)).status_code == 404, end
        assert (await owner.get(path + ".exe")).status_code == 404
        part = await owner.get(f"{path}/recording.wav", headers={"Range": "bytes=4-11"})
        assert (part.status_code, part.content) == (206, wav(2)[4:12])
        assert part["Content-Range"] == f"bytes 4-11/{len(wav(2))}"
        rest = await owner.get(f"{path}/recording.wav", headers={"Range": "bytes=40-"})
        assert rest.content == wav(2)[40:]
        # a file carries it away, which a browser that was left open must not do
        await in_db(prove)(owner, 601)
        late = [(await owner.get(path + end)).status_code for end in ("", ".txt", ".vtt", ".json")]
        assert late == [200, 403, 403, 403]
        await in_db(prove)(owner, 0)
        beyond = await owner.get(f"{path}/recording.wav", headers={"Range": "bytes=999999-"})
        assert beyond.status_code == 416
        file = await in_db(File.objects.get)()
        assert wav(2)[44:80] not in bytes(file.sealed)
        given = await owner.get(f"{path}.json")
        assert given.json()["requests"][0]["signature"]["text"].startswith(
            given.json()["requests"][0]["request_sha256"]
        )
        log = (await owner.get("/playground/requests")).content.decode()
        assert ">2 s<" in log
        turn = await in_db(Turn.objects.get)()
        seen = await owner.get(f"/playground/chat/turns/{turn.pk}/inspect")
        assert seen["Location"] == path
        assert (await stranger.get(f"/playground/chat/turns/{turn.pk}/inspect")).status_code == 404
        await owner.post(f"{path}/delete")
        assert (await owner.get(path)).status_code == 404


def test_forms_name_the_file_and_the_rule(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = world("http://127.0.0.1:1", "speech-to-text")
    client.force_login(alice)
    # Its broker bills seconds at the input price, as some do: they are not free.
    prices = {"input_price": 3 * 10**15, "output_price": 0}
    factories.service(factories.BOB, service_type="speech-to-text", model="listener", **prices)
    answered = client.get("/playground/audio")
    assert f"{short(factories.BOB)} – 0.003 0G a second<" in answered.content.decode()
    assert answered["Permissions-Policy"].startswith("microphone=(self)")
    assert "microphone=()" in client.get("/playground/images")["Permissions-Policy"]
    german = client.get("/playground/audio", headers={"Accept-Language": "de"}).content.decode()
    names = re.findall(r'<option value="\w\w">(\w+)<', german)
    assert names[:5] == ["Arabisch", "Chinesisch", "Dänisch", "Deutsch", "Englisch"]
    given: dict[str, Any] = {"key": str(uuid4()), "provider": factories.PETRA, "timed": "on"}
    for data, words in (
        (b"ID3" + bytes(100), "song.wav is MP3"),
        (wav(2) + bytes(41 << 20), "song.wav is larger than 40 MB"),
    ):
        upload = SimpleUploadedFile("song.wav", data)
        answered = client.post("/playground/audio/transcribe", {**given, "recording": upload})
        assert answered.status_code == 400
        assert words in answered.content.decode()
        assert "Choose the file again: it was not kept." in answered.content.decode()
    answered = client.post("/playground/audio/transcribe", given)
    assert "Choose a recording, or make one." in answered.content.decode()
    assert "Choose the file again" not in answered.content.decode()
    # the page itself stays where it is, with its recording
    wanted = {"Accept": "application/json"}
    answered = client.post("/playground/audio/transcribe", given, headers=wanted)
    assert (answered.status_code, answered["Content-Type"]) == (400, "application/json")
    assert answered.json()["title"] == "Choose a recording, or make one."
    # reading a file takes time, whatever is in it
    monkeypatch.setattr(services, "REQUESTS_PER_MINUTE", 0)
    upload = SimpleUploadedFile("song.wav", b"ID3")
    given["recording"] = upload
    answered = client.post("/playground/audio/transcribe", given, headers=wanted)
    assert answered.json()["title"] == "Up to 0 requests a minute. Wait a little."
    assert not Chat.objects.exists()
