"""Pictures that are made as jobs at a provider: they outlive our process, not their person."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import uuid4

import pytest
from django.test import AsyncClient

from accounts.personal import NotYet
from inference import hub as hubs
from inference import personal
from inference.errors import BadPrompt
from inference.hub import Hub
from inference.media import pictures, studio
from inference.media.models import Job
from inference.models import State, Turn
from tests.db import media_world
from tests.db.chat_world import in_db
from tests.db.media_world import answer, sign, stage
from tests.db.test_chat_hostile import _sql
from tests.db.test_pictures import RED
from tests.live.chat_upstream import Asked, Reply

pytestmark = pytest.mark.django_db(transaction=True)

alone = pytest.fixture(autouse=True)(media_world.alone)


async def test_a_job_outlives_the_process_and_is_paid_once() -> None:
    state = {"now": "pending"}

    async def provider(reply: Reply, asked: Asked) -> None:
        if asked.method == "POST":
            sign(reply.upstream, "made", asked, RED)
            await reply.whole(b'{"jobId":"j-1","status":"pending"}', 202)
            return
        assert asked.headers["authorization"].startswith("Bearer app-sk-")
        document: dict[str, Any] = {"jobId": "j-1", "status": state["now"], "errorMessage": ""}
        if state["now"] == "completed":
            document["data"] = json.loads(answer(RED))
        await reply.whole(json.dumps(document).encode(), ZG_Res_Key="made")

    async with stage(provider) as s:
        key = uuid4()
        opened = await s.draw(key=key)
        for _ in range(100):
            job = await in_db(Job.objects.get)()
            if job.remote:
                break
            await asyncio.sleep(0.02)
        assert job.remote == "j-1" and job.working_since is None
        # its page is fetched as a whole: what the pictures are proven by stands beside them
        client = AsyncClient()
        await client.aforce_login(s.alice)
        page = (await client.get(f"/playground/images/{opened.chat}")).content.decode()
        assert 'hx-target="#whole" hx-select="#whole"' in page and page.count(' id="whole"') == 1
        state["now"] = "processing"
        for _ in range(500):
            if (await in_db(Job.objects.get)()).working_since:
                break
            await asyncio.sleep(0.02)
        else:
            raise AssertionError("it is not seen to work")
        await s.hub.close()
        turn = await in_db(Turn.objects.get)()
        assert turn.state == State.OPEN, "the provider still works on it"
        state["now"] = "completed"
        second = Hub()
        await second.start()
        try:
            assert (await s.ended(opened.turn)).verdict == "verified"
            # the same form sent again is the same request
            same = pictures.Wish("a harbour")
            again = await studio.draw(second, s.ask(key=key), same, None)
            assert (again.turn, again.call) == (opened.turn, None)
            with pytest.raises(BadPrompt, match="with other words"):
                await studio.draw(second, s.ask(key=key), pictures.Wish("else"), None)
        finally:
            await second.close()
    assert sum(asked.method == "POST" for asked in s.upstream.asked) == 1


async def test_a_job_outlives_trouble_with_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubs, "BEAT_SECONDS", 0.1)
    away = asyncio.Event()

    async def provider(reply: Reply, asked: Asked) -> None:
        if asked.method == "POST":
            sign(reply.upstream, "made", asked, RED)
            await in_db(_sql)("ALTER TABLE inference_job RENAME TO away")
            await reply.whole(b'{"jobId":"j-1","status":"pending"}', 202)
            away.set()
            return
        made = {"jobId": "j-1", "status": "completed", "data": json.loads(answer(RED))}
        await reply.whole(json.dumps(made).encode(), ZG_Res_Key="made")

    async with stage(provider) as s:
        opened = await s.draw()
        await away.wait()
        await asyncio.sleep(0.5)
        await in_db(_sql)("ALTER TABLE away RENAME TO inference_job")
        assert (await s.ended(opened.turn)).state == State.ANSWERED
        assert (await in_db(Job.objects.get)()).remote == "j-1"


async def test_a_job_of_somebody_who_leaves_the_site_is_stopped() -> None:
    """A row that stayed open would keep its person's data until this process ends."""

    async def provider(reply: Reply, asked: Asked) -> None:
        status = 202 if asked.method == "POST" else 200
        await reply.whole(b'{"jobId":"j","status":"pending"}', status)

    async with stage(provider) as s:
        opened = await s.draw()
        while not (await in_db(Job.objects.get)()).remote:
            await asyncio.sleep(0.02)
        with pytest.raises(NotYet):
            await in_db(personal._forget)(s.alice)
        assert (await s.ended(opened.turn)).failure == "interrupted"
        assert await in_db(personal._forget)(s.alice)
        assert await in_db(Turn.objects.count)() == 0
