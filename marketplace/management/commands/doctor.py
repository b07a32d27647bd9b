from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from marketplace.doctor import examine


class Command(BaseCommand):
    help = (
        "Check database, cache, nodes, clock and contracts; one line each. "
        "Exit code 1 when one is wrong."
    )

    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--start", action="store_true", help="only problems; exit code 2 for fatal ones alone"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        findings = list(examine())
        wrong = [finding for finding in findings if not finding.ok]
        for finding in wrong if options["start"] else findings:
            mark = "ok    " if finding.ok else "WRONG "
            self.stdout.write(f"{mark}{finding.what}: {finding.text}")
        if options["start"]:
            sys.exit(2 if any(finding.fatal for finding in wrong) else 0)
        sys.exit(1 if wrong else 0)
