"""Server time of pages and API at 1k and 10k services, against an empty Django view."""

from __future__ import annotations

import argparse
import http.client
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import psycopg
from django.db import connection
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext

from bench.backfill import empty
from bench.measure import Result
from bench.rows import PROVIDER, USER, fill
from bench.site import EMPTY, site

SMALL, LARGE = 1_000, 10_000
GOAL, GROWTH = 8.0, 1.3
PATHS = {
    "catalogue": "/",
    "catalogue, filtered": "/?type=chatbot&sort=-price&page=3",
    "catalogue, searched": "/?q=model-7",
    "service": f"/services/inference/{PROVIDER}",
    "service's settlements": f"/services/inference/{PROVIDER}/settlements",
    "account": f"/accounts/{USER}",
    "provider": f"/providers/{PROVIDER}",
    "providers": "/providers",
    "models": "/models",
    "changes": "/changes",
    "network": "/network",
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
    with _small_copy(options.events, few) as url:
        fill(LARGE, options.events)
        many = {name: _queries(path) for name, path in PATHS.items()}
        with site(url) as first, site(os.environ["DATABASE_URL"]) as second:
            small, large = _times((first, second), options.times)
    empty()
    results = []
    for name in PATHS:
        ratio = _p95(large[name]) / _p95(large[EMPTY])
        results.append(
            Result(
                f"pages: {name}, p95 at 10k ({many[name]} queries)", "empty Django view", "ms",
                _p95(large[name]), _p95(large[EMPTY]), f"<= {GOAL:g}", ratio <= GOAL,
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


def _p95(samples: list[float]) -> float:
    return statistics.quantiles(samples, n=20)[18]


def _queries(path: str) -> int:
    """How many queries a page makes, in this process."""
    from django.core.handlers.base import BaseHandler

    handler = BaseHandler()
    handler.load_middleware()
    with CaptureQueriesContext(connection) as captured:
        response = handler.get_response(RequestFactory(SERVER_NAME="127.0.0.1").get(path))
    if response.status_code != 200:
        raise RuntimeError(f"{path} answers {response.status_code}")
    return len(captured)


Times = dict[str, list[float]]


def _times(ports: tuple[int, int], times: int) -> tuple[Times, Times]:
    """Milliseconds per request on kept-alive connections to both servers, everything in turn:
    what else the machine does then bears on all of it alike."""
    links = [http.client.HTTPConnection("127.0.0.1", port, timeout=60) for port in ports]
    found: tuple[Times, Times] = ({}, {})
    for turn in range(times + 3):
        for name, path in ((EMPTY, EMPTY), *PATHS.items()):
            for link, samples in zip(links, found, strict=True):
                passed = _request(link, path)
                if turn >= 3:
                    samples.setdefault(name, []).append(passed * 1000)
    for link in links:
        link.close()
    return found


def _request(link: http.client.HTTPConnection, path: str) -> float:
    """Seconds until the whole page is here."""
    started = time.perf_counter()
    link.request("GET", path)
    answer = link.getresponse()
    answer.read()
    passed = time.perf_counter() - started
    if answer.status != 200:
        raise RuntimeError(f"{path} answers {answer.status} (429: fewer --times)")
    return passed


@contextmanager
def _small_copy(events: int, queries: dict[str, int]) -> Iterator[str]:
    """The URL of a second database with the small network; fills in its query counts."""
    fill(SMALL, events)
    queries.update({name: _queries(path) for name, path in PATHS.items()})
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
