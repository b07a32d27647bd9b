"""What fine-tuning providers say of themselves beside their listings: models of their own, and how
many tasks wait. Asked now and then by a worker, never while somebody waits for a page.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from asgiref.sync import async_to_sync
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.errors import Problem
from finetune import broker, problems
from finetune.broker import Model
from finetune.errors import BrokerError, BrokerRefused
from finetune.models import ProviderFacts
from ledger import selectors as ledger
from ledger.models import Kind
from ledger.records import Listing

#: Between two rounds of asking.
PAUSE_SECONDS = 20
#: What was told is asked again after this, and not shown any more after that.
FRESH, SHOWN_FOR = dt.timedelta(minutes=1), dt.timedelta(hours=1)
BATCH = 20
#: How a zip begins: one with files, and an empty one.
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
Key = tuple[str, str]


@dataclass(frozen=True)
class Told:
    """The last answer: `pending` None where the provider does not say how many tasks wait."""

    own: tuple[Model, ...]
    pending: int | None
    at: dt.datetime


def told(listings: Iterable[Listing]) -> dict[Key, Told]:
    """By (provider, serving contract), what was told within the last hour (1 query)."""
    wanted = {(one.provider, one.serving): one.url for one in listings}
    rows = ProviderFacts.objects.filter(
        provider__in={provider for provider, _ in wanted},
        told_at__gt=timezone.now() - SHOWN_FOR,
    )
    return {
        (row.provider, row.serving): Told(
            tuple(Model(**one) for one in row.models_told), row.pending, row.told_at
        )
        for row in rows
        # Another address is another machine, which was not asked yet.
        if row.told_at and wanted.get((row.provider, row.serving)) == row.url
    }


def pending(listing: Listing) -> int | None:
    """How many tasks wait or run at one provider; None where nobody says (1 query)."""
    found = told([listing]).get((listing.provider, listing.serving))
    return found.pending if found else None


def refresh_due() -> int:
    """Ask the providers whose answer is a minute old, all at once; how many."""
    now = timezone.now()
    query = ledger.ServiceQuery(kind=Kind.FINE_TUNING.value)
    listings = ledger.services(query, page_size=50).items
    known = {
        (row.provider, row.serving): row
        for row in ProviderFacts.objects.filter(provider__in=[x.provider for x in listings])
    }
    due = [x for x in listings if x.url and _is_due(known.get((x.provider, x.serving)), x, now)]
    due = due[:BATCH]
    for listing, found in zip(due, async_to_sync(_ask_all)(due), strict=True):
        _keep(listing, found, now)
    return len(due)


def _is_due(row: ProviderFacts | None, listing: Listing, now: dt.datetime) -> bool:
    return row is None or row.url != listing.url or row.asked_at < now - FRESH


async def _ask_all(listings: list[Listing]) -> list[tuple[list[Model], int | None] | None]:
    return await asyncio.gather(*(_ask(listing.url) for listing in listings))


async def _ask(url: str) -> tuple[list[Model], int | None] | None:
    """None where nothing usable came; each of the two answers may be missing by itself."""
    async with broker.connected(url) as connection:
        try:
            own = await connection.models()
        except BrokerError:
            own = None
        try:
            pending = await connection.pending()
        except BrokerError:
            pending = None
    return None if own is None and pending is None else (own or [], pending)


def _keep(listing: Listing, found: tuple[list[Model], int | None] | None, now: dt.datetime) -> None:
    values: dict[str, object] = {"url": listing.url, "asked_at": now}
    if found is not None:
        own, pending = found
        named = [asdict(model) for model in own if model.name]
        values |= {"models_told": named, "pending": pending, "told_at": now}
    rows = ProviderFacts.objects.filter(provider=listing.provider, serving=listing.serving)
    # Another address is another machine: what was told at the one before is not its word.
    rows.exclude(url=listing.url).update(told_at=None)
    rows.update_or_create(provider=listing.provider, serving=listing.serving, defaults=values)


def usage(listing: Listing, model: str) -> bytes:
    """The zip in which a provider explains one of its models, as it came and never opened here.
    Raises Problem."""
    try:
        raw = async_to_sync(_usage)(listing.url, model)
    except BrokerRefused as error:
        raise problems.said(error) from None
    except BrokerError as error:
        raise problems.silent("provider_silent", error, _("Try again later.")) from None
    if not raw.startswith(_ZIP):
        raise Problem("no_zip", _("What the provider sent is no zip."), status=502)
    return raw


async def _usage(url: str, model: str) -> bytes:
    async with broker.connected(url) as connection:
        return await connection.usage(model)
