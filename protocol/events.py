"""Every event the three contracts (and their proxies) log, as one frozen dataclass each.

The signature beside a class is the source of its topic, its decoder and its field types; field
names are the arguments in snake case (protocol/decoders.py).
IS and FT share topics and some events changed shape between releases, so a decoder is chosen by
(topic0, topic count, kind of emitter) (contracts.md 3.3, 4.3, 5, 9, 11.13).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from eth_abi.exceptions import DecodingError

from protocol.abi import AbiError, Argument, signature_of, topic_of
from protocol.decoders import Decoder, compiled, parse_signature


class Emitter(StrEnum):
    """What kind of contract logged; the two serving kinds are also their service types."""

    LEDGER = "ledger"
    INFERENCE = "inference"
    FINE_TUNING = "fine-tuning"


LEDGER = (Emitter.LEDGER,)
INFERENCE = (Emitter.INFERENCE,)
FINE_TUNING = (Emitter.FINE_TUNING,)
SERVING = (Emitter.INFERENCE, Emitter.FINE_TUNING)
ANY = (Emitter.LEDGER, Emitter.INFERENCE, Emitter.FINE_TUNING)


@dataclass(frozen=True, slots=True)
class Shape:
    """One event as it can appear in a log."""

    event: type[Any]
    name: str
    arguments: tuple[Argument, ...]
    emitters: tuple[Emitter, ...]
    topic: str
    topic_count: int
    decode: Decoder

    @property
    def signature(self) -> str:
        return signature_of(self.name, self.arguments)


SHAPES: list[Shape] = []
_DECODERS: dict[tuple[str, int, str], Decoder] = {}
_E = TypeVar("_E", bound=type)


def decode(kind: str, topics: Sequence[str], data: str) -> Any | None:
    """The event of a log of an emitter of `kind`; None when it is none of ours.

    Raises AbiError when topic and kind are ours but the content is malformed.
    """
    if not topics:
        return None
    decoder = _DECODERS.get((topics[0], len(topics), kind))
    if decoder is None:
        return None
    try:
        return decoder(topics, data)
    except (DecodingError, ValueError, KeyError, IndexError, OverflowError) as error:
        raise AbiError(f"malformed log {topics[0]}: {error}") from error


def event(signature: str, emitters: tuple[Emitter, ...]) -> Callable[[_E], _E]:
    """Registers a dataclass as the meaning of `Name(type [indexed] argument, …)`."""

    def register(cls: _E) -> _E:
        name, arguments = parse_signature(signature)
        shape = Shape(
            cls,
            name,
            arguments,
            emitters,
            topic_of(signature_of(name, arguments)),
            1 + sum(a.indexed for a in arguments),
            compiled(cls, arguments),
        )
        SHAPES.append(shape)
        for emitter in emitters:
            _DECODERS[shape.topic, shape.topic_count, emitter] = shape.decode
        return cls

    return register


# --- LedgerManager (contracts.md 3.3) ------------------------------------------------------------


@event("ServiceRegistered(address indexed serviceAddress, string serviceName)", LEDGER)
@dataclass(frozen=True, slots=True)
class ServiceRegistered:
    """A serving contract exists; its own logs start earlier."""

    service_address: str
    service_name: str


@event(
    "RecommendedServiceUpdated(string serviceType, string version, address serviceAddress)", LEDGER
)
@dataclass(frozen=True, slots=True)
class RecommendedServiceUpdated:
    """The recommendation of a service type moved to this contract."""

    service_type: str
    version: str
    service_address: str


@event(
    "RecommendedServiceUpdated(string indexed serviceType, string version, address serviceAddress)",
    LEDGER,
)
@dataclass(frozen=True, slots=True)
class RecommendedServiceUpdatedHashed:
    """The older shape of the same event: the type is only its keccak hash (contracts.md 9)."""

    service_type: str
    version: str
    service_address: str


@event("LedgerInfoUpdated(address indexed user, string additionalInfo)", LEDGER)
@dataclass(frozen=True, slots=True)
class LedgerInfoUpdated:
    user: str
    additional_info: str


@event("FundSpent(address indexed user, address indexed service, uint256 amount)", LEDGER)
@dataclass(frozen=True, slots=True)
class FundSpent:
    """`amount` neuron of the user's total went to a provider; BalanceUpdated follows directly."""

    user: str
    service: str
    amount: int


