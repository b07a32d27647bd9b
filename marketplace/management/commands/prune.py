"""`manage.py prune [--dry-run]`: delete what is older than it is kept (interfaces.md 1)."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from marketplace import retention


class Command(BaseCommand):
    help = "Delete measurements, sessions and logs that are older than they are kept. Idempotent."
    requires_system_checks = ()  # they import the whole site

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only count what would go")

    def handle(self, *args: Any, **options: Any) -> None:
        verb = "would go" if options["dry_run"] else "deleted"
        for found in retention.prune(dry_run=options["dry_run"]):
            self.stdout.write(f"{found.what}: {found.rows:,} {verb}")
