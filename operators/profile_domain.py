"""Whether a domain vouches for a provider: `https://DOMAIN/.well-known/0g-market.json` names its
address.

    {"providers": ["0x…"]}
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from asgiref.sync import async_to_sync
from django.conf import settings
from django.utils import timezone

from attestation import trust
from net.client import Client
from net.errors import BadAnswer, BadStatus, NetError
from net.limits import JsonLimits, Limits
from operators import words
from operators.models import Profile
from operators.models_listing import DomainState
from operators.profile import LOST_AFTER
from probes.asking import user_agent

PATH = "/.well-known/0g-market.json"
_LIMITS = Limits(connect=5, first_byte=8, between=5, total=12, max_bytes=64 << 10)
_SHAPE = JsonLimits(max_depth=4, max_bytes=64 << 10)


@dataclass(frozen=True)
class Look:
    """`found` None: nobody could be asked, which says nothing. `note`: why, in our words."""

    found: bool | None
    note: str = ""


def url_of(domain: str) -> str:
    """Where the proof is looked for; plain http only for a host of a development network."""
    local = settings.ALLOW_PRIVATE_PROVIDERS and ":" in domain
    return f"{'http' if local else 'https'}://{domain}{PATH}"


async def look(domain: str, provider: str) -> Look:
    """Ask the domain; never raises for what it does."""
    headers = {"User-Agent": user_agent()}
    try:
        async with Client(trust.provider_policy(), connections=1) as client:
            document = await client.get_json(
                url_of(domain), headers=headers, limits=_LIMITS, shape=_SHAPE
            )
    except BadStatus as error:
        missing = 400 <= error.status < 500
        return Look(
            False if missing else None, words.DOMAIN_STATUS.format(path=PATH, status=error.status)
        )
    except BadAnswer as error:
        return Look(False, words.DOMAIN_UNREADABLE.format(path=PATH, error=error))
    except NetError as error:
        return Look(None, words.DOMAIN_UNASKED.format(error=error))
    named = document.get("providers") if isinstance(document, dict) else None
    if not isinstance(named, list):
        return Look(False, words.DOMAIN_NO_LIST.format(path=PATH))
    wanted = provider.lower()
    if any(isinstance(one, str) and one.strip().lower() == wanted for one in named[:1_000]):
        return Look(True)
    return Look(False, words.DOMAIN_OTHERS.format(path=PATH, provider=provider))


def prove(row: Profile, now: dt.datetime | None = None) -> DomainState:
    """Look at a profile's domain and write down what that means. The row is left alone where it
    changed meanwhile."""
    seen: Look = async_to_sync(look)(row.domain, row.provider)
    now = now or timezone.now()
    state = judged(row, seen, now)
    fields: dict[str, object] = {"domain_state": state, "domain_note": seen.note[:200]}
    # A proof that cannot be asked after counts from when it was last seen. What was never proven
    # waits a day like others: hosts that stay silent must not stand before everybody else's.
    if seen.found is not None or row.domain_state != DomainState.PROVEN:
        fields["domain_checked_at"] = now
    if state == DomainState.PROVEN:
        fields["domain_since"] = row.domain_since or now
    else:
        fields["domain_since"] = None
    Profile.objects.filter(pk=row.pk, nonce=row.nonce).update(**fields)
    row.refresh_from_db()
    return state


def judged(row: Profile, seen: Look, now: dt.datetime) -> DomainState:
    """What a look makes of the state before it."""
    before = DomainState(row.domain_state)
    if seen.found:
        return DomainState.PROVEN
    was = before in (DomainState.PROVEN, DomainState.LOST)
    if seen.found is None and before == DomainState.PROVEN:
        last = row.domain_checked_at or now
        return DomainState.PROVEN if now - last < LOST_AFTER else DomainState.LOST
    return DomainState.LOST if was else DomainState.MISSING
