"""A PostgreSQL server of a test's own, to be restarted or filled up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.db import connection

from runner.postgres import EmbeddedPostgres
from tests.database import NAME, migrated


@contextmanager
def own_database(folder: Path) -> Iterator[EmbeddedPostgres]:
    """Django's connection of this process leads to a server with the site's tables and no rows."""
    migrated(folder)
    with EmbeddedPostgres(folder, database=NAME) as server, led_to(server):
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
