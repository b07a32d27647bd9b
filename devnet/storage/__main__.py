"""`python -m devnet.storage --rpc URL --data FOLDER`: 0G storage for a devnet, on loopback.

Deploys the Flow contract where it is missing, then prints `storage READY <url> <flow address>`.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import requests

from devnet.client import Chain
from devnet.deploy import DeployError
from devnet.rpc import RpcError
from devnet.storage.app import App
from devnet.storage.files import Files
from devnet.storage.flow import deploy_flow
from devnet.storage.node import Node
from provider.errors import ConfigError
from provider.server import listen, serve_app

READY = "storage READY"


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m devnet.storage", description=__doc__)
    options.add_argument("--rpc", default=os.environ.get("CHAIN_RPC_URLS", "").split(",")[0])
    options.add_argument("--data", type=Path, required=True, help="folder of the files")
    options.add_argument("--port", type=int, default=0, help="default: a free one")
    return options


def serve(rpc: str, data: Path, sock: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT. Raises DeployError."""
    flow = deploy_flow(rpc)
    files = Files(data)
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    try:
        app = App(Node(files, Chain(rpc), flow, url))
        asyncio.run(serve_app(app, sock, f"{READY} {url} {flow}"))
    finally:
        files.close()
        sock.close()


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    try:
        serve(options.rpc, options.data, listen("127.0.0.1", options.port))
    except requests.RequestException:
        print(f"no node answers at {options.rpc}: run `python -m devnet up`", file=sys.stderr)
        return 1
    except (ConfigError, DeployError, RpcError) as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
