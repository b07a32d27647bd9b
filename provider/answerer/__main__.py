"""`python -m provider.answerer --docs DIR --port N`: the documentation answerer on loopback.

Prints `answerer READY <url> <passages> passages` when it serves.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import sys
from pathlib import Path

from provider.answerer.app import AnswererApp
from provider.answerer.corpus import load
from provider.answerer.search import Index
from provider.errors import ConfigError
from provider.server import listen, serve_app, url_of

MODEL = "project-docs-extractive"
RATE = 45.0


def main() -> int:
    """Index, then serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="provider.answerer", description=__doc__)
    parser.add_argument("--docs", type=Path, required=True, help="the project's folder")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 lets the system choose")
    parser.add_argument("--model", default=MODEL, help="the name it answers under")
    parser.add_argument("--rate", type=float, default=RATE, help="tokens per second when streaming")
    parser.add_argument("--key", default="", help="ask clients for this API key")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    passages = load(arguments.docs)
    try:
        if not passages:
            raise ConfigError(f"--docs: no documentation found in {arguments.docs}")
        if not arguments.rate > 0:
            raise ConfigError("--rate: must be above zero")
        sock = listen(arguments.host, arguments.port)
    except ConfigError as error:
        print(f"answerer: {error}", file=sys.stderr)
        return 2
    app = AnswererApp(
        Index(passages), model=arguments.model, rate=arguments.rate, key=arguments.key
    )
    url = url_of(*sock.getsockname()[:2])
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve_app(app, sock, f"answerer READY {url} {len(passages)} passages"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
