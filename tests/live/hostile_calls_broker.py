"""What a provider's broker asks of the server behind it, of its node, of storage and of the other
broker. Whoever runs it chose all of them; they are bounded all the same.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp

from devnet import accounts as cast
from provider import config as configs
from provider.adapters import Adapter, Adapters
from provider.asks import Ask
from provider.checks import onchain, outside
from provider.errors import ChainError
from provider.metrics import Metrics
from provider.node import Node
from provider.store import Store
from provider.tuning.handover import HandoverError, Receiver
from provider.tuning.options import Handover
from provider.tuning.storage import Gateway, StorageError
from provider.tuning.tasks import Task
from provider.upstream import FAILURES, Upstream
from provider.watch import Watch
from tests.live import hostile_calls
from tests.live.hostile_calls import JSON, TAKEN, same

ROOT = b"\xab" * 32
KEY = bytes(cast.provider(1).key)
call = partial(hostile_calls.call, chosen=True)


@asynccontextmanager
async def _session() -> AsyncIterator[aiohttp.ClientSession]:
    """As `provider.serve` opens it."""
    async with aiohttp.ClientSession(
        auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        yield session


def _upstream(url: str) -> configs.Upstream:
    return configs.Upstream(
        url=url,
        key="",
        model="",
        connect_seconds=5,
        first_byte_seconds=30,
        idle_seconds=30,
        total_seconds=600,
    )


async def _said(asked: Awaitable[Any], *errors: type[BaseException]) -> str:
    try:
        return f"{TAKEN}: {await asked!r:.200}"
    except errors as error:
        cause = f" < {error.__cause__!r}" if error.__cause__ else ""
        return f"{error!r}{cause}"[:400]


@call(
    "provider/upstream.py:_post",
    slow="Timeout",
    large="longer than|ClientResponseError|compresses|taken: 97879",
    broken="Client.*Error|compresses|answers 101|Disconnected",
    elsewhere="answers 307",
)
async def broker_answer(url: str) -> str:
    """What is read at once: pictures, answers that are no streams, refusals."""
    ask = Ask("/chat/completions", JSON, b"{}", b"", 0)

    async def read(upstream: Upstream) -> int:
        async with upstream.post(ask, {}) as reply:
            if reply.status != 200:
                return len(await upstream.refusal(reply))
            return len(await upstream.read(reply, 1 << 20))

    async with _session() as session:
        return await _said(read(Upstream(session, _upstream(url), Metrics())), *FAILURES)


@call("provider/node.py:rpc", megabytes=160, **same("the node does not answer"))
async def broker_node(url: str) -> str:
    async with aiohttp.ClientSession() as session:
        node = Node(
            session, url, kind="InferenceServing", contract="0x" + "00" * 20, wallet_key=KEY
        )
        return await _said(node.rpc("eth_chainId"), ChainError)


@call("provider/tuning/storage.py:_call", **same("storage does not answer|storage refuses"))
async def broker_storage(url: str) -> str:
    async with _session() as session:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "file"
            asked = Gateway(session, url).download(ROOT, target, limit=1 << 20)
            return await _said(asked, StorageError)


@call(
    "provider/tuning/storage.py:_fetch",
    patient=True,
    **same("storage broke off|storage answers|more than the file has"),
)
async def broker_download(url: str) -> str:
    async with _session() as session:
        with tempfile.TemporaryDirectory() as folder:
            asked = Gateway(session, url)._fetch(ROOT, Path(folder) / "file", 0, 1 << 20)
            return await _said(asked, StorageError)


@call("provider/tuning/handover.py:give", **same(f"HandoverError|{TAKEN}"))
async def broker_handover(url: str) -> str:
    task = Task(
        *("id", "0x" + "00" * 20, 0.0, 0.0, "m", "", "", "{}", 1, "", b"", False, False, ""),
        secret=b"x" * 32,
        root=ROOT,
    )
    async with _session() as session:
        return await _said(Receiver(session, Handover(url, "secret")).give(task), HandoverError)


@asynccontextmanager
async def _adapters(url: str) -> AsyncIterator[tuple[Adapters, Adapter]]:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "state.db")
        async with _session() as session:
            options: Any = SimpleNamespace(indexer=url, secret="secret")
            gate: Any = None  # asks the chain, for doors that are not tried here
            adapters = Adapters(
                options,
                store=store,
                folder=Path(folder),
                gate=gate,
                session=session,
                upstream=_upstream(url),
                model="m",
            )
            adapter = Adapter("ft-1", "id", "m", "0x" + "00" * 20, ROOT, b"k", "loading", "")
            adapters._add(adapter)
            try:
                yield adapters, adapter
            finally:
                store.close()


@call("provider/adapters.py:_load", patient=True, **same(f"Error|_Unusable|{TAKEN}"))
async def broker_load(url: str) -> str:
    async with _adapters(url) as (adapters, adapter):
        errors = (aiohttp.ClientError, TimeoutError, OSError, Exception)
        return await _said(adapters._load(adapter), *errors)


@call("provider/adapters.py:_listed", **same(f"{TAKEN}: active"))
async def broker_list(url: str) -> str:
    async with _adapters(url) as (adapters, adapter):
        adapters._set(adapter, "active")
        await adapters._look()
        (row,) = adapters._find("name = ?", adapter.name)
        return f"{TAKEN}: {row.state}"


@call("provider/watch.py:_upstream", **same(f"does not answer|answers 500|{TAKEN}"))
async def broker_watch(url: str) -> str:
    async with _session() as session:
        me: Any = SimpleNamespace(
            _config=SimpleNamespace(upstream=_upstream(url)), _session=session
        )
        return await Watch._upstream(me) or TAKEN


def _config(url: str) -> Any:
    return SimpleNamespace(upstream=_upstream(url), service=SimpleNamespace(model="m"))


@call("provider/checks/outside.py:_models", **same("does not answer|without a list of models"))
async def check_models(url: str) -> str:
    async with _session() as session:
        return str(await outside._models(_config(url), session))


@call(
    "provider/checks/outside.py:_asked",
    **same("no answer to a short question|status [1-5]|without usage"),
)
async def check_answer(url: str) -> str:
    async with _session() as session:
        return str(await outside._answer(_config(url), session))


@call("provider/checks/outside.py:_asked", **same("breaks|status [1-5]|without"))
async def check_stream(url: str) -> str:
    async with _session() as session:
        return str(await outside._stream(_config(url), session))


@call("provider/checks/outside.py:_reached", **same("does not answer from here|is not this broker"))
async def check_reached(url: str) -> str:
    subject: Any = SimpleNamespace(wallet_key=KEY)
    async with _session() as session:
        return str(await outside._reached(subject, url, session))


@call("provider/checks/onchain.py:_beside_node", **same("^0.0 s$"))
async def check_clock(url: str) -> str:
    async with _session() as session:
        return f"{await onchain._beside_node(url, session)} s"
