"""A PostgreSQL server of a test's own, to be restarted or filled up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.db import connection

from runner.postgres import EmbeddedPostgres


@contextmanager
def own_database(folder: Path) -> Iterator[EmbeddedPostgres]:
    """Django's connection of this process leads to a fresh server with the index's tables."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    with EmbeddedPostgres(folder) as server, led_to(server):
        for app in ("chain", "ledger"):
            call_command("migrate", app, verbosity=0)
        yield server


@contextmanager
def led_to(server: EmbeddedPostgres) -> Iterator[None]:
    names: dict[str, Any] = {
        "HOST": str(server.socket_dir),
        "PORT": "",
        "NAME": server.database,
        "USER": "app",
    }
    before = {name: connection.settings_dict[name] for name in names}
    connection.close()
    connection.settings_dict.update(names)
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict.update(before)
