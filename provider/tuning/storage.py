"""0G storage through an indexer's gateway: datasets come from it, results go to it
(provider-protocol.md 7.2, 7.4).

Nothing the gateway says is believed: files are judged by their root, and no announcement costs more
than the operator allows. Transfers resume: downloads by byte, uploads by segment.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from protocol import abi, storage
from protocol.storage import SEGMENT_BYTES, FileTree
from provider.bodies import beginning
from provider.errors import ChainError
from provider.tuning.announcements import Announcements
from provider.tuning.chain import TuningChain
from provider.tuning.options import StorageChoice

FLOW = "Flow"
MAX_REPLY_BYTES = 256 * 1024
CALL_SECONDS = 60
SILENT_SECONDS = 30
#: For a whole file: a gateway that sends one byte after the other is never silent. An upload that
#: takes longer goes on at the next try.
FILE_SECONDS = 1_800
FINAL_SECONDS = 120
POLL_SECONDS = 0.5
_PIECE = 256 * 1024
_NOT_FOUND = 101


class StorageError(Exception):
    """Storage did not do it; the text says why, for everybody, and trying again may help."""


class NotStored(StorageError):
    """Storage does not know the file, or what it sent is another one."""


def hash_path(path: Path) -> FileTree:
    """The storage hashes of a file on disk. Blocks; ValueError for an empty one."""

    def pieces() -> Iterator[bytes]:
        with path.open("rb") as source:
            while piece := source.read(_PIECE):
                yield piece

    return storage.hash_file(pieces())


@asynccontextmanager
async def _within(seconds: float) -> AsyncIterator[None]:
    """However slowly the gateway answers. Raises StorageError."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise StorageError("storage has not taken the file in time") from error


class Gateway:
    """One indexer's gateway, to read from."""

    def __init__(self, session: aiohttp.ClientSession, indexer: str) -> None:
        self._session = session
        self._indexer = indexer

    # ---- down ------------------------------------------------------------------------------

    async def download(self, root: bytes, target: Path, *, limit: int) -> int:
        """Put the file with that root at `target`; its size in bytes.

        What an earlier attempt left in `target`.part is continued. Raises NotStored, StorageError.
        """
        part = target.with_suffix(".part")
        info = await self._info(root)
        if info is None:
            raise NotStored(f"storage does not know 0x{root.hex()}")
        size = info["tx"]["size"]
        if not 0 < size <= limit:
            raise NotStored(f"the file has {size} bytes, at most {limit} are taken")
        have = part.stat().st_size if part.exists() else 0
        if have < size:
            await self._fetch(root, part, have, size)
        tree = await asyncio.to_thread(hash_path, part)
        if tree.size != size or tree.root != root:
            part.unlink()
            raise NotStored("what storage sent has another root")
        part.rename(target)
        return int(size)

    async def _fetch(self, root: bytes, part: Path, have: int, size: int) -> None:
        url = f"{self._indexer}/file?root=0x{root.hex()}"
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        timeout = aiohttp.ClientTimeout(
            total=FILE_SECONDS, sock_connect=10, sock_read=SILENT_SECONDS
        )
        try:
            async with self._session.get(
                url, headers=headers, timeout=timeout, allow_redirects=False
            ) as reply:
                if reply.status not in (200, 206) or reply.content_type == "application/json":
                    raise StorageError(f"storage answers {reply.status}")
                if reply.status == 200:
                    have = 0
                with part.open("r+b" if part.exists() else "wb") as target:
                    target.truncate(have)
                    target.seek(have)
                    async for piece in reply.content.iter_chunked(_PIECE):
                        have += len(piece)
                        if have > size:
                            raise NotStored("storage sends more than the file has")
                        await asyncio.to_thread(target.write, piece)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise StorageError("storage broke off") from error
        if have < size:
            raise StorageError("storage broke off")

    # ---- the gateway -----------------------------------------------------------------------

    async def _info(self, root: bytes) -> dict[str, Any] | None:
        """What storage knows about a file."""
        found = await self._call("GET", f"/file/info/0x{root.hex()}", absent=True)
        if found is None:
            return None
        tx = found.get("tx") if isinstance(found, dict) else None
        if (
            not isinstance(tx, dict)
            or type(tx.get("size")) is not int
            or type(found.get("uploadedSegNum")) is not int
            or not isinstance(found.get("finalized"), bool)
        ):
            raise StorageError("storage's answer about the file is malformed")
        return dict(found)

    async def _call(
        self, method: str, path: str, body: object = None, *, absent: bool = False
    ) -> Any:
        """The `data` of a gateway's answer; None for a file it does not know, if `absent`."""
        try:
            async with self._session.request(
                method,
                self._indexer + path,
                data=None if body is None else orjson.dumps(body),
                headers={"Content-Type": "application/json", "Accept-Encoding": "identity"},
                timeout=aiohttp.ClientTimeout(total=CALL_SECONDS),
                allow_redirects=False,
            ) as reply:
                found = orjson.loads(await beginning(reply, MAX_REPLY_BYTES))
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError) as error:
            raise StorageError("storage does not answer") from error
        if not isinstance(found, dict):
            raise StorageError("storage's answer is malformed")
        if found.get("code") == 0:
            return found.get("data")
        if absent and found.get("code") == _NOT_FOUND:
            return None
        raise StorageError(f"storage refuses: {str(found.get('message'))[:200]!r}")


