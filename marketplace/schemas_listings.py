"""The JSON shapes of a service of either kind; strings are the provider's own words."""

from __future__ import annotations

from typing import Annotated, Literal

from ninja import Field, Schema

from marketplace.schemas import Address, Instant, ListOf, Neuron
from marketplace.schemas_health import HealthOut


class Attestation(Schema):
    """Our verdict on the provider's evidence; `overall` is `expired` after 24 hours."""

    overall: str
    questions: dict[str, str]
    checked_at: Instant


class ModerationLabel(Schema):
    """A word that moderators gave, which no machine checked."""

    label: str
    author: str
    at: Instant
    until: Instant | None


class Moderation(Schema):
    """What moderators decided; `state` is the gravest: hidden, flagged or labelled."""

    state: str
    reason: str
    until: Instant | None = Field(None, description="when it ends by itself; null: when lifted")
    labels: list[ModerationLabel] = Field(default_factory=list)


class _Service(Schema):
    provider: Address
    service_name: str
    url: str
    tee_signer: Address
    tee_signer_acknowledged: bool
    stake: Neuron
    created_block: int
    attestation: Attestation | None = Field(
        None, description="null: not checked as it is listed now, or not for three days"
    )
    health: HealthOut | None = Field(None, description="our probes; null: not measured yet")
    moderation: Moderation | None = Field(None, description="null: nothing was decided")


class InferenceService(_Service):
    """An inference listing; strings are the provider's own words."""

    kind: Literal["inference"]
    service_type: str
    model: str
    verifiability: str
    input_price: Neuron
    output_price: Neuron = Field(..., description="of an embedding service never billed")
    additional_info: str
    updated_at_unix: int


class QuotaOut(Schema):
    cpu_count: int
    node_memory: int
    gpu_count: int
    node_storage: int
    gpu_type: str


class FineTuningService(_Service):
    """A fine-tuning listing; strings are the provider's own words."""

    kind: Literal["fine-tuning"]
    quota: QuotaOut | None
    price_per_token: Neuron
    occupied: bool
    models: list[str]


ServiceOut = Annotated[InferenceService | FineTuningService, Field(discriminator="kind")]


class ServiceList(ListOf[ServiceOut]):
    """One page of services of either kind."""
