"""Pictures: made, judged, kept; every way a provider can lie or fail; nobody else sees any."""

from __future__ import annotations

import io
import json
import zlib
from typing import Any
from uuid import uuid4

import pytest
from django.test import AsyncClient, Client
from PIL import Image

from accounts.models import User
from accounts.session_store import name_of
from inference import hub as hubs
from inference import seals, views
from inference.abilities import Abilities
from inference.errors import BadPrompt, ChatError, SignerChanged
from inference.hub import hub
from inference.media import endings, pictures, uploads
from inference.media.masks import Mask
from inference.media.models import File
from inference.media.pictures import ANYTHING, Takes
from inference.models import Chat, FeeKind, State
from ledger.models import Service, SubAccount
from tests import factories
from tests.db import media_world
from tests.db.chat_world import in_db
from tests.db.media_world import (
    PICTURE_PRICE,
    answer,
    draws,
    files,
    png,
    stage,
    world,
)
from tests.db.test_chat_hostile import _sql
from tests.live.chat_upstream import Asked, Reply

pytestmark = pytest.mark.django_db(transaction=True)

alone = pytest.fixture(autouse=True)(media_world.alone)

RED, BLUE = png(), png(colour="blue")


def claiming(side: int) -> bytes:
    """A few bytes of PNG whose header claims a picture of side x side pixels."""
    header = b"IHDR" + side.to_bytes(4, "big") * 2 + RED[24:29]
    return RED[:12] + header + zlib.crc32(header).to_bytes(4, "big") + RED[33:]


async def at_once(reply: Reply, asked: Asked) -> None:
    """A provider without jobs."""
    if asked.path.startswith("/v1/async"):
        await reply.whole(b'{"error":"async processing is not enabled"}', 503)
    else:
        await draws(reply, asked, answer(RED, BLUE), RED, BLUE)


async def test_pictures_are_judged_priced_and_kept_sealed() -> None:
    async with stage(at_once) as s:
        given = {"count": 2, "size": "512x512", "seed": 7}
        opened = await s.draw("a harbour at dusk", wish=given)
        turn = await s.ended(opened.turn)
    assert (turn.state, turn.verdict, turn.verdict_reason) == (
        "answered", "verified", "hashes_match"
    )  # fmt: skip
    assert (turn.fee, turn.fee_kind, turn.quantity) == (2 * PICTURE_PRICE, "known", "2 pictures")
    assert await in_db(files)(turn, "made") == [RED, BLUE]
    sent = json.loads(s.upstream.asked[-2].body)
    assert sent == {
        "model": "painter", "prompt": "a harbour at dusk", "n": 2, "size": "512x512", "seed": 7,
        "response_format": "b64_json",
    }  # fmt: skip
    assert await in_db(endings.request_body)(turn) == s.upstream.asked[-2].body
    file = await in_db(File.objects.get)(number=0)
    assert bytes(file.sealed) != RED and RED not in bytes(file.sealed)
    assert (file.width, file.height, file.media_type, file.seed) == (64, 64, "image/png", "0")


async def test_what_the_database_refuses_for_good_ends_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubs, "BEAT_SECONDS", 0.1)
    async with stage(at_once) as s:
        never = "ADD CONSTRAINT never CHECK (state <> 'answered') NOT VALID"
        await in_db(_sql)(f"ALTER TABLE inference_turn {never}")
        try:
            turn = await s.ended((await s.draw()).turn)
        finally:
            await in_db(_sql)("ALTER TABLE inference_turn DROP CONSTRAINT never")
    assert (turn.state, turn.failure, turn.fee_kind) == ("failed", "interrupted", "unknown")


