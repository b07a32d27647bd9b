"""`manage.py follow`: the indexer (interfaces.md 1)."""

from __future__ import annotations

import signal
import sys
import time
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from chain.errors import Halt, Retry
from chain.progress import Progress
from chain.sync import Step
from ledger import services

SHOW_SECONDS = 2.0


class Command(BaseCommand):
    help = "Follow the chain: store its facts and keep the ledger rows up with them."

    # Checks import the whole site; the follower needs to be up at once.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--once", action="store_true", help="stop when caught up with the head at start"
        )
        parser.add_argument(
            "--to-block", type=int, metavar="N", help="fold no block above N (final ones only)"
        )

    progress: Progress | None

    def handle(self, *args: Any, **options: Any) -> None:
        self.stop = False
        self.shown, self.progress = 0.0, None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        try:
            last = services.follow_alone(
                once=options["once"],
                to_block=options["to_block"],
                stopping=lambda: self.stop,
                on_step=self._show,
                on_wait=self.stderr.write,
            )
            if last is not None and options["once"]:
                self._line(last)
        except Halt as error:
            self.stderr.write(f"stopped: {error}")
            sys.exit(2)
        except Retry as error:
            self.stderr.write(f"gave up: {error}; check CHAIN_RPC_URLS")
            sys.exit(1)

    def _stop(self, *_: object) -> None:
        self.stop = True

    def _show(self, step: Step, progress: Progress) -> None:
        """One line every few seconds while there is something to catch up with."""
        self.progress = progress
        now = time.monotonic()
        if step.more and now - self.shown >= SHOW_SECONDS:
            self.shown = now
            self._line(step)

    def _line(self, step: Step) -> None:
        line = f"indexed {step.indexed_block:,} of {step.head_block:,} (final {step.final_block:,})"
        found = self.progress
        if found is not None and step.more:
            line += f", {found.blocks_per_second:,.0f} blocks/s"
            line += f", {found.events_per_second:,.0f} events/s"
            if found.eta_seconds is not None:
                line += f", {timedelta(seconds=round(found.eta_seconds))} to go"
        self.stdout.write(line)
        self.stdout.flush()
