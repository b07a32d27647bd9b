"""Server time of pages and API at 1k and 10k services, against an empty Django view.

The empty view is `/healthz`: the same process, the same middleware (request id, security headers,
static files, session, CSRF, authentication), no query and no template. A new block is indexed
before every turn, so that nothing counted at an earlier block is of use; listings change rarely
and do not change here, what is kept until one does is kept.
"""

from __future__ import annotations

import argparse
import http.client
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import psutil
import psycopg
from django.db import connection
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from bench.backfill import empty
from bench.measure import Result, p95_of
from bench.rows import PROVIDER, USER, fill
from bench.site import EMPTY, served
from bench.stream_world import cookie_of
from marketplace.memo import at_block, at_listing

SMALL, LARGE = 1_000, 10_000
GOAL, GROWTH = 8.0, 1.3
PATHS = {
    "catalogue": "/",
    "catalogue, filtered": "/?type=chatbot&sort=-price&page=3",
    "catalogue, searched": "/?q=model-7",
    "catalogue, searched widely": "/?q=instruct&sort=stake",
    "service": f"/services/inference/{PROVIDER}",
    "service's settlements": f"/services/inference/{PROVIDER}/settlements",
    "service's changes": f"/services/inference/{PROVIDER}/changes",
    "account": f"/accounts/{USER}",
    "own transactions": "/account/transactions",
    "own statement": "/account/statement",
    "own analytics": "/account/analytics",
    "provider": f"/providers/{PROVIDER}",
    "providers": "/providers",
    "models": "/models",
    "model": "/models/family-7%2Fmodel-7-instruct",
    "changes": "/changes",
    "changes of a kind": "/changes?kind=fine-tuning",
    "network": "/network",
    "status": "/status",
    "API services": "/api/v1/services",
    "API service": f"/api/v1/services/inference/{PROVIDER}",
    "API account": f"/api/v1/accounts/{USER}",
    "API movements": f"/api/v1/accounts/{USER}/movements",
    "API changes": "/api/v1/changes",
}


def pages(arguments: Sequence[str]) -> list[Result]:
    parser = argparse.ArgumentParser(prog="./run bench pages")
    parser.add_argument("--events", type=int, default=200_000, help="rows of history")
    parser.add_argument("--times", type=int, default=40, help="requests per page")
    options = parser.parse_args(arguments)
    few: dict[str, int] = {}
    # Of the user with the long history; sessions outlive `fill`.
    cookie = cookie_of(User.objects.for_address(USER))
    with _small_copy(options.events, few, cookie) as url:
        fill(LARGE, options.events)
        many = {name: _queries(path, cookie) for name, path in PATHS.items()}
        both = (url, os.environ["DATABASE_URL"])
        with served(both[0]) as (first, _), served(both[1]) as (second, web):
            small, large = _times((first, second), both, options.times, cookie)
            spent = _spent(second, web, both[1], options.times, cookie)
    empty()
    results = []
    for name in PATHS:
        ratio = p95_of(large[name]) / p95_of(large[EMPTY])
        results.append(
            Result(
                f"pages: {name}, p95 at 10k ({many[name]} queries)", "empty Django view", "ms",
                p95_of(large[name]), p95_of(large[EMPTY]), f"<= {GOAL:g}", ratio <= GOAL,
            )
        )  # fmt: skip
        results.append(
            Result(
                f"pages: {name}, processor time of web and database", "empty Django view", "ms",
                spent[name], spent[EMPTY], "told, not a goal",
            )
        )  # fmt: skip
        grown = statistics.median(large[name]) / statistics.median(small[name])
        results.append(
            Result(
                f"pages: {name}, median 10k against 1k", "the same at 1k services", "ms",
                statistics.median(large[name]), statistics.median(small[name]),
                f"< {GROWTH:g}, as many queries", grown < GROWTH and few[name] == many[name],
            )
        )  # fmt: skip
    return results


def _headers(path: str, cookie: str) -> dict[str, str]:
    return {"Cookie": cookie} if path.startswith("/account/") else {}


