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


def words(*known: str) -> WithJsonSchema:
    """A text that is one of a closed list of interfaces.md 3."""
    return WithJsonSchema({"type": "string", "enum": list(known)})


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
        """As it is written in an address: nobody can send null there."""
        found = handler(schema)
        options = [one for one in found.get("anyOf", [found]) if one.get("type") != "null"]
        if len(options) == 1 and {"enum", "const"} & options[0].keys():
            words = options[0].get("enum") or [options[0]["const"]]
            return {"type": "string", "enum": [*words, ""]}
        return {"anyOf": [*options, {"type": "string", "const": ""}]}


EMPTY = EmptyIsAbsent()


#: An address in a request.
AddressIn = Annotated[str, Field(max_length=64), AfterValidator(_address), WithJsonSchema(_ADDRESS)]
#: A short text in a request.
TextIn = Annotated[str, Field(max_length=200), AfterValidator(_text)]
#: Which serving contract is meant, where a network has several of a kind.
ServiceNameIn = Annotated[
    TextIn,
    WithJsonSchema(
        {"type": "string", "maxLength": 200, "description": "default: the recommended contract"}
    ),
]
KindIn = Annotated[ServiceKind | None, EMPTY]


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
                {"depth": MAX_DEPTH, "field": "page"},
            )
        return self


# --- answers ------------------------------------------------------------------------------------


class Problem(Schema):
    """RFC 9457: every error of this API; what does not apply is left out."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[dict[str, str]] | None = Field(None, description="each parameter that was refused")
    fix: str | None = Field(None, description="of a transaction's preview: what to do about it")
    arguments: list[str] | None = Field(
        None, description="of a transaction's preview: those of the contract's error"
    )


class ListOf(Schema, Generic[Item]):
    """One page: length of the whole list, this page's items, the address of the next page or
    null.
    """

    count: int
    items: list[Item]
    next: str | None
