"""Takes tasks, cancellations, uploads and downloads: who may, and what the queue allows
(provider-protocol.md 6.1-6.5), with the words of the reference server where they are known."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import time
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from protocol import tuning
from protocol.abi import checksum
from protocol.digests import BadSignature, recover_key
from protocol.tuning import BadParameters
from provider.errors import ChainError, Refused
from provider.http import Answer, Request
from provider.limits import around
from provider.strict import strict_object
from provider.tuning import uploads
from provider.tuning.chain import TuningChain
from provider.tuning.files import Folders
from provider.tuning.options import Model, Options
from provider.tuning.tasks import Task, Tasks
from provider.tuning.work import Work

MAX_BODY_BYTES = 64 * 1024
MAX_LISTED = 100
#: Whose upload it is shows its signature, which comes after the file: so by sender, and few.
UPLOADS_AT_ONCE, UPLOADS_PER_SENDER = 16, 4
DATASETS_PER_USER = 3
#: While datasets of so many bytes wait, only who has an account here may upload more: wallets are
#: free, and a stranger's could fill the disk for a day.
WAITING_BYTES = 2 * 1024**3
#: What may be delivered by us, and is kept for a while afterwards.
DOWNLOADABLE = (tuning.DELIVERED, tuning.USER_ACKNOWLEDGED, tuning.FINISHED)
_PIECE = 256 * 1024
_TASK_TEXTS = (
    "userAddress",
    "datasetHash",
    "trainingParams",
    "preTrainedModelHash",
    "nonce",
    "signature",
)
_DECIMAL = re.compile(r"[0-9]{1,78}\Z")


class Endpoints:
    """The doors that belong to users."""

    def __init__(
        self, options: Options, *, tasks: Tasks, folders: Folders, chain: TuningChain, work: Work
    ) -> None:
        self._options = options
        self._tasks = tasks
        self._folders = folders
        self._chain = chain
        self._work = work
        self._uploading: Counter[str] = Counter()

    # ---- tasks -----------------------------------------------------------------------------

    async def create(self, user: str, request: Request, answer: Answer) -> None:
        """POST a task: 201 with its id."""
        body = strict_object(await request.body(MAX_BODY_BYTES, "the task is too large"))
        task = self._task(user, body)
        await self._check_account(task)
        problem = await asyncio.to_thread(self._tasks.add, task, queue=self._options.queue)
        if problem:
            raise Refused(409, problem)
        self._folders.task(task.id)
        self._folders.log(task.id).info(
            f"task accepted: {task.model}, dataset {task.dataset_hash}, {task.parameters}"
        )
        self._work.wake()
        await answer.json(201, {"id": task.id})

    def _task(self, user: str, body: dict[str, Any]) -> Task:
        """The task that `body` describes, its signature checked. Raises Refused."""
        given = {name: _text(body, name) for name in _TASK_TEXTS}
        if given["userAddress"].lower() != user.lower():
            raise Refused(400, "the task's userAddress is not the address in the path")
        if not tuning.is_hash(given["datasetHash"]):
            raise Refused(400, "datasetHash: expected 0x and 64 lower-case hex digits")
        if not _DECIMAL.match(given["nonce"]) or int(given["nonce"]) >= 2**256:
            raise Refused(400, "nonce: expected a decimal number of at most 256 bits")
        wait = body.get("wait", False)
        if not isinstance(wait, bool):
            raise Refused(400, "wait: expected true or false")
        nonce = int(given["nonce"])
        try:
            hash_ = tuning.task_hash(user, nonce, given["datasetHash"])
            digest = tuning.signed_by(user, hash_, given["signature"])
            key = recover_key(digest, given["signature"])
        except BadSignature as error:
            raise Refused(401, f"verify signature: {error}") from error
        model = self._model(given["preTrainedModelHash"])
        try:
            tuning.parse_parameters(given["trainingParams"])
        except BadParameters as error:
            raise Refused(400, f"invalid training parameters: {error}") from error
        now = time.time()
        return Task(
            id=str(uuid4()),
            user=user,
            created=now,
            updated=now,
            model=model.name,
            model_hash=model.hash,
            dataset_hash=given["datasetHash"],
            parameters=given["trainingParams"],
            nonce=nonce,
            signature=given["signature"],
            public_key=key,
            customised=model.customised,
            wait=wait,
            progress=tuning.INIT,
        )

    def _model(self, hash_: str) -> Model:
        for model in self._options.models:
            if model.hash == hash_:
                return model
        raise Refused(400, f"unsupported model: {hash_[:80]}")

    async def _check_account(self, task: Task) -> None:
        try:
            account = await self._chain.account(task.user)
            service = await self._chain.service()
        except ChainError as error:
            raise Refused(503, str(error)) from error
        if account is None:
            raise Refused(
                400,
                "get account from contract, account not exist: "
                "execution reverted: AccountNotExists",
            )
        if not account.acknowledged:
            raise Refused(400, "user not acknowledge the provider's TEE signer")
        if not service or not service["teeSignerAcknowledged"]:
            raise Refused(400, "service not acknowledge the tee signer")
        if account.unacknowledged:
            # Its result could never be delivered.
            raise Refused(
                409, f"previous deliverable not acknowledged: {account.unacknowledged[:80]}"
            )
        used = max(account.nonce, await asyncio.to_thread(self._tasks.last_nonce, task.user))
        if task.nonce <= used:
            raise Refused(400, f"invalid nonce: {task.nonce}, the last one was {used}")
        model = self._model(task.model_hash)
        if account.available <= model.storage_fee:
            raise Refused(
                400,
                f"insufficient balance: {account.available} neuron, and storing the result alone "
                f"costs {model.storage_fee}",
            )

    async def cancel(self, user: str, id_: str, request: Request, answer: Answer) -> None:
        """POST a cancellation: allowed until training starts."""
        body = strict_object(await request.body(MAX_BODY_BYTES, "the request is too large"))
        task = await self._task_of(user, id_, another=403)
        _check(user, tuning.cancel_hash(task.id), _text(body, "signature"), status=401)
        moved = await asyncio.to_thread(
            self._tasks.advance, task.id, tuning.CANCELLABLE, tuning.FAILED
        )
        if moved is None:
            raise Refused(409, f"cannot cancel a task at {task.progress}: training has begun")
        self._work.stop(task.id)
        self._folders.log(task.id).warning("cancelled by the user")
        await asyncio.to_thread(self._folders.drop_plaintext, task.id)
        await answer.whole(200, f"task {task.id} cancelled".encode(), "text/plain")

    async def _task_of(self, user: str, id_: str, *, another: int = 404) -> Task:
        """A task of this user. Raises Refused 404; of another user with the status `another`."""
        try:
            found = await asyncio.to_thread(self._tasks.get, str(UUID(id_)))
        except ValueError:
            found = None
        if found is None or (found.user != user and another == 404):
            raise Refused(404, "task not found")
        if found.user != user:
            raise Refused(another, "you are not the owner of this task")
        return found

    async def show(self, user: str, id_: str, answer: Answer) -> None:
        """GET one task."""
        await answer.json(200, (await self._task_of(user, id_)).document())

    async def list_(self, user: str, request: Request, answer: Answer) -> None:
        """GET a user's tasks, newest first unless `order=asc`; with `latest=true` only one."""
        latest = request.query.get("latest") == "true"
        found = await asyncio.to_thread(
            self._tasks.of_user,
            user,
            newest_first=latest or request.query.get("order") != "asc",
            limit=1 if latest else MAX_LISTED,
        )
        await answer.json(200, [task.document() for task in found])

    async def log(self, user: str, id_: str, answer: Answer) -> None:
        """GET a task's log."""
        task = await self._task_of(user, id_)
        raw = await asyncio.to_thread(self._folders.log(task.id).read)
        await answer.whole(200, raw, "text/plain; charset=utf-8", {"cache-control": "no-store"})

    # ---- files -----------------------------------------------------------------------------

    async def upload(self, user: str, request: Request, answer: Answer) -> None:
        """POST a dataset into the TEE: its keccak256."""
        sender = request.sender
        full = self._uploading.total() >= UPLOADS_AT_ONCE
        if network := around(sender):  # which has any number of senders
            of_all = sum(n for name, n in self._uploading.items() if around(name) == network)
            full = full or of_all >= UPLOADS_AT_ONCE // 2
        if full or self._uploading[sender] >= UPLOADS_PER_SENDER:
            raise Refused(429, "too many uploads are under way", {"Retry-After": "5"})
        target = self._folders.incoming(secrets.token_hex(16))
        self._uploading[sender] += 1
        try:
            await self._check_room(user)
            hash_, fields = await uploads.receive(request, target)
            timestamp = _timestamp(fields.get("timestamp", ""))
            signed = tuning.upload_hash(user, timestamp)
            _check(user, signed, fields.get("signature", ""), status=401)
            await asyncio.to_thread(
                self._folders.keep_dataset, target, user, hash_, most=DATASETS_PER_USER
            )
        finally:
            self._uploading -= Counter({sender: 1})
            target.unlink(missing_ok=True)
        await answer.json(200, {"datasetHash": hash_, "message": "Dataset uploaded successfully"})

    async def _check_room(self, user: str) -> None:
        if await asyncio.to_thread(self._folders.waiting) < WAITING_BYTES:
            return
        try:
            account = await self._chain.account(user)
        except ChainError as error:
            raise Refused(503, str(error)) from error
        if account is None:
            raise Refused(403, "too many datasets wait: only users with an account may upload now")

    async def download(self, user: str, id_: str, request: Request, answer: Answer) -> None:
        """POST for the encrypted result."""
        body = strict_object(await request.body(MAX_BODY_BYTES, "the request is too large"))
        task = await self._task_of(user, id_, another=403)
        timestamp = _timestamp(body.get("timestamp"))
        _check(user, tuning.download_hash(task.id, timestamp), _text(body, "signature"), status=403)
        if task.progress not in DOWNLOADABLE:
            raise Refused(409, "task is not ready for download. Please wait for 'Delivered' status")
        path = self._folders.result(task.id)
        if not path.exists():
            raise Refused(503, f"{task.id}: the result is not kept any more")
        await _send_file(path, f"lora_model_{task.id}.zip", answer)


