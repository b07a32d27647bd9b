"""The chain node, asked at this moment: for previews, receipts and wallet balances.

Everything a page *lists* comes from ledger rows; only what must be true right now (can this
transaction succeed?, was it included?) is asked here. Transport, limits and the check of the chain
id are `chain.rpc`'s.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from django.conf import settings

from accounts.errors import NodeUnavailable, RpcError, WrongChain
from chain import errors, rpc

TIMEOUT_SECONDS = 5.0
#: What a page shows beside its own rows is worth less of a wait.
GLANCE_SECONDS = 3.0
#: After a node that kept silent, this thread asks none for so long: a page that has three questions
#: waits for one answer, not for three.
SILENCE_SECONDS = 1.0
#: (method, params)
Request = tuple[str, list[Any]]
_local = threading.local()


def call_many(requests: Sequence[Request], *, timeout: float = TIMEOUT_SECONDS) -> list[Any]:
    """Results in order, all from one node; a call the node refuses is an `RpcError` in its place.

    Raises NodeUnavailable when no node answers in time, or none did a moment ago; WrongChain when
    one serves another chain.
    """
    began = time.monotonic()
    if hung():
        raise NodeUnavailable("The node did not answer a moment ago.")
    try:
        answers = _client(timeout).many([rpc.Request(m, tuple(params)) for m, params in requests])
    except errors.WrongChain as error:
        raise WrongChain(str(error)) from error
    except errors.Retry as error:
        now = time.monotonic()
        if now - began >= timeout:
            _local.silent_until = now + SILENCE_SECONDS
        raise NodeUnavailable(str(error)) from error
    return [
        RpcError(a.message, _revert_data(a.data)) if isinstance(a, rpc.Failure) else a
        for a in answers
    ]


def hung() -> bool:
    """Whether a node kept this thread waiting a moment ago."""
    return time.monotonic() < getattr(_local, "silent_until", 0.0)


def call(method: str, *params: Any, timeout: float = TIMEOUT_SECONDS) -> Any:
    """The result of one request. Raises RpcError when the node refuses it, and as `call_many`."""
    (result,) = call_many([(method, list(params))], timeout=timeout)
    if isinstance(result, RpcError):
        raise result
    return result


def has_code(address: str) -> bool:
    """Whether an address runs code now: a contract, or a plain account that lends itself one's
    (EIP-7702)."""
    return call("eth_getCode", address, "latest") not in ("0x", "", None)


def is_contract(address: str) -> bool:
    """Whether an address is that of a contract now."""
    return signs_with_code(call("eth_getCode", address, "latest"))


def signs_with_code(code: object) -> bool:
    """Whether this `eth_getCode` answer is that of a contract, which has no key of its own. A plain
    account that lends itself a contract's code (EIP-7702) signs and counts nonces as ever."""
    return isinstance(code, str) and code not in ("", "0x") and not code.startswith("0xef0100")


def known_anywhere(tx_hash: str) -> bool:
    """Whether any of the configured nodes knows a transaction; a silent one knows nothing."""
    request = rpc.Request("eth_getTransactionByHash", (tx_hash,))
    for url in settings.CHAIN_RPC_URLS:
        try:
            with rpc.Rpc((url,), settings.CHAIN_ID, timeout=TIMEOUT_SECONDS) as one:
                (found,) = one.many([request])
        except (errors.WrongChain, errors.Retry):
            continue
        if isinstance(found, dict):
            return True
    return False


def quantity(value: Any) -> int:
    """A 0x-quantity as int; NodeUnavailable for anything else (an answer we cannot use)."""
    if isinstance(value, RpcError):
        raise value
    try:
        return int(value, 16)
    except (TypeError, ValueError):
        raise NodeUnavailable("The node gave an answer that is not a number.") from None


def height(*, timeout: float = TIMEOUT_SECONDS) -> int:
    """The newest block's number."""
    return quantity(call("eth_blockNumber", timeout=timeout))


def balance(address: str, *, block: int = 0, timeout: float = TIMEOUT_SECONDS) -> int:
    """Native balance at the newest block, neuron. Raises NodeUnavailable where that is before
    `block`: behind one address there may be several nodes, and one that lags."""
    asked: list[Request] = [("eth_getBalance", [address, "latest"]), ("eth_blockNumber", [])]
    held, newest = map(quantity, call_many(asked, timeout=timeout))
    if newest < block:
        raise NodeUnavailable("The node has not come to this block.")
    return held


def _client(timeout: float) -> rpc.Rpc:
    """This thread's client: connections are kept alive, and never shared between threads."""
    key = (tuple(settings.CHAIN_RPC_URLS), settings.CHAIN_ID, timeout)
    clients: dict[Any, rpc.Rpc] = _local.__dict__.setdefault("clients", {})
    if key not in clients:
        clients[key] = rpc.Rpc(settings.CHAIN_RPC_URLS, settings.CHAIN_ID, timeout=timeout)
    return clients[key]


def _revert_data(data: Any) -> str:
    """Revert data wherever a node puts it: a plain string, or nested under `data` or `result`."""
    for _ in range(3):
        if isinstance(data, dict):
            data = data.get("data", data.get("result"))
    return data if isinstance(data, str) and data.startswith("0x") else ""
