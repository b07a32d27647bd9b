"""How many open pages and how many requests a second two web processes carry before p95 passes the
limit. The visitors run on the same machine, so a real one carries somewhat more.

Requests arrive by the clock, whether or not the last one was answered: a server that falls behind
is seen to. Visitors have addresses of their own (X-Forwarded-For), as behind a proxy.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import aiohttp

from bench.backfill import empty
from bench.measure import Result, p95_of
from bench.rows import PROVIDER, USER, fill
from bench.site import served
from ledger import topics

LIMIT_MS = 200.0
SERVICES, EVENTS = 1_000, 50_000
PROCESSES = 2
PATHS = (
    "/",
    f"/services/inference/{PROVIDER}",
    "/?type=chatbot&sort=-price",
    f"/accounts/{USER}",
    "/models",
    f"/api/v1/services/inference/{PROVIDER}",
    "/changes",
    "/api/v1/services",
)
REQUESTS = (5, 10, 20, 30, 40, 60, 80, 120, 160)
SOCKETS = (250, 500, 1_000, 1_500, 2_000, 3_000, 4_000)
#: While sockets are opened: so many requests and messages a second go on.
BESIDE, MESSAGES = 5, 1


def load(arguments: Sequence[str]) -> list[Result]:
    parser = argparse.ArgumentParser(prog="./run bench load")
    parser.add_argument("--seconds", type=float, default=10, help="of each step")
    seconds = parser.parse_args(arguments).seconds
    fill(SERVICES, EVENTS)
    database = os.environ["DATABASE_URL"]
    with ExitStack() as stack:
        ports = [
            stack.enter_context(served(database, TRUSTED_PROXIES="1"))[0] for _ in range(PROCESSES)
        ]
        places = [f"127.0.0.1:{port}" for port in ports]
        steps = asyncio.run(_ramps(places, seconds))
    empty()
    return [_result(*step) for step in steps]


Step = tuple[str, str, float, float]


def _result(name: str, unit: str, carried: float, p95: float) -> Result:
    return Result(
        f"load: {name}, p95 {p95:.0f} ms", f"p95 under {LIMIT_MS:.0f} ms, two processes", unit,
        carried, carried or 1.0, "told, not a goal",
    )  # fmt: skip


async def _ramps(places: list[str], seconds: float) -> list[Step]:
    visitors = _addresses()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        await _asked(session, places, visitors, 5, 3)  # warm
        found: list[Step] = []
        carried, at = 0.0, 0.0
        for rate in REQUESTS:
            p95 = p95_of(await _asked(session, places, visitors, rate, seconds))
            print(f"  {rate} requests/s: p95 {p95:.0f} ms", flush=True)
            if p95 > LIMIT_MS:
                break
            carried, at = rate, p95
        found.append(("requests", "/s", carried, at))
        await asyncio.sleep(2)
        carried, at, late = 0.0, 0.0, 0.0
        pages: list[aiohttp.ClientWebSocketResponse] = []
        for wanted in SOCKETS:
            while len(pages) < wanted:
                group = min(50, wanted - len(pages))
                opened = [
                    _opened(session, places[n % len(places)], visitors)
                    for n in range(len(pages), len(pages) + group)
                ]
                pages += await asyncio.gather(*opened)
            told, asked = await asyncio.gather(
                _told(pages, seconds), _asked(session, places, visitors, BESIDE, seconds)
            )
            p95, push = p95_of(asked), p95_of(told)
            print(f"  {wanted} sockets: pages {p95:.0f} ms, messages {push:.0f} ms", flush=True)
            if max(p95, push) > LIMIT_MS:
                break
            carried, at, late = wanted, p95, push
        found.append((f"open pages (a message a second in {late:.0f} ms)", "open", carried, at))
        for page in pages:
            await page.close()
    return found


def _addresses() -> Iterator[str]:
    for number in itertools.cycle(range(1 << 16)):
        yield f"10.7.{number >> 8}.{number & 255}"


async def _asked(
    session: aiohttp.ClientSession,
    places: list[str],
    visitors: Iterator[str],
    rate: float,
    seconds: float,
) -> list[float]:
    """Milliseconds from when each request was due to its last byte."""
    started = time.perf_counter()

    async def one(number: int) -> float:
        due = started + number / rate
        await asyncio.sleep(due - time.perf_counter())
        url = f"http://{places[number % len(places)]}{PATHS[number % len(PATHS)]}"
        headers = {"X-Forwarded-For": next(visitors)}
        async with session.get(url, headers=headers, allow_redirects=False) as answer:
            await answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{url} answers {answer.status}")
        return (time.perf_counter() - due) * 1000

    return await asyncio.gather(*(one(number) for number in range(max(20, int(rate * seconds)))))


async def _opened(
    session: aiohttp.ClientSession, place: str, visitors: Iterator[str]
) -> aiohttp.ClientWebSocketResponse:
    headers = {"X-Forwarded-For": next(visitors), "Origin": f"http://{place}"}
    return await session.ws_connect(f"http://{place}/ws/live", headers=headers, heartbeat=None)


async def _told(pages: list[aiohttp.ClientWebSocketResponse], seconds: float) -> list[float]:
    """Milliseconds from a message of the follower to each of the open pages."""
    found: list[float] = []
    for block in range(int(seconds * MESSAGES)):
        sent = time.perf_counter()

        async def heard(page: aiohttp.ClientWebSocketResponse, sent: float = sent) -> float:
            while (await page.receive_json(timeout=30)).get("topic") != topics.LEDGER:
                pass
            return (time.perf_counter() - sent) * 1000

        waiting = [asyncio.ensure_future(heard(page)) for page in pages]
        await asyncio.to_thread(topics.publish_ledger, block, block, [USER], [PROVIDER])
        found += await asyncio.gather(*waiting)
        await asyncio.sleep(max(0.0, sent + 1 / MESSAGES - time.perf_counter()))
    return found
