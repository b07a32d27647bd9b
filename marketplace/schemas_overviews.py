"""The JSON shapes of the lists of models and providers, and what these may be asked for."""

from __future__ import annotations

from typing import Annotated, Literal

from ninja import Field, Schema

from marketplace.overviews import ModelsAsked, ProvidersAsked
from marketplace.schemas import EMPTY, Address, KindIn, Neuron, PageIn, TextIn

_MODELS, _PROVIDERS = tuple(ModelsAsked.SORTS), tuple(ProvidersAsked.SORTS)
ModelsSort = Literal[_MODELS]  # type: ignore[valid-type]
ProvidersSort = Literal[_PROVIDERS]  # type: ignore[valid-type]


class ModelsFileIn(Schema):
    """The question of the page `/models`."""

    q: TextIn = Field("", description="words that all occur in model, provider, URL or type")
    type: TextIn = Field("", description="service type, exact, e.g. `chatbot`")
    sort: Annotated[ModelsSort | None, EMPTY] = Field(None, description="order")

    @property
    def asked(self) -> ModelsAsked:
        return ModelsAsked(self.q, self.type, self.sort or "")


class ModelsIn(ModelsFileIn, PageIn):
    """The same, and which part of the list."""


class ProvidersFileIn(Schema):
    """The question of the page `/providers`."""

    q: TextIn = Field(
        "", description="words that all occur in address, name, or in one service's model or URL"
    )
    kind: KindIn = Field(None, description="with a service of this kind")
    sort: Annotated[ProvidersSort | None, EMPTY] = Field(None, description="order")

    @property
    def asked(self) -> ProvidersAsked:
        return ProvidersAsked(self.q, self.kind or "", self.sort or "")


class ProvidersIn(ProvidersFileIn, PageIn):
    """The same, and which part of the list."""


class ModelOut(Schema):
    """A model with the lowest prices (neuron per token; of types without tokens per image, else
    per second) and the best of 7 days among its services; null where nothing was measured."""

    model: str
    types: list[str]
    providers: int
    acknowledged: int = Field(..., description="services whose signer the owner acknowledged")
    verified: int = Field(..., description="services that pass our check now")
    input_price: Neuron = Field(..., description="0 of images and speech: not billed")
    output_price: Neuron = Field(..., description="0 where embeddings are all: not billed")
    first_token_ms: int | None
    tokens_per_second: str | None
    uptime_7d_percent: str | None
    probes_7d: int | None = Field(..., description="that this uptime is by")
    updated_at_unix: int | None


class ProviderLineOut(Schema):
    """A provider with what it lists; sums in neuron, over all serving contracts."""

    address: Address
    name: str | None = Field(..., description="its own word, signed by its wallet")
    kinds: list[str]
    services: int
    acknowledged: int = Field(..., description="services whose signer the owner acknowledged")
    verified: int = Field(..., description="services that pass our check now")
    uptime_7d_percent: str | None = Field(..., description="of the least reliable service")
    probes_7d: int | None = Field(..., description="that this uptime is by")
    stake: Neuron
    earned: Neuron
    since_block: int
    updated_at_unix: int | None
