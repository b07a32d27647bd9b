"""What the fine-tuning broker's wallet sends: once, whenever the broker dies, and for more gas
where it is stuck."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from protocol.storage import SEGMENT_BYTES
from provider import node as node_module
from provider.errors import ChainError, ConfigError
from provider.register import check_network
from provider.store import Store
from provider.tuning import chain as chain_module
from provider.tuning import storage as storage_module
from provider.tuning.announcements import Announcements
from provider.tuning.chain import TuningChain, register
from provider.tuning.options import StorageChoice, load
from provider.tuning.storage import Storage, StorageError, hash_path
from tests.live.test_tuning_broker import lab as lab
from tests.live.tuning_lab import TuningLab


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that waits for no receipt."""
    monkeypatch.setattr(node_module, "RECEIPT_SECONDS", 0.1)
    monkeypatch.setattr(chain_module, "COUNTED_SECONDS", 0.1)


def mined(lab: TuningLab, address: str) -> int:
    """Transactions of a wallet that are in blocks."""
    return int(lab.contracts.chain.rpc.call("eth_getTransactionCount", address, "latest"), 16)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_an_announcement_cut_off_around_its_sending_is_paid_once(
    lab: TuningLab, tmp_path: Path, when: str
) -> None:
    """`before`: it is on disk, the node never saw it. `after`: it is mined, nobody here heard of
    it, and storage has not read that block yet."""
    owner = lab.person()
    result = tmp_path / "result.enc"
    result.write_bytes(f"a result, cut off {when}".encode())
    root = hash_path(result).root
    cut, behind = True, True

    async def wires(request: Any, handler: Any) -> Any:
        if cut and b"eth_sendRawTransaction" in request.body._value:
            if when == "after":
                await handler(request)
            raise aiohttp.ClientConnectionError("the power is gone")
        return await handler(request)

    async def late(request: Any, handler: Any) -> Any:
        nonlocal behind
        if behind and root.hex() in request.url.path:
            behind = cut  # it is asked once more after the restart
            request.url = request.url.with_path(f"/file/info/0x{'00' * 32}")
        return await handler(request)

    async def upload() -> bytes:
        store = Store(tmp_path / "state")
        try:
            async with (
                aiohttp.ClientSession(middlewares=(wires,)) as node,
                aiohttp.ClientSession(middlewares=(late,), auto_decompress=False) as outside,
            ):
                serving = lab.contracts.fine_tuning.address
                chain = TuningChain(node, lab.rpc, serving, owner.key, store)
                choice = StorageChoice(lab.storage, 10**17)
                return await Storage(outside, choice, chain, Announcements(store)).upload(result)
        finally:
            store.close()

    def sent() -> int:
        return mined(lab, owner.address)

    with pytest.raises(ChainError):
        await upload()
    assert sent() == (when == "after")
    cut = False
    assert await upload() == root and not behind
    assert sent() == 1


