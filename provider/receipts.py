"""Where an answer becomes a debt and a signature: both are on disk before its end is sent
(provider-protocol.md 3)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from provider.debts import Debts
from provider.errors import Refused
from provider.http import Answer
from provider.store import Charge, Receipt, Store, record_answer
from provider.switch import DISK_PAUSE_SECONDS, Switch
from provider.tee import Tee

SIGNATURE_WAIT_SECONDS = 10

log = logging.getLogger("provider.receipts")


class Receipts:
    """Signs answers, writes down what they cost, and shows signatures."""

    def __init__(self, store: Store, debts: Debts, tee: Tee, switch: Switch) -> None:
        self._store = store
        self._debts = debts
        self._tee = tee
        self._switch = switch
        self._under_way: dict[str, asyncio.Event] = {}
        self._unwritten: list[Charge] = []
        self._writing: asyncio.Task[None] | None = None

    def receipt(self, charge: Charge, response_sha256: Sequence[str]) -> Receipt:
        """The signature over the request and one hash of the answer, or one per picture."""
        assert charge.chat_id is not None
        text, signature = self._tee.sign_answer(
            charge.request_hash.hex(), ",".join(response_sha256)
        )
        return Receipt(charge.chat_id, text, signature)

    async def record(
        self,
        charge: Charge,
        receipt: Receipt | None,
        *,
        write: Callable[[Charge, Receipt | None], None] | None = None,
        delivered: bool = False,
    ) -> None:
        """Write both down, by default as an answer of their own; done when this returns, even if
        we are being cancelled. Raises sqlite3.Error where the disk does not take it: what was
        `delivered` is then owed all the same, and written down as soon as it does."""
        write = write or self._store.record
        writing = asyncio.create_task(self._record(charge, receipt, write, delivered=delivered))
        try:
            await asyncio.shield(writing)
        finally:
            await asyncio.wait({writing})

    async def _record(
        self,
        charge: Charge,
        receipt: Receipt | None,
        write: Callable[[Charge, Receipt | None], None],
        *,
        delivered: bool,
    ) -> None:
        try:
            await asyncio.to_thread(write, charge, receipt)
        except sqlite3.Error:
            if delivered and charge.fee:
                self._unwritten.append(charge)
                self._debts.charge(charge.user, charge.fee)
            if not self._switch.full:
                self._switch.full = True
                self._writing = asyncio.create_task(self._write_rest())
            raise
        if charge.fee:
            self._debts.charge(charge.user, charge.fee)

    async def _write_rest(self) -> None:
        while self._switch.full:
            await asyncio.sleep(DISK_PAUSE_SECONDS)
            rest = tuple(self._unwritten)
            try:
                await asyncio.to_thread(self._write_all, rest)
            except sqlite3.Error as error:
                log.error("nothing is answered, since it could not be charged: %s", error)
                continue
            del self._unwritten[: len(rest)]
            self._switch.full = bool(self._unwritten)
        log.warning("the disk takes charges again")

    def close(self) -> None:
        """The broker stops: what was delivered is written down now, or lost. Blocks."""
        if not self._unwritten:
            return
        lost = sum(charge.fee for charge in self._unwritten)
        try:
            self._write_all(self._unwritten)
        except sqlite3.Error as error:
            log.critical("%d neuron of delivered answers are lost: %s", lost, error)

    def _write_all(self, charges: Sequence[Charge]) -> None:
        """With none it is seen whether anything can be written."""
        self._store.set_note("written", str(time.time()))
        with self._store.transaction() as db:
            for charge in charges:
                # A disk that says that it failed may have done it.
                known = db.execute("SELECT 1 FROM charge WHERE chat_id = ?", (charge.chat_id,))
                if known.fetchone() is None:
                    record_answer(db, charge, None)

    def record_last(self, charge: Charge) -> None:
        """Write down what was delivered until now: the broker is stopping, there is no time for a
        thread. What the disk does not take is left to `close`."""
        try:
            self._store.record(charge, None)
        except sqlite3.Error:
            self._unwritten.append(charge)

    @contextmanager
    def under_way(self, chat_id: str) -> Iterator[None]:
        """While an answer is being made, whoever asks for its signature waits a little."""
        finished = self._under_way[chat_id] = asyncio.Event()
        try:
            yield
        finally:
            del self._under_way[chat_id]
            finished.set()

    async def signature(self, chat_id: str, answer: Answer) -> None:
        """`GET /v1/proxy/signature/{id}`."""
        chat_id = chat_id.lower()
        under_way = self._under_way.get(chat_id)
        if under_way is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SIGNATURE_WAIT_SECONDS):
                    await under_way.wait()
        found = await asyncio.to_thread(self._store.signature, chat_id)
        if found is None:
            raise Refused(
                400, "prepare HTTP request: Chat id not found or expired, chat_id_not_found"
            )
        await answer.json(
            200,
            {
                "text": found.text,
                "signature": found.signature,
                "signing_address": self._tee.answer_signer,
                "signing_algo": "ecdsa",
            },
            {"cache-control": "no-store"},
        )
