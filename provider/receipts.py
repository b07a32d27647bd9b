"""Where an answer becomes a debt and a signature: both are on disk before its end is sent
(provider-protocol.md 3)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from provider.debts import Debts
from provider.errors import Refused
from provider.http import Answer
from provider.store import Charge, Receipt, Store
from provider.tee import Tee

SIGNATURE_WAIT_SECONDS = 10


class Receipts:
    """Signs answers, writes down what they cost, and shows signatures."""

    def __init__(self, store: Store, debts: Debts, tee: Tee) -> None:
        self._store = store
        self._debts = debts
        self._tee = tee
        self._under_way: dict[str, asyncio.Event] = {}

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
    ) -> None:
        """Write both down, by default as an answer of their own; done when this returns, even if
        we are being cancelled."""
        writing = asyncio.create_task(self._record(charge, receipt, write or self._store.record))
        try:
            await asyncio.shield(writing)
        finally:
            await asyncio.wait({writing})

    async def _record(
        self,
        charge: Charge,
        receipt: Receipt | None,
        write: Callable[[Charge, Receipt | None], None],
    ) -> None:
        await asyncio.to_thread(write, charge, receipt)
        if charge.fee:
            self._debts.charge(charge.user, charge.fee)

    def record_last(self, charge: Charge) -> None:
        """Write down what was delivered until now: the broker is stopping, there is no time for a
        thread."""
        self._store.record(charge, None)

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
                await asyncio.wait_for(under_way.wait(), SIGNATURE_WAIT_SECONDS)
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
