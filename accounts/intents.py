"""The life of a transaction, from the moment somebody means to send it (ux.md 3).

draft → prechecked → awaiting_wallet → submitted → included → indexed → final, and the ways out:
blocked, rejected, reverted, replaced, dropped. Every change is a compare-and-swap (`move`): two
tabs, a double click and the worker can all act at once and only one of them changes the row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.http import Http404
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts import actions, selectors, services, trust
from accounts.errors import Problem, Refused
from accounts.models import UNSURE, Intent, State, User
from accounts.services import Preview

#: A review younger than this is sent as it is; an older one is checked again first.
FRESH = timedelta(seconds=15)
#: How long the same transaction is not handed to the wallet twice.
TWIN_FOR = timedelta(minutes=2)
#: Most intents one person may leave unsent, or sent by their word alone; older ones give way.
MAX_UNSENT = 50
_HASH = re.compile(r"0x[0-9a-f]{64}")


def of(user: User, identifier: UUID) -> Intent:
    """One of the user's own intents; Http404 for anybody else's."""
    intent = Intent.objects.filter(pk=identifier, user=user, chain_id=settings.CHAIN_ID).first()
    if intent is None:
        raise Http404("no such transaction")
    return intent


def move(intent: Intent, before: Iterable[State], after: State, **fields: Any) -> bool:
    """Change the state if it is still one of `before`; True when this call did it. Refreshes
    `intent`.
    """
    changed = Intent.objects.filter(pk=intent.pk, state__in=list(before)).update(
        state=after, updated_at=timezone.now(), **fields
    )
    intent.refresh_from_db()
    return bool(changed)


def start(user: User, action: str, params: Any, seen: str, then: str = "") -> Intent:
    """Write down what the person reviewed (`seen` is `Preview.digest`), checked against the chain
    once more; `then` is the form that it was the first step to (`forms.next_step`).

    Raises Problem `numbers_changed` (409) when the review no longer holds; a contract's refusal
    leaves a blocked intent behind and is raised too.
    """
    checked_params = actions.jsonable(actions.parse(action, params))
    intent = Intent.objects.create(
        user=user,
        chain_id=settings.CHAIN_ID,
        action=action,
        params=checked_params,
        to=settings.LEDGER_ADDRESS,
        then=then,
    )
    try:
        preview = trust.with_words(services.check(action, checked_params, user.address))
    except Refused as refused:
        move(intent, [State.DRAFT], State.BLOCKED, code=refused.code, reason=refused.stored)
        _forget_oldest(user)
        raise
    except Exception:
        intent.delete()
        raise
    if seen and preview.digest != seen:
        intent.delete()
        raise numbers_changed()
    move(intent, [State.DRAFT], State.PRECHECKED, **_columns(preview))
    _forget_oldest(user)
    return intent


def confirm(intent: Intent, *, again: bool = False) -> Intent:
    """Hand the transaction to the wallet. Raises Problem (409) when it already is there, was sent,
    or has changed.

    `again`: the person says that no request is open in the wallet any more.
    """
    before = [State.PRECHECKED, State.REJECTED]
    if again:
        before.append(State.AWAITING_WALLET)
    if intent.state not in before:
        raise under_way(sent=intent.tx_hash != "")
    if abs(timezone.now() - intent.updated_at) > FRESH:
        _check_again(intent, before)
    with transaction.atomic():
        # One after the other: two tabs that confirm at once must not both pass the check.
        User.objects.select_for_update().get(pk=intent.user_id)
        if _has_twin(intent):
            raise _twin()
        if not Intent.objects.filter(pk=intent.pk, updated_at=intent.updated_at).exists():
            raise under_way()  # another tab has just done the same
        # Of a request that ended unsure, or not at all, the next one's end says nothing.
        moved = move(intent, before, State.AWAITING_WALLET, code=_before(intent), reason="")
    if not moved:
        raise under_way()
    return intent


def _before(intent: Intent) -> str:
    """The code of an intent that the wallet had before: its request may be open there still."""
    asked = intent.state == State.AWAITING_WALLET and not intent.unsure
    return "asked_again" if asked else intent.code


def under_way(*, sent: bool = False) -> Problem:
    """Why the wallet is not asked: the request is open there, or was `sent`."""
    if sent:
        said = _("This transaction was sent before."), _("Nothing was sent twice.")
        return Problem("already_under_way", *said, status=409)
    return Problem(
        "already_under_way",
        _("This transaction is already waiting in your wallet, or was sent."),
        _("Answer the open request; nothing was sent twice."),
        status=409,
    )


def _has_twin(intent: Intent) -> bool:
    """Whether the same transaction was handed to the wallet a moment ago, from another tab or by
    way of the back button, or waits for a block, however long.
    """
    lately = Q(updated_at__gt=timezone.now() - TWIN_FOR)
    asked = Q(state__in=[State.AWAITING_WALLET, State.SUBMITTED])
    twins = Intent.objects.filter(
        asked & lately | Q(state=State.SUBMITTED, nonce__isnull=False),
        user=intent.user_id,
        chain_id=intent.chain_id,
        to=intent.to,
        data=intent.data,
        value=intent.value,
    )
    return twins.exclude(pk=intent.pk).exists()


def _twin() -> Problem:
    return Problem(
        "same_under_way",
        _("Exactly this transaction waits in your wallet, or was sent and is in no block yet."),
        _("Answer that one, or wait until it is in a block. Nothing was sent twice."),
        status=409,
    )


def _check_again(intent: Intent, before: list[State]) -> None:
    checked = services.check(intent.action, intent.params, intent.user.address)
    preview = trust.with_words(checked)
    if intent.digest != preview.digest:
        state, columns = State.PRECHECKED, _columns(preview)
        code = _before(intent)
        if code in UNSURE:  # what the wallet got with the old numbers may still be sent
            state = State.REJECTED
            columns |= {"code": code, "reason": EARLIER, "nonce_floor": intent.nonce_floor}
        move(intent, before, state, **columns)
        raise numbers_changed()
    # Not of what the wallet may have sent already: that is found by the nonce it was given then.
    unsent = Intent.objects.filter(pk=intent.pk, state__in=[State.PRECHECKED, State.REJECTED])
    unsent.exclude(code__in=UNSURE).update(gas=preview.gas, nonce_floor=preview.facts.next_nonce)


DECLINED = gettext_noop("You declined. Nothing was sent.")
#: What a wallet does after an error, or with a request that is still open, is not known here.
NO_HASH = gettext_noop(
    "The wallet gave an error instead of a hash. Look there before you try again: it may have been "
    "sent all the same."
)
EARLIER = gettext_noop(
    "What became of an earlier request is not known. Look in your wallet before you try again: it "
    "may have been sent all the same."
)
_GIVEN_UP = gettext_noop("You gave it up. If your wallet still asks for it, decline there.")
_KEPT_BACK = gettext_noop("It did not reach your wallet. Nothing was sent.")


def refusal(body: Mapping[str, Any]) -> dict[str, bool]:
    """What a page says of a wallet that gave no hash, as `reject` takes it; yes to what it leaves
    out."""
    return {name: body.get(name) is not False for name in ("declined", "handed")}


def reject(intent: Intent, *, declined: bool = True, handed: bool = True) -> Intent:
    """The person declined in the wallet; not `declined`: the wallet gave an error, or the page did
    not hand it over (not `handed`). What became of an earlier request is as unsure as before."""
    if handed and not declined:
        return _rejected(intent, NO_HASH, "wallet_error")
    if intent.unsure:
        told = _GIVEN_UP if intent.code == "given_up" else EARLIER
        return _rejected(intent, told, intent.code)
    if declined:
        return _rejected(intent, DECLINED)
    return _rejected(intent, _KEPT_BACK, "kept_back")


def give_up(intent: Intent) -> Intent:
    """The person no longer wants it, whatever the wallet shows."""
    return _rejected(intent, _GIVEN_UP, "given_up")


def _rejected(intent: Intent, reason: str, code: str = "") -> Intent:
    before = [State.PRECHECKED, State.AWAITING_WALLET]
    move(intent, before, State.REJECTED, reason=reason, code=code)
    return intent


def submitted(intent: Intent, tx_hash: str) -> Intent:
    """Remember the hash the wallet returned, at once. Repeating the same hash is harmless."""
    tx_hash = tx_hash.lower()
    if not _HASH.fullmatch(tx_hash):
        raise Problem("invalid_request", "`tx_hash` must be 0x and 64 hex digits.")
    # A rejected one too: a wallet may report a refusal and send after all.
    before = [State.PRECHECKED, State.AWAITING_WALLET, State.REJECTED]
    try:
        with transaction.atomic():
            done = move(
                intent,
                before,
                State.SUBMITTED,
                tx_hash=tx_hash,
                submitted_at=timezone.now(),
                code="",
                reason="",
            )
    except IntegrityError:
        raise Problem(
            "hash_known", _("Another of your transactions has this hash."), status=409
        ) from None
    if not done and intent.tx_hash != tx_hash:
        raise Problem(
            "already_sent",
            _("This transaction was sent before."),
            _("If your wallet shows it twice, cancel the second one there while it waits."),
            status=409,
        )
    return intent


def _columns(preview: Preview) -> dict[str, Any]:
    return {
        "to": preview.call.to,
        "data": preview.call.data,
        "value": preview.call.value,
        "gas": preview.gas,
        "effects": [effect.to_json() for effect in preview.effects],
        "warnings": list(preview.warnings),
        "digest": preview.digest,
        "nonce_floor": preview.facts.next_nonce,
        "code": "",
        "reason": "",
    }


def numbers_changed() -> Problem:
    """Why what was reviewed is not handed to the wallet."""
    return Problem(
        "numbers_changed",
        _("The numbers changed since you looked."),
        _("Look at the new review and confirm again."),
        status=409,
    )


def _forget_oldest(user: User) -> None:
    long_ago = timezone.now() - selectors.RESUMABLE_FOR
    given_up = Q(state=State.AWAITING_WALLET, updated_at__lt=long_ago)
    # A page may tell any hash.
    ends = [State.DROPPED, State.REPLACED]
    never_seen = Q(state__in=ends, nonce=None, submitted_at__lt=long_ago)
    states = [State.DRAFT, State.PRECHECKED, State.BLOCKED, State.REJECTED]
    unsent = Intent.objects.filter(Q(state__in=states) | given_up | never_seen, user=user)
    newest_first = unsent.order_by("-created_at").values_list("pk", flat=True)
    # Not one that another tab hands to the wallet meanwhile.
    unsent.filter(pk__in=list(newest_first[MAX_UNSENT : MAX_UNSENT + 100])).delete()
