"""Doors for personal access tokens: make, change, replace the secret, revoke."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.views.decorators.http import require_POST

from accounts import limits, sessions, tokens
from accounts.http import user_of
from accounts.problems import answer, body_of, json_door, signed_in


@require_POST
@signed_in
@json_door
def create(request: HttpRequest) -> HttpResponse:
    """`{label, scopes, days, per_minute, spend_limit?, models?, providers?, verified_only?}` →
    `{id, token}`: the only time that the secret is shown. Needs a fresh signature of the wallet.
    """
    user = user_of(request)
    limits.spend("tokens", user.address, limit=30, seconds=60)
    wanted = tokens.Wanted.of(body_of(request))
    sessions.require_fresh(request)
    made = tokens.create(user, wanted)
    return answer({"id": made.row.pk, "token": made.secret}, status=201)


@require_POST
@signed_in
@json_door
def rotate(request: HttpRequest, token_id: int) -> HttpResponse:
    """→ `{id, token}`; the old secret works for another day. Needs a fresh signature."""
    user = user_of(request)
    limits.spend("tokens", user.address, limit=30, seconds=60)
    sessions.require_fresh(request)
    made = tokens.rotate(user, token_id)
    return answer({"id": made.row.pk, "token": made.secret})


@require_POST
@signed_in
@json_door
def change(request: HttpRequest, token_id: int) -> HttpResponse:
    """`{label, per_minute, spend_limit?, models?, providers?, verified_only?}`: all of them anew,
    for the same secret. Needs a fresh signature: a limit may become wider.
    """
    user = user_of(request)
    limits.spend("tokens", user.address, limit=30, seconds=60)
    wanted = tokens.Limits.of(body_of(request))
    sessions.require_fresh(request)
    tokens.change(user, token_id, wanted)
    return answer({"id": token_id})


@require_POST
def revoke(request: HttpRequest, token_id: int) -> HttpResponse:
    """End one token of the signed-in person; anybody else's stays."""
    tokens.revoke(user_of(request), token_id)
    return HttpResponseRedirect("/account/keys#tokens")
