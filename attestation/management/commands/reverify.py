"""`manage.py reverify`: judge stored runs again by the engine of today; stored rows stay."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from attestation import runs, verify
from attestation.models import Outcome, Verification


class Command(BaseCommand):
    help = (
        "Judge stored runs again with what they were judged by, newest first, and say which "
        "verdicts would differ now. Changes nothing. Exit 0 none, 1 some."
    )
    requires_system_checks = ()  # they import the whole site

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--limit", type=int, default=1000, metavar="N", help="at most so many")
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        if not 0 < options["limit"] < 10**9:
            raise CommandError("--limit takes a number above 0", returncode=2)
        judged, changed = 0, []
        for run in _stored(options["limit"]):
            judged += 1
            difference = compare(run)
            if difference:
                changed.append({"verification": str(run.pk), **difference})
        if options["json"]:
            self.stdout.write(json.dumps({"judged": judged, "changed": changed}))
        else:
            for entry in changed:
                rows = ", ".join(f"{id} {a} -> {b}" for id, (a, b) in entry["rows"].items())
                self.stdout.write(
                    f"{entry['verification']} {entry['before']} -> {entry['now']}: {rows}"
                )
            self.stdout.write(f"{judged} judged again, {len(changed)} would differ")
        sys.exit(1 if changed else 0)


def _stored(limit: int) -> Iterator[Verification]:
    rows = Verification.objects.filter(outcome=Outcome.JUDGED, body__isnull=False)
    newest = rows.select_related("body", "chain_pem").order_by("-started_at")
    return newest[:limit].iterator(chunk_size=50)


def compare(run: Verification) -> dict[str, Any] | None:
    """What a run's verdict would be now, where that differs (1 query)."""
    evidence = runs.evidence_of(run)
    if evidence is None:
        return None
    report = verify.judge(evidence, runs.context_of(run))
    before = {row["id"]: row["verdict"] for row in run.rows}
    now = {row.id: row.verdict for row in report.checks}
    rows = {
        id: (before.get(id, "absent"), now.get(id, "absent"))
        for id in {**before, **now}
        if before.get(id) != now.get(id)
    }
    if not rows and report.overall == run.overall:
        return None
    return {"before": run.overall, "now": report.overall, "rows": rows}
