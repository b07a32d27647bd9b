"""What must hold in the end, whatever happened: each demand lists what it misses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.db import connection, models

from chain.models import Coverage, Head, RawBlock, RawCall, RawLog, RawTransaction
from chain.rpc import Rpc
from ledger import audit
from ledger import models as ledger
from ledger.models import ServingContract

DERIVED: tuple[type[models.Model], ...] = (
    ledger.ServingContract,
    ledger.Ledger,
    ledger.SubAccount,
    ledger.Service,
    ledger.Movement,
    ledger.Settlement,
    ledger.ServiceChange,
)
RAW: tuple[type[models.Model], ...] = (RawBlock, RawTransaction, RawLog, RawCall, Coverage, Head)
MOST_SHOWN = 5


def empty_index() -> None:
    """Forget everything about the chain; accounts and other tables stay."""
    more = (ledger.Projection, ledger.ServiceTotal)
    emptied: tuple[type[models.Model], ...] = (*DERIVED, *RAW, *more)
    tables = [f'"{m._meta.db_table}"' for m in emptied]
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {', '.join(tables)} RESTART IDENTITY CASCADE")


def rows(*, pending: bool = False) -> dict[str, list[str]]:
    """Every row of every derived table without database ids; final ones, or all."""
    found = {}
    for model in DERIVED:
        hidden = ("id",) if pending else ("id", "shadowed")
        names = [f.name for f in model._meta.fields if f.name not in hidden]
        chosen = model._default_manager.all() if pending else _final(model)
        found[model.__name__] = sorted(
            json.dumps(row, default=str, sort_keys=True) for row in chosen.values(*names)
        )
    return found


def _final(model: type[models.Model]) -> models.QuerySet[Any]:
    return model._default_manager.filter(pending=False)


def misses(url: str, start: int) -> Iterator[str]:
    """Every broken promise about an index that has caught up with the node at `url`."""
    with Rpc([url], settings.CHAIN_ID) as rpc:
        yield from _caught_up(rpc)
        for final in (False, True):
            report = audit.compare(rpc, final=final)
            if not sum(report.compared.values()):
                yield "the audit compared nothing"
            for difference in report.differences[:MOST_SHOWN]:
                yield f"{'final' if final else 'current'} rows drift: {difference}"
        yield from _raw_logs(rpc)
    yield from _coverage(start)
    yield from _sums()
    yield from _totals()


def _caught_up(rpc: Rpc) -> Iterator[str]:
    head, node = Head.objects.get(), rpc.ask("eth_getBlockByNumber", "latest", False)
    if head.indexed_hash != node["hash"]:
        yield f"indexed {head.indexed_block} {head.indexed_hash}, the node is at {node['number']}"
    if head.halted or head.error:
        yield f"the head row still says: {head.error}"


def _raw_logs(rpc: Rpc) -> Iterator[str]:
    """Our logs are the node's; above the final block losers of a reorganisation may remain."""
    head = Head.objects.get()
    addresses = [*ServingContract.current.values_list("address", flat=True)]
    addresses.append(settings.NETWORK.ledger_address)
    theirs = {
        (g.block_hash, g.log_index, g.tx_hash, g.address, g.topics, g.data)
        for g in rpc.logs(0, head.indexed_block, addresses)
    }
    blocks = {log[0] for log in theirs}
    ours = set()
    for g in RawLog.objects.all():
        key = (g.block_hash, g.log_index, g.tx_hash, g.address, tuple(g.topics), g.data)
        if g.block_number <= head.final_block or g.block_hash in blocks:
            ours.add(key)
    for log in sorted(theirs - ours)[:MOST_SHOWN]:
        yield f"a log of the node is missing: {log}"
    for log in sorted(ours - theirs)[:MOST_SHOWN]:
        yield f"a log the node does not have: {log}"


def _coverage(start: int) -> Iterator[str]:
    final = Head.objects.get().final_block
    sources = {settings.NETWORK.ledger_address: start}
    for serving in ServingContract.objects.filter(pending=False):
        sources[serving.address] = serving.start_block
    for address, first in sources.items():
        held = list(Coverage.objects.filter(source=address).values_list("from_block", "to_block"))
        if held != [(first, final)]:
            yield f"coverage of {address} is {held}, not {first}-{final}"


def _sums() -> Iterator[str]:
    """Movements add up to balances, and each names the balance after it."""
    sums: dict[tuple[Any, ...], int] = {}
    for m in ledger.Movement.objects.order_by("block", "sequence"):
        key = (m.user, m.balance, *((m.serving, m.provider) if m.balance != "available" else ()))
        sums[key] = sums.get(key, 0) + m.amount
        if sums[key] < 0:
            yield f"{key} has less than nothing at block {m.block} ({m.kind})"
            return
        if sums[key] != m.balance_after:
            yield f"movements of {key} do not add up at block {m.block} ({m.kind})"
            return
    for account in ledger.Ledger.current.all():
        if sums.get((account.user, "available"), 0) != account.available:
            yield f"movements of {account.user} do not add up"


def _totals() -> Iterator[str]:
    """What the database sums up for a listing, and for a contract, is what the rows add up to."""
    for total in ledger.ServiceTotal.objects.all():
        mine = {"serving": total.serving}
        if total.provider:
            mine["provider"] = total.provider
        items = ledger.Settlement.objects.filter(**mine)
        paid = sum(items.filter(status__in=ledger.ACCEPTED).values_list("settled", flat=True))
        changes = ledger.ServiceChange.objects.filter(**mine).count()
        counted = (items.count(), paid, changes)
        kept = (total.items, total.settled, total.changes)
        if counted != kept:
            whose = total.provider or total.serving
            yield f"the totals of {whose} are {kept}, its rows make {counted}"


def replay_differs() -> Iterator[str]:
    """Incremental = replay, for the final rows."""
    before = rows()
    call_command("replay", stdout=_Silence())
    after = rows()
    for name, kept in before.items():
        if kept != after[name]:
            changed = sorted(set(kept) ^ set(after[name]))[:2]
            yield f"replay changes {name}: {len(kept)} rows, {len(after[name])} after; {changed}"


class _Silence:
    def write(self, _: str) -> None:
        pass
