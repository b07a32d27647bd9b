"""`python -m provider --config provider.yaml`: a broker in front of an OpenAI-compatible server.

Where the file has a section `tuning`, it is a broker that has models fine-tuned. Prints one line,
`provider READY <url> <address>`, when it serves. Exits 2 with one line on standard error for a
configuration that cannot work.

`python -m provider check` looks at everything that could keep a broker from earning, and says for
each what to do; it changes nothing. Exits 1 if something has to be mended.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from provider import config as configs
from provider import keyfiles, logs
from provider.config import Config
from provider.errors import ChainError, ConfigError
from provider.memory import give_back
from provider.section import SecretPlace
from provider.serve import run
from provider.tuning import options as tuning
from provider.tuning.serve import run as run_tuning

log = logging.getLogger("provider")


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="provider", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs="?", choices=("run", "check"), default="run")
    parser.add_argument(
        "--config", type=Path, default=Path("provider.yaml"), help="the broker's YAML file"
    )
    parser.add_argument("--verbose", action="store_true", help="log what is done, not only trouble")
    parser.add_argument("--json", action="store_true", help="check: print JSON")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Read the arguments, run, and turn foreseeable failures into one line."""
    chosen = arguments(given)
    if chosen.command == "check":
        from provider.checks import check

        return check(chosen.config, as_json=chosen.json)
    try:
        give_back()
        options: Config | tuning.Options
        if tuning.is_tuning(chosen.config):
            options = tuning.load(chosen.config)
        else:
            options = configs.load(chosen.config)
        logs.set_up(options.log, verbose=chosen.verbose)
        _warn_of_readers(chosen.config, options.secrets)
        asyncio.run(run(options) if isinstance(options, Config) else run_tuning(options))
    except (ConfigError, ChainError) as error:
        print(f"provider: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
    return 0


def _warn_of_readers(config: Path, secrets: Sequence[SecretPlace]) -> None:
    """Say which files with secrets others on this machine can read."""
    for path in {place.file or config for place in secrets if place.file or place.inline}:
        if keyfiles.exposure(path) == "everybody":
            log.warning("%s holds a secret and everybody may read it: chmod 600 it", path)


if __name__ == "__main__":
    sys.exit(main())
