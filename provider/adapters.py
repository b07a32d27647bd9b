"""Tuned models beside the base model (provider-protocol.md 1.6): a fine-tuning broker hands over
their keys, we fetch and open them, their owners have them deployed, and nobody else may use them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import lzma
import re
import shutil
import sqlite3
import time
import zipfile
import zlib
from dataclasses import dataclass
from hmac import compare_digest
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import orjson

from protocol import ecies, model_file, tuning
from protocol.abi import checksum
from protocol.model_file import BadModelFile
from provider.bodies import beginning
from provider.config import Adapters as Options
from provider.config import Upstream
from provider.errors import Refused
from provider.gate import Gate
from provider.http import Answer, Request
from provider.store import Store
from provider.strict import strict_object
from provider.tuning.handover import bearer, private_key
from provider.tuning.storage import Gateway, NotStored, StorageError

SCHEMA = """
CREATE TABLE IF NOT EXISTS adapter (
  name TEXT PRIMARY KEY, task_id TEXT NOT NULL UNIQUE, base TEXT NOT NULL, user TEXT NOT NULL,
  root BLOB NOT NULL, key BLOB NOT NULL, state TEXT NOT NULL, error TEXT NOT NULL, at REAL NOT NULL)
"""
PENDING, DOWNLOADING, READY = "pending", "downloading", "ready"
LOADING, ACTIVE, FAILED = "loading", "active", "failed"
MAX_BODY_BYTES = 16 * 1024
MAX_FILE_BYTES = 512 * 1024 * 1024
MAX_FILES = 100
MAX_LIST_BYTES = 1024 * 1024
RETRY_SECONDS = 5
LOOK_SECONDS = 30
LOAD_SECONDS = 120
OUTPUT = "output_model/"
_PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")
_NAME = re.compile(r'"model"\s*:\s*"ft-')
#: What chat says of an adapter that is not active (1.6), by state.
_NOT_USABLE = {
    PENDING: "adapter is still being prepared",
    DOWNLOADING: "adapter is still being prepared",
    READY: "adapter is downloaded but not deployed, call deploy-adapter first",
    LOADING: "adapter is still loading, retry in 30 seconds",
    FAILED: "adapter failed to deploy",
}

log = logging.getLogger("provider.adapters")


@dataclass(frozen=True)
class Adapter:
    """One tuned model of one user (EIP-55)."""

    name: str
    task_id: str
    base: str
    user: str
    root: bytes
    key: bytes
    state: str
    error: str

    def document(self) -> dict[str, str]:
        """As lists show it (1.6); where it lies on our disk is nobody's business."""
        return {
            "adapterName": self.name,
            "taskId": self.task_id,
            "baseModel": self.base,
            "userAddress": self.user,
            "state": self.state,
            "storagePath": "",
            "storageRootHash": "0x" + self.root.hex(),
            "error": self.error,
        }


