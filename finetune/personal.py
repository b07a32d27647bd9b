"""What fine-tuning keeps about a person (`accounts.personal`): data, tasks, results."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
from django.utils.translation import gettext_noop

from accounts import crypto, personal
from accounts.models import User
from accounts.personal import Archive, Category, Table
from finetune.models import (
    Dataset,
    Deployment,
    Draft,
    LogPart,
    Passage,
    Piece,
    Place,
    ProviderFacts,
    StoredFile,
    Task,
)


def _files(user: User, archive: Archive) -> None:
    """The bytes of every file that is whole; first rows of datasets whose bytes are gone."""
    from finetune import files, services  # with all that asks brokers; this runs in workers, rarely

    for file in StoredFile.objects.filter(user=user).order_by("created_at"):
        if not files.missing(file):
            archive.stream(f"tuning_files/{file.pk}.bin", _readable(file))
    for dataset in Dataset.objects.filter(user=user).exclude(preview_sealed=""):
        rows = services.preview(dataset)
        archive.stream(f"tuning_files/preview-{dataset.pk}.json", [orjson.dumps(rows)])


def _readable(file: StoredFile) -> Iterator[bytes]:
    from finetune import files

    try:
        yield from files.read(file)
    except crypto.Unreadable:
        return  # its key is gone: the index shows that fewer bytes came


def register() -> None:
    personal.register(
        Category(
            "tuning",
            gettext_noop("Fine-tuning tasks and drafts"),
            gettext_noop(
                "What you signed, how it went, the provider’s log, and what you did not send yet."
            ),
            gettext_noop("A task runs for hours and its result has to be fetched in time."),
            (
                Table(Task),
                Table(Passage, "task__user"),
                Table(LogPart, "task__user"),
                Table(Deployment, "task__user"),
                Table(Draft),
            ),
        ),
        Category(
            "tuning_files",
            gettext_noop("Datasets and tuned models"),
            gettext_noop("Files you brought and results that were fetched, sealed piece by piece."),
            gettext_noop(
                "They are checked here before you pay for training on them. What was sent "
                "to a provider or published in 0G storage stays there."
            ),
            (
                Table(StoredFile),
                Table(Piece, "file__user"),
                Table(Dataset),
                Table(Place, "dataset__user", secret=("signature",)),
            ),
            more=_files,
        ),
        apart={ProviderFacts: "what providers say about themselves"},
    )
