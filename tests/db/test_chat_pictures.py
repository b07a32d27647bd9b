"""Pictures in questions: bared of metadata, kept under the conversation's key, sent to models that
say they look at pictures, billed for what they can be.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import zlib
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from PIL import Image

from accounts.models import User
from inference import (
    abilities,
    attachments,
    context,
    conversations,
    costs,
    export,
    opening,
    services,
    views,
)
from inference.errors import BadPrompt
from inference.media import quota
from inference.media.models import File
from inference.models import Chat, State, Turn
from inference.options import Options
from inference.prompts import Malformed, Prompt
from ledger import selectors as ledger
from protocol import fees
from tests import factories
from tests.db.chat_world import Stage, in_db, stage, world
from tests.live.chat_upstream import Asked, Reply

MODEL = "qwen/qwen-2.5-7b-instruct"
LIST = {
    "data": [
        {"id": "other", "architecture": {"input_modalities": ["text"]}},
        {
            "id": MODEL,
            "architecture": {"input_modalities": ["text", "image"]},
            "context_length": 8192,
            "supported_parameters": ["temperature", "max_tokens", "stop"],
        },
    ]
}


def photo(kind: str = "JPEG", size: tuple[int, int] = (2400, 1200), **more: Any) -> bytes:
    """A photograph, taken somewhere, by somebody."""
    image = Image.effect_noise(size, 60).convert("RGB")
    exif = image.getexif()
    exif[0x010E], exif[0x0110] = "SECRET PLACE", "SECRET CAMERA"
    exif[0x0112] = 6  # lies on its side
    exif.get_ifd(0x8825)[1] = "N"
    out = io.BytesIO()
    image.save(out, kind, exif=exif, **more)
    return out.getvalue()


def drawing() -> bytes:
    out = io.BytesIO()
    Image.new("RGBA", (200, 100), (0, 0, 0, 0)).save(out, "PNG")
    return out.getvalue()


def test_what_a_list_of_models_says() -> None:
    found = abilities.read(LIST, MODEL)
    assert found.pictures and found.said and found.context == 8192
    assert found.parameters == ("max_tokens", "stop", "temperature")
    assert Options(temperature="1", seed=3).wire(found.parameters) == {"temperature": 1.0}
    assert not abilities.read(LIST, "other").pictures
    broken: list[object] = [
        None,
        [],
        {"data": 7},
        {"data": [None, {"id": MODEL, "architecture": 1}]},
    ]
    for hostile in broken:
        assert not abilities.read(hostile, MODEL).pictures
    entry = {"id": MODEL, "architecture": {"input_modalities": "image"}, "context_length": -1}
    assert abilities.read({"data": [entry]}, MODEL) == abilities.Abilities(said=True)


def test_uploads_become_bare_and_small() -> None:
    data = photo()
    assert b"SECRET" in data
    made = attachments.prepared(data, "photo.jpg")
    assert b"SECRET" not in made.data and len(made.data) <= attachments.MAX_BYTES
    with Image.open(io.BytesIO(made.data)) as image:
        assert image.size == (768, 1536) == (made.width, made.height)  # upright, and smaller
        assert not image.getexif() and image.format == "JPEG"
    flat = attachments.prepared(drawing(), "drawing.png")
    with Image.open(io.BytesIO(flat.data)) as image:
        assert image.format == "PNG" and image.getpixel((5, 5)) == (255, 255, 255)
    for bad, why in (
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (data[:400], "damaged"),
        (b"", "no picture"),
    ):
        with pytest.raises(BadPrompt, match=why):
            attachments.prepared(bad, "x.png")
    assert attachments.tokens(768, 1536) < attachments.most_tokens(768, 1536) < 7000


@pytest.fixture
def chat(db: None) -> Chat:
    cache.clear()
    return world("http://127.0.0.1:9")


def declare(**more: Any) -> None:
    """As if the provider's list had been read a moment ago."""
    listing = ledger.service("inference", factories.PETRA)
    assert listing is not None
    said = {"pictures": True, "context": 0, "parameters": None, "said": True, **more}
    cache.set(abilities._name(listing), said)


def sent(turn: int) -> Any:
    return json.loads(Turn.objects.select_related("chat").get(pk=turn).request)["messages"]


def end(turn: int) -> None:
    row = Turn.objects.select_related("chat").get(pk=turn)
    sealed = row.chat.box.seal_text("answer", "I see.")
    Turn.objects.filter(pk=turn).update(state=State.ANSWERED, answer_sealed=sealed)


