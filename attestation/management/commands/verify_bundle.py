"""`manage.py verify_bundle`: judge a bundle from a report page offline (interfaces.md 1), and say
whether the result is what was published.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from attestation import bundle, comparison, printing, trust, verify
from attestation.engine import anchors, references
from attestation.engine.policy import DEFAULT, Policy


class Command(BaseCommand):
    help = (
        "Verify a downloaded evidence bundle: no network, no clock, anchors of the settings. "
        "Exit 0 pass or warn, 1 fail, 2 not fully judged, under development anchors, or other than "
        "the bundle says was published."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE.zip")
        parser.add_argument(
            "--references",
            metavar="FILE",
            help="published values to compare with (default: ATTESTATION_REFERENCES)",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            data = Path(options["file"]).read_bytes()
            evidence, context = bundle.read(data, trust.anchors(), _policy(options["references"]))
            given = bundle.published(data)
        except OSError as error:
            raise CommandError(
                f"cannot read {error.filename}: {error.strerror}", returncode=2
            ) from error
        except (bundle.BadBundle, anchors.BadAnchors, references.BadReferences) as error:
            raise CommandError(str(error), returncode=2) from error
        report = verify.judge(evidence, context)
        found = None if given is None else comparison.compare(given, evidence, context, report)
        self.stdout.write(printing.render(report, as_json=options["json"], published=found))
        code = printing.exit_code(report.overall)
        sys.exit(2 if code == 0 and found is not None and not found.same else code)


def _policy(file: str | None) -> Policy:
    """With the reference file that is named, else with this installation's: a bundle's own copy
    counts only where it is named.
    """
    if file is None:
        return trust.policy()
    return references.load(Path(file).read_bytes()) if file else DEFAULT
