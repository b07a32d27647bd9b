"""The JSON shapes of interfaces.md 3, field by field; OpenAPI and `/api/docs` are made from them.

Amounts are decimal strings of neuron (a JSON number would lose digits), times ISO 8601 UTC,
addresses EIP-55.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from ninja import Field, Schema
from pydantic import (
    AfterValidator,
    BeforeValidator,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError, core_schema

from ledger import cursors, selectors
from marketplace.schemas_health import HealthOut

Item = TypeVar("Item")

# --- words of the schema ------------------------------------------------------------------------

Neuron = Annotated[
    str,
    BeforeValidator(str),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^-?[0-9]+$",
            "description": "neuron, exact; 1 0G = 10^18 neuron",
            "examples": ["1000000000000000000"],
        }
    ),
]
Number = Annotated[
    str,
    BeforeValidator(str),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]+$", "description": "a uint256, exact"}),
]
_ADDRESS = {
    "type": "string",
    "pattern": "^0x[0-9a-fA-F]{40}$",
    "description": "address; answers are EIP-55, requests may be all lower case",
    "examples": ["0x70997970C51812dc3A010C7d01b50e0d17dc79C8"],
}
Address = Annotated[str, WithJsonSchema(_ADDRESS)]
Hash = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^0x[0-9a-f]{64}$"})]
Instant = Annotated[
    dt.datetime, WithJsonSchema({"type": "string", "format": "date-time", "description": "UTC"})
]
ServiceKind = Literal["inference", "fine-tuning"]


def _address(text: str) -> str:
    address = selectors.address_of(text)
    if address is None:
        raise PydanticCustomError(
            "invalid_address", "not an address: 0x and 40 hex digits with the right checksum"
        )
    return address


def _text(text: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise PydanticCustomError("control_character", "control characters are not allowed")
    return text


class EmptyIsAbsent:
    """A form sends `kind=` for "any": an empty text means what leaving it out means, and the schema
    says so. Stands last in an annotation.
    """

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        def absent(value: Any) -> Any:
            return None if value == "" else value

        return core_schema.no_info_before_validator_function(absent, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [handler(schema), {"const": ""}]}


EMPTY = EmptyIsAbsent()


#: An address in a request.
AddressIn = Annotated[str, Field(max_length=64), AfterValidator(_address), WithJsonSchema(_ADDRESS)]
#: A short text in a request.
TextIn = Annotated[str, Field(max_length=200), AfterValidator(_text)]
KindIn = Annotated[ServiceKind | None, EMPTY]
#: interfaces.md `timeline.change`.
CHANGES = (
    "registered", "price", "url", "model", "type", "verifiability", "signer", "additional_info",
    "quota", "occupied", "models", "acknowledged", "unacknowledged", "staked", "stake_returned",
    "removed",
)  # fmt: skip
ChangeIn = Annotated[Literal[CHANGES] | None, EMPTY]  # type: ignore[valid-type]
VerdictIn = Annotated[
    Literal["pass", "warn", "partial", "fail", "not_provided", "not_checked", "expired", "never"]
    | None,
    EMPTY,
]


def _sort(value: str | None) -> str | None:
    if value is not None and value.removeprefix("-") not in selectors.SORTS:
        raise PydanticCustomError(
            "unknown_sort", "not a sort order: {known}", {"known": ", ".join(SORTS)}
        )
    return value


SORTS = tuple(sign + name for name in selectors.SORTS for sign in ("", "-"))
SortIn = Annotated[
    str | None,
    AfterValidator(_sort),
    WithJsonSchema({"type": "string", "enum": list(SORTS)}),
    EMPTY,
]


class PageIn(Schema):
    """Which part of a list: pages count from 1."""

    page: int = Field(1, ge=1, le=selectors.MAX_PAGE, description="which page, from 1")
    page_size: int = Field(
        selectors.PAGE_SIZE,
        ge=1,
        le=selectors.MAX_PAGE_SIZE,
        description=f"items per page, at most {selectors.MAX_PAGE_SIZE}",
    )


def _cursor(text: str) -> str:
    if text and cursors.Place.parse(text) is None:
        raise PydanticCustomError("invalid_cursor", "not a cursor: follow `next` as it is")
    return text


CursorIn = Annotated[
    str,
    Field(max_length=60),
    AfterValidator(_cursor),
    WithJsonSchema({"type": "string", "pattern": f"{cursors.PATTERN}|^$"}),
]
#: How far into a history a page number reaches; `next` goes on from there at the same cost.
MAX_DEPTH = 20_000


class HistoryIn(PageIn):
    """Which part of a history. `next` of an answer carries `cursor`."""

    cursor: CursorIn = Field("", description="where to go on, from `next`; `page` then counts not")

    @property
    def after(self) -> cursors.Place | None:
        return cursors.Place.parse(self.cursor)

    @model_validator(mode="after")
    def _not_too_deep(self) -> Self:
        if not self.cursor and (self.page - 1) * self.page_size > MAX_DEPTH:
            raise PydanticCustomError(
                "page_too_deep",
                "pages reach {depth} items deep; follow `next` beyond",
                {"depth": MAX_DEPTH},
            )
        return self


class ServicesIn(PageIn):
    """Filters of the services list; each narrows it further."""

    kind: KindIn = Field(None, description="inference or fine-tuning")
    type: TextIn = Field("", description="service type, exact, e.g. `chatbot`")
    q: TextIn = Field("", description="words that all occur in model, provider, URL or type")
    model: TextIn = Field("", description="model name, exact")
    verified: VerdictIn = Field(None, description="our verdict on the provider's evidence")
    sort: SortIn = Field(None, description="order; a leading `-` turns it round")


class FeedIn(Schema):
    """Filters of the feed."""

    kind: KindIn = Field(None, description="inference or fine-tuning")
    change: ChangeIn = Field(None, description="only changes of this sort")
    provider: Annotated[AddressIn | None, EMPTY] = Field(
        None, description="only this provider's listings"
    )


class ChangesIn(FeedIn, HistoryIn):
    """Filters of the list of changes."""


class TimelineIn(HistoryIn):
    """Filters of one listing's timeline."""

    change: ChangeIn = Field(None, description="only changes of this sort")


