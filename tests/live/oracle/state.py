"""What the contracts remember, in the plainest form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

ONE = 10**18
KINDS = {"inference-v1.0": "inference", "fine-tuning-v1.0": "fine_tuning"}


class Refusal(Exception):
    """The contracts must answer with this error."""

    def __init__(self, error: str, *arguments: Any) -> None:
        super().__init__(error, *arguments)
        self.error = error
        self.arguments = arguments


class SwapList(list[Any]):
    """Deleting an element moves the last one into its place (contracts.md 2)."""

    def take_out(self, item: Any) -> None:
        place = self.index(item)
        last = self.pop()
        if place < len(self):
            self[place] = last


@dataclass
class Pair:
    user: str
    provider: str
    live: bool = False
    nonce: int = 0
    generation: int = 0
    balance: int = 0
    refunds: list[tuple[int, int]] = field(default_factory=list)  # active: amount, created at
    info: str = ""
    acknowledged: bool = False
    bitmap: int = 0
    deliverables: list[dict[str, Any]] = field(default_factory=list)  # oldest first

    @property
    def pending(self) -> int:
        return sum(amount for amount, _ in self.refunds)


@dataclass
class Side:
    """One serving contract."""

    kind: str
    lock_time: int = 86_400
    order: SwapList = field(default_factory=SwapList)
    pairs: dict[tuple[str, str], Pair] = field(default_factory=dict)
    services: dict[str, dict[str, Any]] = field(default_factory=dict)
    service_order: SwapList = field(default_factory=SwapList)
    stakes: dict[str, int] = field(default_factory=dict)


@dataclass
class State:
    sides: dict[str, Side] = field(
        default_factory=lambda: {kind: Side(kind) for kind in ("inference", "fine_tuning")}
    )
    ledgers: dict[str, dict[str, Any]] = field(default_factory=dict)
    ledger_order: SwapList = field(default_factory=SwapList)
    paired: dict[tuple[str, str], list[str]] = field(default_factory=dict)  # (user, kind)
    penalty: int = 30
    earned: dict[str, int] = field(default_factory=dict)
