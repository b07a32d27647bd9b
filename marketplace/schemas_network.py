"""The JSON shapes of the network in numbers and of settlements of all providers."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from ninja import Field, Schema
from pydantic import BeforeValidator, model_validator
from pydantic_core import PydanticCustomError

from marketplace.schemas import EMPTY, Address, AddressIn, HistoryIn, Neuron, TextIn
from marketplace.schemas_providers import SettlementOut
from marketplace.settlements import Asked

NetworkWindow = Literal["30d", "90d"]
Result = Literal["full", "part", "refused", "paid"]
Window = Literal["24h", "7d", "30d", "90d"]


def _day(value: Any) -> Any:
    """pydantic takes a number for seconds since 1970; the document promises a date."""
    if isinstance(value, str) and not re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.ASCII):
        raise ValueError("must be a day as YYYY-MM-DD")
    return value


DayIn = Annotated[dt.date, BeforeValidator(_day)]


class NetworkIn(Schema):
    window: Annotated[NetworkWindow | None, EMPTY] = Field(
        None, description="of `payers` and `by_day`; `30d` where it is left out"
    )


class NetworkDayOut(Schema):
    """A UTC day's accepted settlements, and distinct users of them."""

    date: dt.date
    paid: Neuron
    settlements: int
    users: int


class ResultsOut(Schema):
    """All settlements ever. `refused`: items that the contract refused, whoever sent them, and
    results of fine-tuning that their provider abandoned. `lost`: neuron that accepted ones asked
    for and users did not have; refused ones may ask for anything, and count for nothing in it, as
    does what was asked for before a penalty, which no log says."""

    count: int
    in_part: int
    refused: int
    lost: Neuron


class NetworkOut(Schema):
    """The network in numbers, as its page has them. `by_day` has every day of the window, oldest
    first, today among them; `payers` are those who paid anything in the last 30 or 90 times 24
    hours."""

    services: int
    services_by_kind: dict[str, int]
    providers: int
    models: int
    acknowledged: int = Field(..., description="services whose signer the owner acknowledged")
    accounts: int
    deposited: Neuron
    locked: Neuron = Field(..., description="of `deposited`, what lies at providers")
    staked: Neuron
    spent: Neuron
    spent_24h: Neuron
    settlements_24h: int
    settlements: ResultsOut
    window: NetworkWindow
    payers: int
    by_day: list[NetworkDayOut]


class SettlementsIn(HistoryIn):
    """The question of the pages with settlements."""

    provider: Annotated[AddressIn | None, EMPTY] = Field(None, description="whose settlements")
    service_name: TextIn = Field("", description="of one serving contract, by its name")
    user: Annotated[AddressIn | None, EMPTY] = Field(None, description="who was to pay")
    status: Annotated[Result | None, EMPTY] = Field(
        None,
        description="`full`, `part` (the user ran out, or paid a penalty), `refused`, or `paid`: "
        "one of the first two; where it is left out all of a provider or a user, else `paid`",
    )
    day: Annotated[DayIn | None, EMPTY] = Field(None, description="a UTC day")
    window: Annotated[Window | None, EMPTY] = Field(None, description="the last so many")

    @model_validator(mode="after")
    def _goes_on(self) -> Self:
        """All settlements have no order that a place in it could name, and its page may be far."""
        if self.cursor and not (self.provider or self.user):
            raise PydanticCustomError(
                "cursor_of_all",
                "only settlements of a provider or a user go on by cursor",
                {"field": "cursor"},
            )
        return self

    def asked(self, serving: str) -> Asked:
        given = self.model_dump(exclude_none=True, include={"status", "user", "day", "window"})
        text = {name: str(value) for name, value in given.items()}
        return replace(Asked.parse(text, self.provider or "", serving), page=self.page)


class NetworkSettlementOut(SettlementOut):
    """A settlement item and whose it is."""

    provider: Address
