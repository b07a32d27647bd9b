"""Writes about datasets: they come in pieces, are checked by a worker, and are sent on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import orjson
from asgiref.sync import async_to_sync, sync_to_async
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_

from accounts import crypto
from accounts.errors import Problem
from accounts.models import User
from attestation import leases
from finetune import broker, checking, files, problems, publishing, results
from finetune.errors import BrokerError
from finetune.models import Dataset, DatasetState, Place, PlaceState, StoredFile, Way
from protocol import datasets, tuning

MOST_DATASETS = 30
_NAME = 200


def begin(user: User, name: str, size: int) -> Dataset:
    """A dataset of `size` bytes that is about to come. Raises Problem."""
    with transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)  # so that MOST_DATASETS holds
        if user.datasets.count() >= MOST_DATASETS:
            raise Problem(
                "too_many_datasets",
                _("At most %(most_datasets)s datasets.") % {"most_datasets": MOST_DATASETS},
                _("Delete one first."),
            )
        file = files.create(user, size)
        return Dataset.objects.create(
            user=user,
            file=file,
            name=" ".join(name.replace("\0", "").split())[:_NAME] or "dataset.jsonl",
            size=size,
            state=DatasetState.UPLOADING,
        )


def put(dataset: Dataset, number: int, data: bytes) -> None:
    """One piece of it. Raises Problem."""
    if dataset.state != DatasetState.UPLOADING or dataset.file is None:
        raise Problem("not_uploading", _("This dataset is complete already."), status=409)
    files.put(dataset.file, number, data)


def finish(dataset: Dataset) -> None:
    """All pieces are here: a worker reads it. Raises Problem with what is missing."""
    if dataset.file is None or dataset.state != DatasetState.UPLOADING:
        return
    rest = files.missing(dataset.file)
    if rest:
        raise Problem(
            "incomplete",
            _("%(rest)s pieces are missing.") % {"rest": len(rest)},
            _("Send them."),
            status=409,
        )
    uploading = Dataset.objects.filter(pk=dataset.pk, state=DatasetState.UPLOADING)
    uploading.update(state=DatasetState.CHECKING)


def check(dataset: Dataset) -> None:
    """Read it once as rows and once as bytes, and keep what was found; one worker at a time."""
    name = f"dataset:{dataset.pk}"
    token = leases.take(name) if dataset.file is not None else None
    if token is None or dataset.file is None:
        return
    try:
        async_to_sync(_leased)(name, token, dataset, dataset.file)
    except crypto.Unreadable:
        # Nothing will ever open it: it must not be read again for ever.
        Dataset.objects.filter(pk=dataset.pk).update(
            state=DatasetState.BAD, problems=[[1, problems.UNREADABLE]], problem_count=1
        )
    finally:
        leases.give_back(name, token)


async def _leased(name: str, token: str, dataset: Dataset, file: StoredFile) -> None:
    async with leases.renewed(name, token):  # the largest take longer than a lease lasts
        await sync_to_async(_check)(dataset, file)


def _check(dataset: Dataset, file: StoredFile) -> None:
    found = checking.summarise(files.lines(file, datasets.MAX_LINE_BYTES))
    hashes = files.hashes(file)
    Dataset.objects.filter(pk=dataset.pk).update(
        state=DatasetState.GOOD if found.usable else DatasetState.BAD,
        kind=found.kind,
        rows=found.rows,
        duplicates=found.duplicates,
        tokens=found.tokens,
        lengths={
            "least": found.least,
            "median": found.median,
            "most": found.most,
            "bars": found.bars,
        },
        problems=[list(problem) for problem in found.problems],
        problem_count=found.problem_count,
        preview_sealed=crypto.seal(orjson.dumps(found.preview).decode("utf-8", "replace")),
        root=hashes.root,
        keccak=hashes.keccak,
        nodes=hashes.nodes,
    )


def preview(dataset: Dataset) -> list[tuple[str, str]]:
    """The first rows: what is given, what should be said; nothing where the key is gone."""
    if not dataset.preview_sealed:
        return []
    try:
        rows = orjson.loads(crypto.unseal(dataset.preview_sealed))
    except crypto.Unreadable:
        return []
    return [(str(given), str(said)) for given, said in rows]


def drop(dataset: Dataset, *, forget: bool = False) -> None:
    """Delete its bytes here; where it was sent they stay. Of one that is published, or is announced
    for that, what was found and its root stay, by which nobody pays for the same file twice, until
    they are to be forgotten too: a second click is no such wish."""
    place = publishing.place_of(dataset)
    kept = place is not None and place.announced
    with transaction.atomic():
        if dataset.file is not None:
            StoredFile.objects.filter(pk=dataset.file.pk).delete()
        if forget or not kept:
            dataset.delete()
        else:
            # The first rows are its content too.
            Dataset.objects.filter(pk=dataset.pk).update(preview_sealed="")


# --- to a provider --------------------------------------------------------------------------------


def send_to(dataset: Dataset, provider: str, url: str, signature: str, signed_at: int) -> Place:
    """Let a worker send it into a provider's machine, with a signature of its owner over
    `tuning.upload_hash`. Raises Problem."""
    if dataset.state != DatasetState.GOOD:
        raise Problem("dataset_not_ready", _("Only a dataset without problems can be sent."))
    owner = dataset.user.address
    problems.require_signed(owner, tuning.upload_hash(owner, signed_at), signature, signed_at)
    named: dict[str, Any] = {"dataset": dataset, "way": Way.TEE, "provider": provider}
    with transaction.atomic():
        place = Place.objects.select_for_update().filter(**named).first()
        if place is not None and place.state == PlaceState.SENDING:
            return place  # a second click, or another tab: it is on its way
        if place is None or place.state != PlaceState.WAITING:
            results.require_room(provider)
        place, _created = Place.objects.update_or_create(
            **named,
            defaults={
                "url": url,
                "signature": signature,
                "signed_at": signed_at,
                "state": PlaceState.WAITING,
                "sent": 0,
                "error": "",
            },
        )
    return place


def send(place: Place) -> None:
    """Send a dataset to where it belongs; what came of it is in the row. A worker's work, one at a
    time."""
    token = leases.take(f"place:{place.pk}")
    if token is None:
        return
    try:
        _send(place, token)
    finally:
        leases.give_back(f"place:{place.pk}", token)


def _send(place: Place, token: str) -> None:
    claimed = Place.objects.filter(pk=place.pk, state=PlaceState.WAITING)
    if not claimed.update(state=PlaceState.SENDING, updated_at=timezone.now()):
        return
    # It may have been signed once more since it was read.
    place.refresh_from_db(fields=["url", "signature", "signed_at"])
    if place.way == Way.STORAGE:
        publishing.send(place)
        return
    dataset = place.dataset
    if dataset.file is None:
        _failed(place, N_("Its bytes were deleted here."))
        return
    try:
        hash_ = async_to_sync(_upload)(place, dataset.file, token)
    except (BrokerError, crypto.Unreadable) as error:
        _failed(place, str(error))
        return
    if hash_ != dataset.keccak:
        _failed(place, N_("The provider names another hash than these bytes have."))
        return
    Place.objects.filter(pk=place.pk).update(
        state=PlaceState.THERE, sent=dataset.size, signature="", updated_at=timezone.now()
    )


async def _upload(place: Place, file: StoredFile, token: str) -> str:
    dataset = place.dataset
    async with (
        leases.renewed(f"place:{place.pk}", token),
        broker.connected(place.url) as connection,
    ):
        return await connection.upload(
            dataset.user.address,
            dataset.name,
            dataset.size,
            _counted(place, file),
            (place.signature, place.signed_at),
        )


def _counted(place: Place, file: StoredFile) -> Iterator[bytes]:
    """The file's bytes; the row says how many have gone, at each piece."""
    sent = 0
    for part in files.read(file):
        yield part
        sent += len(part)
        Place.objects.filter(pk=place.pk).update(sent=sent, updated_at=timezone.now())


def _failed(place: Place, why: str) -> None:
    # Of this try: who was taken for lost may come late, while another one is under way.
    Place.objects.filter(pk=place.pk, signature=place.signature).update(
        state=PlaceState.FAILED, error=why, signature="", updated_at=timezone.now()
    )


def give_up_lost(now: datetime) -> None:
    """Transfers whose worker is gone: to a provider they say so and can be begun again (that takes
    a new signature); to storage they go on by themselves."""
    lost = Place.objects.filter(state=PlaceState.SENDING, updated_at__lt=now - results.LOST_AFTER)
    lost = lost.filter(pk__in=results.unattended(lost, "place"))
    lost.filter(way=Way.STORAGE).update(state=PlaceState.WAITING, updated_at=now)
    lost.filter(way=Way.TEE).update(
        state=PlaceState.FAILED, error=N_("It was cut off. Send it again."), signature=""
    )