HOSTILE = {
    "html": (b"<h1>It works!</h1>", "bad_answer"),
    "not a picture": (answer(b"<html><script>alert(1)</script>"), "bad_answer"),
    "svg": (answer(b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"), "bad_answer"),
    "broken base64": (b'{"data":[{"b64_json":"@@@"}]}', "bad_answer"),
    "too many": (answer(*[RED] * 5), "bad_answer"),
    "nothing": (b'{"data":[]}', "bad_answer"),
    "an address inside": (b'{"data":[{"url":"http://10.0.0.1/x.png"}]}', "bad_answer"),
    "another place": (b'{"data":[{"url":"https://elsewhere.example/a.png"}]}', "bad_answer"),
    "deep": (b"[" * 50_000, "bad_answer"),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_what_is_no_picture_is_thrown_away(name: str) -> None:
    body, kind = HOSTILE[name]

    async def provider(reply: Reply, asked: Asked) -> None:
        if asked.path.startswith("/v1/async"):
            await reply.whole(b"404 page not found", 404)
        else:
            await reply.whole(body, ZG_Res_Key="x")

    async with stage(provider) as s:
        turn = await s.ended((await s.draw()).turn)
    assert (turn.state, turn.failure) == (State.FAILED, kind)
    assert turn.fee_kind == FeeKind.UNKNOWN and turn.fee == PICTURE_PRICE
    assert not await in_db(File.objects.exists)()
    assert {x.path.split("?")[0] for x in s.upstream.asked} <= {
        "/v1/async/images/generations", "/v1/proxy/images/generations", "/v1/proxy/signature/x",
    }  # fmt: skip


async def test_a_huge_picture_and_an_endless_answer_are_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bomb = claiming(60_000)

    async def provider(reply: Reply, asked: Asked) -> None:
        if asked.path.startswith("/v1/async"):
            await reply.whole(b"{}", 404)
        elif b"bomb" in asked.body:
            await reply.whole(answer(bomb))
        else:
            await reply.start()
            while True:
                await reply.send(b"x" * 65536)

    monkeypatch.setattr(pictures, "MAX_ANSWER_BYTES", 1 << 20)
    async with stage(provider) as s:
        turn = await s.ended((await s.draw("bomb")).turn)
        assert turn.failure == "bad_answer" and "pixels" in turn.failure_detail
        turn = await s.ended((await s.draw("endless")).turn)
        assert turn.failure == "too_large"


async def test_pictures_behind_the_providers_own_addresses_are_fetched_and_compared() -> None:
    async def provider(reply: Reply, asked: Asked) -> None:
        if asked.path.startswith("/v1/async"):
            await reply.whole(b"{}", 404)
        elif asked.method == "GET":
            await reply.whole(BLUE)
        else:
            url = f"{reply.upstream.url}/v1/proxy/images/made/0"
            # signed is another picture than the one that is shown
            await draws(reply, asked, json.dumps({"data": [{"url": url}]}).encode(), RED)

    async with stage(provider) as s:
        turn = await s.ended((await s.draw()).turn)
    assert (turn.state, turn.verdict) == ("answered", "altered")
    assert turn.signed_response != turn.response_sha256
    assert await in_db(files)(turn, "made") == [BLUE]


@pytest.mark.parametrize(
    ("status", "text", "kind", "fee"),
    [
        (429, "Rate limit exceeded", "rate_limited", FeeKind.NONE),
        (400, "validate request: insufficient balance: x", "not_funded", FeeKind.NONE),
        (500, "Internal Server Error", "provider_error", FeeKind.UNKNOWN),
    ],
)
async def test_refusals_are_told_apart(status: int, text: str, kind: str, fee: str) -> None:
    async def provider(reply: Reply, asked: Asked) -> None:
        await reply.whole(json.dumps({"error": text}).encode(), status, Retry_After="9")

    async with stage(provider) as s:
        turn = await s.ended((await s.draw()).turn)
    assert (turn.failure, turn.fee_kind, turn.retry_after) == (kind, fee, 9)
    assert len([x for x in s.upstream.asked if x.method == "POST"]) == 1
    # another service is offered with its price, and nothing goes there by itself
    other = {"service_type": "text-to-image", "output_price": 7 * 10**15, "model": "other-painter"}
    await in_db(factories.service)(factories.CHARLIE, url="https://other.example", **other)
    client = AsyncClient()
    await client.aforce_login(s.alice)
    page = (await client.get("/playground/images")).content.decode()
    assert "Ask other-painter at" in page and "0.007 0G" in page
    assert f"provider={factories.CHARLIE}" in page
    # money that is missing leads to a transfer and back here, never into a chat
    assert ("&amp;then=/playground/images" in page) == (kind == "not_funded")
    assert f"/playground/chat/{turn.chat_id}" not in page


async def test_a_failed_job_is_told_and_a_lost_one_too() -> None:
    async def provider(reply: Reply, asked: Asked) -> None:
        lost = b"lost" in reply.upstream.asked[0].body
        if asked.method == "POST":
            await reply.whole(b'{"jobId":"j","status":"pending"}', 202)
        elif lost:
            await reply.whole(b'{"error":"job not found"}', 404)
        else:
            words = b'{"jobId":"j","status":"failed","errorMessage":"no <b>cats</b>"}'
            await reply.whole(words)

    async with stage(provider) as s:
        turn = await s.ended((await s.draw()).turn)
        assert (turn.failure, turn.failure_detail) == ("provider_error", "no <b>cats</b>")
        assert turn.failure_status == 200  # as it came, for *Inspect*
        s.upstream.asked.clear()
        turn = await s.ended((await s.draw("lost")).turn)
        # It took the job, so nobody knows here that nothing is due.
        assert (turn.failure, turn.failure_status) == ("provider_error", 404)
        assert (turn.fee, turn.fee_kind) == (PICTURE_PRICE, FeeKind.UNKNOWN)


async def test_an_edit_sends_bare_pixels_and_the_mask_and_can_be_built_again() -> None:
    exif = Image.Exif()
    exif[0x010E] = "GPS of my home"
    exif[0x0112] = 6  # lies on its side
    photo = png(1500, 900, format="JPEG", exif=exif)
    source = uploads.cleaned(photo, "home.jpg")
    assert (source.width, source.height) == (614, 1024)
    assert b"GPS" not in source.data and b"eXIf" not in source.data
    async with stage(at_once, "image-editing") as s:
        mask = {"mask": [[250, 250, 500, 500], {"r": 20, "p": [[0, 0], [1000, 1000]]}]}
        opened = await s.draw("a cat", source, wish=mask)
        turn = await s.ended(opened.turn)
    asked = s.upstream.asked[-2]
    assert asked.path == "/v1/proxy/images/edits"
    assert asked.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert source.data in asked.body and b"home.jpg" not in asked.body
    drawn = Image.open(io.BytesIO((await in_db(files)(turn, "mask"))[0]))
    alpha = drawn.getchannel("A")
    assert drawn.size == (614, 1024)
    places = [alpha.getpixel(x) for x in ((307, 512), (2, 2), (600, 20))]
    assert places == [0, 0, 255]
    assert await in_db(endings.request_body)(turn) == asked.body
    assert turn.verdict == "verified"


async def test_a_service_is_sent_what_it_says_it_takes() -> None:
    said: dict[str, Any] = {
        "id": "painter",
        "supported_parameters": ["prompt", "n", "size"],
        "architecture": {"input_modalities": ["text"]},
    }

    async def picky(reply: Reply, asked: Asked) -> None:
        if asked.path == "/v1/models":
            await reply.whole(json.dumps({"data": [said]}).encode())
        else:
            await at_once(reply, asked)

    async with stage(picky, model="painter") as s:
        wish = {"size": "512x512", "seed": "7", "output": "png"}
        turn = await s.ended((await s.draw(wish=wish)).turn)
        body = json.loads(await in_db(endings.request_body)(turn))
        assert body.keys() == {"model", "prompt", "n", "size", "response_format"}
        with pytest.raises(BadPrompt, match="from words only"):
            await s.draw("a cat", uploads.cleaned(RED, "red.png"))
        client = AsyncClient()
        path = f"/playground/images/able?provider={factories.PETRA}"
        assert (await client.get(path)).json()["edits"], "strangers have nobody asked"
        await client.aforce_login(s.alice)
        assert (await client.get(path)).json() == {"options": ["size"], "edits": False}
        await hub().close()
    silent = Takes.of("image-editing", Abilities(said=True, parameters=("seed", "temperature")))
    assert silent == ANYTHING and not Takes.of("text-to-image", Abilities()).edits


def test_uploads_are_what_they_are_not_what_they_say() -> None:
    cases = {
        "cat.tiff": (png(format="TIFF"), "cat.tiff is TIFF; use PNG, JPG or WEBP"),
        "cat.png": (png(format="GIF"), "cat.png is GIF"),
        "page.png": (b"<!doctype html><script>", "page.png is a web page"),
        "small.png": (png(10, 10), "each side needs 64 pixels"),
        "cut.png": (png(400, 400)[:200], "is damaged"),
        "bomb.png": (claiming(9_000), "9,000 x 9,000"),
        "heavy.png": (RED + b"\0" * (10 << 20), "larger than 10 MB"),
    }
    for name, (data, words) in cases.items():
        with pytest.raises(BadPrompt) as refused:
            uploads.cleaned(data, name)
        assert words in refused.value.sentence and name in refused.value.sentence
    frames = [Image.new("RGB", (80, 80), c) for c in ("red", "blue")]
    out = io.BytesIO()
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:])
    with pytest.raises(BadPrompt, match="animated"):
        uploads.cleaned(out.getvalue(), "moving.webp")
    for hostile in ("[[1,2]]", "{", "[[0,0,0,5]]", '[{"r":1,"p":[[0,99999]]}]', "[1]", "1"):
        with pytest.raises(BadPrompt):
            Mask.of(hostile)


async def test_limits_money_and_signers_are_checked_before_anything_is_sent(
    settings: Any,
) -> None:
    async with stage(at_once) as s:
        await s.ended((await s.draw()).turn)
        sent = len(s.upstream.asked)
        await in_db(Service.objects.update)(tee_signer=factories.address("new"))
        with pytest.raises(SignerChanged) as changed:
            await s.draw()
        assert changed.value.signer == factories.address("new")
        await s.ended((await s.draw(accept_signer=factories.address("new"))).turn)
        sent += 3
        await in_db(SubAccount.objects.update)(balance=factories.ONE + PICTURE_PRICE)
        with pytest.raises(ChatError) as poor:
            await s.draw(wish={"count": 2})
        assert poor.value.code == "not_funded"
        with pytest.raises(ChatError) as doubtful:
            await s.draw(wish={"verified": "on"})
        assert doubtful.value.code == "not_verified"
        await in_db(SubAccount.objects.update)(balance=3 * factories.ONE)
        await in_db(Service.objects.update)(service_type="image-editing")
        settings.MEDIA_QUOTA = 100
        with pytest.raises(BadPrompt, match="fill their"):
            await s.draw("x", uploads.cleaned(RED, "a.png"))
        await in_db(Service.objects.update)(service_type="chatbot")
        with pytest.raises(ChatError) as gone:
            await s.draw()
        assert gone.value.code == "no_service"
        assert len([x for x in s.upstream.asked if x.path != "/v1/models"]) == sent
        assert await in_db(Chat.objects.count)() == 2


async def test_only_the_owner_sees_anything_and_what_is_not_kept_ends_with_its_session() -> None:
    async with stage(at_once) as s:
        opened = await s.draw("mine")
        await s.ended(opened.turn)
        file = await in_db(File.objects.first)()
        assert file is not None
        owner, stranger = AsyncClient(), AsyncClient()
        await owner.aforce_login(s.alice)
        await stranger.aforce_login(await in_db(User.objects.for_address)(factories.BOB))
        paths = [
            f"/playground/images/{opened.chat}",
            f"/playground/images/{opened.chat}/card",
            f"/playground/files/{file.pk}",
            f"/playground/images?from={opened.chat}",
        ]
        for path in paths:
            assert (await owner.get(path)).status_code == 200, path
            assert (await stranger.get(path)).status_code == 404, path
            if "from" not in path:
                assert (await AsyncClient().get(path)).status_code == 404, path
        shown = await owner.get(paths[2])
        assert shown.content in (RED, BLUE) and shown["Content-Type"] == "image/png"
        assert "sandbox" in shown["Content-Security-Policy"]
        assert shown["X-Content-Type-Options"] == "nosniff"
        for path in ("delete", "undo", "recheck"):
            url = f"/playground/images/{opened.chat}/{path}"
            assert (await stranger.post(url)).status_code == 404
        log = await owner.get("/playground/requests")
        assert b"2 pictures" in log.content
        # deleted, brought back, deleted for good
        gone = await owner.post(f"/playground/images/{opened.chat}/delete")
        assert gone["Location"].endswith(f"?deleted={opened.chat}")
        assert b"The request was deleted." in (await owner.get(gone["Location"])).content
        assert (await owner.get(paths[2])).status_code == 404
        await owner.post(f"/playground/images/{opened.chat}/undo")
        assert (await owner.get(paths[2])).status_code == 200
        assert b"The request was deleted." not in (await owner.get(gone["Location"])).content
        session = name_of((await owner.asession()).session_key)
        unkept = await s.draw("not kept", session_key=session)
        await s.ended(unkept.turn)
        assert (await owner.get(f"/playground/images/{unkept.chat}")).status_code == 200
        other = AsyncClient()
        await other.aforce_login(s.alice)
        assert (await other.get(f"/playground/images/{unkept.chat}")).status_code == 404
        assert b"not kept" not in (await other.get("/playground/images")).content
        await in_db(seals.forget_key)(unkept.chat)
        assert (await owner.get(f"/playground/images/{unkept.chat}")).status_code == 200
        hidden = await in_db(File.objects.filter(chat_id=unkept.chat).first)()
        assert (await owner.get(f"/playground/files/{hidden.pk}")).status_code == 404


def test_a_form_without_javascript(client: Client) -> None:
    alice = world("http://127.0.0.1:1")
    client.force_login(alice)
    page = client.get("/playground/images").content.decode()
    assert "Generate 1 – 0.003 0G" in page and "of 256 MB used" not in page
    given = {"key": str(uuid4()), "provider": factories.PETRA, "prompt": "", "count": "2"}
    answered = client.post("/playground/images/make", given)
    assert answered.status_code == 400
    assert "Say what the picture should show." in answered.content.decode()
    given |= {"prompt": "x", "rect": "on", "rect_left": "a", "rect_top": "1"}
    given |= {"rect_width": "1", "rect_height": "1"}
    answered = client.post("/playground/images/make", given)
    assert "from 0 to 100" in answered.content.decode()
    assert 'name="rect_left" inputmode="numeric" maxlength="3" value="a"' in str(answered.content)
    wanted = {"Accept": "application/json"}
    answered = client.post("/playground/images/make", given, headers=wanted)
    assert "from 0 to 100" in answered.json()["title"]
    changed = json.loads(views.refusal(SignerChanged("0xa", "0xb")).content)
    assert changed["signer"] == "0xb" and "0xb" in changed["title"]
