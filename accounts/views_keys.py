"""Doors for provider keys: prepare what the wallet signs, store what it signed, forget a key."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from django.views.decorators.http import require_POST

from accounts import actions, keys, keys_lasting, limits, sessions
from accounts.errors import Problem
from accounts.http import user_of
from accounts.problems import answer, body_of, json_door, signed_in, text_of
from protocol import keys as wire

_PENDING = "provider_key"
_LASTING = "lasting_key"
SCOPE = gettext_noop(
    "A key is good for the whole sub-account: whoever holds it can spend all you keep there."
)


def _provider(body: dict[str, Any]) -> str:
    try:
        return actions.address(body.get("provider"))
    except ValueError as error:
        raise Problem("invalid_request", f"`provider` {error}.") from None


def _asked(wanted: keys.KeyRequest, lives: str, slot: str) -> dict[str, Any]:
    """What the wallet is to sign, and what that means in words."""
    fields = wanted.fields
    shown = {
        _("For provider"): fields.provider,
        _("Pays from"): fields.address,
        _("Valid for"): lives,
        _("Slot"): slot,
        _("Generation"): str(fields.generation),
    }
    means = {
        _("Slot"): _(
            "The number of a key at its provider, by which it alone can be revoked on the chain. "
            "Short-lived keys share number 255 and are revoked only all together."
        ),
        _("Generation"): _(
            "Revoking all keys at a provider starts a new one; keys of an earlier one are refused."
        ),
    }
    return {
        "digest": wanted.digest,
        "raw": wanted.raw,
        "scope": _(SCOPE),
        "fields": [
            {"name": name, "value": value, "means": means.get(name, "")}
            for name, value in shown.items()
        ],
    }


def _signed(request: HttpRequest, name: str, provider: str = "") -> dict[str, Any]:
    """The request that waits in the session, used up by this. Raises Problem."""
    pending: dict[str, Any] | None = request.session.pop(name, None)
    if pending is None or pending.get("provider", "") != provider:
        raise Problem(
            "no_pending_key", _("No key waits for a signature."), _("Ask for a key again.")
        )
    return pending


@require_POST
@signed_in
@json_door
def prepare(request: HttpRequest) -> HttpResponse:
    """`{provider, service_name?}` → `{ready}` or `{ready: false, digest, fields, scope}`."""
    user, body = user_of(request), body_of(request)
    limits.spend("keys", user.address, limit=30, seconds=60)
    provider = _provider(body)
    held = keys.usable(user, provider, timezone.now())
    if held is not None:
        return answer({"ready": True, "expires_at": held.expires_at})
    service = body.get("service_name", "")
    wanted = keys.prepare(user, provider, service if isinstance(service, str) else "")
    request.session[_PENDING] = {
        "provider": provider,
        "raw": wanted.raw,
        "serving": wanted.serving,
    }
    asked = _asked(wanted, _("24 hours"), _("255 (short-lived)"))
    return answer({"ready": False, **asked})


@require_POST
@signed_in
@json_door
def store(request: HttpRequest) -> HttpResponse:
    """`{provider, signature}` → `{ready, expires_at}`; the key itself never leaves the server."""
    user, body = user_of(request), body_of(request)
    limits.spend("keys", user.address, limit=30, seconds=60)
    provider, signature = _provider(body), text_of(body, "signature", limit=300)
    pending = _signed(request, _PENDING, provider)
    key = keys.store(user, provider, pending["raw"], signature, pending["serving"])
    return answer({"ready": True, "expires_at": key.expires_at})


@require_POST
@signed_in
@json_door
def prepare_lasting(request: HttpRequest) -> HttpResponse:
    """`{provider, label, days}` → `{digest, raw, fields, scope}` for a key in a slot of its own;
    needs a fresh signature of the wallet.
    """
    user, body = user_of(request), body_of(request)
    limits.spend("keys", user.address, limit=30, seconds=60)
    sessions.require_fresh(request)
    days = body.get("days")
    if isinstance(days, bool) or not isinstance(days, int):
        raise Problem("invalid_request", "`days` must be a whole number; 0 = it never ends.")
    label = text_of(body, "label", limit=60).strip().replace("\0", "")
    wanted = keys_lasting.prepare(user, _provider(body), days)
    request.session[_LASTING] = {"raw": wanted.raw, "serving": wanted.serving, "label": label}
    place = {"token_id": wanted.fields.token_id, "slots": keys_lasting.SLOTS}
    lives = _("%(days)s days") % {"days": days} if days else _("until revoked")
    return answer(_asked(wanted, lives, _("%(token_id)s of %(slots)s") % place))


@require_POST
@signed_in
@json_door
def create_lasting(request: HttpRequest) -> HttpResponse:
    """`{signature}` → `{key, slot, fingerprint}`: the only time that the secret is shown."""
    user, body = user_of(request), body_of(request)
    limits.spend("keys", user.address, limit=30, seconds=60)
    sessions.require_fresh(request)
    signature = text_of(body, "signature", limit=300)
    pending = _signed(request, _LASTING)
    made = keys_lasting.create(
        user, pending["raw"], signature, pending["serving"], pending["label"]
    )
    return answer(
        {"key": made.secret, "slot": made.row.token_id, "fingerprint": made.row.fingerprint}
    )


@require_POST
def forget(request: HttpRequest, key_id: int) -> HttpResponse:
    """Delete one stored key of the signed-in person; 404 for anybody else's."""
    user = user_of(request)
    # A lasting key keeps its row: its slot must never be given out again.
    user.provider_keys.filter(pk=key_id, token_id=wire.EPHEMERAL_TOKEN_ID).delete()
    return HttpResponseRedirect("/account/keys")
