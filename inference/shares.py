"""Links by which somebody without an account reads a conversation: the branch that was shown when
the link was made, as it was then. Whoever has the link may read until it ends or its owner ends it.

The address is the secret. Only its hash can be looked up; its owner finds it again sealed with the
conversation's key. By that hash a reader reports it (`moderation`), staff reads what was reported,
and what staff decided is found; the row itself knows nothing of it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_
from django.utils.translation import ngettext

from accounts.models import User
from inference import attachments, conversations, opening, words
from inference.errors import BadPrompt
from inference.formulas import Room
from inference.models import Chat, Share, State, Turn
from inference.pages_turn import TurnView
from inference.shared_links import digest_of, living_links
from moderation import selectors as moderation
from moderation import services as staff
from moderation.fold import Action
from moderation.selectors import Said
from moderation.subjects import Subject

#: What can be chosen: days, and how that is called.
LIFETIMES: dict[int, str] = {1: N_("a day"), 7: N_("a week"), 30: N_("30 days")}
USUAL_DAYS = 7
#: Links that one conversation has at the same time.
MOST = 10
#: The newest answers that a link shows, as far as they are not longer together: whoever has it can
#: have them laid out again and again.
SHOWN_TURNS, SHOWN_BYTES = 100, 150_000


@dataclass(frozen=True)
class Link:
    """One link as its owner sees it. `path` is the address, "" where its key is gone; `answers`:
    how many it shows; `ended`: by whom of the staff and why, where it opens nothing any more.
    """

    id: int
    path: str
    answers: int
    created_at: datetime
    ends_at: datetime
    digest: str
    ended: Said | None


@dataclass(frozen=True)
class SharedTurn:
    """A question with its answer. `pictures`: how many it came with, which are not shown;
    `thought`: whether the model thought first, which is not shown either.
    """

    turn: TurnView
    pictures: int
    thought: bool

    @property
    def pictures_words(self) -> str:
        return ngettext(
            "%(n)s picture came with this question. It is not shared.",
            "%(n)s pictures came with this question. They are not shared.",
            self.pictures,
        ) % {"n": self.pictures}


@dataclass(frozen=True)
class Shared:
    """What a reader gets; `title`: of the first question here; `earlier`: older answers that are
    not shown; `digest`: by what it is reported.
    """

    title: str
    turns: tuple[SharedTurn, ...]
    earlier: int
    created_at: datetime
    ends_at: datetime
    digest: str


class Ended(Exception):
    """Staff ended this link; `said`: when and why."""

    def __init__(self, said: Said) -> None:
        super().__init__("ended by staff")
        self.said = said


def shareable(chat: Chat) -> list[int]:
    """The turns that a link made now would show: the branch on the page, without an answer that is
    still being written."""
    path = conversations.tree_of(chat).path(chat.leaf_id)
    writing = set(chat.turns.filter(state=State.OPEN).values_list("pk", flat=True))
    # An open turn is the newest of its branch.
    return [pk for pk in path if pk not in writing]


def create(chat: Chat, days: str) -> Share:
    """A new link. Raises BadPrompt where there is nothing to read, or too many links."""
    if days not in map(str, LIFETIMES):
        raise BadPrompt(_("Choose how long the link lives."))
    if not chat.kept:
        raise BadPrompt(_("This conversation is not kept, so there is nothing to share."))
    path = shareable(chat)
    if not path:
        raise BadPrompt(_("There is no answer to share yet."))
    token = secrets.token_urlsafe(24)
    now = timezone.now()
    with transaction.atomic():
        Chat.objects.select_for_update().get(pk=chat.pk)  # one at a time, so that MOST holds
        if Share.objects.filter(chat=chat, ends_at__gt=now).count() >= MOST:
            raise BadPrompt(
                _("This conversation has %(most)s links. End one first.") % {"most": MOST}
            )
        return Share.objects.create(
            chat=chat,
            leaf_id=path[-1],
            digest=digest_of(token),
            token_sealed=chat.box.seal_text("share", token),
            ends_at=now + timedelta(days=int(days)),
        )


def links(chat: Chat) -> tuple[Link, ...]:
    """The links of a conversation whose time is not over, newest first (3 queries, and one for
    each)."""
    tree = conversations.tree_of(chat)
    rows = list(Share.objects.filter(chat=chat, ends_at__gt=timezone.now()).order_by("-pk"))
    ended = moderation.ended([row.digest for row in rows])
    return tuple(
        Link(
            row.pk,
            _path(chat.box.text("share", row.token_sealed)),
            len(newest(chat, tree.path(row.leaf_id))),
            row.created_at,
            row.ends_at,
            row.digest,
            ended.get(row.digest),
        )
        for row in rows
    )


def end(user: User, share: int) -> Chat:
    """End a link; it answers nobody from now on. Raises Share.DoesNotExist."""
    row = Share.objects.select_related("chat").get(pk=share, chat__owner=user)
    row.delete()
    return row.chat


def end_all() -> int:
    """End everybody's links; how many there were."""
    return int(Share.objects.all().delete()[0])