@pytest.mark.django_db
def test_sent_in_parts_kept_encrypted_and_billed_by_size(chat: Chat) -> None:
    file = attachments.keep(chat, photo(), "p.jpg")
    assert bytes(file.sealed)[:3] != b"\xff\xd8\xff"
    with pytest.raises(BadPrompt, match="does not say"):
        opening.open_turn(chat, "What is this?", process="p", pictures=(file.pk,))
    declare(parameters=["temperature"])
    opened = opening.open_turn(
        chat, "What is this?", process="p", pictures=(file.pk,), options=Options(seed=4)
    )
    turn = Turn.objects.select_related("chat").get(pk=opened.turn)
    document = json.loads(turn.request)
    assert "seed" not in document
    words, picture = document["messages"][0]["content"]
    assert words == {"type": "text", "text": "What is this?"}
    head, data = picture["image_url"]["url"].split(",")
    assert head == "data:image/jpeg;base64"
    assert hashlib.sha256(base64.b64decode(data)).hexdigest() == file.sha256
    assert turn.picture_tokens == attachments.most_tokens(file.width, file.height)
    tariff = fees.tariff(turn.input_price, turn.output_price, "")
    most = costs.most(tariff, turn.text_bytes, turn.max_tokens, turn.picture_tokens)
    assert most < costs.most(tariff, turn.request_bytes, turn.max_tokens)
    assert services.cut_off(turn.pk, "") and Turn.objects.get().fee == most
    (entry,) = json.loads(b"".join(export.document(chat)))["turns"]
    assert entry["pictures"][0]["sha256"] == file.sha256
    assert zlib.decompress(base64.b64decode(entry["request_packed"])) == turn.request
    assert file.sha256.encode() in b"".join(export.markdown(Chat.objects.get()))


@pytest.mark.django_db
def test_pictures_follow_versions_and_the_conversation(chat: Chat, settings: Any) -> None:
    declare()
    kept = [attachments.keep(chat, drawing(), f"{i}.png") for i in range(3)]
    first = opening.open_turn(
        chat, "One", process="p", pictures=tuple(file.pk for file in kept)
    ).turn
    end(first)
    with pytest.raises(BadPrompt, match="not there any more"):
        opening.open_turn(chat, "Again", process="p", pictures=(kept[0].pk,))
    again = opening.open_turn(chat, "", process="p", again=first).turn
    assert len(sent(again)[0]["content"]) == 4
    assert File.objects.filter(turn=again).count() == File.objects.filter(turn=first).count() == 3
    end(again)
    # another version keeps pictures of its own, which count like all others
    enough, settings.MEDIA_QUOTA = settings.MEDIA_QUOTA, quota.used(chat.owner) + 1
    with pytest.raises(BadPrompt, match="Delete some first"):
        opening.open_turn(chat, "", process="p", again=first)
    assert Turn.objects.count() == 2
    settings.MEDIA_QUOTA = enough
    new = [attachments.keep(chat, drawing(), "n.png").pk for _ in range(2)]
    second = opening.open_turn(chat, "Two", process="p", pictures=tuple(new)).turn
    before, _, now = sent(second)
    assert len(now["content"]) == 3
    assert [part["type"] for part in before["content"]] == ["text", "image_url", "image_url"]
    assert before["content"][0]["text"] == "One\n\n[not sent again: 1 pictures]"
    end(second)
    # a model that takes none is told that there were some
    cache.clear()
    third = opening.open_turn(chat, "Three", process="p").turn
    assert [x["content"] for x in sent(third) if x["role"] == "user"] == [
        "One\n\n[not sent again: 3 pictures]",
        "Two\n\n[not sent again: 2 pictures]",
        "Three",
    ]
    assert (
        len(context.messages(chat, third, Options(), context.Asked("?"))) == 5
    )  # the third has no answer yet


@pytest.mark.django_db
def test_of_two_questions_with_one_picture_at_once_the_second_is_not_sent(chat: Chat) -> None:
    declare()
    picture = attachments.keep(chat, drawing(), "1.png").pk
    late = attachments.wanted(chat, [picture], None)
    asked = opening.open_turn(chat, "One", process="p", pictures=(picture,)).turn
    end(asked)
    with pytest.MonkeyPatch.context() as before:  # read before the other device had sent it
        before.setattr(attachments, "wanted", lambda *_: late)
        with pytest.raises(BadPrompt, match="not there any more"):
            opening.open_turn(chat, "Two", process="p", pictures=(picture,))
    assert Turn.objects.get().pk == asked == File.objects.get().turn_id


