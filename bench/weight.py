"""What a visitor downloads for the list of services: the page, its styles, scripts with all that
they import, letters and icons, packed as a proxy sends them. The numbers are bytes, so they are the
same on every machine.
"""

from __future__ import annotations

import argparse
import gzip
import os
import re
from collections.abc import Iterator, Sequence
from urllib.parse import urljoin
from urllib.request import urlopen

from bench.backfill import empty
from bench.measure import Result
from bench.rows import fill
from bench.site import site

SERVICES, EVENTS = 500, 5_000
ALL_KB, SCRIPTS_KB = 100.0, 60.0
#: Files that are packed already.
PACKED = (".woff2", ".png")
_IN_PAGE = re.compile(r'<(?:link [^>]*?href|script [^>]*?src)="(/static/[^"]+)"')
_IN_SCRIPT = re.compile(r'(?:from|import)\s*\(?\s*"(\.{0,2}/[^"]+\.js[^"]*)"')
_IN_STYLE = re.compile(r'url\("?([^")]+)"?\)')


def weight(arguments: Sequence[str]) -> list[Result]:
    argparse.ArgumentParser(prog="./run bench weight").parse_args(arguments)
    fill(SERVICES, EVENTS)
    with site(os.environ["DATABASE_URL"]) as port:
        weights = dict(_loaded(f"http://127.0.0.1:{port}/"))
    empty()
    scripts = sum(size for url, size in weights.items() if url.split("?")[0].endswith(".js"))
    return [
        _result("everything", sum(weights.values()), ALL_KB),
        _result("scripts", scripts, SCRIPTS_KB),
    ]


def _result(what: str, size: int, limit: float) -> Result:
    return Result(
        f"weight: list of services, {what}", "the goal", "KB", size / 1024, limit, "<= 1",
        size <= limit * 1024,
    )  # fmt: skip


def _loaded(start: str) -> Iterator[tuple[str, int]]:
    """Addresses and packed sizes of a page and all that it names."""
    waiting, known = [start], {start}
    while waiting:
        url = waiting.pop()
        with urlopen(url) as answer:
            body: bytes = answer.read()
        yield url, len(body if url.split("?")[0].endswith(PACKED) else gzip.compress(body, 6))
        for name in _named(url, body):
            if name not in known:
                known.add(name)
                waiting.append(name)


def _named(url: str, body: bytes) -> list[str]:
    path = url.split("?")[0]
    if path.endswith(PACKED):
        return []
    rule = {".js": _IN_SCRIPT, "css": _IN_STYLE}.get(path[-3:], _IN_PAGE)
    if path.endswith(".svg"):
        return []
    return [urljoin(url, name) for name in rule.findall(body.decode())]