async def test_a_stuck_transaction_is_replaced_by_a_dearer_one_and_paid_once(
    lab: TuningLab, impatient: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An announcement, the broker's death, and gas that became dearer than it offers."""
    owner, behind = lab.person(), False
    result = tmp_path / "result.enc"
    result.write_bytes(b"a result whose announcement is stuck")
    root = hash_path(result).root
    call = lab.contracts.chain.rpc.call

    async def late(request: Any, handler: Any) -> Any:
        nonlocal behind
        if behind and root.hex() in request.url.path:
            behind = False  # storage has not read that block yet
            request.url = request.url.with_path(f"/file/info/0x{'00' * 32}")
        return await handler(request)

    @asynccontextmanager
    async def alive() -> AsyncIterator[tuple[Storage, Store]]:
        store = Store(tmp_path / "state")
        try:
            async with aiohttp.ClientSession(middlewares=(late,), auto_decompress=False) as session:
                serving = lab.contracts.fine_tuning.address
                chain = TuningChain(session, lab.rpc, serving, owner.key, store)
                choice = StorageChoice(lab.storage, 10**17)
                yield Storage(session, choice, chain, Announcements(store)), store
        finally:
            store.close()

    async def stuck() -> list[int]:
        """One more try, and the gas prices that were offered until then."""
        async with alive() as (storage, store):
            with pytest.raises(ChainError):
                await storage.upload(result)
            return sorted(int(price) for (price,) in store.rows("SELECT gas_price FROM sent"))

    fee = hash_path(result).chunks * lab.flow.view("pricePerSector")
    held = lab.contracts.chain.balance(owner.address)
    call("evm_setAutomine", False)
    call("evm_setIntervalMining", 0)
    try:
        (first,) = await stuck()
        assert await stuck() == [first]  # too early
        monkeypatch.setattr(chain_module, "REPLACE_SECONDS", 0)
        first, second = await stuck()
        assert second > first * 9 // 8
        for _ in range(6):
            prices = await stuck()
        # Where no block comes a higher price helps nobody.
        assert max(prices) <= 2 * int(call("eth_gasPrice"), 16) and len(prices) < 8
        (waiting,) = call("txpool_content")["pending"].values()
        assert [int(one["gasPrice"], 16) for one in waiting.values()] == [max(prices)]
        call("evm_mine")
    finally:
        call("evm_setAutomine", True)
    behind = True
    async with alive() as (storage, store):
        assert await storage.upload(result) == root and not behind
        assert store.rows("SELECT * FROM announcement") == []
    assert int(call("eth_getTransactionCount", owner.address, "latest"), 16) == 1
    assert fee < held - lab.contracts.chain.balance(owner.address) < 2 * fee + 10**16


async def test_only_what_this_broker_sent_is_replaced_and_what_never_came_is_sent_again(
    lab: TuningLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wallet that its operator uses too, and power cuts between signing and sending."""
    monkeypatch.setattr(chain_module, "REPLACE_SECONDS", 0)
    monkeypatch.setattr(node_module, "RECEIPT_SECONDS", 0.1)
    owner, cut = lab.person(), True
    call = lab.contracts.chain.rpc.call

    async def wires(request: Any, handler: Any) -> Any:
        if cut and b"eth_sendRawTransaction" in request.body._value:
            raise aiohttp.ClientConnectionError("the power is gone")
        return await handler(request)

    async def pay(words: str) -> None:
        with pytest.raises(ChainError, match=words):
            await chain.pay(chain.provider, "0x", 5, earlier=[], keep=lambda _: None)

    def waiting() -> str:
        ((one,),) = [nonces.values() for nonces in call("txpool_content")["pending"].values()]
        return str(one["hash"])

    def signed(nonce: int) -> list[str]:
        found = store.rows("SELECT hash FROM sent WHERE nonce = ? ORDER BY rowid", nonce)
        return [str(hash_) for (hash_,) in found]

    store = Store(tmp_path / "state")
    try:
        async with aiohttp.ClientSession(middlewares=(wires,)) as session:
            serving = lab.contracts.fine_tuning.address
            chain = TuningChain(session, lab.rpc, serving, owner.key, store)
            await pay("does not answer")
            cut = False
            call("evm_setAutomine", False)
            try:
                # The operator's own, at the nonce for which the broker has signed.
                own = await chain.sign_transaction(chain.provider, "0x", value=1)
                await chain.send(own)
                await pay("under way")
                assert waiting() == own.hash and len(signed(0)) == 1
                call("evm_mine")
                await pay("not mined in time")
                cut = True
                await pay("under way")
                first, dearer = signed(1)
                assert waiting() == first
                cut = False
                await pay("under way")
                assert waiting() == dearer and signed(1) == [first, dearer]
                call("evm_mine")
            finally:
                call("evm_setAutomine", True)
    finally:
        store.close()


async def test_a_changed_listing_waits_for_what_is_under_way(
    lab: TuningLab, tmp_path: Path
) -> None:
    """A wallet that serves two brokers, or one that died right after sending."""
    broker = lab.broker(storage=None)
    broker.stop(signal.SIGTERM)
    options, call = load(broker.config), lab.contracts.chain.rpc.call
    refused = asyncio.Event()

    async def wires(request: Any, handler: Any) -> Any:
        answer = await handler(request)
        if b'"pending"' in request.body._value:
            refused.set()
        return answer

    store = Store(tmp_path / "state")
    try:
        async with aiohttp.ClientSession(middlewares=(wires,)) as session:
            serving = lab.contracts.fine_tuning.address
            chain = TuningChain(session, lab.rpc, serving, options.wallet_key, store)
            call("evm_setAutomine", False)
            try:
                await chain.send(await chain.sign_transaction(chain.provider, "0x", value=1))
                refused.clear()
                url, signer = "http://127.0.0.1:9", broker.address
                going = asyncio.create_task(register(chain, options, url=url, signer=signer))
                await asyncio.wait_for(refused.wait(), 30)
                call("evm_mine")
            finally:
                call("evm_setAutomine", True)
            await going
            assert (await chain.service() or {})["url"] == url
    finally:
        store.close()


async def test_an_announcement_whose_receipt_is_late_is_not_paid_again(
    lab: TuningLab, impatient: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of nodes behind one address one has its block, another does not, nor has storage read it."""
    owner, behind = lab.person(), True
    result = tmp_path / "result.enc"
    result.write_bytes(b"a result whose receipt is late")
    root = hash_path(result).root

    async def wires(request: Any, handler: Any) -> Any:
        if behind and b"eth_getTransactionReceipt" in request.body._value:
            request.body = request.body._value.replace(owner_hash(), b"0x" + b"00" * 32)
        return await handler(request)

    def owner_hash() -> bytes:
        return str(store.rows("SELECT hash FROM sent")[0][0]).encode()

    async def late(request: Any, handler: Any) -> Any:
        if behind and root.hex() in request.url.path:
            request.url = request.url.with_path(f"/file/info/0x{'00' * 32}")
        return await handler(request)

    def sent() -> int:
        return mined(lab, owner.address)

    store = Store(tmp_path / "state")
    try:
        async with (
            aiohttp.ClientSession(middlewares=(wires,)) as session,
            aiohttp.ClientSession(middlewares=(late,), auto_decompress=False) as outside,
        ):
            serving = lab.contracts.fine_tuning.address
            chain = TuningChain(session, lab.rpc, serving, owner.key, store)
            choice = StorageChoice(lab.storage, 10**17)
            storage = Storage(outside, choice, chain, Announcements(store))
            for words in ("was not mined in time", "is not known yet"):
                with pytest.raises(ChainError, match=words):
                    await storage.upload(result)
                assert sent() == 1
                with store.transaction() as db:  # it may have been stuck for long before its block
                    db.execute("UPDATE sent SET at = at - 3600")
            behind = False
            assert await storage.upload(result) == root and sent() == 1
    finally:
        store.close()


async def test_what_of_the_chain_is_not_what_was_meant_is_named(
    lab: TuningLab, tmp_path: Path
) -> None:
    ours, other = lab.contracts.fine_tuning.address, lab.contracts.inference.address
    nobody = "0x" + "22" * 20
    with closing(Store(tmp_path)) as store:
        async with aiohttp.ClientSession() as node:
            for rpc, contract, chain_id, said in (
                # Paths of nodes hold keys, and people show others what stops a start.
                ("http://a:b@127.0.0.1:9/key", ours, None, r"no node answers at 127.0.0.1:9 \("),
                (lab.rpc, ours, 5, f"chain.chain_id: {lab.rpc[7:]} is chain 31337, not 5"),
                (lab.rpc, nobody, None, f"chain.fine_tuning: there is no contract at {nobody}"),
                (lab.rpc, other, None, f"chain.fine_tuning: {other} is another contract than Fine"),
            ):
                chain = TuningChain(node, rpc, contract, lab.person().key, store)
                with pytest.raises(ConfigError, match=said):
                    await check_network(chain, chain_id, setting="chain.fine_tuning")
            chain = TuningChain(node, lab.rpc, ours, lab.person().key, store)
            assert await check_network(chain, 31337, setting="chain.fine_tuning") == 31337


async def test_storage_that_drips_holds_a_delivery_no_longer_than_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer comes, in its own good time; nothing is announced, so no wallet is needed."""
    monkeypatch.setattr(storage_module, "FILE_SECONDS", 1)
    monkeypatch.setattr(storage_module, "FINAL_SECONDS", 1)
    monkeypatch.setattr(storage_module, "POLL_SECONDS", 0.01)
    result = tmp_path / "result.enc"
    result.write_bytes(bytes(50 * SEGMENT_BYTES))
    asked, nobody = list[str](), cast(Any, None)

    async def drip(request: web.Request) -> web.Response:
        asked.append(request.path)
        await asyncio.sleep(0.1)
        known = {"tx": {"size": 50 * SEGMENT_BYTES}, "uploadedSegNum": 0, "finalized": False}
        return web.json_response({"code": 0, "data": known})

    app = web.Application(client_max_size=1 << 20)
    app.router.add_route("*", "/{path:.*}", drip)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        choice = StorageChoice(str(server.make_url("")).rstrip("/"), 0)
        storage = Storage(session, choice, nobody, nobody)
        tree = hash_path(result)
        for work in (storage.upload(result), storage._wait_for(tree, announced=False)):
            asked.clear()
            with pytest.raises(StorageError, match="has not taken the file in time"):
                await work
            assert len(asked) < 40
