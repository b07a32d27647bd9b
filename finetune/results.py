"""The encrypted result: fetched once, hashed as it comes, compared with what the chain says, and
given to its owner as often as wanted. It is never decrypted here: that takes the wallet's key.
"""

from __future__ import annotations

import datetime as dt
import re
from enum import StrEnum
from typing import Any, TypeVar

from asgiref.sync import async_to_sync
from channels.db import database_sync_to_async
from django.conf import settings
from django.db import transaction
from django.db.models import Model, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop as N_

from accounts.crypto import Unreadable
from accounts.errors import Problem
from attestation import leases, trust
from finetune import broker, files, follow, problems, settled
from finetune.errors import BrokerError, BrokerRefused, BrokerSilent
from finetune.models import Place, PlaceState, StoredFile, Task, Way
from ledger import selectors as ledger
from ledger.models import ServiceChange
from ledger.records import Deliverable, Position
from net import locks
from net.client import Answer, Client
from net.errors import NetError
from protocol import model_file, tuning

Row = TypeVar("Row", bound=Model)
#: Stages from which there is something to fetch, by the provider's word.
READY = (tuning.DELIVERED, tuning.USER_ACKNOWLEDGED, tuning.FINISHED)
#: A transfer that gives no sign for so long may have no worker any more.
LOST_AFTER = dt.timedelta(minutes=3)
#: Transfers under way with one provider, and with all: some worker is always left for other work,
#: however slowly a stranger sends or takes.
MOST_WITH_ONE, MOST_AT_ONCE = 2, 3
#: PostgreSQL advisory lock of one beginning at a time: "0G send" in bytes.
_LOCK = 0x3047_2073_656E_64
_NOT_NAMED = N_("The chain names no result yet.")
_REST = re.compile(r"bytes ([0-9]{1,12})-[0-9]{1,12}/([0-9]{1,12})")


class State(StrEnum):
    FETCHING = "fetching"
    HERE = "here"
    WRONG = "wrong"  # it came, and is not what the chain names
    FAILED = "failed"


def position_of(task: Task) -> Position | None:
    """What its owner holds where it is paid from (2 queries)."""
    return ledger.position(task.user.address, task.provider, task.serving)


def deliverable_of(task: Task) -> Deliverable | None:
    """What the chain says of its result (2 queries)."""
    return named_by(position_of(task), task)


def recorded(task: Task) -> Deliverable | None:
    """The same, or what the chain recorded of a settled one that the contract has forgotten."""
    return deliverable_of(task) or settled.announced(task)


def named_by(held: Position | None, task: Task) -> Deliverable | None:
    """The same from a position that was read."""
    if held is None:
        return None
    return next((one for one in held.deliverables if one.id == str(task.remote_id)), None)


def replaced(task: Task, named: Deliverable | None) -> bool:
    """Whether the chain names another file by now than the one that was checked: blocks were taken
    back, and the result was announced once more."""
    was = (task.result_root, task.result_keccak)
    here = task.result_state == State.HERE and bool(task.result_root)
    return here and named is not None and named.model_root_hash.lower() not in was


def ask(task: Task, signature: str, signed_at: int) -> None:
    """Check the person's signature over `tuning.download_hash` and mark it to be fetched. Raises
    Problem."""
    if task.progress not in READY and deliverable_of(task) is None:
        raise Problem("not_ready", _("There is no result yet."), status=409)
    hash_ = tuning.download_hash(str(task.remote_id), signed_at)
    problems.require_signed(task.user.address, hash_, signature, signed_at)
    _begin(task)


def _begin(task: Task) -> None:
    with transaction.atomic():
        held = Task.objects.select_for_update().get(pk=task.pk)
        if held.result_state == State.FETCHING:
            raise Problem("under_way", _("It is being fetched already."), status=409)
        if held.result_state == State.HERE and not replaced(held, deliverable_of(held)):
            # What comes now may be nothing, or something else: what was checked stays.
            raise Problem("already_here", _("It is here already, and was checked."), status=409)
        require_room(task.provider)
        held.result_state, held.result_error = State.FETCHING, ""
        held.result_touched = timezone.now()
        held.save(update_fields=["result_state", "result_error", "result_touched"])


def unreadable(task: Task) -> None:
    """Nothing opens what is kept of it any more: it can be fetched anew."""
    _end(task, State.FAILED, N_("Its bytes cannot be read here any more. Fetch it again."))


def delete(task: Task) -> None:
    """Give up what is kept of its result here, and the room that it takes; it can be fetched again
    while somebody has it. Raises Problem."""
    with transaction.atomic():
        held = Task.objects.select_for_update().get(pk=task.pk)
        if held.result_state == State.FETCHING:
            raise Problem("under_way", _("It is being fetched already."), status=409)
        StoredFile.objects.filter(Q(part_of=held) | Q(task=held)).delete()
        rows = Task.objects.filter(pk=task.pk)
        rows.update(result_state=State.FAILED, result_error="", result_sent=0)


