"""All pictures as one file, which proves itself: with nothing but a wallet library."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from typing import Any, cast

import pytest
from django.test import AsyncClient
from eth_account import Account
from eth_account.messages import encode_defunct

from tests.db import media_world
from tests.db.chat_world import in_db
from tests.db.media_world import stage
from tests.db.personal_world import prove
from tests.db.test_pictures import RED, at_once

pytestmark = pytest.mark.django_db(transaction=True)

alone = pytest.fixture(autouse=True)(media_world.alone)


async def test_all_pictures_as_one_archive() -> None:
    async with stage(at_once) as s:
        await s.ended((await s.draw("../../etc/passwd <b>")).turn)
        client = AsyncClient()
        await client.aforce_login(s.alice)
        stale = await client.get("/playground/images.zip")
        assert stale.status_code == 403 and b"IHDR" not in stale.content
        await in_db(prove)(client, 0)
        answer = cast(Any, await client.get("/playground/images.zip"))
        assert answer.is_async, "else all of it is read into memory first"
        parts = [x async for x in answer.streaming_content]
        archive = zipfile.ZipFile(io.BytesIO(b"".join(parts)))
    names = sorted(archive.namelist())
    assert len(names) == 3 and not any("/" in name or ".." in name for name in names)
    facts = json.loads(archive.read(next(name for name in names if name.endswith(".json"))))
    made = next(x["name"] for x in facts["files"] if x["seed"] == "0")
    assert archive.read(made) == RED
    asked = facts["requests"][0]
    assert asked["verdict"] == "verified" and asked["chain_id"] == 31337
    # As docs/pictures-and-speech.md says: with nothing but the archive and a wallet library.
    signed = asked["signature"]
    sent, drawn = signed["text"].split(":")[:2]
    who = Account.recover_message(
        encode_defunct(text=signed["text"]), signature=signed["signature"]
    )
    assert who == asked["expected_signer"] == asked["signer"] and asked["signer_acknowledged"]
    assert sent == asked["request_sha256"] and drawn.count(",") == 1
    assert hashlib.sha256(archive.read(made)).hexdigest() == drawn.split(",")[0]
