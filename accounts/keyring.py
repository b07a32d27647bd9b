"""The keys page put together: whose keys and tokens there are, what the chain says about
them, who is signed in.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import keys_lasting, links, pages_keys, sessions, tokens
from accounts.http import row_number
from accounts.models import User
from accounts.pages_parts import pager
from ledger import selectors as ledger
from ledger.models import Kind
from ledger.records import Page, Position
from protocol import keys as wire

_SHOWN = 300
_PER_PAGE = 100


def page(user: User, session: str, changing: str = "", number: int = 1) -> pages_keys.KeysPage:
    """Everything on `/account/keys`; no secret is among it. `session`: the name of the one that
    asks; `changing`: the number of the token whose settings are asked for; `number`: which page of
    the lasting keys, those that have ended last. Raises PastTheEnd."""
    chosen, now = row_number(changing), timezone.now()
    ended = user.provider_keys.alias(ended=Q(expires_at__isnull=False) & Q(expires_at__lte=now))
    held = ended.order_by("ended", "provider", "-generation", "token_id")
    slots = held.exclude(token_id=wire.EPHEMERAL_TOKEN_ID)
    listed: Page[Any] = ledger.paginate(slots, number, _PER_PAGE, lambda key: key)
    stored = held.filter(token_id=wire.EPHEMERAL_TOKEN_ID)[:_SHOWN]
    positions = {
        (p.serving, p.provider): p
        for p in ledger.account(user.address).positions
        if p.kind == Kind.INFERENCE  # others know no keys
    }
    own, lasting = [], []
    for key in (*stored, *listed.items):
        position = positions.get((key.serving, key.provider))
        state = keys_lasting.state(key, position, now)
        if key.token_id == wire.EPHEMERAL_TOKEN_ID:
            own.append(pages_keys.KeyRow(key, state))
        else:
            lasting.append(pages_keys.KeyRow(key, state, _revoke(position, key.token_id)))
    given = Counter(slots.order_by().values_list("serving", "provider", "generation"))
    made = user.access_tokens.alias(ended=Q(revoked_at__isnull=False) | Q(expires_at__lte=now))
    return pages_keys.KeysPage(
        own=tuple(own),
        lasting=tuple(lasting),
        lasting_pager=pager(listed, _("keys"), lambda n: f"/account/keys?page={n}#lasting"),
        slots=tuple(
            keys_lasting.slots(position, given[*pair, position.generation])
            for pair, position in positions.items()
        ),
        sessions=tuple(
            pages_keys.SessionRow(row, row.session_key == session) for row in sessions.of(user)
        ),
        changing=tokens.living(user, now).filter(pk=chosen).first() if chosen else None,
        tokens=tuple(
            pages_keys.TokenRow(
                token,
                tokens.state(token, now),
                token.previous_until is not None and token.previous_until > now,
            )
            for token in made.order_by("ended", "-created_at")[:_SHOWN]
        ),
    )


def _revoke(position: Position | None, slot: int) -> str:
    """The form that revokes one slot on the chain; empty where there is no sub-account."""
    return links.form("revoke_tokens", position, slots=slot) if position else ""
