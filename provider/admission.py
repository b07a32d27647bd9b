"""Which requests are let in: who asks, what is asked, whether it is too much, and who pays
(provider-protocol.md 1.2), in the order of the reference server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import uuid4

from protocol import fees
from provider.asks import Ask, Terms
from provider.bodies import Bodies
from provider.config import Config
from provider.debts import Debts
from provider.errors import Refused
from provider.gate import Gate
from provider.http import Request
from provider.limits import Gatekeeper
from provider.settle import Settler
from provider.switch import Switch

LONG_BODY_BYTES = 100_000
LONG_PARSES_AT_ONCE = 2

A = TypeVar("A", bound=Ask)
Reader = Callable[[bytes, str, Terms], A]


@dataclass(frozen=True)
class Admitted(Generic[A]):
    """One request to be paid: who asks what, under which id, with which headers to answer."""

    user: str
    ask: A
    chat_id: str
    headers: dict[str, str]


class Admission:
    """Checks requests, and holds back what they may cost."""

    def __init__(
        self, config: Config, *, gate: Gate, debts: Debts, settler: Settler, switch: Switch
    ) -> None:
        service = config.service
        tariff = fees.tariff(service.input_price, service.output_price, service.additional_info)
        self.terms = Terms(service.model, config.upstream.model, tariff, service.speech_rule)
        self.provider = config.provider
        self._low_balance = config.settlement.low_balance
        self._minimum = max(1, config.settlement.minimum)
        self._gate = gate
        self._debts = debts
        self._settler = settler
        self._switch = switch
        self._keeper = Gatekeeper(config.limits)
        self._bodies = Bodies()
        self._long_parses = asyncio.Semaphore(LONG_PARSES_AT_ONCE)

    @asynccontextmanager
    async def admit(self, request: Request, read: Reader[A]) -> AsyncIterator[Admitted[A]]:
        """A checked request, with a place among those under way and its estimate held back.

        Raises Refused.
        """
        user = await self.customer(request)
        async with self.asked(request, user, read) as ask:
            rate = self.count(user)
            with self._keeper.running(user):
                await self.afford(user, ask)
                with self._debts.reserving(user, ask.estimate):
                    chat_id = str(uuid4())
                    headers = {"ZG-Res-Key": chat_id, "Provider": self.provider, **rate}
                    yield Admitted(user, ask, chat_id, headers)
        self._settle_early(user, self._gate.left(user))

    async def customer(self, request: Request) -> str:
        """The user (EIP-55) who asks and may. Raises Refused."""
        self._switch.check()
        user = await self._gate.session(request.headers.get("authorization"))
        await self._gate.acknowledged(user)
        return user

    @asynccontextmanager
    async def asked(self, request: Request, user: str, read: Reader[A]) -> AsyncIterator[A]:
        """The body, read and checked; long ones are parsed in a thread, a few at a time.

        Raises Refused.
        """
        if request.headers.get("content-encoding", "identity") != "identity":
            raise Refused(400, "validate request: compressed bodies are not supported")
        kind = request.headers.get("content-type", "")
        async with self._bodies.read(request, user) as raw:
            if len(raw) < LONG_BODY_BYTES:
                yield read(raw, kind, self.terms)
                return
            async with self._long_parses:
                ask = await asyncio.to_thread(read, raw, kind, self.terms)
            del raw  # where the body had to be changed, nobody needs both
            yield ask

    def count(self, user: str) -> dict[str, str]:
        """Count one request of `user`; the X-RateLimit headers. Raises Refused 429."""
        return self._keeper.count(user, time.time())

    async def afford(self, user: str, ask: Ask) -> None:
        """The balance covers the estimate; the caller must reserve it before it awaits anything
        else. Raises Refused."""
        self._settle_early(user, await self._gate.afford(user, ask.estimate))

    def _settle_early(self, user: str, left: int | None) -> None:
        """Where little is `left`, the debt goes on chain while it can be paid, if it is worth the
        gas."""
        worth = self._debts.owed(user) >= self._minimum
        if left is not None and left < self._low_balance and worth:
            self._settler.kick(user)
