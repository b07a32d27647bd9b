"""`manage.py verify_service`: fetch and verify one provider's evidence now (interfaces.md 1)."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from attestation import printing, services, standings
from attestation.errors import NotVerified, UnknownService
from attestation.models import Trigger, Verification
from attestation.selectors import ServiceKey
from ledger import selectors as ledger

_UNUSABLE = 2


class Command(BaseCommand):
    help = (
        "Ask a provider for its evidence, verify and store it; needs no worker. "
        "Exit 0 pass or warn, 1 fail, 2 not fully judged, unreachable, or development anchors."
    )
    requires_system_checks = ()  # they import the whole site

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("address", metavar="ADDRESS", help="the provider")
        add("--kind", choices=ledger.KINDS, help="default: inference, else what it offers")
        add("--service-name", default="", help="default: the recommended service contract")
        add("--json", action="store_true", help="print one JSON document")

    def handle(self, *args: Any, **options: Any) -> None:
        provider = ledger.address_of(options["address"])
        if provider is None:
            raise CommandError(
                f"{options['address']!r} is not an address: 0x and 40 hex digits with the right "
                "checksum",
                returncode=_UNUSABLE,
            )
        name = options["service_name"]
        key = ServiceKey(options["kind"] or _kind(provider, name), provider, name)
        try:
            runs = services.verify(key, Trigger.COMMAND)
        except UnknownService as error:
            raise CommandError(f"{error}{_offered(key)}", returncode=_UNUSABLE) from error
        except NotVerified as error:
            raise CommandError(str(error), returncode=_UNUSABLE) from error
        document = summary(runs)
        self.stdout.write(json.dumps(document) if options["json"] else render(runs))
        sys.exit(max((printing.exit_code(run.overall) for run in runs), key=_badness))


def _kind(provider: str, name: str) -> str:
    """The first kind that this provider offers."""
    offered = (kind for kind in ledger.KINDS if ledger.service(kind, provider, name))
    return next(offered, ledger.KINDS[0])


def _offered(key: ServiceKey) -> str:
    """What this provider does offer, by the option that names it."""
    hints = ""
    for kind in ledger.KINDS:
        found = ledger.service(kind, key.provider)
        if found is not None and kind == key.kind:
            name = printing.printable(found.service_name)
            hints += f" Its service of this kind is in another contract: --service-name {name}."
        elif found is not None:
            hints += f" It offers one of the kind {kind}: --kind {kind}."
    return hints


def summary(runs: tuple[Verification, ...]) -> dict[str, Any]:
    """All endpoints together as `verify_evidence` prints a report, and each by its name."""
    whole = standings.together(standings.update({}, runs, {}))
    return {
        **_summary(runs[0]),
        "overall": whole.overall or "not_checked",
        "questions": dict(whole.questions),
        "endpoints": {run.endpoint: _summary(run) for run in runs},
    }


def _summary(run: Verification) -> dict[str, Any]:
    return {
        "overall": run.overall or "not_checked",
        "questions": run.questions,
        "checks": {row["id"]: row["verdict"] for row in run.rows},
        "outcome": run.outcome,
        "error": run.error,
        "verification": f"{settings.SITE_URL}/verifications/{run.pk}",
    }


def render(runs: tuple[Verification, ...]) -> str:
    """Lines for people."""
    lines = []
    for run in runs:
        lines += [f"{run.endpoint}: {run.overall or run.outcome}", ""]
        if run.error:
            lines += [printing.printable(run.error), ""]
        lines += printing.answers(run.questions)
        for row in run.rows:
            about = (row["verdict"], row["id"], row["got"], row["detail"], row["expected"])
            lines.append(printing.check(*about))
        lines += ["", f"{settings.SITE_URL}/verifications/{run.pk}", ""]
    return "\n".join(lines)


def _badness(code: int) -> int:
    """Of several endpoints the worst counts: a fail before what was not judged."""
    return (0, 2, 1).index(code)
