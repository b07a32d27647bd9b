"""`manage.py migrate` does not queue for a table in use: everybody behind it would wait, too."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.models.signals import post_migrate

from marketplace.management.commands.migrate import LOCK_TIMEOUT


@pytest.mark.django_db
def test_it_waits_for_a_lock_for_five_seconds_only() -> None:
    seen: set[str] = set()

    def limit(**_: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SHOW lock_timeout")
            seen.add(str(cursor.fetchone()[0]))

    post_migrate.connect(limit)
    try:
        call_command("migrate", "--noinput", verbosity=0)
    finally:
        post_migrate.disconnect(limit)
    assert seen == {LOCK_TIMEOUT} == {"5s"}
    limit()
    assert seen == {"5s", "0"}
