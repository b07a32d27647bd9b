"""Looks regularly at what the broker lives from: node, gas, wallet, upstream, acknowledgement, and
whether the users who owe most can still pay."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

import aiohttp

from provider.chain import Chain
from provider.config import Config
from provider.debts import Debts
from provider.errors import ChainError
from provider.metrics import Metrics
from provider.settle import Settler
from provider.switch import Switch

MAX_DEBTORS = 200
UPSTREAM_SECONDS = 10

log = logging.getLogger("provider.watch")


@dataclass(frozen=True)
class Debtor:
    """What a user owes and holds, in neuron, None where that is not known.

    `balance` includes what is being taken back (`pending`): a settlement may still charge that, but
    only until the user collects it.
    """

    owed: int
    balance: int | None
    pending: int | None
    at_risk: bool


@dataclass(frozen=True)
class View:
    """What the last look saw, at the unix time `at`; None is what could not be seen. `upstream` and
    `node` say what is wrong, "" if nothing. Amounts are neuron."""

    at: float = 0
    node: str = "not looked yet"
    upstream: str = "not looked yet"
    wallet: int | None = None
    gas_price: int | None = None
    acknowledged: bool | None = None
    listed: bool | None = None


class Watch:
    """Remembers the last view, and settles early where money is at risk."""

    def __init__(
        self,
        config: Config,
        *,
        chain: Chain,
        debts: Debts,
        settler: Settler,
        session: aiohttp.ClientSession,
        switch: Switch,
        metrics: Metrics,
    ) -> None:
        self._config = config
        self._chain = chain
        self._debts = debts
        self._settler = settler
        self._session = session
        self._seen: dict[str, tuple[int, int]] = {}
        self._metrics = metrics
        self.switch = switch
        self.view = View()
        for gauge, value in (
            (metrics.unsettled, lambda: sum(debts.debtors().values())),
            (metrics.reserved, debts.reserved),
            (metrics.debtors, lambda: len(debts.debtors())),
            (metrics.at_risk, lambda: len(self.at_risk())),
            (metrics.at_risk_neuron, lambda: sum(self.at_risk().values())),
            (metrics.paused, lambda: float(switch.paused or switch.full)),
        ):
            gauge.set_function(value)

    async def run(self) -> None:
        """Look for ever."""
        while True:
            try:
                await self.look()
            except Exception:  # a node that talks nonsense must not end it
                log.exception("nothing seen this time")
            await asyncio.sleep(self._config.settlement.watch_seconds)

    async def look(self) -> None:
        """One look; what fails is written down, not raised."""
        upstream = await self._upstream()
        node, wallet, price, acknowledged, listed = "", None, None, None, None
        try:
            wallet = await self._chain.number("eth_getBalance", self._chain.provider, "latest")
            price = await self._chain.number("eth_gasPrice")
            service = await self._chain.service()
            listed = service is not None
            acknowledged = bool(service and service["teeSignerAcknowledged"])
            await self._look_at_debtors()
        except ChainError as error:
            node = str(error)
        self.view = View(time.time(), node, upstream, wallet, price, acknowledged, listed)
        metrics = self._metrics
        metrics.looked_at.set(self.view.at)
        metrics.node_up.set(not node)
        metrics.upstream_up.set(not upstream)
        if wallet is not None:
            metrics.wallet.set(wallet)
        if price is not None:
            metrics.gas_price.set(price)

    async def _look_at_debtors(self) -> None:
        biggest = sorted(self._debts.debtors().items(), key=lambda x: -x[1])[:MAX_DEBTORS]
        seen = {}
        for user, _ in biggest:
            account = await self._chain.account(user)
            seen[user] = (account.balance, account.pending_refund) if account else (0, 0)
        self._seen = seen
        for user in self.at_risk():
            if seen[user][0]:  # from an empty account nothing comes, however early
                self._settler.kick(user)

    async def _upstream(self) -> str:
        """What keeps the upstream from answering, "" if nothing does. Its list of models costs
        nobody anything; a server without one has answered too."""
        options = self._config.upstream
        try:
            async with self._session.get(
                f"{options.url}/models",
                headers=options.authorization,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=UPSTREAM_SECONDS),
            ) as reply:
                if reply.status in (401, 403) or reply.status >= 500:
                    return f"answers {reply.status}"
        except (aiohttp.ClientError, TimeoutError) as error:
            return f"does not answer ({type(error).__name__})"
        return ""

    def debtors(self) -> dict[str, Debtor]:
        """Everybody who owes something, the biggest debt first."""
        margin = self._config.settlement.low_balance
        found = {}
        for user, owed in sorted(self._debts.debtors().items(), key=lambda x: -x[1]):
            balance, pending = self._seen.get(user, (None, None))
            free = None if balance is None or pending is None else balance - pending
            at_risk = free is not None and owed + margin >= free
            found[user] = Debtor(owed, balance, pending, at_risk)
        return found

    def at_risk(self) -> dict[str, int]:
        """What users owe who owe about as much as they have, in neuron."""
        return {user: debtor.owed for user, debtor in self.debtors().items() if debtor.at_risk}
