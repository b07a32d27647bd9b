"""Synchronous JSON-RPC to one node, over a kept-alive connection."""

from __future__ import annotations

import itertools
from typing import Any

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
    """One node. Raises RpcError for its errors, `requests.RequestException` for the network's."""

    def __init__(self, url: str, timeout: float = 30.0) -> None:
        self.url = url
        self.timeout = timeout
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy between us and a loopback node
        self._ids = itertools.count(1)

    def call(self, method: str, *params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
        response = self._session.post(
            self.url,
            data=orjson.dumps(body),
            headers={"content-type": "application/json"},
            timeout=self.timeout,
        )
        response.raise_for_status()
        reply = orjson.loads(response.content)
        error = reply.get("error")
        if error is not None:
            raise RpcError(int(error.get("code", 0)), str(error.get("message")), error.get("data"))
        return reply["result"]

    def close(self) -> None:
        self._session.close()