@pytest.mark.django_db(transaction=True)
def test_an_edited_question_takes_along_what_is_left_of_its_pictures(
    chat: Chat, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare()
    client.force_login(chat.owner)
    path = f"/playground/chat/{chat.pk}"
    kept = [str(attachments.keep(chat, drawing(), f"{i}.png").pk) for i in range(3)]
    first = opening.open_turn(chat, "One", process="p", pictures=tuple(map(UUID, kept))).turn
    end(first)
    page = client.get(f"{path}?edit={first}").content.decode()
    assert page.count(" checked> <img") == page.count('type="checkbox" name="had"') == 3
    form: Any = {"text": "Two", "again": first, "had": ["", kept[1]], "provider": factories.BOB}
    page = client.post(f"{path}/send", form).content.decode()  # refused: nobody offers that
    assert page.count('type="checkbox" name="had"') == 3 and page.count(" checked> <img") == 1
    assert f'value="{kept[1]}" checked' in page
    told: Any = {"chat": chat.pk, "provider": factories.PETRA, "bytes": 3, "again": first}
    for had, counted in (({}, 3), ({"had": kept[1]}, 1), ({"had": ""}, 0)):
        estimated = client.get("/playground/chat/estimate", {**told, **had}).json()
        assert estimated["pictures"] == counted
    (given,) = Prompt.of(
        {**form, "key": str(uuid4()), "provider": "", "had": kept[1:2]}
    ).questions()
    edited = opening.open_turn(chat, "Two", process="p", **given).turn
    assert [part["type"] for part in sent(edited)[0]["content"]] == ["text", "image_url"]
    assert File.objects.get(turn=edited).sha256 == File.objects.get(pk=kept[1]).sha256
    # Each costs a second of work, by whichever door it comes; what was typed with it stays.
    monkeypatch.setattr(views, "PICTURES_PER_MINUTE", 0)
    picture = {"picture": SimpleUploadedFile("p.png", drawing())}
    assert client.post(f"{path}/pictures", picture).status_code == 429
    form = {"text": "Three", "pictures": SimpleUploadedFile("p.png", drawing())}
    refused = client.post(f"{path}/send", form)
    text = refused.content.decode()
    assert refused.status_code == 409 and "pictures a minute" in text and "Three" in text


@pytest.mark.django_db
def test_limits_and_strangers(chat: Chat, client: Client) -> None:
    path = f"/playground/chat/{chat.pk}/pictures"

    def send(name: str = "p.png", data: bytes = b"") -> Any:
        return client.post(path, {"picture": SimpleUploadedFile(name, data or drawing())})

    assert send().status_code == 404
    client.force_login(User.objects.for_address(factories.BOB))
    assert send().status_code == 404
    client.force_login(chat.owner)
    said = send().json()
    shown = client.get(said["path"])
    assert shown["Content-Type"] == "image/png" and "sandbox" in shown["Content-Security-Policy"]
    client.force_login(User.objects.for_address(factories.BOB))
    assert client.get(said["path"]).status_code == 404
    client.force_login(chat.owner)
    told = send("evil<b>.svg", b"<svg/>")
    assert told.status_code == 400 and "SVG" in told.json()["title"]
    assert client.post(path).status_code == 400
    for _ in range(15):
        last = send()
    assert last.status_code == 201 and send().status_code == 400  # too many not sent
    other = conversations.create_chat(chat.owner, factories.PETRA)
    declare()
    mine = File.objects.filter(chat=chat).values_list("pk", flat=True)
    with pytest.raises(BadPrompt, match="not there any more"):
        opening.open_turn(other, "Hm", process="p", pictures=(mine[0],))
    with pytest.raises(Malformed):
        Prompt.of({"key": str(mine[0]), "text": "x", "pictures": ["1"] * 5})
    assert attachments.purge() == 0
    File.objects.update(made_at=timezone.now() - timedelta(hours=2))
    with CaptureQueriesContext(connection) as asked:
        assert attachments.purge() == 16
    assert not [x for x in asked if '"sealed"' in x["sql"]], "their bytes are not read once more"
    estimated = client.get(
        f"/playground/chat/estimate?provider={factories.PETRA}&chat={chat.pk}&bytes=4&pictures=x"
    )
    assert estimated.json()["pictures"] == 0


async def sees(reply: Reply, asked: Asked) -> None:
    if asked.path == "/v1/models":
        await reply.whole(json.dumps(LIST).encode(), Content_Type="application/json")
        return
    await reply.start("id-1")
    await reply.tokens("A ", "picture.")
    await reply.signed_end("id-1", asked)


@pytest.mark.django_db(transaction=True)
async def test_the_provider_is_asked_what_its_model_takes() -> None:
    await in_db(cache.clear)()

    async def ask(s: Stage, text: str) -> Turn:
        file = await in_db(attachments.keep)(s.chat, drawing(), "d.png")
        opened = await s.hub.ask(s.chat, text, pictures=(file.pk,))
        return await s.ended(opened.turn)

    async def slowly(reply: Reply, asked: Asked) -> None:
        await asyncio.sleep(0.3 if asked.path == "/v1/models" else 0)
        await sees(reply, asked)

    async with stage(slowly, model=MODEL) as s:
        # of many at once, each of which would hold a connection, one asks for all
        listing = await in_db(ledger.service)("inference", factories.PETRA)
        able = await asyncio.gather(*(s.hub.look(listing) for _ in range(5)))
        assert [each.pictures for each in able] == [True] * 5
        turn = await ask(s, "What is this?")
        assert turn.answer == "A picture." and turn.verdict == "verified"
        await ask(s, "And this?")
        assert [x.path for x in s.upstream.asked].count("/v1/models") == 1