class Storage(Gateway):
    """One indexer, to write to as well: `chain`'s wallet pays for announcements."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        choice: StorageChoice,
        chain: TuningChain,
        announcements: Announcements,
    ) -> None:
        super().__init__(session, choice.indexer)
        self._max_fee = choice.max_fee
        self._chain = chain
        self._announcements = announcements

    async def upload(self, path: Path) -> bytes:
        """Announce a file on chain, send its segments, wait until storage has all; its root.

        What an earlier attempt did is not done again. Raises StorageError, ChainError.
        """
        tree = await asyncio.to_thread(hash_path, path)
        info = await self._info(tree.root)
        if info is None:
            await self._announce(tree)
            info = await self._wait_for(tree, announced=True)
        if not info["finalized"]:
            async with _within(FILE_SECONDS):
                # Segments count up, but may have come in another order: the rest first, then all.
                for first in dict.fromkeys((int(info["uploadedSegNum"]), 0)):
                    await self._send(path, tree, first)
                    info = await self._info(tree.root)
                    if info is not None and info["finalized"]:
                        break
            await self._wait_for(tree, announced=False)
        await asyncio.to_thread(self._announcements.drop, tree.root)
        return tree.root

    async def _announce(self, tree: FileTree) -> None:
        status = await self._call("GET", "/node/status")
        try:
            flow = abi.checksum(status["networkIdentity"]["flowAddress"])
        except (TypeError, KeyError, ValueError) as error:
            raise StorageError("storage does not say where its contract is") from error
        price = await self._price(flow)
        fee = tree.chunks * price
        if fee > self._max_fee:
            raise StorageError(f"announcing the file would cost {fee} neuron")
        nodes = [{"root": n.root, "height": n.height} for n in tree.nodes()]
        submission = {
            "data": {"length": tree.size, "tags": b"", "nodes": nodes},
            "submitter": self._chain.provider,
        }
        await self._chain.pay(
            flow,
            abi.encode_call(FLOW, "submit", submission),
            fee,
            earlier=await asyncio.to_thread(self._announcements.of, tree.root),
            keep=partial(self._announcements.keep, tree.root),
        )

    async def _price(self, flow: str) -> int:
        raw = await self._chain.other_view(flow, abi.encode_call(FLOW, "market"))
        try:
            market = abi.decode_result(FLOW, "market", raw)
            raw = await self._chain.other_view(market, abi.encode_call(FLOW, "pricePerSector"))
            return int(abi.decode_result(FLOW, "pricePerSector", raw))
        except abi.AbiError as error:
            raise ChainError(f"{flow} does not answer like storage's contract") from error

    async def _send(self, path: Path, tree: FileTree, first: int) -> None:
        with path.open("rb") as source:
            for index in range(first, storage.segment_count(tree.size)):
                source.seek(index * SEGMENT_BYTES)
                data = await asyncio.to_thread(source.read, SEGMENT_BYTES)
                proof = tree.proof(index)
                body = {
                    "root": "0x" + tree.root.hex(),
                    "index": index,
                    "data": base64.b64encode(data).decode(),
                    "proof": {
                        "lemma": ["0x" + h.hex() for h in proof.lemma],
                        "path": list(proof.path),
                    },
                }
                await self._call("POST", "/file/segment", body)

    async def _wait_for(self, tree: FileTree, *, announced: bool) -> dict[str, Any]:
        async with _within(FINAL_SECONDS):
            while True:
                info = await self._info(tree.root)
                if info is not None and (announced or info["finalized"]):
                    return info
                await asyncio.sleep(POLL_SECONDS)
