"""Tasks are asked after until they end, whether or not anybody looks at a page.

How often: soon while something happens, seldom while the person is waited for, with growing pauses
while the provider does not answer. Nothing here decides: it writes down what was said, and when.
"""

from __future__ import annotations

import asyncio
import codecs
import datetime as dt
import hashlib
import logging
from collections.abc import Coroutine, Iterable, Mapping
from typing import TypeVar

from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.db import transaction
from django.db.models import Model, QuerySet, Sum, Window
from django.db.models.functions import RowNumber
from django.utils import timezone

from accounts.models import User
from attestation import selectors as attestation
from attestation.selectors import ServiceKey
from finetune import broker, offers
from finetune.broker import Said
from finetune.errors import BrokerError, BrokerRefused
from finetune.models import Draft, LogPart, Passage, Task
from ledger import selectors as ledger
from ledger.models import Kind
from ledger.records import Listing
from net import layer
from protocol import tuning

log = logging.getLogger(__name__)
Row = TypeVar("Row", bound=Model)

#: Between two looks, by what the task is at.
BUSY, WAITING = dt.timedelta(seconds=15), dt.timedelta(minutes=1)
LONGEST = dt.timedelta(minutes=10)
#: On a devnet a task takes seconds.
DEVNET = dt.timedelta(seconds=3)
#: A look belongs to whoever took it up for so long: longer than the slowest answer takes.
CLAIM = dt.timedelta(seconds=120)
BATCH = 20
_NO_LOG = "Its log cannot be read."
#: A log that begins anew is kept anew, until so many bytes of one task's were kept in all: who says
#: something else at every look would have it all written at every look.
MOST_TAKEN = 3 * broker.MOST_LOG_BYTES
_TOO_OFTEN = "Its log was rewritten too often: it is not read any more."
#: What one person's tasks at one provider may have here: it invents them without any work, and must
#: not take the room of others'.
MOST_TASKS, MOST_OF_ONE = 1_000, 100 * broker.MOST_LOG_BYTES
_NO_ROOM = (
    "Its log is not read: those of your tasks at this provider take all the room that they may."
)
#: After the end: how long the log may still grow, and the chain's word may take.
_AFTERWARDS = dt.timedelta(minutes=2)


def look_at_due() -> int:
    """Ask after every task that is due; how many. Two at once share them."""
    found = claimed(Task.objects.select_related("user"), timezone.now(), BATCH)
    together(map(_look, found))
    return len(found)


def together(looks: Iterable[Coroutine[None, None, None]]) -> None:
    """All at once: one that hangs or breaks holds up none of the others."""

    async def done() -> None:
        for problem in await asyncio.gather(*looks, return_exceptions=True):
            if problem is not None:
                log.error("a look broke", exc_info=problem)

    async_to_sync(done)()