def _queries(path: str, cookie: str) -> int:
    """How many queries a page makes in this process, right after a block."""
    from django.core.handlers.base import BaseHandler

    handler = BaseHandler()
    handler.load_middleware()
    headers = _headers(path, cookie)
    request = RequestFactory(SERVER_NAME="127.0.0.1").get(path, headers=headers)
    handler.get_response(request)  # what is written once per session is written now
    request = RequestFactory(SERVER_NAME="127.0.0.1").get(path, headers=headers)
    for memo in (at_block, at_listing):
        memo.state = ""
    with CaptureQueriesContext(connection) as captured:
        response = handler.get_response(request)
    if response.status_code != 200:
        raise RuntimeError(f"{path} answers {response.status_code}")
    return len(captured)


Times = dict[str, list[float]]


def _times(
    ports: tuple[int, int], databases: tuple[str, str], times: int, cookie: str
) -> tuple[Times, Times]:
    """Milliseconds per request on kept-alive connections to both servers, everything in turn:
    what else the machine does then bears on all of it alike."""
    heads = [psycopg.connect(url, autocommit=True) for url in databases]
    links = [http.client.HTTPConnection("127.0.0.1", port, timeout=60) for port in ports]
    found: tuple[Times, Times] = ({}, {})
    for turn in range(times + 3):
        for head in heads:
            head.execute(_NEXT_BLOCK, [f"0x{turn:064x}"])
        for name, path in ((EMPTY, EMPTY), *PATHS.items()):
            for link, samples in zip(links, found, strict=True):
                passed = _request(link, path, _headers(path, cookie))
                if turn >= 3:
                    samples.setdefault(name, []).append(passed * 1000)
    for link in links:
        link.close()
    for head in heads:
        head.close()
    return found


def _spent(port: int, web: int, database: str, times: int, cookie: str) -> dict[str, float]:
    """Milliseconds of processor time per request, a block before each: the web process's and its
    database sessions'. Unlike the times above, this hardly depends on what else is running."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    head = psycopg.connect(database, autocommit=True)
    found = {}
    for name, path in ((EMPTY, EMPTY), *PATHS.items()):
        _request(link, path, _headers(path, cookie))
        sessions = head.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        ).fetchall()
        processes = [psutil.Process(web), *(psutil.Process(pid) for (pid,) in sessions)]
        before = _processor_ms(processes)
        for turn in range(times):
            head.execute(_NEXT_BLOCK, [f"0x{hash((name, turn)) % 2**128:064x}"])
            _request(link, path, _headers(path, cookie))
        found[name] = (_processor_ms(processes) - before) / times
    link.close()
    head.close()
    return found


def _processor_ms(processes: list[psutil.Process]) -> float:
    used = [process.cpu_times() for process in processes]
    return 1000 * float(sum(times.user + times.system for times in used))


_NEXT_BLOCK = """
UPDATE chain_head SET indexed_block = indexed_block + 1, head_block = head_block + 1,
    indexed_hash = %s, checked_at = now()
"""


def _request(link: http.client.HTTPConnection, path: str, headers: dict[str, str]) -> float:
    """Seconds until the whole page is here."""
    started = time.perf_counter()
    link.request("GET", path, headers=headers)
    answer = link.getresponse()
    answer.read()
    passed = time.perf_counter() - started
    if answer.status != 200:
        raise RuntimeError(f"{path} answers {answer.status} (429: fewer --times)")
    return passed


@contextmanager
def _small_copy(events: int, queries: dict[str, int], cookie: str) -> Iterator[str]:
    """The URL of a second database with the small network; fills in its query counts."""
    fill(SMALL, events)
    queries.update({name: _queries(path, cookie) for name, path in PATHS.items()})
    name = str(connection.settings_dict["NAME"])
    copy = f"{name}_small"
    _alone(f'CREATE DATABASE "{copy}" TEMPLATE "{name}"')
    try:
        parts = urlsplit(os.environ["DATABASE_URL"])
        yield urlunsplit(parts._replace(path=f"/{copy}"))
    finally:
        _alone(f'DROP DATABASE "{copy}" WITH (FORCE)')


def _alone(statement: str) -> None:
    """Run a statement on another database, with no session of ours on this one."""
    connection.close()
    with psycopg.connect(
        host=connection.settings_dict["HOST"],
        port=connection.settings_dict["PORT"] or None,
        user=connection.settings_dict["USER"],
        password=connection.settings_dict["PASSWORD"] or None,
        dbname="postgres",
        autocommit=True,
    ) as other:
        other.execute(statement.encode())
