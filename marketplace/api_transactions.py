"""`POST /transactions/preview`: the door is `accounts.api`; here it gets its place in the API and
its documentation.
"""

from __future__ import annotations

from typing import Any, Literal

from django.http import HttpRequest, HttpResponse
from ninja import Field, Router, Schema

from accounts import actions
from accounts.api import preview
from marketplace import schemas
from marketplace.schemas import Address, Neuron

router = Router(tags=["Transactions"])


class Effect(Schema):
    """One value that changes; `who` is the provider or recipient concerned, where there is one."""

    what: Literal[
        "wallet",
        "available",
        "locked",
        "sub_account",
        "refunding",
        "stake",
        "gas",
        "signer_acknowledged",
        "refund_cancelled",
        "key_revoked",
        "service",
    ]
    before: Any
    after: Any
    who: str = ""


class Preview(Schema):
    """A transaction ready for the wallet to sign, and everything it would change."""

    to: Address
    data: str = Field(description="0x-hex calldata")
    value: Neuron
    gas: schemas.Number
    effects: list[Effect]
    warnings: list[str]


def _parameters() -> str:
    """What each action needs, as `accounts.actions` checks it."""
    told = []
    for action, shape in actions.PARAMETERS.items():
        names = [f"{one}?" if one in actions.OPTIONAL else one for one in shape]
        told.append(f"`{action}` {', '.join(names) or 'none'}")
    return "; ".join(told)


_REQUEST: dict[str, Any] = {
    "type": "object",
    "required": ["action", "from", "params"],
    "properties": {
        "action": {"type": "string", "enum": list(actions.PARAMETERS)},
        "from": {"type": "string", "pattern": "^0x[0-9a-fA-F]{40}$"},
        "params": {
            "type": "object",
            "additionalProperties": True,
            "description": "the action's own parameters, amounts as strings, `?` where one may be "
            f"left out: {_parameters()}",
        },
    },
    "example": {
        "action": "deposit",
        "from": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
        "params": {"amount": "5000000000000000000"},
    },
}


@router.post(
    "/transactions/preview",
    response={
        200: Preview,
        400: schemas.Problem,
        413: schemas.Problem,
        422: schemas.Problem,
        429: schemas.Problem,
        503: schemas.Problem,
    },
    operation_id="preview_transaction",
    summary="What a transaction would do, before anybody signs it",
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": {"schema": _REQUEST}}}
    },
)
def preview_transaction(request: HttpRequest) -> HttpResponse:
    """Simulated at the newest block, from the given address; nothing is sent and no key is needed.

    Where the contract would refuse, the answer is a 422 whose `code` is the contract's error name.
    """
    return preview(request)
