"""`manage.py check_index`: are our rows what the contracts say? (interfaces.md 1)"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from chain.errors import ChainError
from chain.models import Head
from chain.rpc import Rpc
from ledger import audit, reconcile
from ledger.models import Reconciliation
from protocol.abi import AbiError


class Command(BaseCommand):
    help = (
        "Compare every derived row with contract views at one block. "
        "Exit 0 equal, 1 drift, 2 not compared."
    )
    requires_system_checks = ()  # they import the whole site

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON document")
        parser.add_argument(
            "--final", action="store_true", help="compare final rows at the final block"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not Head.objects.filter(chain_id=settings.CHAIN_ID, indexed_block__gte=0).exists():
            sentence = "nothing is indexed yet; run manage.py follow --once first"
            raise CommandError(sentence, returncode=2)
        began = time.monotonic()
        try:
            with Rpc(settings.CHAIN_RPC_URLS, settings.CHAIN_ID) as rpc:
                report = audit.compare(rpc, final=options["final"])
        except (ChainError, AbiError) as error:
            raise CommandError(str(error), returncode=2) from error
        reconcile.keep(report, Reconciliation.EVERYTHING, began)
        if options["json"]:
            self.stdout.write(json.dumps(self._document(report), default=str))
        else:
            self._print(report)
        if report.differences:
            sys.exit(1)

    @staticmethod
    def _document(report: audit.Report) -> dict[str, Any]:
        return {
            "equal": not report.differences,
            "block": report.block,
            "block_hash": report.block_hash,
            "compared": report.compared,
            "differences": [reconcile.strings(asdict(d)) for d in report.differences],
        }

    def _print(self, report: audit.Report) -> None:
        counts = ", ".join(f"{number} {what}" for what, number in report.compared.items())
        self.stdout.write(f"block {report.block}: compared {counts}")
        for d in report.differences:
            self.stdout.write(f"{d.what} {d.key}: {d.field} is {d.ours!r}, the chain {d.chain!r}")
        found = len(report.differences)
        counted = f"{found} difference{'' if found == 1 else 's'}"
        self.stdout.write(counted if found else "no drift")
