"""0G storage through the gateway of this site's indexer (provider-protocol.md 7.3, 7.4).

The operator names the indexer, so its address is no stranger's; what it says is checked all the
same: files are judged by their root, sizes and addresses by their shape.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from django.conf import settings
from django.utils.translation import gettext_noop as N_

from attestation import trust
from finetune import broker
from finetune.errors import StorageRefused, StorageSilent
from net import strictjson
from net.client import Client
from net.errors import NetError
from net.limits import JsonLimits, Limits
from protocol import abi
from protocol.storage import Proof

_LIMITS = Limits(connect=5, first_byte=20, between=20, total=60, max_bytes=256 << 10)
_OK, _NOT_FOUND = 0, 101


@dataclass(frozen=True)
class Info:
    """What storage knows of a file: how many of its segments are there, and whether all are."""

    segments: int
    complete: bool


class Gateway:
    """One indexer. Raises StorageSilent and StorageRefused only."""

    def __init__(self, client: Client, url: str) -> None:
        self._client = client
        self._url = url

    async def info(self, root: str) -> Info | None:
        """None for a file that was never announced on the chain."""
        found = await self._call("GET", f"/file/info/{root}")
        if found is None:
            return None
        segments, complete = found.get("uploadedSegNum"), found.get("finalized")
        if type(segments) is not int or not isinstance(complete, bool):
            raise StorageSilent(N_("What 0G storage says of the file is malformed."))
        return Info(segments, complete)

    async def flow(self) -> str:
        """Where files are announced: the contract's address on our chain."""
        said: Any = await self._call("GET", "/node/status")
        try:
            network = said["networkIdentity"]
            address, chain = abi.checksum(network["flowAddress"]), int(network["chainId"])
        except (TypeError, KeyError, ValueError):
            raise StorageSilent(N_("0G storage does not say where its contract is.")) from None
        if chain != settings.CHAIN_ID:
            raise StorageSilent(f"This storage belongs to chain {chain}, not to this network.")
        return address

    async def put(self, root: str, index: int, data: bytes, proof: Proof) -> None:
        """Hand over one segment; the same one twice is no harm."""
        body = {
            "root": root,
            "index": index,
            "data": base64.b64encode(data).decode(),
            "proof": {
                "lemma": ["0x" + one.hex() for one in proof.lemma],
                "path": list(proof.path),
            },
        }
        await self._call("POST", "/file/segment", orjson.dumps(body))

    async def _call(self, method: str, path: str, body: bytes | None = None) -> Any:
        """The `data` of its answer; None for a file that it does not know."""
        headers = {"Content-Type": "application/json"}
        try:
            async with self._client.open(
                method, self._url + path, headers=headers, body=body
            ) as answer:
                found = strictjson.loads(await answer.read(), JsonLimits(max_bytes=256 << 10))
        except NetError as error:
            raise StorageSilent(f"0G storage gives no answer: {error}.") from None
        if not isinstance(found, dict):
            raise StorageSilent(N_("0G storage’s answer is malformed."))
        if found.get("code") == _NOT_FOUND:
            return None
        data = found.get("data")
        if found.get("code") != _OK:
            raise StorageRefused(broker.printable(str(found.get("message"))))
        return data if isinstance(data, dict) else {}


@asynccontextmanager
async def connected() -> AsyncIterator[Gateway]:
    """The indexer of this site. Raises StorageSilent where there is none."""
    if not settings.STORAGE_INDEXER_URL:
        raise StorageSilent(N_("This site knows no storage indexer."))
    async with Client(trust.provider_policy(), _LIMITS) as client:
        yield Gateway(client, settings.STORAGE_INDEXER_URL)