@event(
    "UserServiceProvidersMigrated(address indexed user, address indexed serviceAddress,"
    " uint256 providerCount)",
    LEDGER,
)
@dataclass(frozen=True, slots=True)
class UserServiceProvidersMigrated:
    """Temporary, January 2026 (contracts.md 9); changes no balance."""

    user: str
    service_address: str
    provider_count: int


# --- every contract ------------------------------------------------------------------------------


@event("Initialized(uint8 version)", ANY)
@dataclass(frozen=True, slots=True)
class Initialized:
    version: int


@event("OwnershipTransferred(address indexed previousOwner, address indexed newOwner)", ANY)
@dataclass(frozen=True, slots=True)
class OwnershipTransferred:
    previous_owner: str
    new_owner: str


@event("BeaconUpgraded(address indexed beacon)", ANY)
@dataclass(frozen=True, slots=True)
class BeaconUpgraded:
    """Logged once by a proxy at its creation."""

    beacon: str


# --- both serving contracts (contracts.md 4.3) ---------------------------------------------------


@event(
    "BalanceUpdated(address indexed user, address indexed provider, uint256 amount,"
    " uint256 pendingRefund)",
    SERVING,
)
@dataclass(frozen=True, slots=True)
class BalanceUpdated:
    """ABSOLUTE balance (refunds included) and pending refunds of a sub-account, neuron."""

    user: str
    provider: str
    amount: int
    pending_refund: int


@event(
    "RefundRequested(address indexed user, address indexed provider, uint256 indexed index,"
    " uint256 timestamp)",
    SERVING,
)
@dataclass(frozen=True, slots=True)
class RefundRequested:
    """The refund list now has index+1 entries; may announce nothing new (contracts.md 6.2)."""

    user: str
    provider: str
    index: int
    timestamp: int


@event(
    "AccountDeleted(address indexed user, address indexed provider, uint256 refundedAmount)",
    SERVING,
)
@dataclass(frozen=True, slots=True)
class AccountDeleted:
    user: str
    provider: str
    refunded_amount: int


@event("ServiceRemoved(address indexed provider)", SERVING)
@dataclass(frozen=True, slots=True)
class ServiceRemoved:
    provider: str


@event("ProviderStaked(address indexed provider, uint256 amount)", SERVING)
@dataclass(frozen=True, slots=True)
class ProviderStaked:
    provider: str
    amount: int


@event("ProviderStakeReturned(address indexed provider, uint256 amount)", SERVING)
@dataclass(frozen=True, slots=True)
class ProviderStakeReturned:
    provider: str
    amount: int


@event(
    "ProviderTEESignerAcknowledged(address indexed provider, address indexed teeSignerAddress,"
    " bool acknowledged)",
    SERVING,
)
@dataclass(frozen=True, slots=True)
class ProviderTEESignerAcknowledged:
    """The contract owner's decision about the signer on file at that moment."""

    provider: str
    tee_signer_address: str
    acknowledged: bool


@event("LockTimeUpdated(uint256 oldLockTime, uint256 newLockTime)", SERVING)
@dataclass(frozen=True, slots=True)
class LockTimeUpdated:
    """Seconds; re-dates refunds already pending."""

    old_lock_time: int
    new_lock_time: int


# --- InferenceServing ----------------------------------------------------------------------------


@event(
    "ServiceUpdated(address indexed provider, string serviceType, string url, uint256 inputPrice,"
    " uint256 outputPrice, uint256 updatedAt, string model, string verifiability)",
    INFERENCE,
)
@dataclass(frozen=True, slots=True)
class InferenceServiceUpdated:
    """Created or updated. The contract calls the provider `service`; signer and info are absent."""

    provider: str
    service_type: str
    url: str
    input_price: int
    output_price: int
    updated_at: int
    model: str
    verifiability: str


@event(
    "TEESettlementResult(address indexed user, uint8 status, uint256 unsettledAmount)", INFERENCE
)
@dataclass(frozen=True, slots=True)
class TEESettlementResult:
    """One per batch item, in item order; names neither provider nor fee."""

    user: str
    status: int
    unsettled_amount: int