class Adapters:
    """The table, the doors, and the work."""

    def __init__(
        self,
        options: Options,
        *,
        store: Store,
        folder: Path,
        gate: Gate,
        session: aiohttp.ClientSession,
        upstream: Upstream,
        model: str,
    ) -> None:
        self._options = options
        self._store = store
        self._folder = folder / "adapters"
        self._gate = gate
        self._session = session
        self._upstream = upstream
        self._model = model
        self._gateway = Gateway(session, options.indexer)
        self._wake = asyncio.Event()
        store.add_tables(SCHEMA)
        # The upstream may have forgotten what it had loaded.
        with store.transaction() as db:
            db.execute("UPDATE adapter SET state = ? WHERE state = ?", (LOADING, ACTIVE))

    # ---- doors -----------------------------------------------------------------------------

    async def take(self, request: Request, answer: Answer) -> None:
        """POST of the fine-tuning broker: an adapter and its sealed key."""
        shown = request.headers.get("authorization", "").encode()
        if not compare_digest(shown, f"Bearer {bearer(self._options.secret)}".encode()):
            raise Refused(403, "this door is for the fine-tuning broker")
        body = strict_object(await request.body(MAX_BODY_BYTES, "too large"))
        adapter = await asyncio.to_thread(self._read, body)
        if adapter.base != self._model:
            raise Refused(400, f"this broker serves {self._model}, not {adapter.base[:60]}")
        await asyncio.to_thread(self._add, adapter)
        self._wake.set()
        await answer.json(202, {"adapterName": adapter.name})

    def _read(self, body: dict[str, Any]) -> Adapter:
        try:
            task_id = str(UUID(body["taskId"]))
            root = bytes.fromhex(body["storageHash"].removeprefix("0x"))
            sealed = bytes.fromhex(body["providerEncKey"].removeprefix("0x"))
            base, user = str(body["baseModel"]), checksum(body["userAddress"])
            key = ecies.unseal(sealed, private_key(self._options.secret))
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise Refused(400, f"not an adapter that can be taken: {error}") from error
        name = tuning.adapter_name(base, task_id)
        if len(root) != 32 or len(key) != model_file.KEY_BYTES or not _PLAIN.fullmatch(name):
            raise Refused(400, "not an adapter that can be taken")
        return Adapter(name, task_id, base, user, root, key, PENDING, "")

    async def list_(self, request: Request, answer: Answer) -> None:
        """GET the caller's adapters."""
        user = await self._gate.session(request.headers.get("authorization"))
        found = await asyncio.to_thread(self._find, "user = ? ORDER BY at", user)
        await answer.json(200, {"adapters": [adapter.document() for adapter in found]})

    async def show(self, name: str, request: Request, answer: Answer) -> None:
        """GET one of the caller's adapters."""
        user = await self._gate.session(request.headers.get("authorization"))
        adapter = await self._owned(user, name)
        wanted = ("adapterName", "state", "error")
        await answer.json(200, {key: adapter.document()[key] for key in wanted})

    async def deploy(self, request: Request, answer: Answer) -> None:
        """POST: have an adapter loaded, which its owner may ask for."""
        user = await self._gate.session(request.headers.get("authorization"))
        body = strict_object(await request.body(MAX_BODY_BYTES, "too large"))
        name, task_id = body.get("adapterName"), body.get("taskId")
        if not isinstance(name, str) and isinstance(task_id, str):
            name = tuning.adapter_name(self._model, task_id)
        if not isinstance(name, str):
            raise Refused(400, "expected adapterName, or taskId and baseModel")
        adapter = await self._owned(user, name)
        if adapter.state == ACTIVE:
            await answer.json(200, {"message": "adapter is active", "adapterName": name})
            return
        if adapter.state in (PENDING, DOWNLOADING):
            raise Refused(409, f"LoRA owner check: {_NOT_USABLE[adapter.state]}")
        await asyncio.to_thread(self._set, adapter, LOADING)
        self._wake.set()
        await answer.json(202, {"message": "adapter is being deployed", "adapterName": name})

    def usable(self, user: str, name: str) -> None:
        """Make sure that `user` may chat with the adapter now. Raises Refused 400."""
        found = self._find("name = ?", name)
        if not found:
            raise Refused(400, f"LoRA owner check: adapter {name[:100]} not found")
        if found[0].user != user:
            raise Refused(400, "LoRA owner check: you are not the owner of this adapter")
        if found[0].state != ACTIVE:
            raise Refused(400, f"LoRA owner check: {_NOT_USABLE[found[0].state]}")

    async def _owned(self, user: str, name: str) -> Adapter:
        found = await asyncio.to_thread(self._find, "name = ? AND user = ?", name, user)
        if not found:
            raise Refused(404, "adapter not found")
        return found[0]

    # ---- work ------------------------------------------------------------------------------

    async def work(self) -> None:
        """Fetch and load adapters, without end."""
        while True:
            self._wake.clear()
            try:
                waiting = await asyncio.to_thread(
                    self._find, "state IN (?, ?, ?) ORDER BY at", PENDING, DOWNLOADING, LOADING
                )
                for adapter in waiting:
                    await self._step(adapter)
                await self._look()
                pause = RETRY_SECONDS if waiting else LOOK_SECONDS
            except sqlite3.Error as error:
                log.error("adapters wait for the disk: %s", error)
                pause = RETRY_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    async def _look(self) -> None:
        """Load again what the upstream has forgotten: it was restarted, or had too many."""
        active = await asyncio.to_thread(self._find, "state = ?", ACTIVE)
        known = await self._listed() if active else None
        if known is None:
            return
        for adapter in active:
            if adapter.name not in known:
                await asyncio.to_thread(self._set, adapter, LOADING)
                self._wake.set()

    async def _listed(self) -> set[str] | None:
        """The names of what the upstream serves; None where it does not say."""
        try:
            async with self._session.get(
                self._upstream.url + "/models",
                headers=self._headers(),
                timeout=aiohttp.ClientTimeout(total=LOOK_SECONDS),
                allow_redirects=False,
            ) as reply:
                raw = await beginning(reply, MAX_LIST_BYTES)
            return {str(entry["id"]) for entry in orjson.loads(raw)["data"]}
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
            log.warning("the upstream does not list its models: %r", error)
            return None

    def _headers(self) -> dict[str, str]:
        said = {"content-type": "application/json", "accept-encoding": "identity"}
        return {**said, **self._upstream.authorization}

    async def _step(self, adapter: Adapter) -> None:
        try:
            if adapter.state == LOADING:
                # What failed before it was unpacked is fetched once more.
                if not (self._folder / adapter.name).is_dir():
                    await self._fetch(adapter)
                await self._load(adapter)
            else:
                await asyncio.to_thread(self._set, adapter, DOWNLOADING)
                await self._fetch(adapter)
                await asyncio.to_thread(self._set, adapter, READY)
        except (NotStored, BadModelFile, zipfile.BadZipFile, _Unusable) as error:
            log.warning("%s: %s", adapter.name, error)
            await asyncio.to_thread(self._set, adapter, FAILED, str(error))
        except (StorageError, aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("%s waits: %r", adapter.name, error)

    async def _fetch(self, adapter: Adapter) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        encrypted = self._folder / f"{adapter.name}.enc"
        if not encrypted.exists():
            await self._gateway.download(adapter.root, encrypted, limit=MAX_FILE_BYTES)
        await asyncio.to_thread(self._open, adapter, encrypted)

    def _open(self, adapter: Adapter, encrypted: Path) -> None:
        """Decrypt and unpack it; whether or not it is any good, neither file is needed again."""
        packed, size = encrypted.with_suffix(".zip"), encrypted.stat().st_size
        try:
            with encrypted.open("rb") as source, packed.open("wb") as target:
                signer = model_file.signer_of(source, size)
                for piece in model_file.decrypt(source, size, key=adapter.key, signer=signer):
                    target.write(piece)
            unpack(packed, self._folder / adapter.name)
        finally:
            packed.unlink(missing_ok=True)
            encrypted.unlink()

    async def _load(self, adapter: Adapter) -> None:
        path = (self._folder / adapter.name).resolve()
        async with self._session.post(
            self._upstream.url + "/load_lora_adapter",
            data=orjson.dumps({"lora_name": adapter.name, "lora_path": str(path)}),
            headers=self._headers(),
            timeout=aiohttp.ClientTimeout(total=LOAD_SECONDS),
            allow_redirects=False,
        ) as reply:
            if reply.status >= 500:
                raise TimeoutError(f"the upstream answers {reply.status}")
            status = reply.status
        # vLLM refuses what it has loaded already, as after a restart of this broker alone.
        if status != 200 and adapter.name not in (await self._listed() or ()):
            raise _Unusable(f"the upstream answers {status}")
        await asyncio.to_thread(self._set, adapter, ACTIVE)

    # ---- the table -------------------------------------------------------------------------

    def _add(self, adapter: Adapter) -> None:
        with self._store.transaction() as db:
            db.execute(
                "INSERT OR IGNORE INTO adapter VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    adapter.name,
                    adapter.task_id,
                    adapter.base,
                    adapter.user,
                    adapter.root,
                    adapter.key,
                    adapter.state,
                    adapter.error,
                    time.time(),
                ),
            )

    def _set(self, adapter: Adapter, state: str, error: str = "") -> None:
        with self._store.transaction() as db:
            db.execute(
                "UPDATE adapter SET state = ?, error = ? WHERE name = ?",
                (state, error[:500], adapter.name),
            )

    def _find(self, where: str, *values: object) -> list[Adapter]:
        rows = self._store.rows(
            f"SELECT name, task_id, base, user, root, key, state, error FROM adapter WHERE {where}",
            *values,
        )
        return [
            Adapter(name, task_id, base, user, bytes(root), bytes(key), state, error)
            for name, task_id, base, user, root, key, state, error in rows
        ]


