"""`/ws/inbox`: tells a person's open pages how many notifications wait. Carries nothing else."""

from __future__ import annotations

import orjson
from channels.db import database_sync_to_async

from accounts.models import User
from accounts.sockets import SIGNED_OUT, Listening
from alerts import selectors, services

#: Close code of a socket that says something.
NOT_UNDERSTOOD = 4400


class InboxConsumer(Listening):
    """One open page of a signed-in person; ends with the session (`accounts.sockets`)."""

    async def connect(self) -> None:
        user = self.scope.get("user")
        await self.accept()
        if not isinstance(user, User):
            await self.close(SIGNED_OUT)
            return
        self.group = services.group_of(user.pk)
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.inbox_changed({})

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """A page has nothing to say here."""
        await self.close(NOT_UNDERSTOOD)

    async def inbox_changed(self, event: dict[str, str]) -> None:
        unread = await database_sync_to_async(selectors.unread)(self.scope["user"])
        await self.send(orjson.dumps({"unread": unread}).decode())
