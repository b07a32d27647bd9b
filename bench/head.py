"""From the node having a block to its row being visible through the API and pushed to a page."""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import time
from collections.abc import Sequence
from typing import Any

import requests
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from bench.backfill import empty
from bench.measure import Result, p95_of
from bench.site import child, site
from devnet import accounts
from devnet.anvil import Anvil
from devnet.deploy import Contracts, deploy
from devnet.deploy import connect as contracts_of

GOAL_MS = 300.0
ONE = 10**18


def head(arguments: Sequence[str]) -> list[Result]:
    parser = argparse.ArgumentParser(prog="./run bench head")
    parser.add_argument("--times", type=int, default=60)
    times = parser.parse_args(arguments).times
    empty()
    with Anvil() as node:
        contracts = contracts_of(node.url, deploy(node.url))
        database, rpc = os.environ["DATABASE_URL"], {"CHAIN_RPC_URLS": node.url}
        with site(database, **rpc) as port, child(["manage.py", "follow"], **rpc):
            pushed, shown = _samples(contracts, f"127.0.0.1:{port}", times)
    empty()
    return [_result("pushed to an open page", pushed), _result("visible through the API", shown)]


def _result(name: str, samples: list[float]) -> Result:
    p50, p95 = statistics.median(samples), p95_of(samples)
    return Result(
        f"head: block {name}, p95 (p50 {p50:.0f} ms)", "the goal", "ms", p95, GOAL_MS, "<= 1",
        p95 <= GOAL_MS,
    )  # fmt: skip


def _samples(contracts: Contracts, place: str, times: int) -> tuple[list[float], list[float]]:
    """Milliseconds from a receipt to the push, and to an API answer with the new price."""
    provider = accounts.provider(1)
    url = f"http://{place}/api/v1/services/inference/{provider.address}"
    pushed, shown = [], []
    with connect(f"ws://{place}/ws/live", origin=f"http://{place}") as page:  # type: ignore[arg-type]
        _update(contracts, 1, 100 * ONE)
        _until_shown(url, 1, 60)
        for turn in range(times):
            time.sleep(random.uniform(0.2, 1.2))  # not in step with anything
            price = 1_000_000 + turn
            block = _update(contracts, price)
            mined = time.perf_counter()
            _until_pushed(page, block)
            pushed.append((time.perf_counter() - mined) * 1000)
            _until_shown(url, price, 30)
            shown.append((time.perf_counter() - mined) * 1000)
    return pushed, shown


def _update(contracts: Contracts, price: int, value: int = 0) -> int:
    """A new price; returns the block once the node has it."""
    params = {
        "serviceType": "chatbot", "url": "https://provider.example.org", "model": "alpha-7b",
        "verifiability": "TeeML", "inputPrice": price, "outputPrice": price,
        "additionalInfo": "{}", "teeSignerAddress": accounts.signer(1).address,
    }  # fmt: skip
    by = accounts.provider(1)
    return contracts.inference.send(by, "addOrUpdateService", params, value=value).block


def _until_pushed(page: Connection, block: int) -> None:
    while True:
        message: Any = json.loads(page.recv(timeout=30))
        if message.get("topic") == "ledger" and message["block"] >= block:
            return


def _until_shown(url: str, price: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = requests.get(url, timeout=10)
        if answer.status_code == 200 and answer.json()["input_price"] == str(price):
            return
        time.sleep(0.1)
    raise RuntimeError("the API never showed the new price")
