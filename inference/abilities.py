"""What a service says about its model: whether it looks at pictures, how much it reads at
once, which parameters it knows. From the provider's own list of models (provider-protocol.md 1.7),
a stranger's word: it only decides what this site offers and sends, never what something costs.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from channels.db import database_sync_to_async
from django.core.cache import cache

from ledger.records import Listing
from net import strictjson
from net.cache import recall, tried
from net.client import Client
from net.errors import NetError
from net.limits import JsonLimits, Limits
from protocol import fees

log = logging.getLogger(__name__)

KEPT_SECONDS = 900
#: A provider that does not say is asked again after so long.
SILENT_SECONDS = 60
MAX_MODELS = 2_000
_LIMITS = Limits(connect=3, first_byte=5, between=3, total=8, max_bytes=1 << 20)
_SHAPE = JsonLimits(max_depth=12, max_bytes=1 << 20)
_LONGEST_CONTEXT = 100_000_000


@dataclass(frozen=True)
class Abilities:
    """`context` tokens (0: not said); `parameters` None where none are listed; `said`: the provider
    has this model in its list; `inputs`: and says there what goes in.
    """

    pictures: bool = False
    context: int = 0
    parameters: tuple[str, ...] | None = None
    said: bool = False
    inputs: bool = False


#: What is known about a service that was not asked.
NOTHING = Abilities()


def read(document: object, model: str) -> Abilities:
    """What a list of models says about one; nothing for whatever is no such list. Pure."""
    data = document.get("data") if isinstance(document, dict) else None
    entries = (
        [x for x in data[:MAX_MODELS] if isinstance(x, dict)] if isinstance(data, list) else []
    )
    entry = next((x for x in entries if x.get("id") == model), None)
    if entry is None:
        return Abilities()
    architecture = entry.get("architecture")
    taken = architecture.get("input_modalities") if isinstance(architecture, dict) else None
    context = fees.count(entry.get("context_length")) or 0
    listed = entry.get("supported_parameters")
    words = [x for x in listed[:100] if isinstance(x, str)] if isinstance(listed, list) else []
    return Abilities(
        pictures=isinstance(taken, list) and "image" in taken[:20],
        context=context if context <= _LONGEST_CONTEXT else 0,
        parameters=tuple(sorted(x[:40] for x in words)) if words else None,
        said=True,
        inputs=isinstance(taken, list),
    )


class Unknown(Exception):
    """What this service says has to be looked at first (`look`)."""

    def __init__(self, listing: Listing) -> None:
        super().__init__(listing.provider)
        self.listing = listing


def known(listing: Listing | None) -> Abilities:
    """What the service said not long ago; nothing where it was not asked (no network, no wait)."""
    return heard(listing) or NOTHING


def heard(listing: Listing | None) -> Abilities | None:
    """The same, None where it was not asked."""
    found = recall(_name(listing)) if listing else None
    return Abilities(**found) if found else None


def known_of(listings: Sequence[Listing]) -> list[Abilities]:
    """What each of these said not long ago, as `known`; one question to Redis for all."""
    names = [_name(listing) for listing in listings]
    found = tried(lambda: cache.get_many(names), {}) if names else {}
    return [Abilities(**found[name]) if name in found else NOTHING for name in names]


async def look(client: Client, listing: Listing) -> Abilities:
    """What the service says, asked where that is not known. Never raises: a provider that does not
    answer says nothing.
    """
    name = _name(listing)
    found = await database_sync_to_async(cache.get)(name)
    if found:
        return Abilities(**found)
    url = f"{listing.url.rstrip('/')}/v1/models"
    said = Abilities()
    try:
        async with client.open("GET", url, limits=_LIMITS) as answer:
            body = await answer.read(_SHAPE.max_bytes)
        said = read(strictjson.loads(body, _SHAPE), listing.model)
    except NetError as error:
        log.info("models of %s are not known: %s", listing.provider, error)
    kept = KEPT_SECONDS if said.said else SILENT_SECONDS
    await database_sync_to_async(cache.set)(name, asdict(said), timeout=kept)
    return said


def _name(listing: Listing) -> str:
    what = hashlib.sha256(f"{listing.url}\n{listing.model}".encode()).hexdigest()
    return f"abilities:{listing.provider}:{what[:24]}"