async def _send_file(path: Path, name: str, answer: Answer) -> None:
    size = path.stat().st_size
    await answer.start(
        200,
        {
            "content-type": "application/octet-stream",
            "content-length": str(size),
            "content-disposition": f'attachment; filename="{name}"',
            "cache-control": "no-store",
        },
    )
    with path.open("rb") as source:
        while size > 0 and not answer.lost:
            piece = await asyncio.to_thread(source.read, _PIECE)
            size -= len(piece)
            await answer.write(piece, more=size > 0)


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise Refused(400, f"{name}: expected a text")
    return value


def _timestamp(value: object) -> int:
    """A signed timestamp that counts now, in unix seconds. Raises Refused."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,12}", value):
        value = int(value)
    if type(value) is not int:
        raise Refused(400, "timestamp: expected unix seconds")
    if not tuning.timely(value, time.time()):
        raise Refused(403, "signature expired, or from the future")
    return value


def _check(user: str, hash_: bytes, signature: str, *, status: int) -> None:
    with contextlib.suppress(BadSignature):
        tuning.signed_by(user, hash_, signature)
        return
    raise Refused(status, "invalid signature")


def address(text: str) -> str:
    """The EIP-55 form of an address in a path. Raises Refused 400."""
    try:
        return checksum(text)
    except ValueError as error:
        raise Refused(400, "invalid user address") from error