def require_room(provider: str) -> None:
    """Hold what is under way, in a transaction. Raises Problem where there is no room for one more
    transfer with this provider."""
    locks.in_turn(_LOCK)
    moving = (PlaceState.WAITING, PlaceState.SENDING)
    sending = Place.objects.filter(way=Way.TEE, state__in=moving)
    fetching = Task.objects.filter(result_state=State.FETCHING)
    found = [*sending.values_list("provider", flat=True)]
    found += fetching.values_list("provider", flat=True)
    if found.count(provider) >= MOST_WITH_ONE or len(found) >= MOST_AT_ONCE:
        raise Problem(
            "busy", _("Many files are under way."), _("Try again in a minute."), status=503
        )


def not_begun(task: Task) -> Problem:
    """What to raise where no worker could be told of it; it can be asked for again at once."""
    problem = Problem(
        "queue_down",
        _("Background work cannot be queued at the moment."),
        _("Try again in a minute."),
        status=503,
    )
    _end(task, State.FAILED, N_("Background work cannot be queued at the moment."))
    return problem


def give_up_lost(now: dt.datetime) -> None:
    """Fetches whose worker is gone: they say so; the next one goes on with what came."""
    lost = Q(result_touched__lt=now - LOST_AFTER) | Q(result_touched__isnull=True)
    rows = Task.objects.filter(lost, result_state=State.FETCHING)
    rows.filter(pk__in=unattended(rows, "result")).update(
        result_state=State.FAILED, result_error=N_("It was cut off. Fetch it again to go on.")
    )


def unattended(rows: QuerySet[Row], what: str) -> list[Any]:
    """Ids of those rows whose lease nobody holds: a worker that lives is at it, however slow."""
    found = []
    for pk in rows.values_list("pk", flat=True):
        if (token := leases.take(f"{what}:{pk}")) is not None:
            leases.give_back(f"{what}:{pk}", token)
            found.append(pk)
    return found


def ask_storage(task: Task) -> None:
    """The same from 0G storage by the root on the chain: nothing to sign. Raises Problem."""
    if not settings.STORAGE_INDEXER_URL:
        raise Problem("no_storage", _("This site knows no storage indexer."))
    if recorded(task) is None:
        raise Problem("not_delivered", _(_NOT_NAMED), status=409)
    _begin(task)


def fetch(task: Task, signature: str, signed_at: int) -> None:
    """Fetch it from the provider (or from storage without a signature), and judge it by its bytes.
    A worker's work, one at a time; what came of it is in the row."""
    token = leases.take(f"result:{task.pk}")
    if token is None:
        return
    try:
        judge(task, async_to_sync(_fetch)(task, (signature, signed_at), token))
    except Unreadable as error:
        # Nothing will ever open what came: the next try must not go on with it.
        StoredFile.objects.filter(part_of=task).delete()
        _end(task, State.FAILED, f"{error}")
    except Problem as problem:
        _end(task, State.FAILED, problem.said)
    except (BrokerError, NetError) as error:
        _end(task, State.FAILED, f"{error}")
    finally:
        leases.give_back(f"result:{task.pk}", token)


def judge(task: Task, file: StoredFile) -> None:
    """Compare what came with the chain: its root (or keccak256) and the signer of its tags. Without
    the chain's word there is no verdict: the next try goes on with what came."""
    hashes = files.hashes(file)
    source = files.Source(file)
    try:
        signer, problem = model_file.signer_of(source, file.size), ""  # type: ignore[arg-type]
    except model_file.BadModelFile as error:
        signer, problem = "", f"It is no encrypted model: {error}."
    named = recorded(task)
    same = named is None or named.model_root_hash.lower() in (hashes.root, hashes.keccak)
    if not problem and not same:
        problem = N_("Its bytes have another hash than the chain names.")
    if not problem and signer not in _keys_of(task):
        problem = N_(
            "Its seals were signed by a key that the chain has not named for this provider since "
            "the task was created."
        )
    if not problem and named is None:
        _end(task, State.FAILED, _NOT_NAMED)
        return
    old, state = task.result, State.WRONG if problem else State.HERE
    with transaction.atomic():  # with its verdict: a worker may be killed at any moment
        Task.objects.filter(pk=task.pk).update(
            result=file,
            result_part=None,
            result_root=hashes.root,
            result_keccak=hashes.keccak,
            result_signer=signer,
            result_state=state,
            result_error=problem[:400],
        )
        if old is not None and old.pk != file.pk:
            old.delete()
    follow.tell(task)