# --- answers ------------------------------------------------------------------------------------


class Problem(Schema):
    """RFC 9457: every error of this API."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[dict[str, str]] | None = None


class ListOf(Schema, Generic[Item]):
    """One page: length of the whole list, this page's items, the address of the next page or
    null.
    """

    count: int
    items: list[Item]
    next: str | None


class ContractOut(Schema):
    address: Address
    role: str
    service_name: str | None
    start_block: int


class ReconciliationOut(Schema):
    """The last comparison with the contracts: at which block, and how many values differed."""

    at: Instant
    block: int
    compared: int
    drift: int


class Status(Schema):
    """How far the index is. `lag_seconds` is the time since we last agreed with the node's head."""

    network: str
    chain_id: int
    head_block: int | None
    indexed_block: int | None
    final_block: int | None
    lag_blocks: int | None
    lag_seconds: int | None
    logs: int
    contracts: list[ContractOut]
    halted: bool
    blocks_per_second: float
    events_per_second: float
    reconciliation: ReconciliationOut | None


class Attestation(Schema):
    """Our verdict on the provider's evidence; `overall` is `expired` after 24 hours."""

    overall: str
    questions: dict[str, str]
    checked_at: Instant


class Moderation(Schema):
    state: str
    reason: str


class _Service(Schema):
    provider: Address
    service_name: str
    url: str
    tee_signer: Address
    tee_signer_acknowledged: bool
    stake: Neuron
    created_block: int
    attestation: Attestation | None = Field(None, description="null: not checked yet")
    health: HealthOut | None = Field(None, description="our probes; null: not measured yet")
    moderation: Moderation | None = Field(None, description="null: nothing was decided")


class InferenceService(_Service):
    """An inference listing; strings are the provider's own words."""

    kind: Literal["inference"]
    service_type: str
    model: str
    verifiability: str
    input_price: Neuron
    output_price: Neuron
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


class Change(Schema):
    """One on-chain change of a listing; `before` and `after` hold the fields that changed."""

    block: int
    at: Instant
    tx_hash: Hash | None
    change: str
    before: Any
    after: Any


class NetworkChange(Change):
    """A change with the listing it belongs to."""

    kind: str
    provider: Address
    service_name: str


class LedgerOut(Schema):
    total: Neuron
    available: Neuron
    additional_info: str


class RefundOut(Schema):
    """`unlocks_at_unix` follows today's lock time of the contract, for old requests too."""

    index: int
    amount: Neuron
    created_at_unix: int
    unlocks_at_unix: int


class DeliverableOut(Schema):
    id: str
    model_root_hash: str
    acknowledged: bool
    settled: bool
    timestamp_unix: int


class _SubAccount(Schema):
    service_name: str
    provider: Address
    balance: Neuron
    pending_refund: Neuron
    nonce: Number
    acknowledged: bool
    additional_info: str
    refunds: list[RefundOut]


class InferenceSubAccount(_SubAccount):
    kind: Literal["inference"]
    generation: Number
    revoked_bitmap: Number


class FineTuningSubAccount(_SubAccount):
    kind: Literal["fine-tuning"]
    deliverables: list[DeliverableOut]


SubAccountOut = Annotated[InferenceSubAccount | FineTuningSubAccount, Field(discriminator="kind")]


class AccountOut(Schema):
    """`ledger` is null for an address without a main account."""

    address: Address
    ledger: LedgerOut | None
    sub_accounts: list[SubAccountOut]


class MovementOut(Schema):
    """A signed change of `available` or of a sub-account; `balance_after` is that balance's new
    value.
    """

    block: int
    at: Instant
    tx_hash: Hash | None
    log_index: int | None
    kind: str
    provider: Address | None
    service_name: str | None
    balance: Literal["available", "sub_account"]
    amount: Neuron
    balance_after: Neuron
    source: Literal["event", "transaction", "view"]


class DayOut(Schema):
    date: dt.date
    amount: Neuron
    settlements: int


class PayerOut(Schema):
    user: Address
    amount: Neuron


class EarningsOut(Schema):
    """`by_service`, `by_day` (UTC, oldest first) and `by_user` each sum to `total`."""

    total: Neuron
    by_service: dict[str, Neuron]
    by_day: list[DayOut]
    by_user: list[PayerOut]


class SettlementOut(Schema):
    block: int
    at: Instant
    tx_hash: Hash | None
    log_index: int | None
    service_name: str
    user: Address
    status: str
    settled: Neuron
    unsettled: Neuron
