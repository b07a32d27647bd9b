"""Background work: datasets are checked and sent, tasks asked after, results fetched."""

from __future__ import annotations

from celery import shared_task
from django.core.cache import cache
from django.utils import timezone

from finetune import deploying, drafts, follow, offers, publishing, results, services
from finetune.models import Dataset, DatasetState, Deployment, Place, PlaceState, Task
from net.locks import alone

_LONG = 2_000
#: One round of looks at a time over all workers: providers that are slow hold up no more. "0GTUNE".
LOOKS = 0x3047_5455_4E45


@shared_task(name="finetune.check", time_limit=_LONG)
def check(dataset_id: str) -> None:
    """Read one dataset; harmless when it was read already."""
    dataset = Dataset.objects.filter(pk=dataset_id, state=DatasetState.CHECKING).first()
    if dataset is not None:
        services.check(dataset)


@shared_task(name="finetune.send", time_limit=_LONG)
def send(place_id: int) -> None:
    """Send one dataset to where it belongs."""
    place = Place.objects.filter(pk=place_id).select_related("dataset__user", "dataset__file")
    found = place.first()
    if found is not None:
        services.send(found)


@shared_task(name="finetune.look_again", expires=60)
def look_again(place_id: int) -> None:
    """Whether an announcement that was given up has come after all."""
    place = Place.objects.filter(pk=place_id).select_related("dataset").first()
    if place is not None and publishing.given_up(place):
        publishing.look_again(place)


@shared_task(name="finetune.fetch", time_limit=_LONG)
def fetch(task_id: str, signature: str, signed_at: int) -> None:
    """Fetch one result; harmless when it was fetched already."""
    waits = Task.objects.filter(pk=task_id, result_state=results.State.FETCHING)
    task = waits.select_related("user", "result").first()
    if task is not None:
        results.fetch(task, signature, signed_at)


@shared_task(name="finetune.deploy", time_limit=_LONG)
def deploy(deployment_id: int) -> None:
    """Ask an inference provider for one tuned model."""
    row = Deployment.objects.filter(pk=deployment_id).select_related("task__user").first()
    if row is not None:
        deploying.look(row)


@shared_task(name="finetune.sweep", expires=4)
def sweep() -> int:
    """Every few seconds by beat: ask after what is due, and take up what a lost worker left."""
    services.give_up_lost(timezone.now())
    results.give_up_lost(timezone.now())
    for dataset in Dataset.objects.filter(state=DatasetState.CHECKING)[:5]:
        check.delay(str(dataset.pk))
    for place in Place.objects.filter(state=PlaceState.WAITING).order_by("updated_at")[:5]:
        send.delay(place.pk)
    for place in publishing.claim_late(timezone.now(), 5):
        look_again.delay(place.pk)
    if cache.add("finetune.purge_drafts", 1, timeout=60):
        drafts.purge()
    if cache.add("finetune.ask_offers", 1, timeout=offers.PAUSE_SECONDS):
        ask_offers.delay()
    with alone(LOOKS) as free:
        return follow.look_at_due() + deploying.look_at_due() if free else 0


@shared_task(name="finetune.ask_offers", expires=20, time_limit=_LONG)
def ask_offers() -> int:
    """Ask providers what they say of themselves."""
    return offers.refresh_due()
