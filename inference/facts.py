"""All that the opening of a question reads, in one statement (see `inference.rows` for why)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from accounts import keys
from accounts.models import ProviderKey
from inference import readiness
from inference.models import Chat
from inference.readiness import Held
from ledger.records import Listing
from protocol import keys as wire

_MOST_KNOWN = 512
_known: OrderedDict[str, tuple[str, Listing | None]] = OrderedDict()

# A row's xmin changes with every write: what was read of the same rows before is the same still.
_READ = """
SELECT chat.leaf_id,
    (SELECT t.id FROM inference_turn t WHERE t.chat_id = chat.id AND t.prompt_key = %(prompt)s),
    EXISTS (SELECT FROM inference_file f WHERE f.chat_id = chat.id AND f.role = 'asked'),
    EXISTS (SELECT FROM django_session s
            WHERE s.session_key = %(session)s AND s.expire_date > %(now)s),
    (SELECT t.expected_signer FROM inference_turn t
     WHERE t.chat_id = chat.id AND t.provider = %(provider)s AND t.state <> 'failed'
     ORDER BY t.id DESC LIMIT 1),
    (SELECT l.available FROM ledger_ledger l
     WHERE l."user" = owner.address AND l."exists" AND NOT l.shadowed),
    (SELECT json_agg(json_build_array(a.serving, a.live, (a.balance - a.pending_refund)::text,
                                      a.acknowledged, a.generation::text))
     FROM ledger_subaccount a
     WHERE a."user" = owner.address AND a.provider = %(provider)s AND NOT a.shadowed),
    (SELECT string_agg(s.id || ':' || s.xmin, ',' ORDER BY s.id) FROM ledger_service s
     WHERE s.provider = %(provider)s AND s.kind = 'inference' AND NOT s.shadowed),
    (SELECT string_agg(c.id || ':' || c.xmin, ',' ORDER BY c.id) FROM ledger_servingcontract c
     WHERE NOT c.shadowed),
    (SELECT json_agg(e.serving) FROM moderation_effect e
     WHERE e.kind = 'hidden' AND e.provider = %(provider)s
        AND (e.until IS NULL OR e.until > %(now)s)
        AND NOT EXISTS (SELECT FROM moderation_anyway w
                        WHERE w.user_id = owner.id AND w.number = e.number)),
    key.id, key.sealed, key.serving, key.generation
FROM inference_chat chat
JOIN accounts_user owner ON owner.id = chat.owner_id
LEFT JOIN LATERAL (
    SELECT k.id, k.sealed, k.serving, k.generation FROM accounts_providerkey k
    WHERE k.user_id = owner.id AND k.provider = %(provider)s AND k.token_id = %(slot)s
        AND (k.expires_at IS NULL OR k.expires_at > %(living)s)
    ORDER BY k.created_at DESC LIMIT 1
) key ON true
WHERE chat.id = %(chat)s
"""


@dataclass(frozen=True)
class Facts:
    """Of a chat, its owner and a provider, at one moment. `asked`: the turn that this prompt is
    already; `leaf`: the end of the shown branch; `pictures`: some were chosen or sent; `signed_in`:
    the session lives; `signer`: of the last answer from there ("" none); `key`: a usable one
    (`accounts.keys.usable`).
    """

    leaf: int | None
    asked: int | None
    pictures: bool
    signed_in: bool
    signer: str
    listing: Listing | None
    held: Held
    key: ProviderKey | None


def read(chat: Chat, prompt: UUID, provider: str, session: str = "") -> Facts | None:
    """Facts about asking `provider` (EIP-55) in a chat; None where the chat is gone (1 query, and
    2 more where the provider's listing has changed).
    """
    now = timezone.now()
    given: dict[str, Any] = {
        "chat": chat.pk,
        "prompt": prompt,
        "provider": provider,
        "session": session,
        "now": now,
        "living": now + keys.MARGIN,
        "slot": wire.EPHEMERAL_TOKEN_ID,
    }
    with connection.cursor() as cursor:
        cursor.execute(_READ, given)
        row = cursor.fetchone()
    if row is None:
        return None
    leaf, asked, pictures, signed_in, signer, available, accounts, *version = row[:9]
    hidden, pk, sealed, serving, generation = row[9:]
    listing = _listing(provider, f"{version[0]} {version[1]}")
    places = {place[0]: place[1:] for place in accounts or ()}
    key = None
    if pk is not None and int(places.get(serving, (0, 0, 0, 0))[3]) <= generation:
        key = ProviderKey(pk=pk, user_id=chat.owner_id, provider=provider, sealed=sealed)
    held = _held(available, places.get(listing.serving) if listing else None)
    if listing is not None and {"", listing.serving} & set(hidden or ()):
        held = replace(held, hidden=True)
    return Facts(leaf, asked, pictures, signed_in, signer or "", listing, held, key)


def _held(available: Any, place: list[Any] | None) -> Held:
    purse = None if available is None else int(available)
    if place is None or not place[0]:
        return Held(purse, 0, None)
    return Held(purse, int(place[1]), place[2])


def _listing(provider: str, version: str) -> Listing | None:
    known = _known.get(provider)
    if known is None or known[0] != version:
        known = version, readiness.chat_service(provider)
        _known[provider] = known
        while len(_known) > _MOST_KNOWN:
            _known.popitem(last=False)
    return known[1]
