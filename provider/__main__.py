"""`python -m provider --config provider.yaml`: a broker in front of an OpenAI-compatible server.

Where the file has a section `tuning`, it is a broker that has models fine-tuned.

Prints one line, `provider READY <url> <address>`, when it serves. Exits 2 with one line on standard
error for a configuration that cannot work.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from provider import config as configs
from provider.errors import ChainError, ConfigError
from provider.serve import run
from provider.tuning import options as tuning
from provider.tuning.serve import run as run_tuning


def main(given: Sequence[str] | None = None) -> int:
    """Read the arguments, run, and turn foreseeable failures into one line."""
    parser = argparse.ArgumentParser(prog="provider", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the broker's YAML file")
    parser.add_argument("--verbose", action="store_true", help="log what is done, not only trouble")
    arguments = parser.parse_args(given)
    logging.basicConfig(
        level=logging.INFO if arguments.verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    try:
        if tuning.is_tuning(arguments.config):
            asyncio.run(run_tuning(tuning.load(arguments.config)))
        else:
            asyncio.run(run(configs.load(arguments.config)))
    except (ConfigError, ChainError) as error:
        print(f"provider: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
