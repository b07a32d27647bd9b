"""All that the opening of a question reads, in one statement (see `inference.turn_sql` for why),
and what a program's next request rests on, in another.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from django.utils import timezone

from accounts import keys
from accounts.models import ProviderKey
from inference import readiness
from inference.models import Chat
from inference.readiness import Held
from ledger.records import Listing
from net.postgres import statements
from protocol import keys as wire

_MOST_KNOWN = 512
_known: OrderedDict[str, tuple[str, Listing | None]] = OrderedDict()

# Of an `owner` and %(provider)s. A row's xmin changes with every transaction that writes it, its
# ctid with every write in one: while both are the same, so is what was read of the row.
_HAS = """
    (SELECT l.available FROM ledger_ledger l
     WHERE l."user" = owner.address AND l."exists" AND NOT l.shadowed),
    (SELECT json_agg(json_build_array(a.serving, a.live, (a.balance - a.pending_refund)::text,
                                      a.acknowledged, a.generation::text))
     FROM ledger_subaccount a
     WHERE a."user" = owner.address AND a.provider = %(provider)s AND NOT a.shadowed),
    (SELECT string_agg(s.id || ':' || s.xmin || s.ctid, ',' ORDER BY s.id) FROM ledger_service s
     WHERE s.provider = %(provider)s AND s.kind = 'inference' AND NOT s.shadowed),
    (SELECT string_agg(c.id || ':' || c.xmin || c.ctid, ',' ORDER BY c.id)
     FROM ledger_servingcontract c WHERE NOT c.shadowed),
    key.id, key.sealed, key.serving, key.generation
"""
_KEY = """
LEFT JOIN LATERAL (
    SELECT k.id, k.sealed, k.serving, k.generation FROM accounts_providerkey k
    WHERE k.user_id = owner.id AND k.provider = %(provider)s AND k.token_id = %(slot)s
        AND (k.expires_at IS NULL OR k.expires_at > %(living)s)
    ORDER BY k.created_at DESC LIMIT 1
) key ON true
"""
_READ = f"""
SELECT chat.leaf_id,
    (SELECT t.id FROM inference_turn t WHERE t.chat_id = chat.id AND t.prompt_key = %(prompt)s),
    EXISTS (SELECT FROM inference_file f WHERE f.chat_id = chat.id AND f.role = 'asked'),
    EXISTS (SELECT FROM django_session s
            WHERE s.session_key = %(session)s AND s.expire_date > %(now)s),
    (SELECT t.expected_signer FROM inference_turn t
     WHERE t.chat_id = chat.id AND t.provider = %(provider)s AND t.state <> 'failed'
     ORDER BY t.id DESC LIMIT 1),
    (SELECT json_agg(e.serving) FROM moderation_effect e
     WHERE e.kind = 'hidden' AND e.provider = %(provider)s
        AND (e.until IS NULL OR e.until > %(now)s)
        AND NOT EXISTS (SELECT FROM moderation_anyway w
                        WHERE w.user_id = owner.id AND w.number = e.number)),
    {_HAS}
FROM inference_chat chat
JOIN accounts_user owner ON owner.id = chat.owner_id
{_KEY}
WHERE chat.id = %(chat)s AND chat.deleted_at IS NULL
"""
_STANDING = f"""
SELECT EXISTS (SELECT FROM inference_chat c WHERE c.id = %(chat)s), {_HAS}
FROM accounts_user owner {_KEY}
WHERE owner.id = %(user)s
"""


@dataclass(frozen=True)
class Standing:
    """Of a person and a provider, at one moment. `version` changes with whatever the provider
    lists; `chat`: the named one is there still; `key`: a usable one (`accounts.keys.usable`).
    """

    version: str
    key: ProviderKey | None
    chat: bool
    _available: int | None
    _places: dict[str, list[Any]] = field(repr=False)

    def held(self, serving: str) -> Held:
        """What the person has at that serving contract of the provider."""
        place = self._places.get(serving)
        if place is None or not place[1]:
            return Held(self._available, 0, None)
        return Held(self._available, int(place[2]), place[3])


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
    given = {"chat": chat.pk, "prompt": prompt, "session": session}
    row = _row(_READ, provider, given)
    if row is None:
        return None
    leaf, asked, pictures, signed_in, signer, hidden, *has = row
    stands = _standing(chat.owner_id, provider, True, has)
    listing = _listing(provider, stands.version)
    held = stands.held(listing.serving if listing else "")
    if listing is not None and {"", listing.serving} & set(hidden or ()):
        held = replace(held, hidden=True)
    return Facts(leaf, asked, pictures, signed_in, signer or "", listing, held, stands.key)


def standing(user: int, provider: str, chat: UUID | None = None) -> Standing | None:
    """What `user` has at `provider` (EIP-55); None where the person is gone (1 query)."""
    row = _row(_STANDING, provider, {"user": user, "chat": chat})
    return None if row is None else _standing(user, provider, row[0], row[1:])


def _row(statement: str, provider: str, given: dict[str, Any]) -> Sequence[Any] | None:
    now = timezone.now()
    given |= {
        "provider": provider,
        "now": now,
        "living": now + keys.MARGIN,
        "slot": wire.EPHEMERAL_TOKEN_ID,
    }
    with statements.prepared() as cursor:
        cursor.execute(statement, given)
        row: Sequence[Any] | None = cursor.fetchone()
    return row


def _standing(user: int, provider: str, chat: bool, has: Sequence[Any]) -> Standing:
    """From the columns of _HAS."""
    available, accounts, services, contracts, pk, sealed, serving, generation = has
    places = {place[0]: place for place in accounts or ()}
    key = None
    # A later generation of the account kills all keys of before (contracts.md 4.4).
    if pk is not None and int(places[serving][4] if serving in places else 0) <= generation:
        key = ProviderKey(pk=pk, user_id=user, provider=provider, sealed=sealed)
    purse = None if available is None else int(available)
    return Standing(f"{services} {contracts}", key, chat, purse, places)


def _listing(provider: str, version: str) -> Listing | None:
    known = _known.get(provider)
    if known is None or known[0] != version:
        known = version, readiness.chat_service(provider)
        _known[provider] = known
        while len(_known) > _MOST_KNOWN:
            _known.popitem(last=False)
    return known[1]