def by_host(action: Action, token: str, public_text: str) -> None:
    """End a link by its address, whoever made it, or open it again: the host's way (`manage.py
    end_share`), kept and told as what moderators decide. Raises accounts.errors.Problem."""
    about = Subject.share(digest_of(token))
    staff.by_host(
        action, about, public_text, by="manage.py", reason=public_text or "No reason given."
    )


def read(token: str, pay: Callable[[int], None] = lambda size: None) -> Shared:
    """What a link shows (6 queries); `pay` is told how many bytes, before they are laid out. Raises
    Ended for one that staff ended, for as long as its address is kept anywhere; Share.DoesNotExist
    for one that ended, whose conversation was deleted, or that never was, and while its owner may
    not sign in, who could not end it.
    """
    digest = digest_of(token)
    if ended := moderation.ended([digest]):
        raise Ended(ended[digest])
    return read_reported(digest, pay)


def read_reported(digest: str, pay: Callable[[int], None] = lambda size: None) -> Shared:
    """The same for staff, who has no address; also what staff ended, for whoever judges an appeal.
    Raises Share.DoesNotExist."""
    row = living_links().select_related("chat").get(digest=digest)
    chat = row.chat
    path = conversations.tree_of(chat).path(row.leaf_id)
    shown = newest(chat, path)
    heavy = ("request_sealed", "response_sealed", "arrivals_sealed")
    rows = chat.turns.filter(pk__in=shown).defer(*heavy)
    turns = {turn.pk: turn for turn in rows}
    pay(sum(len(x.answer_sealed) + len(x.calls_sealed) for x in turns.values()))
    pictures = attachments.of_turns(chat, shown)
    room = Room()
    newest_first = [
        SharedTurn(
            _public(turns[pk], chat, room), len(pictures.get(pk, ())), bool(turns[pk].reasoning)
        )
        for pk in reversed(shown)
        if pk in turns
    ]
    said = tuple(reversed(newest_first))
    return Shared(
        # The conversation is called after its very first question, which may have been edited away.
        title=opening.title_of(said[0].turn.question) if said else "",
        turns=said,
        earlier=len(path) - len(shown),
        created_at=row.created_at,
        ends_at=row.ends_at,
        digest=digest,
    )


def newest(chat: Chat, path: list[int]) -> list[int]:
    """The end of a branch that is shown; at least its last turn (1 query)."""
    return conversations.newest(chat, path, turns=SHOWN_TURNS, size=SHOWN_BYTES)


def purge() -> int:
    """Delete links that have ended."""
    return int(Share.objects.filter(ends_at__lte=timezone.now()).delete()[0])


def _public(turn: Turn, chat: Chat, room: Room) -> TurnView:
    """An answer without what is its owner's: no thinking, no cost, no provider's error, no reason
    why it failed, no act."""
    turn.chat = chat
    view = TurnView.of(turn, room=room)
    came = view.answer or view.calls or turn.state != State.CUT_OFF
    ending = words.ENDED_FOR_OTHERS.get(turn.state if came else State.FAILED)
    return replace(
        view, reasoning="", fee=0, failure="", failure_detail="", ending=ending, can_recheck=False
    )


def _path(token: str) -> str:
    return f"/shared/{token}" if token.isascii() and " " not in token else ""
