"""Synchronous JSON-RPC to one node, over kept-alive connections."""

from __future__ import annotations

import http.client
import itertools
import select
from typing import Any
from urllib.parse import urlsplit

import orjson
import requests


class RpcError(Exception):
    """The node answered with an error object; `data` holds revert data where there is any."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(f"{message} (code {code})")
        self.code = code
        self.message = message
        self.data = data

    @property
    def revert_data(self) -> bytes | None:
        """The bytes a contract reverted with, or None when this is another kind of error."""
        data = self.data.get("data") if isinstance(self.data, dict) else self.data
        if isinstance(data, str) and data.startswith("0x"):
            return bytes.fromhex(data[2:])
        return b"" if "revert" in self.message.lower() else None


class Rpc:
    """One node. Raises RpcError for its errors, `requests.RequestException` for the network's.

    Through `http.client`, as `chain.endpoint`: a session of requests takes a millisecond of
    processor time per call, and a scenario makes thousands. Any thread may call.
    """

    def __init__(self, url: str, timeout: float = 30.0) -> None:
        self.url = url
        self.timeout = timeout
        self._parts = urlsplit(url)
        path = (self._parts.path or "/") + (f"?{self._parts.query}" * bool(self._parts.query))
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: {self._parts.netloc.rpartition('@')[2]}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()
        self._free: list[http.client.HTTPConnection] = []
        self._ids = itertools.count(1)

    def call(self, method: str, *params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
        try:
            status, content = self._post(orjson.dumps(body))
        except TimeoutError as problem:
            raise requests.Timeout(f"{self.url}: {problem}") from problem
        except (OSError, http.client.HTTPException) as problem:
            raise requests.ConnectionError(f"{self.url}: {problem}") from problem
        if status >= 400:
            raise requests.HTTPError(f"{self.url} answered {status}")
        reply = orjson.loads(content)
        error = reply.get("error")
        if error is not None:
            raise RpcError(int(error.get("code", 0)), str(error.get("message")), error.get("data"))
        return reply["result"]

    def _post(self, body: bytes) -> tuple[int, bytes]:
        link = self._connection()
        try:
            # In one piece: `link.request` sends the body by itself, and wakes the node twice.
            link.send(self._head + b"%d\r\n\r\n" % len(body) + body)
            with http.client.HTTPResponse(link.sock, method="POST") as response:
                response.begin()
                answer = response.status, response.read()
                keep = not response.will_close
        except BaseException:
            link.close()
            raise
        if keep:
            self._free.append(link)
        else:
            link.close()
        return answer

    def _connection(self) -> http.client.HTTPConnection:
        """One that is free, if the node has not closed it meanwhile."""
        while self._free:
            link = self._free.pop()
            if not _readable(link.sock.fileno()):
                return link
            link.close()
        kind = (
            http.client.HTTPSConnection
            if self._parts.scheme == "https"
            else http.client.HTTPConnection
        )
        return kind(self._parts.hostname or "", self._parts.port, timeout=self.timeout)

    def close(self) -> None:
        while self._free:
            self._free.pop().close()


def _readable(number: int) -> bool:
    """Between two calls nothing is to be read but the end."""
    watch = select.poll()
    watch.register(number, select.POLLIN)
    return bool(watch.poll(0))
