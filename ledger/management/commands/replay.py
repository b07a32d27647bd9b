"""`manage.py replay`: rebuild everything derived from stored facts (interfaces.md 1)."""

from __future__ import annotations

from itertools import count
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from chain.errors import Halt
from ledger import services


class Command(BaseCommand):
    help = "Empty every derived table and fold the stored facts again."
    requires_system_checks = ()  # they import the whole site

    def handle(self, *args: Any, **options: Any) -> None:
        tries = count()

        def waiting() -> bool:
            if next(tries) == 1:
                self.stderr.write("a follower is running; it lets go after its step")
            return False

        with services.follower_aside(waiting):
            try:
                last = services.replay(lambda block: self.stdout.write(f"folded up to {block}"))
            except Halt as error:
                raise CommandError(f"nothing was changed: {error}", returncode=2) from error
        self.stdout.write(f"replayed up to block {last}")