def _keys_of(task: Task) -> set[str]:
    """Keys that the chain has named for its provider from the start until now: one that was changed
    on the way is settled by the new one (contracts.md 6.5), and seals what it delivers (3
    queries)."""
    changes = ServiceChange.objects.filter(
        serving=task.serving, provider=task.provider, change="signer", at__gte=task.created_at
    )
    rows = changes.values_list("before__tee_signer", "after__tee_signer")
    listing = follow.listing_of(task)
    now = {listing.tee_signer} if listing is not None else set()
    return {task.tee_signer, *now, *(key for row in rows for key in row if key)}


async def _fetch(task: Task, signed: tuple[str, int], token: str) -> StoredFile:
    async with leases.renewed(f"result:{task.pk}", token):
        part: StoredFile | None = await database_sync_to_async(_part)(task)
        start = await database_sync_to_async(files.begun)(part) if part else 0
        if part is not None and start == part.size:
            return part  # it came whole, and was not judged
        if not signed[0]:
            return await _fetch_storage(task, start)
        async with (
            broker.connected(task.url) as connection,
            connection.download(task.user.address, task.remote_id, signed, start) as answer,
        ):
            return await _keep(task, answer, start)


def _part(task: Task) -> StoredFile | None:
    """What an earlier try left."""
    return StoredFile.objects.filter(part_of=task).first()


async def _fetch_storage(task: Task, start: int) -> StoredFile:
    named = await database_sync_to_async(recorded)(task)
    if named is None:
        raise BrokerSilent(_NOT_NAMED)
    url = f"{settings.STORAGE_INDEXER_URL}/file?root={named.model_root_hash}"
    # The operator names the indexer, so its address is no stranger's.
    async with (
        Client(trust.provider_policy(), broker.FETCHING) as client,
        client.open("GET", url, headers=broker.from_byte(start), accept=(200, 206)) as answer,
    ):
        if "json" in answer.header("Content-Type"):
            raise BrokerRefused(404, N_("0G storage has no file of this root"))
        return await _keep(task, answer, start)


async def _keep(task: Task, answer: Answer, start: int) -> StoredFile:
    """Take it in; `start` is what was asked for, and not every server can go on there."""
    size, start = _extent(answer, start)
    file: StoredFile = await database_sync_to_async(_room)(task, size, start)
    held, number = bytearray(), start // files.PIECE_BYTES
    async for part in answer.chunks():
        held += part
        while len(held) >= files.PIECE_BYTES:
            await database_sync_to_async(_put)(task, file, number, bytes(held[: files.PIECE_BYTES]))
            del held[: files.PIECE_BYTES]
            number += 1
    if number * files.PIECE_BYTES + len(held) < size:
        raise BrokerSilent(N_("The result broke off. Fetch it again to go on."))
    if held:
        await database_sync_to_async(_put)(task, file, number, bytes(held))
    return file


def _extent(answer: Answer, start: int) -> tuple[int, int]:
    """The whole size, and where this answer begins. Raises BrokerSilent.

    The sizes that HTTP names are those of what is sent: of a packed answer they say nothing about
    the file, and a part of it is no part of the file.
    """
    if answer.header("Content-Encoding").strip().lower() not in ("", "identity"):
        raise BrokerSilent(
            N_("It sends the file compressed, and was asked for it as it is. Nothing was kept.")
        )
    if answer.status == 206:
        rest = _REST.fullmatch(answer.header("Content-Range"))
        if rest is None or int(rest[1]) != start:
            raise BrokerSilent(N_("It sends another part than was asked for."))
        return int(rest[2]), start
    length = answer.header("Content-Length")
    if not (length.isascii() and length.isdigit() and len(length) < 12):
        raise BrokerSilent(N_("It does not say how long the result is."))
    return int(length), 0


def _room(task: Task, size: int, start: int) -> StoredFile:
    """The file that an earlier try began, if this answer goes on with it; else a new one."""
    part = _part(task)
    if part is not None and start and part.size == size:
        return part
    if part is not None:
        part.delete()
    if start:
        raise BrokerSilent(N_("Its size has changed. Fetch it again."))
    if size > files.MAX_BYTES:
        sizes = {"size": -(-size >> 20), "most": files.MAX_BYTES >> 20}
        raise BrokerSilent(problems.TOO_LARGE % sizes)
    with transaction.atomic():  # a file that no task names would fill the quota for a day
        file = files.create(task.user, size)
        Task.objects.filter(pk=task.pk).update(result_part=file, result_sent=0)
    return file


def _put(task: Task, file: StoredFile, number: int, data: bytes) -> None:
    files.put(file, number, data)
    sent = number * files.PIECE_BYTES + len(data)
    Task.objects.filter(pk=task.pk).update(result_sent=sent, result_touched=timezone.now())


def _end(task: Task, state: State, why: str) -> None:
    Task.objects.filter(pk=task.pk).update(result_state=state, result_error=why[:400])
    follow.tell(task)