@event(
    "TokenRevoked(address indexed user, address indexed provider, uint8 tokenId)",
    INFERENCE,
)
@dataclass(frozen=True, slots=True)
class TokenRevoked:
    user: str
    provider: str
    token_id: int


@event(
    "TokensRevoked(address indexed user, address indexed provider, uint8[] tokenIds)",
    INFERENCE,
)
@dataclass(frozen=True, slots=True)
class TokensRevoked:
    user: str
    provider: str
    token_ids: list[int]


@event(
    "AllTokensRevoked(address indexed user, address indexed provider, uint256 newGeneration)",
    INFERENCE,
)
@dataclass(frozen=True, slots=True)
class AllTokensRevoked:
    user: str
    provider: str
    new_generation: int


@event(
    "ContractInitialized(address indexed owner, uint256 lockTime, address ledgerAddress)",
    INFERENCE,
)
@dataclass(frozen=True, slots=True)
class ContractInitialized:
    owner: str
    lock_time: int
    ledger_address: str


@event(
    "BatchBalanceUpdated(address[] users, uint256[] balances, uint256[] pendingRefunds)",
    INFERENCE,
)
@dataclass(frozen=True, slots=True)
class BatchBalanceUpdated:
    """In the ABI, never emitted (contracts.md 4.3)."""

    users: list[str]
    balances: list[int]
    pending_refunds: list[int]


@event(
    "RefundsMigrated(address indexed user, address indexed provider, uint256 migratedCount,"
    " uint256 newValidLength)",
    INFERENCE,
)
@dataclass(frozen=True, slots=True)
class RefundsMigrated:
    """Temporary, January 2026 (contracts.md 9)."""

    user: str
    provider: str
    migrated_count: int
    new_valid_length: int


# --- FineTuningServing (contracts.md 5) ----------------------------------------------------------


@event(
    "ServiceUpdated(address indexed provider, string url, (uint256 cpuCount, uint256 nodeMemory,"
    " uint256 gpuCount, uint256 nodeStorage, string gpuType) quota, uint256 pricePerToken,"
    " address teeSignerAddress, bool occupied)",
    FINE_TUNING,
)
@dataclass(frozen=True, slots=True)
class FineTuningServiceUpdated:
    """Created or updated; the list of models is absent."""

    provider: str
    url: str
    quota: dict[str, Any]
    price_per_token: int
    tee_signer_address: str
    occupied: bool


@event(
    "DeliverableAdded(address indexed user, address indexed provider, string deliverableId,"
    " bytes modelRootHash, uint256 timestamp)",
    FINE_TUNING,
)
@dataclass(frozen=True, slots=True)
class DeliverableAdded:
    user: str
    provider: str
    deliverable_id: str
    model_root_hash: str
    timestamp: int


@event(
    "DeliverableAcknowledged(address indexed user, address indexed provider, string deliverableId,"
    " uint256 timestamp)",
    FINE_TUNING,
)
@dataclass(frozen=True, slots=True)
class DeliverableAcknowledged:
    user: str
    provider: str
    deliverable_id: str
    timestamp: int


@event(
    "DeliverableEvicted(address indexed provider, address indexed user,"
    " string evictedDeliverableId, string newDeliverableId, uint256 timestamp)",
    FINE_TUNING,
)
@dataclass(frozen=True, slots=True)
class DeliverableEvicted:
    """Note the order: provider first (contracts.md 11.14)."""

    provider: str
    user: str
    evicted_deliverable_id: str
    new_deliverable_id: str
    timestamp: int


@event(
    "DeliverableAbandoned(address indexed user, address indexed provider, string deliverableId,"
    " uint256 timestamp)",
    FINE_TUNING,
)
@dataclass(frozen=True, slots=True)
class DeliverableAbandoned:
    user: str
    provider: str
    deliverable_id: str
    timestamp: int


@event(
    "FeesSettled(address indexed user, address indexed provider, string deliverableId,"
    " uint256 fee, bool acknowledged, uint256 nonce)",
    FINE_TUNING,
)
@dataclass(frozen=True, slots=True)
class FeesSettled:
    """`fee` neuron were charged; acknowledged=False is the penalty path."""

    user: str
    provider: str
    deliverable_id: str
    fee: int
    acknowledged: bool
    nonce: int
