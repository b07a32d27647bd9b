"""`manage.py dump_data`: make the public data dump of this day now (otherwise nightly)."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from marketplace import dumps


class Command(BaseCommand):
    help = "Make the public data dump of this day under DATA_DIR. Nothing where it is there."
    requires_system_checks = ()  # they import the whole site

    def handle(self, *args: Any, **options: Any) -> None:
        if dumps.folder() is None:
            raise CommandError("DATA_DIR is not set: this site makes no data dumps.")
        try:
            made = dumps.make()
        except OSError as error:
            raise CommandError(f"cannot write into DATA_DIR: {error.strerror}") from None
        if made is None:
            self.stdout.write("nothing to do: it is there or being made, or the disk is full")
            return
        for file in made.files:
            self.stdout.write(f"{file.name}: {file.rows} rows, {file.size} bytes")
