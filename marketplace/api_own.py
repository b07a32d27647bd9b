"""`/me`: what is a person's own and therefore needs a token with the scope `read`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, cast

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Field, Query, Router, Schema
from ninja.security import HttpBearer
from pydantic import model_validator
from pydantic_core import PydanticCustomError

from accounts import tokens
from accounts.errors import Problem
from accounts.models import AccessToken
from inference.models import FeeKind, State, Turn, Verdict
from inference.requests import SORTS, Filter
from ledger import selectors as ledger
from ledger.records import Page
from marketplace import problems, schemas
from marketplace.api_lists import PROBLEMS, envelope
from marketplace.schemas import EMPTY, Address, AddressIn, Instant, Neuron, TextIn, words
from marketplace.schemas_network import DayIn
from marketplace.schemas_services import PriceIn


class PersonalToken(HttpBearer):
    """A personal access token with the scope `read`."""

    def authenticate(self, request: HttpRequest, token: str) -> AccessToken:
        try:
            found = tokens.find(tokens.secret_of(f"Bearer {token}"), "read")
        except Problem as problem:
            code = "forbidden" if problem.status == 403 else "unauthorized"
            raise problems.Problem(code, problem.said, headers=problems.CHALLENGE) from None
        tokens.used(found, timezone.now())
        return found


_FACTS = (
    "provider", "model", "state", "failure", "prompt_tokens", "completion_tokens", "fee",
    "fee_kind", "first_token_ms", "total_ms", "verdict", "verdict_reason", "request_sha256",
    "response_sha256", "answer_id", "signer",
)  # fmt: skip
_PROBLEMS = {401: schemas.Problem, 403: schemas.Problem, **PROBLEMS}
router = Router(tags=["Your own"], auth=PersonalToken())


class MeOut(Schema):
    """Whose token it is, and what it may still do."""

    address: Address
    label: str
    scopes: list[str]
    models: list[str]
    providers: list[str]
    verified_only: bool
    per_minute: int
    spend_limit: Neuron | None
    spent: Neuron
    expires_at: Instant


class RequestOut(Schema):
    """One request: facts only, nothing that was said. `token` names the program it came from."""

    id: str
    at: Instant
    token: str | None
    endpoint: str
    provider: Address
    model: str
    state: Annotated[str, words(*State.values)]
    failure: str = Field(description="a code of the relay's errors; empty where it did not fail")
    prompt_tokens: int | None
    completion_tokens: int | None
    fee: Neuron = Field(description="neuron; of `unknown` the most it can be")
    fee_kind: Annotated[str, words(*FeeKind.values)]
    first_token_ms: int | None = Field(description="null: none came, or it was no stream")
    total_ms: int
    verdict: Annotated[str, words(*Verdict.values)]
    verdict_reason: str
    request_sha256: str
    response_sha256: str
    answer_id: str
    signer: str


_STATES, _VERDICTS, _SORTS = tuple(State.values), tuple(Verdict.values), tuple(SORTS)
_StateIn = Annotated[Literal[_STATES] | None, EMPTY]  # type: ignore[valid-type]
_VerdictIn = Annotated[Literal[_VERDICTS] | None, EMPTY]  # type: ignore[valid-type]
_SortIn = Annotated[Literal[_SORTS] | None, EMPTY]  # type: ignore[valid-type]
_PLACE = "^[0-9]{0,18}$"
_Least = Annotated[Annotated[int, Field(ge=0, le=10**9)] | None, EMPTY]


class RequestsIn(schemas.PageIn):
    """Filters as on `/playground/requests`, which leaves out what makes no sense; here it is
    refused: a program would take the answer to another question for its own."""

    cursor: str = Field(
        "", pattern=_PLACE, description="where to go on, from `next`; `page` then counts not"
    )
    provider: Annotated[AddressIn | None, EMPTY] = Field(None, description="asked of this address")
    model: TextIn = Field("", description="model name, exact")
    state: _StateIn = Field(None, description="how it ended; `open`: not yet")
    verdict: _VerdictIn = Field(None, description="what was proven about the answer")
    since: Annotated[DayIn | None, EMPTY] = Field(None, description="from this UTC day on")
    until: Annotated[DayIn | None, EMPTY] = Field(None, description="up to the end of this UTC day")
    token: _Least = Field(None, description="of one program: its token's number on the page")
    cost: PriceIn = Field(None, description="at least so much, in 0G")
    tokens: _Least = Field(None, description="at least so many tokens, both ways together")
    first: _Least = Field(None, description="at least so many milliseconds to the first token")
    sort: _SortIn = Field(None, description="not the newest first but the most of that")

    @model_validator(mode="after")
    def _goes_on(self) -> Self:
        if self.cursor and self.sort:
            raise PydanticCustomError(
                "invalid_cursor", "other orders go on by `page`", {"field": "cursor"}
            )
        return self


def _token(request: HttpRequest) -> AccessToken:
    return cast(AccessToken, request.auth)  # type: ignore[attr-defined]


@router.get(
    "",
    response={200: MeOut, **_PROBLEMS},
    operation_id="get_me",
    summary="The token's owner and limits",
)
def get_me(request: HttpRequest, response: HttpResponse) -> dict[str, Any]:
    """What is spent includes what requests that are still open may cost at most."""
    response["Cache-Control"] = "private, no-store"
    token = _token(request)
    return {
        "address": token.user.address,
        "label": token.label,
        "scopes": list(token.scopes),
        "models": token.model_names,
        "providers": token.providers,
        "verified_only": token.verified_only,
        "per_minute": token.per_minute,
        "spend_limit": token.spend_limit,
        "spent": token.spent,
        "expires_at": token.expires_at,
    }


@router.get(
    "/requests",
    response={200: schemas.ListOf[RequestOut], **_PROBLEMS},
    operation_id="list_my_requests",
    summary="Everything you asked, newest first",
)
def list_my_requests(
    request: HttpRequest, response: HttpResponse, query: Query[RequestsIn]
) -> dict[str, Any]:
    """From the playground and from programs; conversations that are not kept are not listed."""
    response["Cache-Control"] = "private, no-store"
    given = query.model_dump(exclude_none=True, exclude={"page", "page_size", "cursor"})
    wanted = Filter.of({name: str(value) for name, value in given.items()})
    rows = wanted.rows(_token(request).user, None).select_related("token", "chat__owner")
    rows = rows.only(*_FACTS, "created_at", "endpoint", "token__label", "chat__owner")
    return envelope(request, _page(rows, query), _body)


def _page(rows: QuerySet[Turn], query: RequestsIn) -> Page[Turn]:
    """By number where another order was asked for; else by place, so that what is asked meanwhile
    shifts and repeats nothing (2 queries)."""
    if query.sort:
        return ledger.paginate(rows, query.page, query.page_size, lambda turn: turn)
    size, start = query.page_size, (query.page - 1) * query.page_size
    place = {"pk__lt": int(query.cursor)} if query.cursor else {}
    rest = rows.filter(**place)[0 if place else start :][: size + 1]
    found = tuple(rest)
    cursor = str(found[size - 1].pk) if len(found) > size else ""
    return Page(found[:size], rows.count(), 1 if place else query.page, size, cursor)


def _body(turn: Turn) -> dict[str, Any]:
    return {
        **{name: getattr(turn, name) for name in _FACTS},
        "first_token_ms": turn.first_token_ms or None,
        "id": str(turn.pk),
        "at": turn.created_at,
        "token": turn.token.label if turn.token is not None else None,
        "endpoint": turn.endpoint,
    }
