"""Writes of whole conversations: begin, name, turn to another version, delete, undo, purge."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any
from uuid import UUID, uuid4, uuid5

import orjson
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Length
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User
from inference import seals, turnlog
from inference.branches import Tree
from inference.errors import BadPrompt, Busy
from inference.models import Chat, Medium, State, Turn
from inference.options import Options

TITLE_CHARS = 80
#: A deleted conversation can be brought back for this long.
UNDO_FOR = timedelta(seconds=60)
BATCH = 200


def begin_once(owner: User, provider: str, form: UUID, *, session_key: str = "") -> Chat:
    """`create_chat` for a form that may come twice: the same `form` with the same choices is the
    same conversation. Raises BadPrompt where that was deleted meanwhile.
    """
    pk = uuid5(form, f"{owner.address} {provider} {session_key}")
    with transaction.atomic():
        list(User.objects.select_for_update().filter(pk=owner.pk))
        found = Chat.objects.filter(pk=pk).first()
        if found is None:
            return create_chat(owner, provider, session_key=session_key, pk=pk)
    if found.deleted_at is not None:
        raise BadPrompt(_("This conversation has ended. Begin a new one."))
    return found


def create_chat(
    owner: User, provider: str, *, session_key: str = "", pk: UUID | None = None
) -> Chat:
    """An empty conversation with a provider (EIP-55 address).

    With `session_key` it is not kept: only that session can read it, and only while it lives.
    """
    chat = Chat(pk=pk or uuid4(), owner=owner, provider=provider, session_key=session_key)
    give_key(chat)
    if not session_key:
        # What was set up last time goes along, except for what was said.
        chat.options_sealed = sealed_options(chat, last_options(owner))
    chat.save(force_insert=True)
    return chat


def give_key(chat: Chat) -> None:
    """A new conversation's key: beside it, or in Redis alone where only its session may read it."""
    key = seals.new_key()
    if chat.session_key:
        seals.lend_key(chat.pk, key, timedelta(seconds=settings.SESSION_COOKIE_AGE))
    else:
        chat.key_sealed = seals.seal_key(key)


def last_options(owner: User) -> Options:
    """How the newest conversation of a person was asked, the defaults where there is none (1
    query). Nothing of one that is not kept goes anywhere.
    """
    mine = Chat.objects.filter(owner=owner, asked=True, session_key="", medium=Medium.CHAT)
    newest = mine.order_by("-updated_at").first()
    return newest.options if newest is not None else Options()


def sealed_options(chat: Chat, options: Options) -> bytes:
    return chat.box.seal("options", orjson.dumps(options.stored()))


def rename(chat: Chat, title: str) -> None:
    """Give a conversation another name. Raises BadPrompt for an empty or too long one."""
    title = " ".join(title.replace("\x00", "").split())
    if not title or len(title) > TITLE_CHARS:
        raise BadPrompt(
            _("A name has 1 to %(title_chars)s characters.") % {"title_chars": TITLE_CHARS}
        )
    Chat.objects.filter(pk=chat.pk).update(title_sealed=chat.box.seal_text("title", title))


def show(turn: Turn) -> None:
    """Turn the conversation to the version that `turn` is, at the newest end of its branch."""
    chat = turn.chat
    leaf = tree_of(chat).newest_leaf(turn.pk)
    Chat.objects.filter(pk=chat.pk).update(leaf_id=leaf)


def forget_until(turn: Turn) -> None:
    """From now on do not send `turn` and what came before it."""
    Chat.objects.filter(pk=turn.chat_id).update(forgotten=turn.pk)


def remember_all(chat: Chat) -> None:
    """Send as much of the conversation as fits again."""
    Chat.objects.filter(pk=chat.pk).update(forgotten=0)


def tree_of(chat: Chat) -> Tree:
    return Tree.of(chat.turns.values_list("pk", "parent_id", "batch"))


