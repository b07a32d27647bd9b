"""Signing in and out: the server writes the message, the wallet signs it, only the signature comes
back.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import login, logout
from django.contrib.auth.models import update_last_login
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST
from eth_utils.address import is_address
from pydantic import ValidationError

from accounts import limits, sessions, siwe
from accounts.errors import Problem, SignInFailed
from accounts.http import own_path, user_of
from accounts.models import User
from accounts.problems import answer, body_of, json_door, text_of

_PENDING = "siwe"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
#: At the end of a host that Django has checked: digits, of a port or not.
_PORT = re.compile(r":\d*\Z")
#: Of one network address, whoever is signed in: each may ask the chain node to run a contract, and
#: anybody has as many wallets as they like.
PER_MINUTE = 60


def _origin(request: HttpRequest) -> tuple[str, str]:
    """(domain, uri) of the site as the person's browser sees it; Django has checked the host
    against ALLOWED_HOSTS, which looks at no port. A public site signs nobody in by the name of the
    reader's own machine or at another port: there a wallet would warn nobody of a page of whoever
    listens there. Raises SignInFailed.
    """
    host, site = request.get_host(), urlsplit(settings.SITE_URL)
    asked = _PORT.sub("", host)
    own = site.port or (443 if site.scheme == "https" else 80)
    if site.hostname not in _LOOPBACK and (
        asked.strip("[].").lower() in _LOOPBACK or host[len(asked) :] not in ("", f":{own}")
    ):
        raise SignInFailed(
            "domain_mismatch",
            _("This is not the address of this site, so nobody signs in here."),
            _("Open %(site)s.") % {"site": settings.SITE_URL},
        )
    return host, f"{request.scheme}://{host}"


@require_POST
@json_door
def prepare(request: HttpRequest) -> HttpResponse:
    """`{address}` → `{message, notice}`; the message waits in the session, with a nonce good for
    one try.
    """
    limits.spend("sign-in", limits.address(request), limit=PER_MINUTE, seconds=60)
    address = text_of(body_of(request), "address", limit=42)
    if not is_address(address):
        raise Problem("invalid_address", _("This is not a wallet address."))
    domain, uri = _origin(request)
    message = siwe.write(
        address=address, domain=domain, uri=uri, chain_id=settings.CHAIN_ID, now=datetime.now(UTC)
    )
    request.session[_PENDING] = {
        "message": message.model_dump(mode="json"),
        "nonce": message.nonce,
    }
    if not request.session.keys() - {_PENDING, "_session_expiry"}:
        # Anybody has as many made as they like: what holds nothing else lives little longer than
        # it, so that whoever signs too late is told that.
        request.session.set_expiry(2 * siwe.MESSAGE_LIFETIME)
    return answer(
        {
            "address": message.address,
            "message": message.prepare_message(),
            "notice": _(
                "A message, not a transaction. No cost. It proves you own "
                "%(address)s and opens a session for 7 days."
            )
            % {"address": message.address},
        }
    )


@require_POST
@json_door
def verify(request: HttpRequest) -> HttpResponse:
    """`{signature}` → `{address}` and a fresh session. Whatever the outcome, the pending message is
    used up.
    """
    limits.spend("sign-in-verify", limits.address(request), limit=PER_MINUTE, seconds=60)
    pending = request.session.pop(_PENDING, None)
    signature = text_of(body_of(request), "signature", limit=siwe.MAX_SIGNATURE_CHARACTERS)
    # The session holds the message once; the cache makes "once" hold for parallel requests too.
    if pending is None or not cache.add(f"siwe:{pending['nonce']}", 1, timeout=600):
        raise SignInFailed("no_pending_message", _("There is no message waiting for a signature."))
    try:
        message = siwe.kept(pending["message"])
    except ValidationError:
        raise SignInFailed(
            "no_pending_message", _("The waiting message is not readable.")
        ) from None
    domain, uri = _origin(request)
    address = siwe.verify(
        message,
        signature,
        domain=domain,
        uri=uri,
        chain_id=settings.CHAIN_ID,
        nonce=pending["nonce"],
        now=datetime.now(UTC),
    )
    user = User.objects.for_address(address)
    if not user.is_active:
        raise SignInFailed(
            "wallet_blocked", _("This wallet may not sign in here."), _("Write to the operator.")
        )
    before = request.session.session_key
    if request.user == user:
        # Proved once more. `login` would change the CSRF token, and with it refuse every form that
        # stands open in another tab.
        update_last_login(User, user)
    else:
        # A new session key, and an empty session when another wallet was signed in.
        login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    # From this signature on: what is written into the session later must not make it live longer.
    ends = datetime.now(UTC) + timedelta(seconds=settings.SESSION_COOKIE_AGE)
    request.session.set_expiry(ends)
    sessions.opened(request, user, before)
    return answer({"address": address})


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """End the session on the server, then go to the page the form names (a path of this site) or
    home.
    """
    key = request.session.session_key
    logout(request)
    sessions.forgotten(key)
    return HttpResponseRedirect(own_path(request, request.POST.get("next", ""), "/"))


@require_POST
def end_session(request: HttpRequest, sign_in_id: int) -> HttpResponse:
    """End one session of the signed-in person; this one ends like any other."""
    sessions.end(user_of(request), sign_in_id)
    return HttpResponseRedirect("/account/keys#sessions")


@require_POST
def sign_out_everywhere(request: HttpRequest) -> HttpResponse:
    """End every session of the signed-in person, this one too."""
    sessions.end_all(user_of(request))
    logout(request)
    return HttpResponseRedirect("/")
