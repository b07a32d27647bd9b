"""`/me`: what is a person's own and therefore needs a token with the scope `read`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Field, Query, Router, Schema
from ninja.security import HttpBearer

from accounts import tokens
from accounts.errors import Problem
from accounts.models import AccessToken
from inference.models import State, Turn, Verdict
from inference.requests import SORTS, Filter
from ledger import selectors as ledger
from marketplace import problems, schemas
from marketplace.api_lists import PROBLEMS, envelope
from marketplace.schemas import Address, Instant, Neuron


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
    state: str
    failure: str
    prompt_tokens: int | None
    completion_tokens: int | None
    fee: Neuron
    fee_kind: str
    first_token_ms: int
    total_ms: int
    verdict: str
    verdict_reason: str
    request_sha256: str
    response_sha256: str
    answer_id: str
    signer: str


def _ticked(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


class RequestsIn(schemas.PageIn):
    """Filters as on `/playground/requests`; words that are not in the lists count as not given."""

    provider: str = Field("", description="asked of this address")
    model: str = Field("", description="model name, exact")
    state: str = Field("", description=_ticked(State.values))
    verdict: str = Field("", description=_ticked(Verdict.values))
    since: str = Field("", description="from this UTC day on, `YYYY-MM-DD`")
    until: str = Field("", description="up to the end of this UTC day")
    token: str = Field("", description="of one program: its token's number on the page")
    cost: str = Field("", description="at least so much, in 0G")
    tokens: str = Field("", description="at least so many tokens, both ways together")
    first: str = Field("", description="at least so many milliseconds to the first token")
    sort: str = Field("", description=f"not the newest first but the most of: {_ticked(SORTS)}")


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
    wanted = Filter.of({name: str(value) for name, value in query.dict().items()})
    rows = wanted.rows(_token(request).user, None).select_related("token", "chat__owner")
    rows = rows.only(*_FACTS, "created_at", "endpoint", "token__label", "chat__owner")
    page = ledger.paginate(rows, query.page, query.page_size, _body)
    return envelope(request, page, lambda body: body)


def _body(turn: Turn) -> dict[str, Any]:
    return {
        **{name: getattr(turn, name) for name in _FACTS},
        "id": str(turn.pk),
        "at": turn.created_at,
        "token": turn.token.label if turn.token is not None else None,
        "endpoint": turn.endpoint,
    }
