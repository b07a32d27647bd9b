"""Embeddings: texts go to the provider, their vectors are judged, compared and taken along; what is
no vector is said, and nobody else reads any."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import uuid4

import pytest
from django.test import AsyncClient, Client

from accounts.models import User
from inference import conversations, proofs
from inference.errors import BadPrompt
from inference.media import endings, studio
from inference.media.services import Opened
from inference.media.vectors import Wish
from inference.models import Chat, Turn
from ledger.models import SubAccount
from tests import factories
from tests.db import media_world
from tests.db.chat_world import in_db
from tests.db.media_world import SECOND_PRICE, Stage, stage, world
from tests.db.personal_world import prove
from tests.live.chat_upstream import Asked, Reply
from tests.pure.test_vectors import HOSTILE, answer

pytestmark = pytest.mark.django_db(transaction=True)

alone = pytest.fixture(autouse=True)(media_world.alone)
WITH: dict[str, Any] = {"kind": "embedding", "model": "embedder", "output_price": 10**18}
PRICE = SECOND_PRICE
PATH = "/playground/embeddings"
TEXTS = ("a lighthouse", "a lamp", "=SUM(A1)")


async def embeds(reply: Reply, asked: Asked) -> None:
    body = answer([1, 0], [0.8, 0.6], [0, -1], usage={"prompt_tokens": 9, "total_tokens": 9})
    reply.upstream.sign("id-1", asked, body)
    await reply.whole(body, ZG_Res_Key="id-1", Content_Type="application/json")


async def embed(s: Stage, texts: tuple[str, ...] = TEXTS, **given: Any) -> Opened:
    return await studio.embed(s.hub, s.ask(**given), Wish(texts))


async def signed_in(user: User) -> AsyncClient:
    client = AsyncClient()
    await client.aforce_login(user)
    await in_db(prove)(client, 0)
    return client


async def test_texts_are_sent_once_judged_and_set_beside_each_other() -> None:
    async with stage(embeds, **WITH) as s:
        key = uuid4()
        opened = await embed(s, key=key)
        turn = await s.ended(opened.turn)
        # the same form again is the same request; with other words it is none
        assert (await embed(s, key=key)).turn == opened.turn
        with pytest.raises(BadPrompt, match="with other words"):
            await embed(s, ("other",), key=key)
        owner = await signed_in(s.alice)
        here = f"{PATH}/{opened.chat}"
        page = (await owner.get(here)).content.decode()
        table = (await owner.get(f"{here}.csv")).content.decode()
        file = (await owner.get(f"{here}.json")).content
        (judged,) = await in_db(proofs.judge)(file)
        listed = (await owner.get(PATH)).content.decode()
        again = (await owner.get(f"{PATH}?from={opened.chat}")).content.decode()
        log = (await owner.get("/playground/requests")).content.decode()
        inspected = await owner.get(f"/playground/chat/turns/{turn.pk}/inspect")
        rebuilt = await in_db(endings.request_body)(turn)
    (asked,) = [x for x in s.upstream.asked if x.method == "POST"]
    assert (asked.path, rebuilt) == ("/v1/proxy/embeddings", asked.body)
    assert json.loads(asked.body)["input"] == list(TEXTS)
    assert (turn.state, turn.verdict) == ("answered", "verified")
    assert (turn.fee, turn.fee_kind, turn.prompt_tokens) == (9 * PRICE, "estimated", 9)
    assert turn.quantity == "3 texts"
    assert "dimension 2" in page and "9 tokens" in page and turn.response_sha256 in page
    assert 'data-level="4"><strong>0.80</strong>' in page and "−1.00" not in page
    assert 'data-level="0">−0.60' in page and 'data-level="own">1.00' in page
    assert table.splitlines() == [
        "text,1,2", "a lighthouse,1.0,0.0", "a lamp,0.8,0.6", "'=SUM(A1),0.0,-1.0"
    ]  # fmt: skip
    document = json.loads(file)
    # /verify takes the file, and finds the same
    assert (judged.our_response, judged.result.verdict) == (turn.response_sha256, "verified")
    assert document["vectors"][1] == {"text": "a lamp", "embedding": [0.8, 0.6]}
    assert document["requests"][0]["signature"]["text"].endswith(turn.response_sha256)
    assert "a lighthouse a lamp" in listed and "3 texts" in listed
    assert "a lighthouse\na lamp\n=SUM(A1)</textarea>" in again
    assert "9 / 0" in log and "about" in log
    assert inspected["Location"] == here


async def test_only_the_owner_reads_and_what_is_deleted_comes_back() -> None:
    async with stage(embeds, **WITH) as s:
        opened = await embed(s)
        await s.ended(opened.turn)
        owner = await signed_in(s.alice)
        stranger = await signed_in(await in_db(User.objects.for_address)(factories.BOB))
        here = f"{PATH}/{opened.chat}"
        for end in ("", "/body", ".csv", ".json"):
            assert (await owner.get(here + end)).status_code == 200, end
            assert (await stranger.get(here + end)).status_code == 404, end
        assert (await owner.get(here + ".exe")).status_code == 404
        await in_db(prove)(owner, 601)
        assert [(await owner.get(here + end)).status_code for end in ("", ".csv")] == [200, 403]
        assert (await stranger.post(here + "/delete")).status_code == 404
        chat = await in_db(Chat.objects.get)()
        turn = await in_db(Turn.objects.get)()
        for sealed in (chat.title_sealed, chat.options_sealed, turn.request_sealed):
            assert b"lighthouse" not in bytes(sealed)
        gone = await owner.post(here + "/delete")
        assert gone["Location"] == f"{PATH}?deleted={opened.chat}"
        assert (await owner.get(here)).status_code == 404
        assert (await owner.post(here + "/undo"))["Location"] == here
        assert (await owner.get(here)).status_code == 200
        # without its key nothing is left to show, to send again, or to price elsewhere
        await in_db(factories.service)(factories.address(9), service_type="embedding")
        await in_db(Chat.objects.update)(key_sealed=b"another")
        await in_db(Turn.objects.update)(state="failed", failure="bad_answer")
        lost = (await owner.get(here)).content.decode()
        assert "Embeddings of 3 texts" in lost and "Its key is gone" in lost
        assert "[encrypted" not in lost and f"?from={opened.chat}" not in lost


async def test_vectors_fill_what_one_person_may_keep(settings: Any) -> None:
    async with stage(embeds, **WITH) as s:
        turn = await s.ended((await embed(s)).turn)
        # the texts too: who fails to answer them would fill the disk for nothing
        settings.MEDIA_QUOTA = turn.request_bytes + turn.response_bytes - 1
        with pytest.raises(BadPrompt, match="Delete some first"):
            await embed(s)
        await in_db(conversations.delete_chat)(turn.chat)
        assert (await embed(s)).call is not None


HERE = ("NaN", "deep", "too few", "base64", "strings", "lengths", "huge", "large")


@pytest.mark.parametrize("what", HERE)
async def test_what_is_no_vector_is_said_and_the_texts_stay(what: str) -> None:
    body, said = HOSTILE[what]

    async def provider(reply: Reply, asked: Asked) -> None:
        await reply.whole(body)

    async with stage(provider, **WITH) as s:
        opened = await embed(s, TEXTS[:2])
        turn = await s.ended(opened.turn)
        owner = await signed_in(s.alice)
        page = (await owner.get(f"{PATH}/{opened.chat}")).content.decode()
        csv = await owner.get(f"{PATH}/{opened.chat}.csv")
        detail = await in_db(lambda: turn.failure_detail)()
    assert turn.state == "failed"
    assert turn.failure == ("too_large" if what == "large" else "bad_answer")
    assert what == "large" or said in detail
    # the most that it may charge for what was sent: a token for each byte
    assert turn.fee_kind == "unknown" and turn.fee == PRICE * (turn.request_bytes + 2 * 4)
    assert "a lighthouse" in page and f"{PATH}?from={opened.chat}#composer" in page
    assert csv.status_code == 404


async def test_a_text_that_is_written_out_longer_may_cost_more_than_its_request_is_long() -> None:
    async def provider(reply: Reply, asked: Asked) -> None:
        await reply.whole(b"[]")

    async with stage(provider, **WITH) as s:
        turn = await s.ended((await embed(s, ("\ufdfa" * 100,))).turn)  # one sign for 18 letters
    assert turn.request_bytes < 500
    assert (turn.fee_kind, turn.fee) == ("unknown", PRICE * (100 * 33 + 4))


@pytest.mark.parametrize(("tokens", "kind"), [(10**6, "estimated"), (None, "unknown")])
async def test_counts_that_nobody_can_believe_are_named(tokens: int | None, kind: str) -> None:
    async def provider(reply: Reply, asked: Asked) -> None:
        await reply.whole(answer([1], [0], usage={"prompt_tokens": tokens}))

    async with stage(provider, **WITH) as s:
        opened = await embed(s, TEXTS[:2])
        turn = await s.ended(opened.turn)
        page = (await (await signed_in(s.alice)).get(f"{PATH}/{opened.chat}")).content.decode()
    assert (turn.state, turn.fee_kind) == ("answered", kind)
    assert ("more tokens than the request has bytes" in page) == (tokens is not None)
    assert ("tokens not counted" in page) == (tokens is None)
    # a vector of zeros is like nothing
    assert 'data-level="none">–' in page


async def test_a_restart_ends_what_was_asked_and_never_asks_again() -> None:
    async def provider(reply: Reply, asked: Asked) -> None:
        await asyncio.sleep(60)

    async with stage(provider, **WITH) as s:
        opened = await embed(s)
        for _ in range(400):
            if s.upstream.asked:
                break
            await asyncio.sleep(0.025)
        await s.hub.close()
        turn = await s.ended(opened.turn)
    assert (turn.failure, turn.fee_kind) == ("interrupted", "unknown")
    assert len(s.upstream.asked) == 1


def test_the_form_says_its_limits_and_prices_and_keeps_what_was_written(client: Client) -> None:
    alice = world("http://127.0.0.1:1", "embedding")
    strange = client.get(PATH).content.decode()
    assert "Sign in to see your embeddings" in strange
    assert "up to 20 texts of 2,000 characters" in strange
    client.force_login(alice)
    assert "No embeddings yet" in client.get(PATH).content.decode()
    side = f"/playground/chat/side?medium=embed&provider={factories.PETRA}"
    told = client.get(side).content.decode()
    assert 'data-ready="yes"' in told and ">Input<" in told and ">Output<" not in told
    SubAccount.objects.update(balance=factories.ONE)
    poor = client.get(side).content.decode()
    assert 'data-code="not_funded"' in poor and "playground%2Fembeddings" in poor
    SubAccount.objects.update(balance=2 * factories.ONE)
    ask: dict[str, Any] = {"provider": factories.PETRA, "bytes": 100, "texts": 2}
    said = client.get(f"{PATH}/estimate", ask).json()
    assert said["neuron"] == str(PRICE * (100 + 2 * 4))
    assert said["label"] == "Embed 2 texts – up to 0.00108 0G"
    others: list[dict[str, Any]] = [{**ask, "texts": 0}, {**ask, "provider": "0x"}, {}]
    for nothing in others:
        assert client.get(f"{PATH}/estimate", nothing).json() == {"label": "Embed"}
    given = {"key": str(uuid4()), "provider": factories.PETRA, "texts": "one\n" * 21}
    refused = client.post(f"{PATH}/embed", given)
    assert refused.status_code == 400
    assert "These are 21 texts; up to 20 are sent at once." in refused.content.decode()
    assert "one\none\n" in refused.content.decode()
    stays = client.post(f"{PATH}/embed", given, headers={"Accept": "application/json"})
    assert (stays.status_code, stays.json()["code"]) == (400, "bad_prompt")
    careful = client.post(f"{PATH}/embed", {**given, "texts": "one", "verified": "on"})
    assert careful.status_code == 409 and 'name="verified"' in careful.content.decode()
    assert "you send only to verified providers" in careful.content.decode()
    factories.service(factories.address(9), service_type="chatbot")
    elsewhere = client.post(
        f"{PATH}/embed", {**given, "texts": "one", "provider": factories.address(9)}
    )
    assert elsewhere.status_code == 409 and not Chat.objects.exists()
