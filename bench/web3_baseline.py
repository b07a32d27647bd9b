"""What one would write first: web3.py's `contract.events.X.get_logs` and Django's `bulk_create`."""

from __future__ import annotations

import json
import time
from typing import Any, ClassVar

from django.db import connection, models
from web3 import HTTPProvider, Web3
from web3.exceptions import Web3Exception

from bench.workload import History
from protocol.abi import ARTIFACTS

#: Blocks per query: about what our own back-fill asks for at once.
BLOCKS = 200


class Event(models.Model):
    """One decoded event, unique by its place in the chain."""

    block_hash = models.CharField(max_length=66)
    block_number = models.BigIntegerField()
    log_index = models.IntegerField()
    transaction_hash = models.CharField(max_length=66)
    address = models.CharField(max_length=42)
    name = models.CharField(max_length=60)
    arguments = models.JSONField()

    class Meta:
        app_label = "bench"
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["block_hash", "log_index"], name="event_once")
        ]
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["block_number", "log_index"])]

    def __str__(self) -> str:
        return self.name


def rate(url: str, history: History, logs: int) -> float:
    """Events per second over the first `logs` logs, about."""
    with connection.schema_editor() as editor:
        editor.create_model(Event)
    try:
        blocks = max(1, min(history.last_block, history.last_block * logs // history.logs))
        started = time.perf_counter()
        found = _index(Web3(HTTPProvider(url)), history, blocks)
        return found / (time.perf_counter() - started)
    finally:
        with connection.schema_editor() as editor:
            editor.delete_model(Event)


def _index(w3: Web3, history: History, last: int) -> int:
    contracts: list[Any] = [
        w3.eth.contract(address=w3.to_checksum_address(address), abi=abi_of(name))
        for address, name in (
            (history.ledger, "LedgerManager"),
            (history.inference, "InferenceServing"),
            (history.fine_tuning, "FineTuningServing"),
        )
    ]
    found = 0
    for first in range(0, last + 1, BLOCKS):
        rows = []
        for contract in contracts:
            for event in contract.events:
                try:
                    logs = event().get_logs(
                        from_block=first, to_block=min(last, first + BLOCKS - 1)
                    )
                except Web3Exception:
                    continue  # an event of another contract with the same topic
                rows += [_row(log) for log in logs]
        Event._default_manager.bulk_create(rows, batch_size=2_000, ignore_conflicts=True)
        found += len(rows)
    return found


def _row(log: Any) -> Event:
    return Event(
        block_hash=log["blockHash"].to_0x_hex(),
        block_number=log["blockNumber"],
        log_index=log["logIndex"],
        transaction_hash=log["transactionHash"].to_0x_hex(),
        address=log["address"],
        name=log["event"],
        arguments={k: v.hex() if isinstance(v, bytes) else v for k, v in log["args"].items()},
    )


def abi_of(name: str) -> Any:
    return json.loads((ARTIFACTS / f"{name}.json").read_text())["abi"]
