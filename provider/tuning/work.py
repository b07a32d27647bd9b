"""Moves tasks from stage to stage (provider-protocol.md 6.3, 6.8).

Every step can be done again: it is written down before the next begins, and what a step did outside
(a download, an announcement, a deliverable, a settlement) is looked for before it is done. So a
task survives the broker's death at any moment; only training itself starts over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import shutil
import sqlite3
import time
import zipfile
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path

from eth_utils.crypto import keccak

from protocol import ecies, model_file, tuning
from protocol.digests import VerifierMessage, verifier_digest
from provider.errors import ChainError, Reverted
from provider.tee import Tee
from provider.tuning import executor
from provider.tuning.chain import TuningChain
from provider.tuning.executor import OUTPUT, ExecutorFailed, TaskLog
from provider.tuning.files import Folders
from provider.tuning.handover import HandoverError, Receiver
from provider.tuning.options import Model, Options
from provider.tuning.storage import NotStored, Storage, StorageError
from provider.tuning.tasks import PENDING, Task, Tasks

MAX_DATASET_BYTES = 512 * 1024 * 1024
ATTEMPTS = 12
RETRY_SECONDS = 5
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
_OPEN = tuple(stage for stage in tuning.STAGES if stage != tuning.FINISHED)

log = logging.getLogger("provider.tuning.work")


class Failure(Exception):
    """The task cannot go on; the text is for its user."""


class Work:
    """Three loops: one trains, one delivers, one waits for acknowledgements and settles."""

    def __init__(
        self,
        options: Options,
        *,
        tasks: Tasks,
        folders: Folders,
        chain: TuningChain,
        storage: Storage | None,
        receiver: Receiver | None,
        tee: Tee,
        chain_id: int,
    ) -> None:
        self._options = options
        self._tasks = tasks
        self._folders = folders
        self._chain = chain
        self._storage = storage
        self._receiver = receiver
        self._tee = tee
        self._chain_id = chain_id
        self._wake = {name: asyncio.Event() for name in ("train", "deliver", "follow")}
        self._setting_up: tuple[str, asyncio.Task[None]] | None = None
        self._complaints: dict[str, str] = {}

    def loops(self) -> list[Coroutine[None, None, None]]:
        """What works, each without end, to be run side by side."""
        return [
            self._loop("train", self._train_next),
            self._loop("deliver", self._deliver_all),
            self._loop("follow", self._follow_all),
        ]

    def wake(self) -> None:
        """A task has come."""
        self._wake["train"].set()

    def stop(self, task_id: str) -> None:
        """A task was cancelled: whatever prepares it stops now."""
        if self._setting_up is not None and self._setting_up[0] == task_id:
            self._setting_up[1].cancel()

    async def _loop(self, name: str, work: Callable[[], Awaitable[bool]]) -> None:
        """Do `work` until there is none, then wait to be woken, at most a polling interval."""
        while True:
            self._wake[name].clear()
            try:
                while await work():
                    pass
            except (ChainError, StorageError, sqlite3.Error, OSError) as error:
                log.warning("%s: %s", name, error)
            except Exception:
                log.exception("%s", name)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._options.poll_seconds):
                    await self._wake[name].wait()

    # ---- until it is trained ---------------------------------------------------------------

    async def _train_next(self) -> bool:
        waiting = await asyncio.to_thread(self._tasks.in_stages, *PENDING)
        if not waiting:
            return False
        # What had begun before a restart goes first.
        task = max(waiting, key=lambda each: (each.progress != tuning.INIT, -each.created))
        await self._attempt(task)
        self._wake["deliver"].set()
        return True

    async def _attempt(self, task: Task) -> None:
        """Train a task; what may pass is tried again for a minute, what may not fails it."""
        for left in reversed(range(ATTEMPTS)):
            try:
                await self._until_trained(task)
                return
            except (Failure, ExecutorFailed, NotStored) as failure:
                await self._fail(task, str(failure))
                return
            except (StorageError, ChainError) as error:
                log.warning("%s: %s (%r)", task.id, error, error.__cause__)
                if not left:
                    await self._fail(task, f"given up: {_public(error)}")
                    return
                self._log(task).warning(f"will be tried again: {_public(error)}")
            await asyncio.sleep(RETRY_SECONDS)

    async def _until_trained(self, task: Task) -> None:
        current = await asyncio.to_thread(self._tasks.get, task.id)
        if current is None or current.progress not in PENDING:
            return
        if current.progress != tuning.TRAINING:
            job = asyncio.create_task(self._set_up(current))
            self._setting_up = (task.id, job)
            try:
                await job
            except asyncio.CancelledError:
                if not job.cancelled() or asyncio.current_task().cancelling():  # type: ignore[union-attr]
                    raise
                return
            finally:
                self._setting_up = None
                job.cancel()
        await self._train(task)

    async def _set_up(self, task: Task) -> None:
        """Dataset, tokens, fee: Init to SetUp."""
        if not await self._move(task, (tuning.INIT, tuning.SETTING_UP), tuning.SETTING_UP):
            return  # set up already, or cancelled
        model = self._model(task)
        note, folder = self._log(task), self._folders.task(task.id)
        await self._fetch_dataset(task, folder / "dataset", note)
        await asyncio.to_thread(executor.prepare, folder, task)
        tokens = await executor.count_tokens(model, folder, note)
        epochs = tuning.parse_parameters(task.parameters).num_train_epochs
        fee = tuning.task_fee(
            tokens=tokens,
            price=self._options.price_per_token,
            epochs=epochs,
            coefficient=model.coefficient,
            storage_fee=model.storage_fee,
        )
        note.info(
            f"{tokens} tokens x {epochs} epochs x {self._options.price_per_token} neuron"
            f" x {model.coefficient} + {model.storage_fee} = {fee} neuron"
        )
        account = await self._chain.account(task.user)
        available = account.available if account else 0
        if available < fee:
            raise Failure(f"insufficient balance: {available} neuron, the task costs {fee}")
        if await self._move(task, (tuning.SETTING_UP,), tuning.SET_UP, tokens=tokens, fee=fee):
            note.info("ready to train")

    async def _fetch_dataset(self, task: Task, target: Path, note: TaskLog) -> None:
        if target.exists():
            return
        uploaded = self._folders.dataset(task.user, task.dataset_hash)
        if uploaded.exists():
            await asyncio.to_thread(_copy, uploaded, target)
            note.info("dataset taken from the upload")
            return
        if self._storage is None:
            raise Failure("the dataset was not uploaded, and this provider has no storage")
        note.info(f"downloading dataset {task.dataset_hash} from storage")
        root = bytes.fromhex(task.dataset_hash[2:])
        size = await self._storage.download(root, target, limit=MAX_DATASET_BYTES)
        note.info(f"dataset downloaded and verified, {size} bytes")

    async def _train(self, task: Task) -> None:
        started = await self._move(task, (tuning.SET_UP, tuning.TRAINING), tuning.TRAINING)
        if started is None:
            return
        model = self._model(task)
        note = self._log(task)
        note.info("training starts")
        folder = self._folders.task(task.id)
        await executor.train(model, folder, note, self._options.train_seconds)
        await self._move(task, (tuning.TRAINING,), tuning.TRAINED)
        note.info("training finished")

    # ---- until it is delivered -------------------------------------------------------------

    async def _deliver_all(self) -> bool:
        """Every result that waits, once: a trained one is not given up because of an outage."""
        stages = (tuning.TRAINED, tuning.DELIVERING)
        for task in await asyncio.to_thread(self._tasks.in_stages, *stages):
            try:
                await self._deliver(task)
            except Failure as failure:
                await self._fail(task, str(failure))
            except (StorageError, ChainError, OSError) as error:
                self._complain(task, "delivery", error)
        return False

    async def _deliver(self, task: Task) -> None:
        secret = task.secret or secrets.token_bytes(model_file.KEY_BYTES)
        moved = await self._move(
            task, (tuning.TRAINED, tuning.DELIVERING), tuning.DELIVERING, secret=secret
        )
        if moved is None:
            return
        task, note = moved, self._log(task)
        result = self._folders.result(task.id)
        if not result.exists():
            await asyncio.to_thread(self._encrypt, task, result)
            note.info(f"result encrypted, {result.stat().st_size} bytes")
        root = task.root or await self._root_of(result, note)
        await self._move(task, (tuning.DELIVERING,), tuning.DELIVERING, root=root)
        delivered = await self._chain.deliverable(task.user, task.id)
        if delivered is None:
            try:
                tx_hash = await self._chain.transact("addDeliverable", task.user, task.id, root)
                note.info(f"delivered on chain in {tx_hash}")
            except Reverted as error:
                # One from before our death may have been mined since we looked, or the node that
                # was asked is behind the one that refuses.
                there = error.name == "DeliverableAlreadyExists"
                if not there and await self._chain.deliverable(task.user, task.id) is None:
                    raise Failure(f"the contract does not take the result: {error}") from error
            delivered = await self._chain.deliverable(task.user, task.id)
        account = await self._chain.account(task.user)
        if delivered is None or account is None:
            raise ChainError("the delivery cannot be read back")
        index = account.deliverables.index(task.id) if task.id in account.deliverables else 0
        await self._move(
            task,
            (tuning.DELIVERING,),
            tuning.DELIVERED,
            deliver_index=index,
            deliver_time=delivered.time,
        )
        note.info(f"waiting for acknowledgement of 0x{root.hex()}")
        await asyncio.to_thread(self._folders.drop_plaintext, task.id)

    def _encrypt(self, task: Task, result: Path) -> None:
        packed = result.with_suffix(".zip")
        pack(self._folders.task(task.id) / OUTPUT, packed)
        part = result.with_suffix(".part")
        with packed.open("rb") as source, part.open("w+b") as target:
            model_file.encrypt(source, target, key=task.secret, sign=self._tee.sign)
        packed.unlink()
        part.rename(result)

    async def _root_of(self, result: Path, note: TaskLog) -> bytes:
        if self._storage is None:
            return await asyncio.to_thread(lambda: keccak(result.read_bytes()))
        root = await self._storage.upload(result)
        note.info(f"result is in storage, root 0x{root.hex()}")
        return root

    # ---- until it is settled ---------------------------------------------------------------

    async def _follow_all(self) -> bool:
        stages = (tuning.DELIVERED, tuning.USER_ACKNOWLEDGED)
        for task in await asyncio.to_thread(self._tasks.in_stages, *stages):
            try:
                await self._follow(task)
            except ChainError as error:
                self._complain(task, "settlement", error)
        if self._receiver is not None:
            for task in await asyncio.to_thread(self._tasks.to_hand_over):
                await self._hand_over(task, self._receiver)
        return False

    async def _follow(self, task: Task) -> None:
        """A chain may take blocks back: what is gone is done again, and a task has ended when the
        next look, `poll_seconds` later, still finds it settled."""
        found = await self._chain.deliverable(task.user, task.id)
        stages = (tuning.DELIVERED, tuning.USER_ACKNOWLEDGED)
        if found is None:
            if await self._chain.account(task.user) is None:
                await self._fail(task, "the account was deleted before the result was settled")
            elif await self._move(task, stages, tuning.DELIVERING):
                self._log(task).warning("the chain took the delivery back: it is delivered again")
                self._wake["deliver"].set()
        elif found.settled:
            # Without the key nobody can use the adapter.
            if await self._move(task, stages, tuning.FINISHED, handed_over=not found.acknowledged):
                self._log(task).info("finished")
        elif found.acknowledged:
            await self._move(task, (tuning.DELIVERED,), tuning.USER_ACKNOWLEDGED)
            if task.progress == tuning.DELIVERED:
                self._log(task).info("acknowledged by the user")
            await self._settle(task, ecies.seal(task.secret, task.public_key))
        elif await self._chain.now() > found.time + await self._window():
            self._log(task).warning("not acknowledged in time: the penalty is charged")
            await self._settle(task, b"")

    async def _window(self) -> float:
        """How long a user has, in seconds: never longer than half the time refunds are locked."""
        lock_time = await self._chain.view("lockTime")
        return float(min(self._options.acknowledge_seconds, lock_time / 2))

    async def _settle(self, task: Task, secret: bytes) -> None:
        """Charge the fee and release the sealed key, or the penalty without one."""
        account = await self._chain.account(task.user)
        nonce = max(int(time.time() * 1000), (account.nonce if account else 0) + 1)
        message = VerifierMessage(task.id, secret, task.root, nonce, task.fee, task.user)
        signature = self._tee.sign(
            verifier_digest(message, chain_id=self._chain_id, contract=self._chain.contract)
        )
        tx_hash = await self._chain.transact(
            "settleFees", (task.id, secret, task.root, nonce, signature, task.fee, task.user)
        )
        self._log(task).info(f"settled in {tx_hash}" + (", key released" if secret else ""))

    async def _hand_over(self, task: Task, receiver: Receiver) -> None:
        try:
            await receiver.give(task)
        except HandoverError as error:
            log.warning("%s: the inference broker has not taken the adapter: %s", task.id, error)
            return
        await self._move(task, (tuning.FINISHED,), tuning.FINISHED, handed_over=True)

    # ---- all stages ------------------------------------------------------------------------

    async def _move(
        self, task: Task, come_from: tuple[str, ...], to: str, **changes: object
    ) -> Task | None:
        return await asyncio.to_thread(self._tasks.advance, task.id, come_from, to, **changes)

    async def _fail(self, task: Task, text: str) -> None:
        current = await asyncio.to_thread(self._tasks.get, task.id)
        if current is None or current.progress not in _OPEN:
            return
        # Before the stage: whoever sees that it failed, and asks once more, reads why.
        self._log(task).error(text)
        if await self._move(task, _OPEN, tuning.FAILED):
            log.warning("%s failed: %s", task.id, text)
            await asyncio.to_thread(self._folders.drop_plaintext, task.id)

    def _complain(self, task: Task, what: str, error: Exception) -> None:
        """The same trouble is said once."""
        words = f"{what} waits: {_public(error)}"
        if self._complaints.get(task.id) != words:
            self._complaints[task.id] = words
            self._log(task).warning(words)
            log.warning("%s: %s: %s (%r)", task.id, what, error, error.__cause__)

    def _model(self, task: Task) -> Model:
        model = self._options.model(task.model_hash)
        if model is None:
            raise Failure(f"the model {task.model} is not offered any more")
        return model

    def _log(self, task: Task) -> TaskLog:
        return self._folders.log(task.id)


def pack(folder: Path, target: Path) -> None:
    """A zip of `folder` under its own name, the same bytes for the same files."""
    part = target.with_name(target.name + ".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                name = f"{folder.name}/{path.relative_to(folder).as_posix()}"
                info = zipfile.ZipInfo(name, _ZIP_TIME)
                info.compress_type = zipfile.ZIP_DEFLATED
                info.file_size = path.stat().st_size  # over 2 GiB it is written in another form
                info.external_attr = 0o644 << 16
                with path.open("rb") as source, archive.open(info, "w") as packed:
                    shutil.copyfileobj(source, packed)
    part.rename(target)


def _copy(source: Path, target: Path) -> None:
    part = target.with_suffix(".copy")
    shutil.copyfile(source, part)
    part.rename(target)


def _public(error: Exception) -> str:
    """What a public log may say about it: a contract's words, not a node's address or a path."""
    if isinstance(error, Reverted | StorageError):
        return str(error)
    if isinstance(error, OSError):
        return "the provider's disk does not take it"
    return "the chain does not answer, or has not taken an earlier transaction"