class _Unusable(Exception):
    """The adapter cannot be used, now and later."""


def adapter_of(raw: bytes) -> str:
    """The name of the tuned model that a chat request asks for, "" for the base model's."""
    if not _NAME.search(raw.decode("utf-8", "replace")):
        return ""
    name = strict_object(raw).get("model")
    return name if isinstance(name, str) and name.startswith("ft-") else ""


def unpack(packed: Path, target: Path) -> None:
    """The plain files of a result's `output_model`, and nothing that could land elsewhere.

    Raises BadZipFile.
    """
    part = target.with_name(target.name + ".unpacking")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    left = MAX_FILE_BYTES
    with zipfile.ZipFile(packed) as archive:
        members = archive.infolist()
        if len(members) > MAX_FILES:
            raise zipfile.BadZipFile("too many files")
        for member in members:
            name = member.filename.removeprefix(OUTPUT)
            if not member.filename.startswith(OUTPUT) or not _PLAIN.fullmatch(name):
                continue
            try:
                with archive.open(member) as source, (part / name).open("wb") as file:
                    while piece := source.read(1024 * 1024):
                        left -= len(piece)
                        if left < 0:
                            raise zipfile.BadZipFile("too large when unpacked")
                        file.write(piece)
            except (RuntimeError, zlib.error, lzma.LZMAError, EOFError) as error:
                # A password, a method that is not known, garbage.
                raise zipfile.BadZipFile(f"it cannot be unpacked ({error})") from error
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)
