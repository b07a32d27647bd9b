"""The encrypted result: fetched once, hashed as it comes, compared with what the chain says, and
given to its owner as often as wanted. It is never decrypted here: that takes the wallet's key.
"""

from __future__ import annotations

from enum import StrEnum

from asgiref.sync import async_to_sync
from channels.db import database_sync_to_async
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.crypto import Unreadable
from accounts.errors import Problem
from accounts.models import User
from finetune import broker, files, follow
from finetune.errors import BrokerError, BrokerRefused, BrokerSilent
from finetune.models import StoredFile, Task
from ledger import selectors as ledger
from ledger.records import Deliverable, Position
from net.client import Answer, Client
from net.errors import NetError
from net.limits import Limits
from protocol import model_file, tuning
from protocol.digests import BadSignature

_FROM_STORAGE = Limits(
    connect=10, first_byte=60, between=60, total=1_800, max_bytes=200 << 20, max_redirects=0
)
#: Stages from which there is something to fetch.
READY = (tuning.DELIVERED, tuning.USER_ACKNOWLEDGED, tuning.FINISHED)


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


def named_by(held: Position | None, task: Task) -> Deliverable | None:
    """The same from a position that was read."""
    if held is None:
        return None
    return next((one for one in held.deliverables if one.id == str(task.remote_id)), None)


def ask(task: Task, signature: str, signed_at: int) -> None:
    """Check the person's signature over `tuning.download_hash` and mark it to be fetched. Raises
    Problem."""
    if task.progress not in READY:
        raise Problem("not_ready", "There is no result yet.", status=409)
    if not tuning.timely(signed_at, timezone.now().timestamp()):
        raise Problem("signature_old", "The signature is too old.", "Sign once more.")
    try:
        digest = tuning.download_hash(str(task.remote_id), signed_at)
        tuning.signed_by(task.user.address, digest, signature)
    except BadSignature:
        raise Problem("wrong_signature", "This is not your wallet's signature.") from None
    _begin(task)


def _begin(task: Task) -> None:
    with transaction.atomic():
        held = Task.objects.select_for_update().get(pk=task.pk)
        if held.result_state == State.FETCHING:
            raise Problem("under_way", "It is being fetched already.", status=409)
        held.result_state, held.result_sent, held.result_error = State.FETCHING, 0, ""
        held.save(update_fields=["result_state", "result_sent", "result_error"])


def ask_storage(task: Task) -> None:
    """The same from 0G storage by the root on the chain: nothing to sign. Raises Problem."""
    if not settings.STORAGE_INDEXER_URL:
        raise Problem("no_storage", "This site knows no storage indexer.")
    if deliverable_of(task) is None:
        raise Problem("not_delivered", "The chain names no result yet.", status=409)
    _begin(task)


def fetch(task: Task, signature: str, signed_at: int) -> None:
    """Fetch it from the provider (or from storage without a signature), and judge it by its bytes.
    A worker's work; what came of it is in the row."""
    try:
        file = async_to_sync(_fetch)(task, task.user, signature, signed_at)
    except (BrokerError, Problem, NetError, Unreadable) as error:
        _end(task, State.FAILED, f"{error}")
        return
    judge(task, file)


def judge(task: Task, file: StoredFile) -> None:
    """Compare what came with the chain: its root (or keccak256) and the signer of its tags."""
    hashes = files.hashes(file)
    source = files.Source(file)
    try:
        signer, problem = model_file.signer_of(source, file.size), ""  # type: ignore[arg-type]
    except model_file.BadModelFile as error:
        signer, problem = "", f"It is no encrypted model: {error}."
    named = deliverable_of(task)
    wanted = named.model_root_hash.lower() if named else ""
    if not problem and wanted not in (hashes.root, hashes.keccak):
        problem = "Its bytes have another hash than the chain names."
    if not problem and signer != task.tee_signer:
        problem = "Its seals were signed by another key than the provider's."
    old = task.result
    Task.objects.filter(pk=task.pk).update(
        result=file,
        result_root=hashes.root,
        result_keccak=hashes.keccak,
        result_signer=signer,
    )
    if old is not None:
        old.delete()
    _end(task, State.WRONG if problem else State.HERE, problem)


async def _fetch(task: Task, user: User, signature: str, signed_at: int) -> StoredFile:
    if not signature:
        return await _fetch_storage(task, user)
    async with (
        broker.connected(task.url) as connection,
        connection.download(user.address, task.remote_id, (signature, signed_at)) as answer,
    ):
        return await _keep(task, user, answer)


async def _fetch_storage(task: Task, user: User) -> StoredFile:
    named = await database_sync_to_async(deliverable_of)(task)
    if named is None:
        raise BrokerSilent("The chain names no result yet.")
    url = f"{settings.STORAGE_INDEXER_URL}/file?root={named.model_root_hash}"
    # The operator names the indexer, so its address is no stranger's.
    async with (
        Client(broker.policy(), _FROM_STORAGE) as client,
        client.open("GET", url) as answer,
    ):
        if "json" in answer.header("Content-Type"):
            raise BrokerRefused(404, "0G storage has no file of this root")
        return await _keep(task, user, answer)


async def _keep(task: Task, user: User, answer: Answer) -> StoredFile:
    length = answer.header("Content-Length")
    if not (length.isascii() and length.isdigit() and len(length) < 12):
        raise BrokerSilent("It does not say how long the result is.")
    file: StoredFile = await database_sync_to_async(files.create)(user, int(length))
    held, number = bytearray(), 0
    try:
        async for part in answer.chunks():
            held += part
            while len(held) >= files.PIECE_BYTES:
                await database_sync_to_async(_put)(
                    task, file, number, bytes(held[: files.PIECE_BYTES])
                )
                del held[: files.PIECE_BYTES]
                number += 1
        if held:
            await database_sync_to_async(_put)(task, file, number, bytes(held))
        if await database_sync_to_async(files.missing)(file):
            raise BrokerSilent("The result broke off.")
    except BaseException:
        await database_sync_to_async(file.delete)()
        raise
    return file


def _put(task: Task, file: StoredFile, number: int, data: bytes) -> None:
    files.put(file, number, data)
    sent = number * files.PIECE_BYTES + len(data)
    Task.objects.filter(pk=task.pk).update(result_sent=sent)


def _end(task: Task, state: State, why: str) -> None:
    Task.objects.filter(pk=task.pk).update(result_state=state, result_error=why[:400])
    follow.tell(task)
