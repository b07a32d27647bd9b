"""Images made in the background (provider-protocol.md 1.5): they outlive the client's page, and
the broker's process too."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TypeVar
from uuid import uuid4

import orjson

from provider.admission import Admission, Reader
from provider.asks import PictureAsk
from provider.config import Jobs as Options
from provider.debts import Debts
from provider.errors import Refused
from provider.gate import Gate
from provider.http import Answer, Request
from provider.limits import Windows
from provider.moments import iso
from provider.picture_store import COMPLETED, PENDING, PROCESSING, Job, JobState, PictureStore
from provider.pictures import Pictures, UpstreamRefused
from provider.upstream import FAILURES

POLLS_PER_MINUTE = 120
RETRY_AFTER_SECONDS = 5
MAX_ERROR_CHARS = 1000
# How much of the queue one user may hold.
SHARE_OF_QUEUE = 4
DISK_PAUSE_SECONDS = 5

T = TypeVar("T")

log = logging.getLogger("provider.jobs")


class Jobs:
    """Takes jobs in, works on them, tells what became of them."""

    def __init__(
        self,
        options: Options,
        *,
        admission: Admission,
        gate: Gate,
        debts: Debts,
        pictures: Pictures,
        picture_store: PictureStore,
    ) -> None:
        self._options = options
        self._admission = admission
        self._gate = gate
        self._debts = debts
        self._pictures = pictures
        self._picture_store = picture_store
        self._wake = asyncio.Event()
        self._polls = Windows(POLLS_PER_MINUTE)

    # ---- the doors -------------------------------------------------------------------------

    async def submit(self, request: Request, answer: Answer, read: Reader[PictureAsk]) -> None:
        """`POST /v1/async/images/…`, whose body `read` reads. Raises Refused."""
        user = await self._admission.customer(request)
        if request.headers.get("content-length") == "0":
            raise Refused(400, "request body is required")
        async with self._admission.asked(request, user, read) as ask:
            rate = self._admission.count(user)
            await self._admission.afford(user, ask)
            job = Job(str(uuid4()), user, ask)
            self._debts.reserve(user, ask.estimate)
            added = False
            try:
                added = await asyncio.to_thread(self._add, job)
            finally:
                if not added:
                    self._debts.release(user, ask.estimate)
        if not added:
            raise Refused(
                400,
                "submit async job: async job queue is full, please try again later",
                {"Retry-After": str(RETRY_AFTER_SECONDS)},
            )
        self._wake.set()
        await answer.json(202, {"jobId": job.id, "status": PENDING}, rate)

    def _add(self, job: Job) -> bool:
        queue = self._options.queue
        return self._picture_store.add_job(job, queue=queue, share=max(1, queue // SHARE_OF_QUEUE))

    async def show(self, request: Request, id_: str, answer: Answer) -> None:
        """`GET /v1/async/jobs/{id}`, for its owner. Raises Refused."""
        user = await self._gate.session(request.headers.get("authorization"))
        self._polls.count(user, time.time())
        state = await asyncio.to_thread(self._picture_store.job, id_.lower())
        if state is None:
            raise Refused(404, "job not found")
        if state.user != user:
            raise Refused(403, "you do not have permission to access this job")
        headers = {"cache-control": "no-store", "Provider": self._admission.provider}
        if state.status in (PENDING, PROCESSING):
            headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
        if state.status == COMPLETED and state.chat_id:
            headers["ZG-Res-Key"] = state.chat_id
        await answer.json(200, _document(id_.lower(), state), headers)

    # ---- the work --------------------------------------------------------------------------

    async def take_up(self) -> None:
        """Before the first request: hold back again what earlier jobs may cost."""
        for user, estimate in await asyncio.to_thread(self._picture_store.take_up):
            self._debts.reserve(user, estimate)

    def workers(self) -> list[Coroutine[None, None, None]]:
        """What works on jobs, each without end, to be run side by side."""
        return [self._work() for _ in range(self._options.workers)]

    async def _work(self) -> None:
        while True:
            self._wake.clear()
            job = await _written(self._picture_store.next_job)
            if job is None:
                await self._wake.wait()
            else:
                await self._do(job)

    async def _do(self, job: Job) -> None:
        error: str | None = None
        try:
            await self._pictures.work(job, str(uuid4()))
        except UpstreamRefused as refused:
            text = refused.body.decode("utf-8", "replace")[:MAX_ERROR_CHARS]
            error = f"provider returned status {refused.status}: {text}"
        except FAILURES as failure:
            log.warning("job %s: %r", job.id, failure)
            error = "provider request failed"
        except Exception:  # also of a disk that takes no result
            log.exception("job %s", job.id)
            error = "internal error"
        if error is not None:
            await _written(partial(self._picture_store.fail, job, error))
        self._debts.release(job.user, job.ask.estimate)


async def _written(write: Callable[[], T]) -> T:
    """What `write` returns, as soon as the disk takes it."""
    while True:
        try:
            return await asyncio.to_thread(write)
        except sqlite3.Error as error:
            log.error("jobs wait for the disk: %s", error)
            await asyncio.sleep(DISK_PAUSE_SECONDS)


def _document(id_: str, state: JobState) -> dict[str, object]:
    """The job as JSON; `data` is the upstream's answer, byte for byte."""
    return {
        "jobId": id_,
        "status": state.status,
        "createdAt": iso(state.created),
        "updatedAt": iso(state.updated),
        "errorMessage": state.error,
        "data": None if state.result is None else orjson.Fragment(state.result),
    }
