"""Who may see a conversation: its owner, nobody else. Views get chats and turns only from here."""

from __future__ import annotations

from uuid import UUID

from accounts.models import User
from inference.models import Chat, Turn


def chat_for(user: User, chat_id: UUID) -> Chat:
    """The user's chat. Raises Chat.DoesNotExist for strangers as for chats that never were."""
    return Chat.objects.select_related("owner").get(pk=chat_id, owner=user)


def turn_for(user: User, turn_id: int) -> Turn:
    """A turn of one of the user's chats. Raises Turn.DoesNotExist."""
    return Turn.objects.select_related("chat").get(pk=turn_id, chat__owner=user)
