"""A provider's history as rows and as the logs they came from, for tests that need no chain."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db import connection

from chain.models import RawLog
from ledger.models import ACCEPTED, Movement, Service, ServiceChange, ServingContract, Settlement
from protocol import events
from tests import factories
from tests.factories import FINE_TUNING, INFERENCE, PETRA
from tests.live.old_chain import logged

SECOND = factories.address("a second inference contract")
SERVINGS = (INFERENCE, SECOND, FINE_TUNING)
#: Noon of the first day, far enough back that nothing is "now".
DAY_ONE = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


@dataclass(frozen=True)
class Item:
    """One settled item as it was made: what the tests count by."""

    provider: str
    serving: str
    user: str
    status: str
    settled: int
    unsettled: int
    at: dt.datetime
    model: str


@dataclass
class World:
    """Blocks are made one after the other; each thing that happens takes the next sequence."""

    block: int = 1_000
    at: dt.datetime = DAY_ONE
    sequence: int = 0
    log_index: int = 0
    items: list[Item] = field(default_factory=list)
    models: dict[tuple[str, str], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        factories.head(final_block=10**9, indexed_block=10**9, head_block=10**9)
        if not ServingContract.objects.exists():
            factories.contract()
            factories.contract(address=SECOND, service_name="inference-v1.1", recommended=False)
            factories.contract(kind="fine-tuning")

    def next_block(self, hours: int = 1) -> None:
        self.block, self.sequence, self.log_index = self.block + 1, 0, 0
        self.at += dt.timedelta(hours=hours)

    def _place(self) -> dict[str, Any]:
        self.sequence += 1
        self.log_index += 1
        return {
            "block": self.block,
            "at": self.at,
            "tx_hash": factories.tx_hash(f"block {self.block}"),
            "log_index": self.log_index,
            "sequence": self.sequence,
        }

    def name(self, model: str, provider: str = PETRA, serving: str = INFERENCE) -> None:
        """The listing names a model from here on (a fine-tuning one: that it alone is trained)."""
        first = (provider, serving) not in self.models
        tuning = serving == FINE_TUNING
        after = {"model_list": [model]} if tuning else {"model": model}
        change = "registered" if first else "models" if tuning else "model"
        ServiceChange.objects.create(
            serving=serving, provider=provider, change=change, after=after, **self._place()
        )
        self.models[provider, serving] = model
        if first:
            kind = "fine-tuning" if tuning else "inference"
            factories.service(provider, serving=serving, kind=kind)
        Service.objects.filter(provider=provider, serving=serving).update(
            **({"model_list": [model]} if tuning else {"model": model})
        )

    def settle(
        self,
        user: str,
        status: str,
        settled: int,
        unsettled: int = 0,
        provider: str = PETRA,
        serving: str = INFERENCE,
    ) -> Settlement:
        """One item with its logs; what was not accepted pays nothing."""
        paid = status in ACCEPTED
        settled = settled if paid else 0
        if paid and settled:
            self._log(logged(events.FundSpent, settings.LEDGER_ADDRESS, user, serving, settled))
            self._log(logged(events.BalanceUpdated, serving, user, provider, 7, 0))
            Movement.objects.create(
                user=user, kind="settlement", balance="sub_account", serving=serving,
                provider=provider, amount=-settled, balance_after=7, source="event",
                **self._place(),
            )  # fmt: skip
        row = Settlement.objects.create(
            serving=serving, provider=provider, user=user, status=status, settled=settled,
            unsettled=unsettled, **self._place(),
        )  # fmt: skip
        model = self.models.get((provider, serving), "")
        self.items.append(Item(provider, serving, user, status, settled, unsettled, self.at, model))
        return row

    def _log(self, raw: dict[str, Any]) -> None:
        self.log_index += 1
        RawLog.objects.create(
            block_hash=factories.tx_hash(f"hash {self.block}"),
            block_number=self.block,
            log_index=self.log_index,
            tx_hash=factories.tx_hash(f"block {self.block}"),
            tx_index=0,
            address=raw["address"],
            topics=raw["topics"],
            data=raw["data"],
        )


def forget() -> None:
    """Everything a world made, for the next example in the same transaction."""
    with connection.cursor() as cursor:
        for table in (
            "ledger_settlement", "ledger_movement", "ledger_servicechange", "ledger_service",
            "ledger_servicetotal", "chain_rawlog", "operators_batchgas",
        ):  # fmt: skip
            cursor.execute(f"DELETE FROM {table}")
