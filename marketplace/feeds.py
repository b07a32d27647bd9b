"""Changes of listings as Atom (RFC 4287), for feed readers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpResponse

from accounts import feeds as atoms
from accounts import links as account_links
from accounts.days import utc
from accounts.feeds import xml_text
from ledger.records import ChangeEntry
from marketplace import links
from marketplace.changes import ChangeRow
from marketplace.history import Asked, VerdictEntry, changes
from marketplace.selectors import Offered, offered
from operators import notes
from operators.models import Note

LENGTH = 50

WORDS = {
    "registered": "registered",
    "price": "changed its price",
    "url": "changed its address",
    "model": "changed its model",
    "type": "changed its type",
    "verifiability": "changed its declared verifiability",
    "signer": "changed its signing key",
    "additional_info": "changed its additional data",
    "quota": "changed its hardware quota",
    "occupied": "changed its occupancy",
    "models": "changed its models",
    "acknowledged": "was acknowledged by the contract owner",
    "unacknowledged": "lost the contract owner's acknowledgement",
    "staked": "staked",
    "stake_returned": "got its stake back",
    "removed": "was removed",
    "verification_regressed": "is verified worse than before",
    "verification_recovered": "is verified as well as before again",
}


NOTES = {"maintenance": "maintenance", "incident": "an incident"}


@dataclass(frozen=True)
class Feed:
    """What a feed is about: its title, and the paths of its page and of itself."""

    title: str
    page: str
    path: str


def of_network(asked: Asked, at: str) -> HttpResponse:
    """The newest changes that are `asked` for, as the feed whose path is `at` without its query."""
    query = links.with_query("", kind=asked.kind, change=asked.change, provider=asked.provider)
    of = f" of {asked.provider}" if asked.provider else ""
    title = f"Changes on {settings.NETWORK.label}{of}"
    return answer(Feed(title, f"/changes{query}", f"{at}{query}"), asked)


def answer(feed: Feed, asked: Asked) -> HttpResponse:
    """The newest changes; where neither a kind nor a sort is asked for, what providers announced is
    among them (8 queries)."""
    found = changes(asked, 1, LENGTH)
    said = () if asked.kind or asked.change else notes.of_feed(asked.provider, LENGTH)
    return HttpResponse(atom(feed, found.items, said), content_type=atoms.MEDIA)


def atom(feed: Feed, entries: tuple[ChangeEntry, ...], said: Iterable[Note] = ()) -> str:
    """An Atom document (3 queries), what providers `said` among the changes, newest first: however
    much that is, it displaces no change. Ids are tag URIs of facts, so that a reader sees an entry
    once, on any host and in any feed.
    """
    site = settings.SITE_URL
    made = atoms.Feed(feed.title, f"{site}{feed.page}", f"{site}{feed.path}")
    pairs = zip(entries, offered(entries), strict=True)
    items = [(entry.at, _change(entry, about)) for entry, about in pairs]
    announced = [(note.signed_at, _note(note)) for note in said]
    if announced:  # without any, the order is the chain's
        items = sorted(items + announced, key=lambda one: one[0], reverse=True)
    for at, item in items:
        made.add_item(pubdate=at, updateddate=at, **item)
    return made.written()


def _change(entry: ChangeEntry, about: Offered) -> dict[str, Any]:
    row = ChangeRow.of(entry, about, alone=True)
    # At the end: a headline in the words of whoever lists could say that it is somebody else's.
    of = f": {row.service}" if row.service else ""
    said = " → ".join(text for text in (row.before, row.after) if text is not None)
    return {
        "title": xml_text(f"{entry.provider} {WORDS.get(entry.change, entry.change)}{of}"),
        "link": f"{settings.SITE_URL}{_path(entry)}",
        "description": xml_text(f"{row.title}. {said}"),
        "unique_id": _id(entry),
        "categories": (entry.change,),
    }


def _note(note: Note) -> dict[str, Any]:
    """Maintenance or an incident, as its provider signed it."""
    until = utc(note.ends_at) if note.ends_at else "an end not known yet"
    when = f"From {utc(note.starts_at)} to {until}"
    return {
        "title": f"{note.provider} announced {NOTES[note.kind]}",
        "link": f"{settings.SITE_URL}{links.provider_path(note.provider)}",
        "description": xml_text(f"{when}. {note.text}"),
        "unique_id": f"tag:0g-market,2026:{settings.CHAIN_ID}/note/{note.pk}",
        "categories": (note.kind,),
    }


def _path(entry: ChangeEntry) -> str:
    if isinstance(entry, VerdictEntry):
        return f"/verifications/{entry.report}"
    return account_links.service_at(entry, entry.provider, "changes")


def _id(entry: ChangeEntry) -> str:
    if isinstance(entry, VerdictEntry):
        return f"tag:0g-market,2026:{settings.CHAIN_ID}/{entry.report}/{entry.change}"
    log = "view" if entry.log_index is None else entry.log_index
    place = f"{entry.tx_hash or entry.block}/{log}/{entry.service_name}/{entry.provider}"
    return f"tag:0g-market,2026:{settings.CHAIN_ID}/{place}/{entry.change}"
