"""`manage.py verify_audit [FILE …] [--expect N:HASH]`: prove the record of staff acts whole."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from moderation import audit, entries, state
from moderation.entries import Broken


class Command(BaseCommand):
    help = "Prove the chain of staff acts: the stored one, or exported files in their order."
    requires_system_checks = ()  # they import the whole site

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("files", nargs="*", type=Path, help="exports of /moderation/log.json")
        parser.add_argument(
            "--expect", default="", metavar="N:HASH", help="an entry that the chain must hold"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        number, _, known = str(options["expect"]).partition(":")
        digits = number.isascii() and number.isdigit()
        if options["expect"] and not (digits and len(known) == 64):
            raise CommandError("--expect takes NUMBER:HASH, as the log shows it")
        expected = {int(number): known} if options["expect"] else {}
        try:
            files: list[Path] = options["files"]
            count, last = _files(files, expected) if files else _stored(expected)
        except Broken as error:
            self.stderr.write(self.style.ERROR(f"broken at entry {error.number}: {error.why}"))
            sys.exit(1)
        self.stdout.write(f"{count} entries, whole. Head {count}:{last}")


def _held(found: list[entries.Entry], expected: dict[int, str]) -> None:
    for entry in found:
        wanted = expected.pop(entry.open.get("number", 0), None)
        if wanted is not None and wanted != entry.hash:
            raise Broken(entry.open["number"], "it is another entry than the expected one")


def _stored(expected: dict[int, str]) -> tuple[int, str]:
    found = list(audit.rows())
    count, last = entries.verify(found)
    _held(found, expected)
    _missing(expected)
    for subject in state.stale_effects():
        raise Broken(0, f"what is in force differs from the acts: {subject.kind} {subject.key}")
    return count, last


def _files(files: list[Path], expected: dict[int, str]) -> tuple[int, str]:
    count, last = 0, entries.START
    head: Any = None
    for file in files:
        try:
            document = json.loads(file.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise CommandError(f"{file}: {error}") from None
        found, _ = entries.exported(document)
        seen, last = entries.verify(found, previous=last, number=count + 1)
        count += seen
        _held(found, expected)
        head = document.get("head")
    _missing(expected)
    if not isinstance(head, dict) or (head.get("number"), head.get("hash")) != (count, last):
        raise Broken(count + 1, "the files end before the head that they name")
    return count, last


def _missing(expected: dict[int, str]) -> None:
    for number in expected:
        raise Broken(number, "the expected entry is missing")
