"""Who may see a conversation: its owner, nobody else, and one that is not kept only in the session
that began it. Views get chats and turns only from here.
"""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone

from accounts.models import User
from inference.conversations import UNDO_FOR
from inference.models import Chat, Medium, Turn


def chats_of(user: User, session_key: str | None, medium: Medium = Medium.CHAT) -> QuerySet[Chat]:
    """All conversations that `user` may read in this session, newest first."""
    here = ("", session_key or "")
    rows = Chat.objects.filter(session_key__in=here, owner=user, deleted_at=None, medium=medium)
    return rows.select_related("owner").order_by("-updated_at")


def turns_of(user: User, session_key: str | None) -> QuerySet[Turn]:
    """All turns of a person, of every medium, newest first, with their chats."""
    here = ("", session_key or "")
    rows = Turn.objects.filter(chat__session_key__in=here, chat__owner=user, chat__deleted_at=None)
    return rows.select_related("chat__owner").order_by("-pk")


def chat_for(
    user: User, chat_id: UUID, session_key: str | None = None, medium: Medium = Medium.CHAT
) -> Chat:
    """The user's chat. Raises Chat.DoesNotExist for strangers as for chats that never were."""
    return chats_of(user, session_key, medium).get(pk=chat_id)


def deleted_chat_for(
    user: User, chat_id: UUID, session_key: str | None = None, medium: Medium = Medium.CHAT
) -> Chat:
    """A conversation the user has just deleted. Raises Chat.DoesNotExist."""
    here, since = ("", session_key or ""), timezone.now() - UNDO_FOR
    rows = Chat.objects.filter(owner=user, medium=medium, deleted_at__gt=since)
    return rows.get(pk=chat_id, session_key__in=here)


def comes_back(
    user: User | None, chat_id: UUID | None, session_key: str | None, medium: Medium
) -> UUID | None:
    """The id of what an address says was deleted, where that can still be undone."""
    if user is None or chat_id is None:
        return None
    try:
        return deleted_chat_for(user, chat_id, session_key, medium).pk
    except Chat.DoesNotExist:
        return None


def turn_for(user: User, turn_id: int, session_key: str | None) -> Turn:
    """A turn of one of the user's chats. Raises Turn.DoesNotExist."""
    return turns_of(user, session_key).get(pk=turn_id, chat__medium=Medium.CHAT)


def request_for(user: User, turn_id: int, session_key: str | None) -> Turn:
    """Any request of the user's, a program's too. Raises Turn.DoesNotExist."""
    return turns_of(user, session_key).get(pk=turn_id)
