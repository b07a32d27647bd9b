"""`manage.py migrate`: Django's, with a limit to how long it queues for a lock.

A statement that waits for a table makes everybody behind it wait, too (docs/deploy.md). What is
done without a transaction is done concurrently (`scripts.migration_check`): it holds up nobody, and
has to wait for every transaction that is older, however long that is.
"""

from __future__ import annotations

from typing import Any

from django.core.management.commands.migrate import Command as Migrate
from django.db import connections

LOCK_TIMEOUT = "5s"


class Command(Migrate):
    def handle(self, *args: Any, **options: Any) -> None:
        self.using = options["database"]
        self._wait(LOCK_TIMEOUT)
        super().handle(*args, **options)
        with connections[self.using].cursor() as cursor:
            cursor.execute("RESET lock_timeout")

    def migration_progress_callback(
        self, action: str, migration: Any = None, fake: bool = False
    ) -> None:
        if action == "apply_start":
            self._wait(LOCK_TIMEOUT if migration.atomic else "0")
        super().migration_progress_callback(action, migration, fake)

    def _wait(self, most: str) -> None:
        with connections[self.using].cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, false)", [most])
