"""A comparison of some of our final rows with the contracts, cheap enough to be scheduled.

`ledger.audit` compares everything and finds what we never heard of; this one asks only about a
few hundred rows, half of them the newest, plus those that differed last time, plus what is one
number for all: the LedgerManager's native balance and the registry.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from django.conf import settings
from django.db.models import Q, QuerySet, Sum

from chain.errors import NodeBehind
from chain.models import Head
from chain.rpc import Rpc
from ledger import audit, compared, reads, rows
from ledger import models as tables
from ledger.audit import Audit, Difference, Report
from ledger.models import Projection
from ledger.state import Serving, State
from protocol import abi

#: Rows of each kind per run.
SIZE = 200
TRIES = 5


def compare(rpc: Rpc, again: Collection[str] = ()) -> Report:
    """Compare about SIZE final rows of each kind, and those of the addresses `again`, with views at
    the final block.

    Raises `NodeBehind` when the rows keep moving while they are read.
    """
    for _ in range(TRIES):
        head = Head.objects.get(chain_id=settings.CHAIN_ID)
        ours = _some(again)
        now = Head.objects.values_list("final_hash", flat=True).get(chain_id=settings.CHAIN_ID)
        if head.final_hash == now:
            break
    else:
        raise NodeBehind("rows change faster than they can be read; try again")
    sampled = Sample(rpc, head.final_hash, settings.NETWORK.ledger_address, ours)
    with rpc.one_node():
        differences = list(sampled.run())
    return Report(head.final_block, head.final_hash, sampled.compared, differences)


def _some(again: Collection[str]) -> State:
    """A state that holds only the chosen rows, but the sum of all available balances."""
    state = State()
    for contract in tables.ServingContract.objects.filter(pending=False):
        serving = rows.serving(contract)
        state.servings.add(serving.address, serving)
    for row in _chosen(tables.Ledger, Q(user__in=again)):
        state.ledgers.add(row.user, rows.ledger(row))
    for row in _chosen(tables.SubAccount, Q(user__in=again, provider__in=again)):
        state.accounts.add((row.serving, row.user, row.provider), rows.account(row))
    for row in _chosen(tables.Service, Q(provider__in=again)):
        state.services.add((row.serving, row.provider), rows.service(row))
    sums = tables.Ledger.objects.filter(pending=False).aggregate(total=Sum("available"))
    state.available = int(sums["total"] or 0)
    state.surplus = Projection.objects.values_list("surplus", flat=True).first() or 0
    return state


def _chosen(table: type[tables.Layered], again: Q) -> list[Any]:
    """Half the newest, half at random, and those that are looked at again."""
    rows: QuerySet[Any] = table.objects.filter(pending=False)
    newest = list(rows.order_by("-block", "id")[: SIZE // 2])
    found = newest + list(rows.filter(again).exclude(pk__in=[row.pk for row in newest]))
    others = rows.exclude(pk__in=[row.pk for row in found])
    return found + list(others.order_by("?")[: SIZE - len(newest)])


class Sample(Audit):
    """The audit's comparisons, asked entity by entity."""

    def _ledgers(self) -> Iterator[Difference]:
        ours = list(self.ours.ledgers.values())
        found = self._all(
            abi.LEDGER_MANAGER, [reads.ledger(self.ledger_address, x.user) for x in ours]
        )
        self._count("ledgers", len(ours))
        mine = {x.user: compared.our_ledger(x) for x in ours if x.exists}
        chain = {
            x.user: compared.chain_ledger(value)
            for x, value in zip(ours, found, strict=True)
            if value is not None
        }
        yield from audit.mappings("ledger", mine, chain)
        yield from self._native()

    def _services(self, serving: Serving) -> Iterator[Difference]:
        mine = [s for s in self.ours.services.values() if s.serving == serving.address]
        calls = [reads.service(serving.address, serving.kind, s.provider) for s in mine]
        found = self._all(reads.CONTRACT_OF[serving.kind], calls)
        self._count(f"{serving.kind} services", len(mine))
        chain = {
            s.provider: compared.chain_service(serving.kind, value)
            for s, value in zip(mine, found, strict=True)
            if value is not None
        }
        yield from self._listings(serving, chain)

    def _accounts(self, serving: Serving) -> Iterator[Difference]:
        mine = [a for a in self.ours.accounts.values() if a.serving == serving.address]
        found = self._read(serving, [(a.user, a.provider) for a in mine])
        self._count(f"{serving.kind} accounts", len(found))
        chain = {pair: compared.chain_account(value) for pair, value in found.items() if value}
        ours = {
            (a.user, a.provider): compared.our_account(a, serving.kind)
            for a in mine
            if a.live and (a.user, a.provider) in found
        }
        yield from audit.mappings(f"{serving.kind} account", ours, chain)
