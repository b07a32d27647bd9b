"""Reading what the chain said from a standby of the database.

Only rows that no visitor writes are read there, and only outside of transactions: what somebody
just did is always read where it was written. The place where the follower stands is among these
rows, so a page built from a standby that lags says so in its footer.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from django.db import Error as DatabaseError
from django.db import connections, models

log = logging.getLogger(__name__)

PRIMARY, REPLICA = "default", "replica"
#: Apps whose rows come from the chain, from probes or from evidence.
APPS = frozenset({"chain", "ledger", "probes", "attestation"})
#: How long a standby that did not answer is left alone, seconds.
REST_SECONDS = 30.0
_down_until = 0.0


class Router:
    """Django's router while DATABASE_REPLICA_URL is set."""

    def db_for_read(self, model: type[models.Model], **hints: Any) -> str:
        if model._meta.app_label not in APPS or connections[PRIMARY].in_atomic_block:
            return PRIMARY
        return REPLICA if usable() else PRIMARY

    def db_for_write(self, model: type[models.Model], **hints: Any) -> str:
        return PRIMARY

    def allow_relation(self, one: models.Model, other: models.Model, **hints: Any) -> bool:
        return True  # both are the same database, one read later

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return db == PRIMARY


def usable() -> bool:
    """Whether the standby answers; one that did not is left alone for REST_SECONDS."""
    global _down_until
    if time.monotonic() < _down_until:
        return False
    connection = connections[REPLICA]
    if connection.connection is not None:
        return True
    try:
        connection.ensure_connection()
    except DatabaseError as error:
        _down_until = time.monotonic() + REST_SECONDS
        reason = str(error).partition("\n")[0]
        log.warning("the standby does not answer, reading from the primary: %s", reason)
        return False
    return True
