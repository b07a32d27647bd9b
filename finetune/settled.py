"""What the chain recorded of a result, which stays when the contract has forgotten it: with an
account that was closed, or after twenty newer results (contracts.md 3.4, 5).
"""

from __future__ import annotations

from chain.models import RawLog, RawTransaction
from finetune.models import Task
from ledger.models import Kind, Settlement
from ledger.records import Deliverable
from protocol import abi, events

#: Of one pair, the newest are looked through.
_SETTLEMENTS = 200
#: A result is settled within days; so many blocks before that it was announced at most.
_BLOCKS = 1_000_000
#: Letters of a sealed key that fit into a command; it has 228.
_MOST_SEALED = 1_000


def settlement(task: Task) -> Settlement | None:
    """The settlement of its result by what the contract's own log names, whatever the provider said
    of its fee; None where there was none, or none that is known here (2 queries)."""
    rows = Settlement.objects.filter(
        user=task.user.address, provider=task.provider, serving=task.serving
    )
    found = {(row.block, row.log_index): row for row in rows.order_by("-block")[:_SETTLEMENTS]}
    logs = RawLog.objects.filter(
        block_number__in={block for block, _index in found}, address=task.serving
    )
    for log in logs.order_by("-block_number", "-log_index"):
        row = found.get((log.block_number, log.log_index))
        if row is None or row.tx_hash != log.tx_hash:
            continue
        said = events.decode(Kind.FINE_TUNING.value, log.topics, log.data)
        if getattr(said, "deliverable_id", "") == str(task.remote_id):
            return row
    return None


def announced(task: Task) -> Deliverable | None:
    """A settled result as its provider announced it; None where that is not known here (3 queries,
    of which one reads the logs of days: for workers)."""
    paid = settlement(task)
    if paid is None:
        return None
    logs = RawLog.objects.filter(
        address=task.serving, block_number__range=(paid.block - _BLOCKS, paid.block)
    )
    for log in logs.order_by("-block_number", "-log_index").iterator():
        said = events.decode(Kind.FINE_TUNING.value, log.topics, log.data)
        if not isinstance(said, events.DeliverableAdded):
            continue
        whose = (said.user, said.provider, said.deliverable_id)
        if whose == (task.user.address, task.provider, str(task.remote_id)):
            agreed = paid.status == "acknowledged"
            return Deliverable(
                said.deliverable_id, said.model_root_hash, agreed, True, said.timestamp
            )
    return None


def sealed_key(task: Task) -> str:
    """The key to its result as the settlement handed it over, sealed for its owner, 0x-hex: that
    stays when the contract has forgotten it, with a closed account or after twenty newer results.
    Empty where it is not known here (3 queries)."""
    paid = settlement(task)
    if paid is None or paid.status != "acknowledged":
        return ""
    for sent in RawTransaction.objects.filter(block_number=paid.block, hash=paid.tx_hash):
        called = abi.decode_call(abi.FINE_TUNING_SERVING, sent.input, only=("settleFees",))
        given = called[1].get("verifierInput", {}) if called else {}
        sealed = str(given.get("encryptedSecret", ""))
        if given.get("id") == str(task.remote_id) and len(sealed) <= _MOST_SEALED:
            return sealed
    return ""
