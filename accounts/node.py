"""The chain node, asked at this moment: a small synchronous JSON-RPC client for previews, receipts
and balances.

Everything a page *lists* comes from ledger rows; only what must be true right now (can this
transaction succeed?, was it included?) is asked here. The node is the operator's own choice
(`CHAIN_RPC_URLS`), its answers are still checked: size, time, shape and chain id.
"""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

import orjson
from django.conf import settings

from accounts.errors import NodeUnavailable, RpcError, WrongChain

TIMEOUT_SECONDS = 5.0
MAX_ANSWER_BYTES = 16 << 20
#: (method, params)
Request = tuple[str, list[Any]]


def call_many(requests: Sequence[Request], *, timeout: float = TIMEOUT_SECONDS) -> list[Any]:
    """Results of one batch, in order; a failed item is an `RpcError` in its place. Raises
    NodeUnavailable.
    """
    if not requests:
        return []
    body = [
        {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        for number, (method, params) in enumerate(requests)
    ]
    answers = _post(body, timeout)
    by_id = {a.get("id"): a for a in answers if isinstance(a, dict)}
    return [_result(by_id.get(number)) for number in range(len(requests))]


def call(method: str, *params: Any, timeout: float = TIMEOUT_SECONDS) -> Any:
    """The result of one request. Raises RpcError when the node refuses, NodeUnavailable when it
    does not answer.
    """
    (result,) = call_many([(method, list(params))], timeout=timeout)
    if isinstance(result, RpcError):
        raise result
    return result


def require_chain() -> None:
    """Raise WrongChain unless the node answers for the chain this site is configured for."""
    check_chain(call("eth_chainId"))


def check_chain(answer: Any) -> None:
    if quantity(answer) != settings.CHAIN_ID:
        raise WrongChain(
            f"The node answers for chain {quantity(answer)}, this site for {settings.CHAIN_ID}."
        )


def quantity(value: Any) -> int:
    """An unsigned 0x-quantity as int; raises NodeUnavailable for anything else (an answer we cannot
    use).
    """
    if isinstance(value, RpcError):
        raise value
    try:
        number = int(value, 16)
    except (TypeError, ValueError):
        raise NodeUnavailable("The node gave an answer that is not a number.") from None
    return number


def balance(address: str) -> int:
    """Native balance at the newest block, neuron."""
    return quantity(call("eth_getBalance", address, "latest"))


def _result(answer: Any) -> Any:
    if answer is None:
        raise NodeUnavailable("The node left a request of a batch unanswered.")
    error = answer.get("error")
    if error is None:
        return answer.get("result")
    if not isinstance(error, dict):
        return RpcError("The node refused without a reason.")
    return RpcError(str(error.get("message", ""))[:500], _revert_data(error.get("data")))


def _revert_data(data: Any) -> str:
    """Revert data wherever the node puts it: a plain string, or nested under `data` or `result`."""
    for _ in range(3):
        if isinstance(data, dict):
            data = data.get("data", data.get("result"))
    return data if isinstance(data, str) and data.startswith("0x") else ""


def _post(body: list[dict[str, Any]], timeout: float) -> list[Any]:
    """POST to the first node that answers; the configured order is the order of trust."""
    reason = "no node is configured"
    for url in settings.CHAIN_RPC_URLS:
        try:
            return _post_to(url, orjson.dumps(body), timeout)
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = type(error).__name__
    raise NodeUnavailable(f"The chain node does not answer ({reason}).")


def _post_to(url: str, body: bytes, timeout: float) -> list[Any]:
    request = urllib.request.Request(
        url, data=body, headers={"Content-Type": "application/json", "User-Agent": "zg-market"}
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            raw = response.read(MAX_ANSWER_BYTES + 1)
    except urllib.error.HTTPError as error:
        # Some nodes send JSON-RPC errors with a 4xx status; anything else is not an answer.
        raw = error.read(MAX_ANSWER_BYTES + 1)
        if not raw.lstrip().startswith((b"[", b"{")):
            raise
    if len(raw) > MAX_ANSWER_BYTES:
        raise ValueError("answer too large")
    answers = orjson.loads(raw)
    if not isinstance(answers, list):
        raise ValueError("not a batch answer")
    return answers
