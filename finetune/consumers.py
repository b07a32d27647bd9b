"""`/ws/tasks/{id}`: tells the open pages of a task that there is something new to ask for."""

from __future__ import annotations

from uuid import UUID

from channels.db import database_sync_to_async

from accounts.models import User
from accounts.sockets import SIGNED_OUT, Listening
from finetune import follow
from finetune.models import Task

#: Close codes: not understood, no such task of this person.
NOT_UNDERSTOOD, NOT_FOUND = 4400, 4404


class TaskConsumer(Listening):
    """One open page of a task; ends with the session (`accounts.sockets`)."""

    async def connect(self) -> None:
        user, task_id = self.scope.get("user"), self.scope["url_route"]["kwargs"]["task"]
        await self.accept()
        if not isinstance(user, User):
            await self.close(SIGNED_OUT)
            return
        task = await database_sync_to_async(_task)(user, task_id)
        if task is None:
            await self.close(NOT_FOUND)
            return
        self.group = follow.group_of(task)
        await self.channel_layer.group_add(self.group, self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """A page has nothing to say here."""
        await self.close(NOT_UNDERSTOOD)

    async def task_changed(self, event: dict[str, str]) -> None:
        await self.send("{}")


def _task(user: User, task_id: UUID) -> Task | None:
    return Task.objects.filter(pk=task_id, user=user).first()
