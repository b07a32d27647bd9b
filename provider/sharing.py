"""`GET /v1/unsettled`: what all users together owe, where the operator shares it
(docs/broker.md)."""

from __future__ import annotations

import time

import orjson

from protocol.unsettled import Unsettled
from provider.admin.status import Place
from provider.http import Answer
from provider.watch import Watch

FRESH_SECONDS = 10


class Sharing:
    """Signs the sums, at most once in ten seconds."""

    def __init__(self, watch: Watch, wallet_key: bytes, place: Place) -> None:
        self._watch = watch
        self._key = wallet_key
        self._place = place
        self._made = float("-inf")
        self._body = b""

    async def show(self, answer: Answer) -> None:
        """The signed sums."""
        if time.monotonic() - self._made >= FRESH_SECONDS:
            self._body = orjson.dumps(self._now().document(self._key))
            self._made = time.monotonic()
        headers = {"cache-control": f"max-age={FRESH_SECONDS}"}
        await answer.whole(200, self._body, "application/json; charset=utf-8", headers)

    def _now(self) -> Unsettled:
        debtors, at_risk = self._watch.debtors(), self._watch.at_risk()
        return Unsettled(
            provider=self._place.provider,
            chain_id=self._place.chain_id,
            contract=self._place.contract,
            at=int(time.time()),
            fee=sum(debtor.owed for debtor in debtors.values()),
            users=len(debtors),
            at_risk_fee=sum(at_risk.values()),
            at_risk_users=len(at_risk),
        )
