"""`POST /api/v1/transactions/preview`: what a transaction would do, before anybody signs it
(interfaces.md 3).
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from accounts import actions, services, trust
from accounts.errors import Problem
from accounts.problems import answer, body_of, json_door


@csrf_exempt  # reads public chain state and looks at no session
@require_POST
@json_door
def preview(request: HttpRequest) -> HttpResponse:
    """`{action, from, params}` → `{to, data, value, gas, effects, warnings}`, or a problem."""
    body = body_of(request)
    try:
        sender = actions.address(body.get("from"))
    except ValueError as error:
        raise Problem("invalid_request", f"`from` {error}.") from None
    checked = trust.with_words(
        services.check(body.get("action", ""), body.get("params", {}), sender), own=False
    )
    response = answer(checked.to_json())
    response["Access-Control-Allow-Origin"] = "*"
    return response
