"""Raw facts of the chain, append-only: what the node said, before anybody interprets it.

See architecture.md 4-B; `chain.store` is the only reader and writer.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now

from chain.fields import AddressField, HashField, NeuronField


class RawBlock(models.Model):
    """A header we hold: of every non-final block, and of those final ones that hold our facts."""

    number = models.BigIntegerField()
    hash = HashField(unique=True)
    parent_hash = HashField()
    timestamp = models.BigIntegerField(help_text="unix seconds")

    class Meta:
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["number"])]

    def __str__(self) -> str:
        return f"block {self.number}"


class RawTransaction(models.Model):
    """A transaction that touched our contracts: sometimes the only source of a fact."""

    hash = HashField()
    block_hash = HashField()
    block_number = models.BigIntegerField()
    index = models.IntegerField()
    sender = AddressField()
    to = AddressField(null=True)
    value = NeuronField()
    input = models.TextField(help_text="0x-hex calldata")
    status = models.SmallIntegerField(help_text="1 success, 0 reverted")

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            # The number first: one index finds a range in order, and the same row twice.
            models.UniqueConstraint(fields=["block_number", "index", "block_hash"], name="tx_once")
        ]

    def __str__(self) -> str:
        return self.hash


class RawLog(models.Model):
    """One log of a contract we follow, verbatim."""

    block_hash = HashField()
    block_number = models.BigIntegerField()
    log_index = models.IntegerField()
    tx_hash = HashField()
    tx_index = models.IntegerField()
    address = AddressField()
    topics = models.JSONField(help_text="list of 0x-hex topics")
    data = models.TextField(help_text="0x-hex")

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["block_number", "log_index", "block_hash"], name="log_once"
            )
        ]

    def __str__(self) -> str:
        return f"log {self.block_number}/{self.log_index}"


class RawCall(models.Model):
    """The answer of a view at one block: a fact that logs leave out (contracts.md 8.3)."""

    block_number = models.BigIntegerField()
    block_hash = HashField()
    to = AddressField()
    data = models.TextField(
        help_text="0x-hex calldata; 'balance' and 'storage:<slot>' for the two node reads"
    )
    result = models.TextField(help_text="0x-hex; 'revert:<0x-hex>' when the view reverted")

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["block_number", "block_hash", "to", "data"], name="call_once"
            )
        ]

    def __str__(self) -> str:
        return f"call {self.to}@{self.block_number}"


class Coverage(models.Model):
    """Final block ranges whose facts of one source (a contract address) are stored completely."""

    source = AddressField()
    from_block = models.BigIntegerField()
    to_block = models.BigIntegerField()

    class Meta:
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["source", "from_block"])]

    def __str__(self) -> str:
        return f"{self.source} {self.from_block}-{self.to_block}"


class Head(models.Model):
    """Where the follower stands, one row per chain; `checked_at`: last agreement with its head."""

    chain_id = models.BigIntegerField(primary_key=True)
    genesis_hash = HashField(default="")
    head_block = models.BigIntegerField(default=-1, help_text="the node's head when last seen")
    indexed_block = models.BigIntegerField(
        default=-1, help_text="rows shown include this block (pending ones too)"
    )
    indexed_hash = HashField(default="")
    indexed_timestamp = models.BigIntegerField(
        default=0, help_text="unix seconds of the indexed block"
    )
    final_block = models.BigIntegerField(default=-1)
    final_hash = HashField(default="")
    checked_at = models.DateTimeField(null=True)
    error = models.TextField(
        default="", help_text="empty, or why the follower waits or stopped, in one sentence"
    )
    halted = models.BooleanField(
        default=False, help_text="stopped on a fact that must not be guessed (exit code 2)"
    )
    blocks_per_second = models.FloatField(default=0, help_text="of the last half minute")
    events_per_second = models.FloatField(default=0, help_text="logs of our contracts, likewise")
    updated_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"chain {self.chain_id} at {self.indexed_block}"


class NodeState(models.Model):
    """The health of one of CHAIN_RPC_URLS as the follower finds it; counts since its start."""

    chain_id = models.BigIntegerField()
    position = models.SmallIntegerField(help_text="place in CHAIN_RPC_URLS, from 0")
    name = models.TextField(help_text="scheme, host and port; never the path (API keys)")
    state = models.TextField(help_text="untried, ok, resting or set aside")
    reason = models.TextField(default="", help_text="why it rests or is set aside")
    head_block = models.BigIntegerField(null=True)
    latency_ms = models.FloatField(null=True, help_text="moving average per batch")
    calls_per_second = models.FloatField(null=True, help_text="our budget; null: no limit")
    requests = models.BigIntegerField(default=0)
    failures = models.BigIntegerField(default=0)
    websocket = models.BooleanField(default=False, help_text="new heads are heard there")
    updated_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["chain_id", "position"], name="node_once")
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.state}"
