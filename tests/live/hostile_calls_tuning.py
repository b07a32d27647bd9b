"""What the site asks of fine-tuning providers and of 0G storage."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable
from typing import Any
from uuid import UUID, uuid4

from django.db import connection
from django.test import override_settings
from django.utils import timezone

from accounts.models import User
from attestation import trust
from finetune import adapters, broker, gateway, results
from finetune.errors import BrokerError, StorageRefused, StorageSilent
from finetune.models import Task
from net.client import Client
from tests import factories
from tests.live.hostile_calls import TAKEN, call

HASH = "0x" + "ab" * 32
TASK = UUID("12345678-1234-5678-1234-567812345678")


async def _told_by(asked: Awaitable[Any]) -> str:
    try:
        return f"{TAKEN}: {str(await asked)[:300]}"
    except (BrokerError, StorageSilent, StorageRefused) as error:
        return f"{type(error).__name__}: {error}"


_TUNING = {
    "large": "more than|too large|not valid HTTP|BrokerRefused",
    "elsewhere": "BrokerRefused|redirect",
}


@call("finetune/broker.py:opened", **_TUNING)
async def tuning_tasks(url: str) -> str:
    async with broker.connected(url) as connection:
        return await _told_by(connection.tasks(factories.ALICE))


@call("finetune/broker.py:opened", **_TUNING)
async def tuning_task(url: str) -> str:
    async with broker.connected(url) as connection:
        return await _told_by(connection.task(factories.ALICE, TASK))


@call("finetune/broker.py:opened", **{**_TUNING, "large": f"{TAKEN}|{_TUNING['large']}"})
async def tuning_log(url: str) -> str:
    """Read as far as it is kept, whatever comes after."""
    async with broker.connected(url) as connection:
        return await _told_by(connection.log(factories.ALICE, TASK))


@call("finetune/broker.py:opened", **_TUNING)
async def tuning_create(url: str) -> str:
    async with broker.connected(url) as connection:
        return await _told_by(connection.create(factories.ALICE, {}))


@call("finetune/broker.py:opened", **_TUNING)
async def adapter(url: str) -> str:
    async with adapters.connected(url, "Bearer x") as server:
        return await _told_by(server.state("ft-1"))


@call("finetune/gateway.py:_call")
async def storage(url: str) -> str:
    async with Client(trust.provider_policy(), gateway._LIMITS) as client:
        return await _told_by(gateway.Gateway(client, url).info(HASH))


def _task(url: str) -> Task:
    now = timezone.now()
    task = Task.objects.create(
        user=User.objects.for_address(factories.ALICE),
        remote_id=uuid4(),
        provider=factories.address(str(uuid4())),
        serving=factories.FINE_TUNING,
        service_name="fine-tuning-v1.0",
        url=url,
        model="m",
        model_hash="",
        dataset_hash="",
        parameters="{}",
        price_per_token=1,
        nonce=1,
        signature="",
        tee_signer=factories.PETRA,
        progress="Delivered",
        created_at=now,
    )
    held = {"id": str(task.remote_id), "model_root_hash": HASH, "acknowledged": False}
    factories.sub_account(
        provider=task.provider,
        serving=factories.FINE_TUNING,
        deliverables=[{**held, "settled": False, "timestamp": int(now.timestamp())}],
    )
    return task


def _fetched(url: str, signature: str) -> str:
    task = _task(url)
    try:
        results.fetch(task, signature, 1)
        task.refresh_from_db()
        return f"{task.result_state}: {task.result_error}"
    finally:
        connection.close()


_RESULT = {
    "patient": True,
    "costly": True,
    "slow": "no answer within|how long the result is|no file of this root",
    "large": "how long the result is|not valid HTTP|too large|compressed|has [0-9]+ bytes"
    "|status 500|^failed: .?A{20}|no file of this root|\\{.data",
    "broken": "not valid HTTP|compressed|cannot be read|ended before|no file of this root"
    "|how long the",
}


@call("finetune/broker.py:opened", **_RESULT)
async def result(url: str) -> str:
    return await asyncio.to_thread(_fetched, url, "0x00")


@call("finetune/results.py:_fetch_storage", **_RESULT)
async def stored_result(url: str) -> str:
    """From 0G storage: the same setting for all, so each in its turn."""

    def fetch() -> str:
        with _turn, override_settings(STORAGE_INDEXER_URL=url):
            return _fetched(url, "")

    return await asyncio.to_thread(fetch)


_turn = threading.Lock()
