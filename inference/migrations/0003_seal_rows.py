"""Seal what conversations held in clear, and make each one a branch of turns.

Dropping the old columns (the next migration) does not wipe them from PostgreSQL's files at once:
VACUUM FULL on both tables does.
"""

from __future__ import annotations

from typing import Any

from django.db import migrations

from inference import seals


def forwards(apps: Any, schema_editor: Any) -> None:
    chats = apps.get_model("inference", "Chat").objects
    turns = apps.get_model("inference", "Turn").objects
    for chat in chats.iterator(chunk_size=100):
        key = seals.new_key()
        box = seals.Box(key, chat.pk)
        parent = None
        for turn in turns.filter(chat_id=chat.pk).order_by("pk").iterator(chunk_size=20):
            turns.filter(pk=turn.pk).update(
                parent_id=parent,
                question_sealed=box.seal_text("question", turn.question),
                answer_sealed=box.seal_text("answer", turn.answer),
                detail_sealed=box.seal_text("detail", turn.failure_detail),
                request_bytes=len(turn.request),
                request_sealed=box.pack("request", bytes(turn.request)),
            )
            parent = turn.pk
        chats.filter(pk=chat.pk).update(
            key_sealed=seals.seal_key(key),
            title_sealed=box.seal_text("title", chat.title),
            asked=bool(chat.title),
            leaf_id=parent,
        )


class Migration(migrations.Migration):
    dependencies = [("inference", "0002_sealed_columns")]

    operations = [migrations.RunPython(forwards, migrations.RunPython.noop)]
