"""`manage.py migrate` does not queue for a table in use: everybody behind it would wait, too."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import connection

from marketplace.management.commands.migrate import LOCK_TIMEOUT


@pytest.mark.django_db
def test_it_waits_for_a_lock_for_five_seconds_only() -> None:
    def limit() -> str:
        with connection.cursor() as cursor:
            cursor.execute("SHOW lock_timeout")
            return str(cursor.fetchone()[0])

    assert limit() == "0"
    call_command("migrate", "--noinput", verbosity=0)
    try:
        assert limit() == LOCK_TIMEOUT == "5s"
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET lock_timeout")
