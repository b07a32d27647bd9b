"""Doors of the transaction centre: start, confirm, submitted, rejected, and the status that pages
poll.
"""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts import follow, forms, intents, limits, pages_history, selectors
from accounts import pages_transaction as shown
from accounts.errors import NodeError
from accounts.http import signed_out, user_of
from accounts.models import Intent
from accounts.problems import answer, body_of, json_door, of_node, signed_in, text_of


def _answer(intent: Intent) -> HttpResponse:
    """What the page needs to go on; calldata only ever for one of the network's own contracts."""
    return answer(
        {
            "id": str(intent.pk),
            "state": intent.state,
            "url": shown.intent_path(intent),
            "transaction": {
                "from": intent.user.address,
                "to": intent.to,
                "data": intent.data,
                "value": hex(intent.value),
                "gas": hex(intent.gas),
            },
        }
    )


@require_POST
@signed_in
@json_door
def start(request: HttpRequest) -> HttpResponse:
    """`{action, params, seen, then?}` → the stored intent, checked; nothing is sent yet."""
    user, body = user_of(request), body_of(request)
    limits.spend("transactions", user.address, limit=60, seconds=60)
    limits.spend_check(request)
    seen = text_of(body, "seen", limit=64)
    then = forms.next_step(str(body.get("then", "")))
    action, params = body.get("action", ""), body.get("params", {})
    return _answer(intents.start(user, action, params, seen, then))


@require_POST
@signed_in
@json_door
def confirm(request: HttpRequest, identifier: UUID) -> HttpResponse:
    """`{again?}` → what `eth_sendTransaction` takes; the intent now waits for the wallet."""
    user = user_of(request)
    limits.spend("confirmations", user.address, limit=60, seconds=60)
    limits.spend_check(request)
    intent = follow.before_asking(intents.of(user, identifier))
    again = body_of(request).get("again") is True
    try:
        return _answer(intents.confirm(intent, again=again))
    except NodeError as error:
        raise of_node(error, looking=again or intent.unsure) from None


@require_POST
@signed_in
@json_door
def submitted(request: HttpRequest, identifier: UUID) -> HttpResponse:
    """`{tx_hash}`: the wallet has sent it."""
    intent = intents.of(user_of(request), identifier)
    intents.submitted(intent, text_of(body_of(request), "tx_hash", limit=66))
    return _answer(follow.look(intent))


@require_POST
@signed_in
@json_door
def rejected(request: HttpRequest, identifier: UUID) -> HttpResponse:
    """`{declined, handed?}`: the person declined in the wallet, or it gave an error, or (not
    `handed`) the page did not hand it over.
    """
    intent = intents.of(user_of(request), identifier)
    return _answer(intents.reject(intent, **intents.refusal(body_of(request))))


@require_POST
def discard(request: HttpRequest, identifier: UUID) -> HttpResponse:
    """The person gives it up, by a plain form."""
    intents.give_up(intents.of(user_of(request), identifier))
    return redirect("accounts:transactions")


@require_GET
@never_cache
def status(request: HttpRequest, identifier: UUID) -> HttpResponse:
    """The live fragment of one transaction; looking at it also asks the chain."""
    intent = follow.look(intents.of(user_of(request), identifier))
    return render(request, "ui/tx_state.html", {"tx": shown.transaction(intent)})


@require_GET
@never_cache
def detail(request: HttpRequest, identifier: UUID) -> HttpResponse:
    """One transaction with everything that was reviewed."""
    if not request.user.is_authenticated:
        return signed_out(request, _("Transaction"))
    intent = follow.look(intents.of(user_of(request), identifier))
    page = pages_history.TransactionPage(shown.transaction(intent), selectors.contract_addresses())
    return render(request, "accounts/transaction.html", {"page": page})
