"""Runs of the comparison with the chain, kept: scheduled samples and every `check_index`."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.utils import timezone

from chain.errors import ChainError
from chain.models import Head
from chain.rpc import Rpc
from ledger import sample
from ledger.audit import Report
from ledger.models import Reconciliation
from protocol.abi import AbiError

#: Runs that are kept.
HISTORY = 100
#: Differences of one run that are kept.
SHOWN = 50


def reconcile() -> Reconciliation | None:
    """Compare a sample at the final block and keep the result; None before anything is final. What
    the last comparison found different is in it: drift ends when it has ended, not by chance.

    A node that fails becomes the run's `error`; a run without a result is no proof of anything.
    """
    if not Head.objects.filter(chain_id=settings.CHAIN_ID, final_block__gte=0).exists():
        return None
    began = time.monotonic()
    try:
        with Rpc(settings.CHAIN_RPC_URLS, settings.CHAIN_ID) as rpc:
            report = sample.compare(rpc, _differed())
    except (ChainError, AbiError) as error:
        run = Reconciliation(scope=Reconciliation.SAMPLE, error=str(error)[:1000])
        return _keep(run, began)
    return keep(report, Reconciliation.SAMPLE, began)


def keep(report: Report, scope: str, began: float) -> Reconciliation:
    """Store a report; `began` on the monotonic clock."""
    run = Reconciliation(
        scope=scope,
        block=report.block,
        block_hash=report.block_hash,
        compared=report.compared,
        drift=len(report.differences),
        differences=[strings(asdict(d)) for d in report.differences[:SHOWN]],
    )
    return _keep(run, began)


def _keep(run: Reconciliation, began: float) -> Reconciliation:
    run.seconds = time.monotonic() - began
    run.at = timezone.now()
    run.save()
    old = Reconciliation.objects.order_by("-pk").values_list("pk", flat=True)[HISTORY:]
    Reconciliation.objects.filter(pk__in=list(old)).delete()
    return run


def _differed() -> set[str]:
    """The addresses that the differences of the last comparison are about (`ledger.audit`)."""
    last = latest()
    found = last.differences if last is not None else ()
    return {address for one in found for address in str(one["key"]).split(" at ")}


def latest() -> Reconciliation | None:
    """The last run that has a result. SQL: one query."""
    return Reconciliation.objects.filter(error="").order_by("-pk").first()


def strings(entry: dict[str, Any]) -> dict[str, Any]:
    """Amounts as decimal strings (JSON readers round large numbers), anything else as text."""
    return {
        key: value if value is None or isinstance(value, str | bool) else str(value)
        for key, value in entry.items()
    }