def newest(
    chat: Chat,
    path: list[int],
    *,
    turns: int,
    size: int,
    beside: Mapping[int, Collection[int]] = MappingProxyType({}),
) -> list[int]:
    """The end of a branch: so many turns and bytes of questions and answers at most, and at least
    the last turn (1 query). What models wrote takes seconds to lay out where it is long. `beside`:
    the turns that are shown with one of the branch, itself included.
    """
    last = path[-turns:]
    shown = {pk: beside.get(pk, (pk,)) for pk in last}
    length = Length("answer_sealed") + Length("question_sealed")
    length += Length("calls_sealed") + Length("results_sealed")
    rows = chat.turns.filter(pk__in={one for all_of in shown.values() for one in all_of})
    sizes = dict(rows.values_list("pk", length))
    left, count = size, 0
    for pk in reversed(last):
        left -= sum(sizes.get(one, 0) for one in shown[pk])
        if left < 0:
            break
        count += 1
    return last[-max(count, 1) :]


def delete_chat(chat: Chat) -> None:
    """Take a conversation away; `bring_back` undoes it for a while. Raises Busy while an answer is
    written.
    """
    with transaction.atomic():
        # Whoever asks holds one of them: nothing is asked in what is being deleted.
        list(User.objects.select_for_update().filter(pk=chat.owner_id))
        list(Chat.objects.select_for_update().filter(pk=chat.pk))
        if chat.turns.filter(state=State.OPEN).exists():
            raise Busy(_("Stop the answer first, then delete the conversation."))
        Chat.objects.filter(pk=chat.pk).update(deleted_at=timezone.now())


def bring_back(chat: Chat) -> None:
    Chat.objects.filter(pk=chat.pk).update(deleted_at=None)


def purge() -> int:
    """Delete for good: what was deleted a while ago, unkept conversations whose session or key is
    gone, and old ones in which nothing was ever asked; BATCH of each. Returns how many were due;
    those with an open answer wait for its end.
    """
    now = timezone.now()
    gone = [*Chat.objects.filter(deleted_at__lt=now - UNDO_FOR)[:BATCH]]
    # Begun for a picture or a question that was never sent; no page is open that long.
    before = now - timedelta(seconds=settings.SESSION_COOKIE_AGE)
    empty = Chat.objects.filter(medium=Medium.CHAT, asked=False, updated_at__lt=before, turns=None)
    gone += empty[:BATCH]
    unkept = _unkept(now)
    keys = seals.lent([chat.pk for chat in unkept])
    gone += [chat for chat in unkept if chat.pk not in keys or not chat.living]
    said = list(Turn.objects.filter(chat__in=gone).values_list("pk", flat=True))
    for chat in gone:
        _purge(chat)
    left = set(Turn.objects.filter(pk__in=said).values_list("pk", flat=True))
    turnlog.forget(turn for turn in said if turn not in left)
    return len(gone)


def _unkept(now: datetime) -> list[Any]:
    """Some of the conversations that are not kept, and whether their session is `living`: first
    those whose is not, then others from a place that differs each time, for Redis may have lost
    their keys (1 query). Anybody can begin as many as they like.
    """
    session = Session.objects.filter(session_key=OuterRef("session_key"), expire_date__gt=now)
    rows = Chat.objects.filter(key_sealed="", created_at__lt=now - UNDO_FOR)
    rows = rows.annotate(living=Exists(session), before=Q(pk__lt=uuid4()))
    return list(rows.order_by("living", "before", "pk")[:BATCH])


def _purge(chat: Chat) -> None:
    with transaction.atomic():
        # Held, as it was read: it may have been brought back, and a question be asked in it.
        same = Chat.objects.filter(pk=chat.pk, deleted_at=chat.deleted_at, asked=chat.asked)
        if not same.select_for_update().exists():
            return
        seals.forget_key(chat.pk)
        if not chat.turns.filter(state=State.OPEN).exists():
            chat.delete()
