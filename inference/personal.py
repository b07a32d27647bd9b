"""What the playground keeps about a person (`accounts.personal`): their words, and what came back.

Only its owner's export opens a conversation; nobody else's code here reads one.
"""

from __future__ import annotations

import mimetypes

from django.utils.translation import gettext_noop

from accounts import personal
from accounts.models import User
from accounts.personal import Archive, Category, NotYet, Table
from inference import seals, turnlog
from inference.models import (
    Chat,
    File,
    Job,
    Medium,
    OwnPreset,
    PresetVersion,
    Share,
    State,
    Turn,
)


def _words(user: User, archive: Archive) -> None:
    """Conversations to read and to check, and files as they were; not what is deleted, nor what is
    not kept."""
    from inference import export  # with all that reads pictures; this runs in workers, rarely

    chats = Chat.objects.filter(owner=user, deleted_at=None)
    # What is not kept ends with its session, and a file with its words would outlive that.
    for chat in chats.filter(session_key="").order_by("pk").iterator():
        folder = f"conversations/{chat.medium}/{chat.pk}"
        if chat.medium != Medium.RELAY:  # programs' requests are rows without words
            archive.stream(f"{folder}.json", export.document(chat))
        if chat.medium == Medium.CHAT:
            archive.stream(f"{folder}.md", export.markdown(chat))
        for file in chat.files.order_by("pk").iterator(chunk_size=1):
            try:
                data = file.data
            except seals.Unreadable:
                continue
            ending = mimetypes.guess_extension(file.media_type) or ".bin"
            archive.stream(f"{folder}/{file.role}-{file.number}-{file.pk}{ending}", [data])


def _forget(user: User) -> int:
    """End what is still written, then delete rows, keys in Redis and streams. Raises NotYet."""
    turns = Turn.objects.filter(chat__owner=user)
    writing = list(turns.filter(state=State.OPEN).values_list("pk", "process"))
    if writing:
        turnlog.ask_all_to_stop(writing)
        raise NotYet(f"{len(writing)} answers are being stopped")
    known = list(turns.values_list("pk", flat=True))
    chats = Chat.objects.filter(owner=user)
    for chat in chats.only("pk"):
        seals.forget_key(chat.pk)
    gone: int = chats.delete()[0]
    turnlog.forget(known)
    return gone


def _presets(user: User, archive: Archive) -> None:
    from inference import presets

    archive.stream("presets/presets.json", [presets.document(user)])
    archive.stream("presets/earlier.json", [presets.earlier(user)])


def register() -> None:
    personal.register(
        Category(
            "conversations",
            gettext_noop("Conversations, pictures and recordings"),
            gettext_noop(
                "What you asked and what was answered, files included, each under a key "
                "of its own; and the bytes and signatures that prove an answer."
            ),
            gettext_noop(
                "It is your history and your proof. Chats that you do not keep are gone "
                "with their session."
            ),
            (
                Table(Chat, "owner", secret=("session_key",)),
                Table(Turn, "chat__owner"),
                Table(File, "chat__owner"),
                Table(Job, "turn__chat__owner"),
                Table(Share, "chat__owner", secret=("digest",)),
            ),
            more=_words,
            forget=_forget,
        ),
        Category(
            "presets",
            gettext_noop("Saved settings"),
            gettext_noop(
                "Names, system prompts, questions and parameters you saved, and what they said "
                "before, sealed."
            ),
            gettext_noop("So that you can use them again."),
            (Table(OwnPreset, "owner"), Table(PresetVersion, "preset__owner")),
            more=_presets,
        ),
    )
