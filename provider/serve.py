"""Starts the broker, keeps it running, stops it: `run` returns when the process should end."""

from __future__ import annotations

import asyncio
import logging
import socket
import sqlite3
import time

import aiohttp

from provider import tee as tees
from provider.adapters import Adapters
from provider.admin.app import AdminApp
from provider.admin.guard import Guard, kept_token
from provider.admin.status import Gathering, Place
from provider.admission import Admission
from provider.app import App
from provider.chain import Chain
from provider.config import Config
from provider.debts import Debts
from provider.errors import ChainError
from provider.gate import Gate
from provider.jobs import Jobs
from provider.metrics import Metrics
from provider.picture_store import PictureStore
from provider.pictures import Pictures
from provider.receipts import Receipts
from provider.register import check_network, check_state, register
from provider.relay import Relay
from provider.server import background, listen, serve_app, serve_beside, url_of
from provider.settle import Settler
from provider.sharing import Sharing
from provider.store import Store, opened
from provider.switch import Switch
from provider.upstream import Upstream
from provider.watch import Watch

LAST_WORDS_SECONDS = 0.3
LAST_SETTLEMENT_SECONDS = 10
KEEP_SIGNATURES_SECONDS = 7 * 86_400
PRUNE_SECONDS = 300

log = logging.getLogger("provider.serve")


async def run(config: Config) -> None:
    """Register, serve, settle, until told to stop. Raises ConfigError and ChainError at start."""
    with listen(config.host, config.port) as sock, opened(config.state) as store:
        url = config.service.url or url_of(*sock.getsockname()[:2])
        async with (
            aiohttp.ClientSession() as node,
            aiohttp.ClientSession(
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                # Below the five seconds after which uvicorn upstreams close idle connections.
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=2),
            ) as upstream,
        ):
            await _run(config, sock, url, store, node, upstream)


async def _run(
    config: Config,
    sock: socket.socket,
    url: str,
    store: Store,
    node: aiohttp.ClientSession,
    upstream: aiohttp.ClientSession,
) -> None:
    chain = Chain(node, config.network.rpc, config.network.inference, config.wallet_key)
    chain_id = await check_network(chain, config.network.chain_id, setting="chain.inference")
    await check_state(store, chain, chain_id, state=config.state, holds="debts")
    tee = tees.load(config.tee, config.state)
    await register(chain, config.service, url=url, signer=tee.address)
    debts, metrics, switch = Debts(store.owed()), Metrics(), Switch(store)
    if switch.paused:
        log.warning("paused by the operator: requests are refused until it is resumed (/resume)")
    settler = Settler(
        store, chain, tee, debts, config.settlement, chain_id=chain_id, metrics=metrics
    )
    watch = Watch(
        config,
        chain=chain,
        debts=debts,
        settler=settler,
        session=upstream,
        switch=switch,
        metrics=metrics,
    )
    place = Place(
        provider=config.provider,
        url=url,
        model=config.service.model,
        kind=config.service.type,
        signer=tee.address,
        chain_id=chain_id,
        contract=chain.contract,
        started=int(time.time()),
    )
    gate = Gate(chain, debts, config.network.cache_seconds)
    server = Upstream(upstream, config.upstream, metrics)
    receipts = Receipts(store, debts, tee, switch)
    picture_store = PictureStore(store, config.jobs.keep_seconds)
    admission = Admission(config, gate=gate, debts=debts, settler=settler, switch=switch)
    adapters = _adapters(config, store, gate, upstream)
    relay = Relay(admission=admission, upstream=server, receipts=receipts, adapters=adapters)
    pictures = Pictures(
        admission=admission,
        upstream=server,
        receipts=receipts,
        picture_store=picture_store,
        url=url,
    )
    jobs = Jobs(
        config.jobs,
        admission=admission,
        gate=gate,
        debts=debts,
        pictures=pictures,
        picture_store=picture_store,
    )
    app = App(
        config,
        relay=relay,
        pictures=pictures,
        jobs=jobs,
        adapters=adapters,
        receipts=receipts,
        gate=gate,
        debts=debts,
        tee=tee,
        started=place.started,
        metrics=metrics,
        sharing=Sharing(watch, config.wallet_key, place) if config.share_unsettled else None,
    )
    await jobs.take_up()
    work = [settler.run(), watch.run(), _prune(store, picture_store), *jobs.workers()]
    if adapters is not None:
        work.append(adapters.work())
    if config.admin is not None:
        guard = Guard(config.admin.token or kept_token(config.state))
        status = Gathering(
            place, config.settlement, watch=watch, settler=settler, debts=debts, store=store
        )
        admin = AdminApp(guard, metrics=metrics, switch=switch, settler=settler, status=status)
        work.append(serve_beside(admin, listen(config.admin.host, config.admin.port, "admin")))
    async with background(*work):
        await serve_app(app, sock, f"provider READY {url} {config.provider}")
        await app.finish(LAST_WORDS_SECONDS)
        receipts.close()
    if config.settlement.at_shutdown:
        try:
            async with asyncio.timeout(LAST_SETTLEMENT_SECONDS):
                await settler.settle(everything=True)
        except (ChainError, TimeoutError) as error:
            log.warning("fees stay on disk for the next start: %r", error)


def _adapters(
    config: Config, store: Store, gate: Gate, session: aiohttp.ClientSession
) -> Adapters | None:
    if config.adapters is None:
        return None
    return Adapters(
        config.adapters,
        store=store,
        folder=config.state,
        gate=gate,
        session=session,
        upstream=config.upstream,
        model=config.service.model,
    )


async def _prune(store: Store, picture_store: PictureStore) -> None:
    while True:
        before = time.time() - KEEP_SIGNATURES_SECONDS
        try:
            await asyncio.to_thread(store.forget_signatures, before)
            await asyncio.to_thread(picture_store.sweep)
        except sqlite3.Error as error:
            log.warning("what is old stays: %s", error)
        await asyncio.sleep(PRUNE_SECONDS)
