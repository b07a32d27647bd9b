"""What the services list may be asked for, as the API's schema: the filters of the catalogue page
by the same names (`marketplace.filters`)."""

from __future__ import annotations

from typing import Annotated, Literal

from ninja import Field, Schema
from pydantic import AfterValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from marketplace import filters
from marketplace.schemas import EMPTY, KindIn, PageIn, TextIn
from marketplace.tariffs import MOST_PER_DAY

SORTS = tuple(sign + name for name in filters.SORTS for sign in ("", "-"))


def _sort(value: str | None) -> str | None:
    if value is not None and value not in SORTS:
        raise PydanticCustomError(
            "unknown_sort", "not a sort order: {known}", {"known": ", ".join(SORTS)}
        )
    return value


def _price(value: str | None) -> str | None:
    if value is not None and not filters.price_text(value):
        raise PydanticCustomError("invalid_price", "not a price in 0G: plain decimals, like 0.42")
    return value


def _tee(value: str | None) -> str | None:
    if value is not None and not filters.tee_text(value):
        raise PydanticCustomError("invalid_tee", "not a kind of TEE: letters, digits and . _ -")
    return value


def _verdicts(value: str | None) -> str | None:
    if value is not None and not filters.verdicts_text(value):
        known = ", ".join((*filters.VERDICTS, "not_checked"))
        raise PydanticCustomError(
            "unknown_verdict", "not a verdict: {known}; several joined by commas", {"known": known}
        )
    return value


VERDICT = "(" + "|".join((*filters.VERDICTS, "not_checked")) + ")"
VerdictsIn = Annotated[
    str | None,
    AfterValidator(_verdicts),
    WithJsonSchema({"type": "string", "pattern": f"^{VERDICT}(,{VERDICT})*$"}),
    EMPTY,
]
SortIn = Annotated[
    str | None,
    AfterValidator(_sort),
    WithJsonSchema({"type": "string", "enum": list(SORTS)}),
    EMPTY,
]
PriceIn = Annotated[
    str | None,
    AfterValidator(_price),
    WithJsonSchema({"type": "string", "pattern": r"^([0-9]{1,12}(\.[0-9]{0,18})?|\.[0-9]{1,18})$"}),
    EMPTY,
]
TeeIn = Annotated[
    str | None,
    AfterValidator(_tee),
    WithJsonSchema({"type": "string", "pattern": r"^[A-Za-z0-9_.-]{1,40}$"}),
    EMPTY,
]
UptimeIn = Annotated[Literal[filters.UPTIMES] | None, EMPTY]  # type: ignore[valid-type]
YesIn = Annotated[Literal["1"] | None, EMPTY]
_PROVEN = tuple(filters.PROVEN_LABELS)
ProvenIn = Annotated[Literal[_PROVEN] | None, EMPTY]  # type: ignore[valid-type]
CountIn = Annotated[int | None, EMPTY]


class SelectingIn(Schema):
    """Filters of the services list; each narrows it further."""

    kind: KindIn = Field(None, description="inference or fine-tuning")
    type: TextIn = Field("", description="service type, exact, e.g. `chatbot`, or `fine-tuning`")
    q: TextIn = Field("", description="words that all occur in model, provider, URL or type")
    model: str = Field("", max_length=10_000, description="model name, exact")
    verified: VerdictsIn = Field(
        None, description="our verdict on the provider's evidence; any of several: `pass,warn`"
    )
    proven: ProvenIn = Field(None, description="that part of its machine was proven genuine")
    tee: TeeIn = Field(None, description="the TEE verifier it declares; `none`: declares none")
    uptime: UptimeIn = Field(None, description="at least so many percent of 7 days, by our probes")
    max_in: PriceIn = Field(None, description="0G per million input tokens, at most")
    max_out: PriceIn = Field(
        None, description="0G per million output tokens, per image or minute of audio, at most"
    )
    context: CountIn = Field(
        None, ge=1, le=10**9 - 1, description="declared context in tokens, at least"
    )
    stake: CountIn = Field(None, ge=1, le=10**12, description="whole 0G of stake, at least")
    answers: YesIn = Field(
        None, description="`1`: it answered our last probe, at most two hours ago"
    )
    acknowledged: YesIn = Field(
        None, description="`1`: the contract's owner has acknowledged its signer"
    )
    free: YesIn = Field(None, description="`1`: fine-tuning that no task occupies now")
    label: TextIn = Field(
        "", description="a word that moderators gave, or `_flagged`: what they flagged"
    )


class WorkloadIn(Schema):
    """What somebody does on a day."""

    tokens_in: CountIn = Field(
        None, ge=1, le=MOST_PER_DAY, description="a workload: input tokens a day"
    )
    tokens_cached: CountIn = Field(None, ge=1, le=MOST_PER_DAY, description="of these, cached")
    tokens_out: CountIn = Field(None, ge=1, le=MOST_PER_DAY, description="output tokens a day")
    requests: CountIn = Field(
        None, ge=1, le=MOST_PER_DAY, description="requests a day: their length decides the tier"
    )

    @property
    def filters(self) -> filters.Filters:
        known = filters.Filters.__dataclass_fields__
        given = self.model_dump(exclude_none=True, include=set(known))
        return filters.Filters.parse({name: str(value) for name, value in given.items()})


class FilteredIn(WorkloadIn, SelectingIn):
    """The question of the services list. The same query string gives the page at `/`,
    `/api/v1/services`, `/api/v1/services.csv` and `/services.atom`; the last two are complete and
    have no pages."""

    sort: SortIn = Field(
        None,
        description="order, by the cost of a workload where one is given; a leading `-` turns it "
        "round",
    )


class ServicesIn(FilteredIn, PageIn):
    """Filters of the services list, and which part of it."""
