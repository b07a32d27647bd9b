"""An inference provider's doors for tuned models, as their owner's client (provider-protocol.md
1.6)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import orjson
from django.utils.translation import gettext_noop as N_

from attestation import trust
from finetune import broker
from finetune.errors import BrokerRefused, BrokerSilent
from net.client import Client
from net.limits import Limits

_LIMITS = Limits(connect=5, first_byte=10, between=5, total=15, max_bytes=64 << 10)
_ADAPTERS = "/v1/lora/adapters"
#: Nobody handed it over yet, or ever will; the other words are the provider's.
ABSENT, READY, ACTIVE, FAILED = "absent", N_("ready"), "active", N_("failed")
STATES = (
    *(ABSENT, N_("init"), N_("pending"), N_("downloading"), READY, N_("loading"), ACTIVE),
    *(N_("offloaded"), N_("archived"), FAILED),
)
#: It is there and waits for its owner's word.
DEPLOYABLE = (READY, "offloaded", "archived")


class Server:
    """One inference provider, asked with its owner's key. Raises BrokerError only."""

    def __init__(self, client: Client, url: str, authorization: str) -> None:
        self._client = client
        self._url = url.rstrip("/") + _ADAPTERS
        self._authorization = authorization

    async def state(self, name: str) -> tuple[str, str]:
        """Where a tuned model is (`STATES`), and the provider's words where it failed."""
        try:
            found = await self._call("GET", f"/{quote(name, safe='')}")
        except BrokerRefused as refused:
            if refused.status == 404:
                return ABSENT, ""
            raise
        if not isinstance(found, dict) or found.get("state") not in STATES:
            raise BrokerSilent(N_("It names a state that does not exist."))
        return str(found["state"]), broker.printable(str(found.get("error") or ""))

    async def deploy(self, name: str, task_id: str, base: str) -> None:
        """Have it loaded."""
        body = {"adapterName": name, "taskId": task_id, "baseModel": base}
        await self._call("POST", "/deploy", orjson.dumps(body))

    async def _call(self, method: str, path: str, body: bytes | None = None) -> Any:
        headers = {"Authorization": self._authorization, "Content-Type": "application/json"}
        url, accept = self._url + path, (200, 201, 202)
        async with broker.opened(
            self._client, method, url, headers=headers, body=body, accept=accept
        ) as answer:
            return broker.document(await broker.read(answer))


@asynccontextmanager
async def connected(url: str, authorization: str) -> AsyncIterator[Server]:
    """The provider at a listing's URL, under the site's address policy."""
    async with Client(trust.provider_policy(), _LIMITS) as client:
        yield Server(client, url, authorization)
