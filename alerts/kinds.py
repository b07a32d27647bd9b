"""What one can be told about. Pure: names, words, and what each kind needs to know."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    LOW_BALANCE = "low_balance"
    LOW_AVAILABLE = "low_available"
    REFUND_UNLOCKED = "refund_unlocked"
    PROVIDER_DOWN = "provider_down"
    PRICE = "price"
    URL = "url"
    SIGNER = "signer"
    VERIFICATION = "verification"
    REMOVED = "removed"
    LOCK_TIME = "lock_time"
    TASK = "task"
    DEADLINE = "deadline"
    REPORT = "report"


@dataclass(frozen=True)
class Sort:
    """How a kind is offered: `label` in a list, `sentence` as the rule reads, `unit` of its number
    ("" = it takes none), `scoped` whether it is about providers."""

    kind: Kind
    label: str
    sentence: str
    hint: str
    unit: str = ""
    default: str = ""
    scoped: bool = True


SORTS: dict[Kind, Sort] = {
    sort.kind: sort
    for sort in (
        Sort(
            Kind.LOW_BALANCE,
            "Balance at a provider is low",
            "My balance at {where}, less what is being refunded, falls below {number} 0G",
            "Providers keep 1 0G of it in reserve and answer only above that.",
            "0G",
            "1.5",
        ),
        Sort(
            Kind.LOW_AVAILABLE,
            "Available balance is low",
            "My available balance falls below {number} 0G",
            "What is not at a provider yet.",
            "0G",
            "1",
            scoped=False,
        ),
        Sort(
            Kind.REFUND_UNLOCKED,
            "A refund unlocked",
            "A refund from {where} can be collected",
            "Until you collect it, the provider can still charge it.",
        ),
        Sort(
            Kind.PROVIDER_DOWN,
            "A provider does not answer",
            "{where} does not answer, and when it is back",
            "By this site's own probes: two in a row that failed.",
        ),
        Sort(
            Kind.PRICE,
            "A price changed",
            "A price of {where} changes by {number} % or more",
            "0 tells every change. Read from final blocks.",
            "%",
            "0",
        ),
        Sort(
            Kind.URL,
            "The endpoint changed",
            "{where} changes its URL",
            "The owner's acknowledgement survives it, so nothing else would warn you.",
        ),
        Sort(
            Kind.SIGNER,
            "The signing key changed",
            "{where} changes its signing key, or loses its acknowledgement",
            "Your own acknowledgement survives a change of the key.",
        ),
        Sort(
            Kind.VERIFICATION,
            "Verification became worse",
            "The verification of {where} becomes worse",
            "Any verdict worse than the one before, or a finding across providers.",
        ),
        Sort(
            Kind.REMOVED,
            "A service was removed",
            "{where} removes its service",
            "What you hold there stays yours and can be retrieved.",
        ),
        Sort(
            Kind.LOCK_TIME,
            "The lock time of refunds changed",
            "The lock time of refunds changes",
            "It counts for refunds that wait already, too.",
            scoped=False,
        ),
        Sort(
            Kind.TASK,
            "A fine-tuning task got somewhere",
            "A fine-tuning task of mine is delivered, finished or failed",
            "Asked for at its provider while nobody looks.",
            scoped=False,
        ),
        Sort(
            Kind.DEADLINE,
            "A fine-tuning result must be acknowledged",
            "Only 24, 6 or 1 hours are left to acknowledge a fine-tuning result",
            "Whoever misses it pays a part and loses the model.",
            scoped=False,
        ),
        Sort(
            Kind.REPORT,
            "A report of mine was answered",
            "Moderators answer a report of mine",
            "What came of it stands under your reports, too.",
            scoped=False,
        ),
    )
}

#: Kinds that hold for a while; the others happen at a block or a moment.
LASTING = frozenset({Kind.LOW_BALANCE, Kind.LOW_AVAILABLE, Kind.PROVIDER_DOWN})
#: The `change` values of `ledger.ServiceChange` each kind of event reads.
CHANGES: dict[Kind, tuple[str, ...]] = {
    Kind.PRICE: ("price",),
    Kind.URL: ("url",),
    Kind.SIGNER: ("signer", "unacknowledged"),
    Kind.REMOVED: ("removed",),
}


def sentence(kind: str, where: str, number: str) -> str:
    """The rule in words; the first letter is a capital even where it is an address."""
    text = SORTS[Kind(kind)].sentence.format(where=where, number=number)
    return text[:1].upper() + text[1:] if not text.startswith("0x") else text


def moved(before: int, after: int) -> int | None:
    """By how many hundredths of a percent a price moved, signed and rounded towards zero; None from
    zero (any change from nothing is a change beyond every percentage)."""
    if before == 0:
        return None if after else 0
    change = abs(after - before) * 10_000 // before
    return change if after >= before else -change
