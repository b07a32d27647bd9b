"""The node over HTTP: JSON-RPC on `/`, and the gateway's REST routes (provider-protocol.md 7.4)."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any
from urllib.parse import parse_qsl

import orjson
import requests

from devnet.rpc import RpcError
from devnet.storage.files import Known, Refusal
from devnet.storage.node import BadCall, Node, NoMethod, segment
from protocol.storage import CHUNK_BYTES, SEGMENT_BYTES, SEGMENT_CHUNKS
from provider.errors import Refused
from provider.http import Answer, ClientGone, Receive, Request, Scope, Send

#: Ten segments in base64, and their proofs.
MAX_BODY_BYTES = 8 * 1024 * 1024
MAX_BATCH = 100
# Codes of the gateway's answers.
OK, INVALID, INTERNAL, NOT_FOUND, NOT_FINALIZED, WRONG_TYPE = 0, 1, 2, 101, 103, 106

_INFO = re.compile(r"/file/info/([^/]+)\Z")
_FOLDER = re.compile(r"/file/[^/]+/.+\Z")
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})\Z")

log = logging.getLogger("devnet.storage")


class Problem(Exception):
    """The gateway's way of saying no: a code in a good answer."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class App:
    """The ASGI application."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request, answer = Request(scope, receive), Answer(send, {})
        query = parse_qsl(scope.get("query_string", b"").decode("latin-1"))
        try:
            await self._route(request, query, answer)
        except Problem as problem:
            await _reply(answer, problem.code, str(problem), None)
        except (BadCall, Refusal) as problem:
            await _reply(answer, INVALID, f"Invalid parameter: {problem}", None)
        except Refused as refused:
            await answer.refuse(refused)
        except ClientGone:
            pass
        except (requests.RequestException, RpcError) as problem:
            await _reply(answer, INTERNAL, f"the chain does not answer: {problem}", None)

    async def _route(self, request: Request, query: list[tuple[str, str]], answer: Answer) -> None:
        door = (request.method, request.path)
        if door == ("POST", "/"):
            await self._rpc(request, answer)
        elif door == ("GET", "/node/status"):
            await asyncio.to_thread(self._node.look)
            await _reply(answer, OK, "Success", self._node.status())
        elif door == ("POST", "/file/segment"):
            await self._take(request, answer)
        elif request.method == "GET" and (match := _INFO.match(request.path)):
            await _reply(answer, OK, "Success", await asyncio.to_thread(self._info, match[1]))
        elif door == ("GET", "/files/info"):
            cids = [value for name, value in query if name == "cid"]
            if not 0 < len(cids) <= MAX_BATCH:
                raise Problem(INVALID, f"Invalid parameter: 1 to {MAX_BATCH} cid expected")
            infos = [await asyncio.to_thread(self._info_or_none, cid) for cid in cids]
            await _reply(answer, OK, "Success", infos)
        elif request.method in ("GET", "HEAD") and request.path == "/file":
            cid = request.query.get("root") or request.query.get("txSeq", "")
            await self._send(request, cid, request.query.get("name", ""), answer)
        elif request.method == "GET" and _FOLDER.match(request.path):
            raise Problem(WRONG_TYPE, "this node keeps files only, no folders")
        else:
            await answer.not_found()

    # ---- JSON-RPC --------------------------------------------------------------------------

    async def _rpc(self, request: Request, answer: Answer) -> None:
        try:
            given = orjson.loads(await request.body(MAX_BODY_BYTES, "request too large"))
        except orjson.JSONDecodeError:
            await answer.json(200, _error(None, -32700, "not JSON"))
            return
        calls = given if isinstance(given, list) else [given]
        if len(calls) > MAX_BATCH:
            raise Refused(413, "too many calls at once")
        replies = [await asyncio.to_thread(self._one, call) for call in calls]
        await answer.json(200, replies if isinstance(given, list) else replies[0])

    def _one(self, call: object) -> dict[str, Any]:
        if not isinstance(call, dict):
            return _error(None, -32600, "not a call")
        try:
            result = self._node.call(call.get("method"), call.get("params"))
        except NoMethod as problem:
            return _error(call.get("id"), -32601, str(problem))
        except BadCall as problem:
            return _error(call.get("id"), -32602, str(problem))
        except Refusal as problem:
            return _error(call.get("id"), -32000, str(problem))
        except (requests.RequestException, RpcError) as problem:
            log.warning("%s: %s", call.get("method"), problem)
            return _error(call.get("id"), -32603, "the chain does not answer")
        return {"jsonrpc": "2.0", "id": call.get("id"), "result": result}

    # ---- the gateway -----------------------------------------------------------------------

    def _find(self, cid: str) -> Known:
        self._node.look()
        found = self._node.known(int(cid) if cid.isdecimal() and len(cid) < 20 else cid)
        if found is None:
            raise Problem(NOT_FOUND, "File not found")
        return found

    def _info(self, cid: str) -> dict[str, Any] | None:
        return self._node.file_info(self._find(cid).file.seq)

    def _info_or_none(self, cid: str) -> dict[str, Any] | None:
        try:
            return self._info(cid)
        except Problem:
            return None

    async def _take(self, request: Request, answer: Answer) -> None:
        """One segment of an announced file; its `proof` may be JSON in a text."""
        try:
            given = orjson.loads(await request.body(MAX_BODY_BYTES, "segment too large"))
            if isinstance(given, dict) and isinstance(given.get("proof"), str):
                given["proof"] = orjson.loads(given["proof"])
        except orjson.JSONDecodeError as error:
            raise Problem(INVALID, "Invalid parameter: not JSON") from error
        if not isinstance(given, dict):
            raise Problem(INVALID, "Invalid parameter: expected an object")
        cid = given.get("root") or given.get("txSeq", "")

        def keep() -> None:
            file = self._find(str(cid)).file
            self._node.files.put(segment(given, root=file.root, size=file.size))

        await asyncio.to_thread(keep)
        await _reply(answer, OK, "Success", "Segment upload ok")

    async def _send(self, request: Request, cid: str, name: str, answer: Answer) -> None:
        """The file, or the asked range of it, segment by segment."""
        found = await asyncio.to_thread(self._find, cid)
        if not found.finalized:
            raise Problem(NOT_FINALIZED, "File not finalized yet")
        file, size = found.file, found.file.size
        span = _range(request.headers.get("range", ""), size)
        if span is None:
            await answer.whole(416, b"", "text/plain", {"content-range": f"bytes */{size}"})
            return
        start, end = span
        await answer.start(
            206 if "range" in request.headers else 200,
            {
                "content-type": "application/octet-stream",
                "content-length": str(end - start),
                "content-disposition": f'attachment; filename="{_safe(name) or file.root.hex()}"',
                "accept-ranges": "bytes",
                "etag": f'"{file.root.hex()}"',
                **({"content-range": f"bytes {start}-{end - 1}/{size}"} if end > start else {}),
            },
        )
        if request.method == "HEAD":
            await answer.write(b"", more=False)
            return
        while start < end:
            first = start // SEGMENT_BYTES * SEGMENT_CHUNKS
            data = await asyncio.to_thread(
                self._node.files.read, file, first, first + SEGMENT_CHUNKS
            )
            at = start - first * CHUNK_BYTES
            part = (data or b"")[at : at + end - start]
            if not part or answer.lost:
                raise ClientGone
            start += len(part)
            await answer.write(part, more=start < end)


def _range(header: str, size: int) -> tuple[int, int] | None:
    """The asked bytes as (start, end); everything for a header we do not understand, None for one
    beyond the file."""
    match = _RANGE.match(header)
    if not match or match[1] == match[2] == "":
        return 0, size
    if not match[1]:
        return (max(0, size - int(match[2])), size) if int(match[2]) else None
    start = int(match[1])
    end = min(int(match[2]) + 1, size) if match[2] else size
    return (start, end) if start < end else None


def _safe(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name, flags=re.ASCII)[:100]


async def _reply(answer: Answer, code: int, message: str, data: object) -> None:
    if not answer.started:
        status = 600 if code == INTERNAL else 200
        await answer.json(status, {"code": code, "message": message, "data": data})


def _error(id_: object, code: int, message: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id_, "error": {"code": code, "message": message}}
