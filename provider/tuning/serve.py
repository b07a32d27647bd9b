"""Starts the fine-tuning broker, keeps it running, stops it."""

from __future__ import annotations

import asyncio
import logging
import socket
import sqlite3
import time

import aiohttp

from provider import tee as tees
from provider.register import check_network, check_state
from provider.server import background, listen, serve_app, url_of
from provider.store import Store, opened
from provider.tuning.announcements import Announcements
from provider.tuning.app import App
from provider.tuning.chain import TuningChain, register
from provider.tuning.endpoints import Endpoints
from provider.tuning.files import Folders
from provider.tuning.handover import Receiver
from provider.tuning.options import Options
from provider.tuning.storage import Storage
from provider.tuning.tasks import Tasks
from provider.tuning.work import Work

SWEEP_SECONDS = 300

log = logging.getLogger("provider.tuning.serve")


async def run(options: Options) -> None:
    """Register, serve, work, until told to stop. Raises ConfigError and ChainError at start."""
    with listen(options.host, options.port) as sock, opened(options.state) as store:
        url = options.url or url_of(*sock.getsockname()[:2])
        async with (
            aiohttp.ClientSession() as node,
            aiohttp.ClientSession(
                auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
            ) as outside,
        ):
            await _run(options, sock, url, store, node, outside)


async def _run(
    options: Options,
    sock: socket.socket,
    url: str,
    store: Store,
    node: aiohttp.ClientSession,
    outside: aiohttp.ClientSession,
) -> None:
    chain = TuningChain(node, options.rpc, options.fine_tuning, options.wallet_key, store)
    chain_id = await check_network(chain, options.chain_id, setting="chain.fine_tuning")
    await check_state(store, chain, chain_id, state=options.state, holds="tasks")
    tee = tees.load(options.tee, options.state)
    await register(chain, options, url=url, signer=tee.address)
    tasks, folders = Tasks(store), Folders(options.state)
    storage = None
    if options.storage:
        storage = Storage(outside, options.storage, chain, Announcements(store))
    receiver = Receiver(outside, options.handover) if options.handover else None
    work = Work(
        options,
        tasks=tasks,
        folders=folders,
        chain=chain,
        storage=storage,
        receiver=receiver,
        tee=tee,
        chain_id=chain_id,
    )
    endpoints = Endpoints(options, tasks=tasks, folders=folders, chain=chain, work=work)
    app = App(options, endpoints=endpoints, tasks=tasks, tee=tee)
    async with background(*work.loops(), _sweep(options, tasks, folders)):
        await serve_app(app, sock, f"provider READY {url} {options.provider}")


async def _sweep(options: Options, tasks: Tasks, folders: Folders) -> None:
    since = 0.0
    while True:
        before = time.time() - options.keep_seconds
        try:
            since = await asyncio.to_thread(clean_up, tasks, folders, since, before)
        except (sqlite3.Error, OSError) as error:
            log.warning("what is old stays: %s", error)
        await asyncio.sleep(SWEEP_SECONDS)


def clean_up(tasks: Tasks, folders: Folders, since: float, before: float) -> float:
    """Drop the files of tasks that ended between two unix times, and uploads that nobody used.

    Returns `before`: what ended until then needs no second look. Blocks. Raises OSError.
    """
    for id_ in tasks.ended(since, before):
        # A copy that was being made when the task was cancelled came after its cleaning.
        folders.drop_all(id_)
    folders.sweep()
    return before
