"""What a list of changes may be asked for, and its JSON shapes."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from ninja import Field, Schema

from marketplace import history
from marketplace.schemas import (
    EMPTY,
    Address,
    AddressIn,
    Hash,
    HistoryIn,
    Instant,
    KindIn,
    words,
)

#: interfaces.md `timeline.change`.
CHANGES = (
    "registered", "price", "url", "model", "type", "verifiability", "signer", "additional_info",
    "quota", "occupied", "models", "acknowledged", "unacknowledged", "staked", "stake_returned",
    "removed",
)  # fmt: skip
#: Of the feed: those, and the turns of our verdicts.
FEED_CHANGES = (*CHANGES, *history.VERDICTS)
ChangeIn = Annotated[Literal[CHANGES] | None, EMPTY]  # type: ignore[valid-type]
FeedChangeIn = Annotated[Literal[FEED_CHANGES] | None, EMPTY]  # type: ignore[valid-type]


class FeedIn(Schema):
    """Filters of the feed."""

    kind: KindIn = Field(None, description="inference or fine-tuning")
    change: FeedChangeIn = Field(None, description="only changes of this sort")
    provider: Annotated[AddressIn | None, EMPTY] = Field(
        None, description="only this provider's listings"
    )

    @property
    def asked(self) -> history.Asked:
        return history.Asked(self.kind or "", self.provider or "", self.change or "")


class ChangesIn(FeedIn, HistoryIn):
    """Filters of the list of changes."""


class OneSortIn(Schema):
    """Filters of a listing's whole history."""

    change: ChangeIn = Field(None, description="only changes of this sort")


class TimelineIn(OneSortIn, HistoryIn):
    """Which part of a listing's history."""


class Change(Schema):
    """One on-chain change of a listing; `before` and `after` hold the fields that changed."""

    block: int
    at: Instant
    tx_hash: Hash | None
    change: Annotated[str, words(*CHANGES)]
    before: Any
    after: Any


class NetworkChange(Change):
    """A change with the listing it belongs to. `verification_regressed` and
    `verification_recovered` are turns of our verdict on its evidence, found by the run `report`:
    of those `before` and `after` hold `overall`, and `block` is what the run had read.
    """

    change: Annotated[str, words(*FEED_CHANGES)]
    kind: str
    provider: Address
    service_name: str
    report: UUID | None
