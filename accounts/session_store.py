"""Django's sessions, in the database under a digest of what the cookie says: who reads that, or a
backup of it, finds no cookie to come in with.

A session's `session_key` is the cookie's, a secret; tables and queries know it by its `name_of`.
"""

from __future__ import annotations

import hashlib
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.sessions.backends import db
from django.contrib.sessions.base_session import AbstractBaseSession
from django.contrib.sessions.models import Session
from django.utils import timezone

#: Characters of a name: as many as the column takes.
LENGTH = 40


def name_of(session_key: str | None) -> str:
    """What a session is called in the database; "" of none. A key is 165 random bits, so its plain
    SHA-256 tells nobody which it was."""
    if not session_key:
        return ""
    return hashlib.sha256(session_key.encode("utf-8", "replace")).hexdigest()[:LENGTH]


class SessionStore(db.SessionStore):
    """`django.contrib.sessions.backends.db.SessionStore` otherwise."""

    def load(self) -> dict[str, Any]:
        rows = Session.objects.filter(pk=name_of(self.session_key))
        row = rows.filter(expire_date__gt=timezone.now()).first()
        if row is None:
            self._session_key = None
            return {}
        return self.decode(row.session_data)

    def exists(self, session_key: str) -> bool:
        return super().exists(name_of(session_key))

    def create_model_instance(self, data: dict[str, Any]) -> AbstractBaseSession:
        row = super().create_model_instance(data)
        row.session_key = name_of(row.session_key)
        return row

    def delete(self, session_key: str | None = None) -> None:
        Session.objects.filter(pk=name_of(session_key or self.session_key)).delete()

    # What Django does anew for each of these would name it by its key.

    async def aload(self) -> dict[str, Any]:
        return await sync_to_async(self.load)()

    async def aexists(self, session_key: str) -> bool:
        return await sync_to_async(self.exists)(session_key)

    async def acreate_model_instance(self, data: dict[str, Any]) -> AbstractBaseSession:
        return await sync_to_async(self.create_model_instance)(data)

    async def adelete(self, session_key: str | None = None) -> None:
        await sync_to_async(self.delete)(session_key)
