"""What operators' pages need and the chain's logs leave out: gas of settlements, debts not yet
settled."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from chain.fields import AddressField, HashField, NeuronField
from operators.models_listing import ListingDraft, Note, Profile, SelfTest, SetupRun

__all__ = ["BatchGas", "Debt", "ListingDraft", "Note", "Profile", "SelfTest", "SetupRun"]


class BatchGas(models.Model):
    """What a settlement transaction cost its sender, from its receipt: a fact about a final block,
    never changed."""

    tx_hash = HashField(primary_key=True)
    block = models.BigIntegerField()
    sender = AddressField(help_text="who paid the gas")
    gas_used = models.BigIntegerField()
    gas_price = NeuronField(help_text="effective price, neuron per gas")
    read_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.gas_used} gas for {self.tx_hash}"


class Debt(models.Model):
    """What a broker last said it is owed and has not settled (docs/broker.md); sums only, signed by
    the provider's wallet. `error`: why it said nothing the last time."""

    serving = AddressField()
    provider = AddressField()
    asked_at = models.DateTimeField()
    error = models.TextField(default="", blank=True)
    counted_at = models.DateTimeField(null=True)
    fee = NeuronField(default=0)
    users = models.BigIntegerField(default=0)
    at_risk_fee = NeuronField(default=0)
    at_risk_users = models.BigIntegerField(default=0)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["provider", "serving"], name="debt_once")
        ]

    def __str__(self) -> str:
        return f"{self.fee} neuron owed to {self.provider}"
