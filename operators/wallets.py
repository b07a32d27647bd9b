"""What the wallet that settles holds against what settling costs: asked of the node in the
background, kept for minutes, and said only where it is known."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.core.cache import cache
from django.utils import timezone

from accounts import node
from ledger.models import Settlement
from net.cache import recall
from operators.gas import FIXED_GAS, ITEM_GAS
from operators.models import BatchGas

#: Below so many settlements an operator is told.
FEW = 5
#: How long an answer of the node counts, seconds.
KEPT = 900
#: The newest batches, of which the largest gas is what one may cost.
_LOOKED_AT = 20


@dataclass(frozen=True)
class Wallet:
    """`balance` and what a settlement `costs` at the node's gas price, neuron, when the node was
    asked (`at`)."""

    balance: int
    costs: int
    at: dt.datetime

    @property
    def settlements(self) -> int:
        """How many it still pays."""
        return self.balance // self.costs if self.costs else FEW


def look(provider: str) -> None:
    """Ask the node for balance and gas price. Raises NodeError."""
    balance, price = node.call_many(
        [("eth_getBalance", [provider, "latest"]), ("eth_gasPrice", [])]
    )
    found = f"{node.quantity(balance)}:{node.quantity(price)}:{int(timezone.now().timestamp())}"
    cache.set(_name(provider), found, timeout=KEPT)


def known(provider: str) -> Wallet | None:
    """None where nobody looked lately, or another wallet pays for its settlements (2 queries)."""
    found = recall(_name(provider))
    gas = _gas(provider) if found else None
    if not found or gas is None:
        return None
    balance, price, at = map(int, str(found).split(":"))
    return Wallet(balance, gas * price, dt.datetime.fromtimestamp(at, dt.UTC))


def _gas(provider: str) -> int | None:
    """Gas of a settlement: the most of its newest batches, of one user before there was any; None
    where the newest was sent by another wallet."""
    batches = Settlement.objects.filter(provider=provider, tx_hash__isnull=False)
    newest = batches.order_by("-block").values_list("tx_hash", "block").distinct()[:_LOOKED_AT]
    rows = BatchGas.objects.filter(tx_hash__in=[tx_hash for tx_hash, _ in newest])
    sent = list(rows.order_by("-block").values_list("sender", "gas_used"))
    if not sent:
        return FIXED_GAS + ITEM_GAS
    own = [used for sender, used in sent if sender == provider]
    return max(own) if sent[0][0] == provider else None


def _name(provider: str) -> str:
    return f"operators:wallet-at:{provider}"
