"""`python -m devnet.attestation --seed-file F [--anchors F] [--port N]`: serve until stopped.

Makes the seed on first use, writes the anchors file, then prints `attestation READY <url>`. Brokers
with the same seed file have evidence under these roots.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from devnet.attestation.server import Server
from devnet.attestation.services import Services
from provider.errors import ConfigError
from provider.tee import development


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m devnet.attestation", description=__doc__)
    parser.add_argument("--seed-file", type=Path, required=True)
    parser.add_argument("--anchors", type=Path, help="write the site's trust anchors here")
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    options = parser.parse_args(arguments)
    try:
        services = Services(development.seed(options.seed_file))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    if options.anchors:
        part = options.anchors.with_suffix(".part")
        part.write_text(json.dumps(services.anchors(), indent=1))
        part.rename(options.anchors)
    server = Server(services, options.port)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    print(f"attestation READY {server.url}", flush=True)
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