def claimed(rows: QuerySet[Row], now: dt.datetime, most: int) -> list[Row]:
    """What is due first by its `look_next`, of one provider a quarter at most: who answers drop by
    drop takes no others' turn. Nobody else is given it before `CLAIM` is over."""
    due = rows.filter(look_next__lte=now)
    turn = Window(RowNumber(), partition_by="provider", order_by="look_next")
    first = due.annotate(turn=turn).filter(turn__lte=most // 4).order_by("look_next")
    ids = list(first.values_list("pk", flat=True)[:most])
    with transaction.atomic():
        free = due.filter(pk__in=ids).select_for_update(skip_locked=True)
        ids = list(free.values_list("pk", flat=True))
        rows.filter(pk__in=ids).update(look_next=now + CLAIM)
    return list(rows.filter(pk__in=ids))


def look(task: Task) -> None:
    """Ask its provider once and write down what was said."""
    async_to_sync(_look)(task)


async def _look(task: Task) -> None:
    now = timezone.now()
    try:
        said, raw, unread = await _ask(task)
    except BrokerRefused as error:
        await sync_to_async(_unanswered)(task, f"The provider says: {error}.", now)
    except BrokerError as error:
        await sync_to_async(_unanswered)(task, str(error), now)
    else:
        await sync_to_async(_answered)(task, said, raw, unread, now)


def _answered(task: Task, said: Said, raw: bytes | None, unread: str, now: dt.datetime) -> None:
    with transaction.atomic():
        held = Task.objects.select_for_update().get(pk=task.pk)
        if held.looked_at is not None and held.looked_at > now:
            return  # who looked later was faster: what we were told may be older
        changed = _write(held, said, now)
        if raw is not None:
            changed = _append(held, raw) or changed
        changed = changed or held.error != unread
        held.looked_at, held.failures, held.error = now, 0, unread[:400]
        held.look_next = _next(held, now)
        held.save()
    # The chain's word about an end comes to us later than the provider's.
    if changed or held.ended:
        tell(task)


async def _ask(task: Task) -> tuple[Said, bytes | None, str]:
    """What it says of the task, its log, and why there is none: reminders of deadlines rest on how
    far the task is, so a log that cannot be read costs nothing but itself."""
    user = task.user.address
    async with broker.connected(task.url) as connection:
        said = await connection.task(user, task.remote_id)
        if task.log_taken >= MOST_TAKEN:
            return said, None, _TOO_OFTEN
        if await sync_to_async(_kept_logs)(task) >= MOST_OF_ONE:
            return said, None, _NO_ROOM
        try:
            return said, await connection.log(user, task.remote_id), ""
        except BrokerRefused as error:
            # There may be no log before there is something to tell.
            nothing = error.status == 404 and not task.log_bytes
            return said, None, "" if nothing else f"{_NO_LOG} The provider says: {error}."
        except BrokerError as error:
            return said, None, f"{_NO_LOG} {error}"


def _kept_logs(task: Task) -> int:
    """Bytes of all logs of its owner's tasks at its provider (1 query)."""
    beside = Task.objects.filter(user=task.user_id, provider=task.provider)
    return beside.aggregate(kept=Sum("log_bytes"))["kept"] or 0


def _write(task: Task, said: Said, now: dt.datetime) -> bool:
    """Whether something was news."""
    before = (task.progress, task.fee, task.deliver_index, task.deliver_time)
    if task.fee is None or task.progress in tuning.CANCELLABLE:
        # Counted before training (provider-protocol.md 6.3): a later number is no count, and would
        # pass for one when it is charged.
        task.fee = said.fee or task.fee
    if said.progress != task.progress:
        for stage in _passed(task.progress, said.progress):
            last = stage == said.progress
            Passage.objects.get_or_create(
                task=task,
                stage=stage,
                defaults={"at": now, "said": said.updated_at if last else None},
            )
        task.progress, task.put_away_at = said.progress, None
        if task.ended:
            standing = attestation.standing_of(
                ServiceKey(Kind.FINE_TUNING, task.provider, task.service_name)
            )
            task.end_verification, task.end_verdict = standing.verification_id, standing.overall
    task.deliver_index = said.deliver_index or task.deliver_index
    task.deliver_time = said.deliver_time or task.deliver_time
    return before != (task.progress, task.fee, task.deliver_index, task.deliver_time)


def _passed(before: str, now: str) -> list[str]:
    """The stages between two looks: one that was too short to be seen was passed all the same."""
    if now == tuning.FAILED or before == tuning.FAILED:
        return [now]
    return list(tuning.STAGES[tuning.STAGES.index(before) + 1 : tuning.STAGES.index(now) + 1])


def _append(task: Task, raw: bytes) -> bool:
    """Keep what the log has grown by. One that no longer begins as it did begins anew, marked."""
    begins = hashlib.sha256(raw[: task.log_bytes])
    anew = bool(task.log_bytes) and begins.hexdigest() != task.log_sha256
    if anew:
        task.log_parts.all().delete()
        # Without a digest it is only not known any more how much of it was taken.
        task.log_restarted = task.log_restarted or bool(task.log_sha256)
        task.log_bytes, begins = 0, hashlib.sha256()
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(raw[task.log_bytes :])
    # Half a character at the end waits for its other half.
    end = len(raw) - len(decoder.getstate()[0])
    if end == task.log_bytes:
        return anew
    LogPart.objects.create(task=task, offset=task.log_bytes, text=text.replace("\0", "\ufffd"))
    begins.update(raw[task.log_bytes : end])
    task.log_taken += end - task.log_bytes
    task.log_bytes, task.log_sha256 = end, begins.hexdigest()
    return True


def _next(task: Task, now: dt.datetime) -> dt.datetime | None:
    if task.ended:
        last = task.passages.filter(stage=task.progress).values_list("at", flat=True).first()
        over = last is None or now - last > _AFTERWARDS
        return None if over else now + (DEVNET if settings.IS_DEVNET else BUSY)
    if settings.IS_DEVNET:
        return now + DEVNET
    idle = (tuning.DELIVERED, tuning.USER_ACKNOWLEDGED)
    return now + (WAITING if task.progress in idle else BUSY)


def _unanswered(task: Task, why: str, now: dt.datetime) -> None:
    listing = listing_of(task)
    with transaction.atomic():
        held = Task.objects.select_for_update().get(pk=task.pk)
        if held.looked_at is not None and held.looked_at > now:
            return  # as in `_answered`: somebody who looked later was told more
        pause = min(LONGEST, BUSY * 2 ** min(held.failures, 10))
        if listing is not None and not listing.removed and listing.url not in ("", held.url):
            # The provider has moved: its listing says where to.
            held.url = listing.url
            pause = min(pause, BUSY)
        held.failures, held.error, held.look_next = held.failures + 1, why[:400], now + pause
        held.save(update_fields=["url", "failures", "error", "look_next"])
    if held.failures == 1:
        tell(task)


# --- other doings ---------------------------------------------------------------------------------


def cancel(task: Task, signature: str) -> None:
    """Cancel at the provider, with the person's signature over `tuning.cancel_hash`. Raises
    BrokerError with its words."""
    async_to_sync(_cancel)(task, signature)
    Task.objects.filter(pk=task.pk).update(cancelled_at=timezone.now())
    look(task)


async def _cancel(task: Task, signature: str) -> None:
    async with broker.connected(task.url) as connection:
        await connection.cancel(task.user.address, task.remote_id, signature)


def adopt(user: User, listing: Listing) -> int:
    """Take in what the person has made at this provider with other programs, the newest first, up
    to `MOST_TASKS` there; how many tasks."""
    found = async_to_sync(_tasks)(user.address, listing.url)
    told = offers.told([listing]).get((listing.provider, listing.serving))
    names = {model.hash: model.name for model in told.own if model.hash} if told else {}
    names |= {hash_: name for name, hash_ in tuning.MODEL_HASHES.items()}
    mine = user.tuning_tasks.filter(provider=listing.provider)
    known = set(mine.filter(remote_id__in=[said.id for said in found]).values_list("remote_id"))
    made, room = 0, MOST_TASKS - mine.count()
    for said in found:
        if made >= room and (said.id,) not in known:
            continue
        with transaction.atomic():
            made += _adopted(user, listing, said, names)
    return made


def _adopted(user: User, listing: Listing, said: Said, names: Mapping[str, str]) -> bool:
    """Whether the task was not known; in a transaction. The draft that it was made of, where the
    answer to it was lost, is no draft any more: signed once more it would be a second task."""
    drafts = Draft.objects.filter(
        user=user, provider=listing.provider, pending__nonce=str(said.nonce)
    )
    draft = drafts.select_related("dataset").first()
    dataset = draft.dataset if draft is not None else None
    if dataset is not None and said.dataset_hash.lower() not in (dataset.root, dataset.keccak):
        dataset = None
    task, new = Task.objects.get_or_create(
        provider=listing.provider,
        remote_id=said.id,
        defaults={
            "user": user,
            "serving": listing.serving,
            "service_name": listing.service_name,
            "url": listing.url,
            "model": names.get(said.model_hash, said.model_hash),
            "model_hash": said.model_hash,
            "dataset": dataset,
            "dataset_hash": said.dataset_hash,
            "parameters": said.parameters,
            "price_per_token": listing.price_per_token,
            "nonce": said.nonce,
            "signature": "",
            "tee_signer": listing.tee_signer,
            "created_at": said.created_at or timezone.now(),
            "look_next": timezone.now(),
        },
    )
    if new:
        Passage.objects.create(task=task, stage=tuning.INIT, at=task.created_at)
    if task.user_id == user.pk:
        drafts.delete()
    return new


async def _tasks(user: str, url: str) -> list[Said]:
    async with broker.connected(url) as connection:
        return await connection.tasks(user)


def listing_of(task: Task) -> Listing | None:
    return ledger.service(Kind.FINE_TUNING, task.provider, task.service_name, include_removed=True)


def group_of(task: Task) -> str:
    """The channel-layer group of the open pages of a task."""
    return f"task.{task.pk.hex}"


def tell(task: Task) -> None:
    """Open pages ask again; nothing depends on it."""
    layer.tell(group_of(task), "task.changed")
