"""Changes of listings as Atom (RFC 4287), for feed readers."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.http import HttpResponse
from django.utils import feedgenerator

from ledger.records import ChangeEntry
from marketplace import links
from marketplace.changes import ChangeRow
from marketplace.history import VerdictEntry
from marketplace.selectors import service_types

LENGTH = 50
MEDIA = "application/atom+xml; charset=utf-8"

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


@dataclass(frozen=True)
class Feed:
    """What a feed is about: its title, and the paths of its page and of itself."""

    title: str
    page: str
    path: str


def answer(feed: Feed, entries: tuple[ChangeEntry, ...]) -> HttpResponse:
    return HttpResponse(atom(feed, entries), content_type=MEDIA)


def atom(feed: Feed, entries: tuple[ChangeEntry, ...]) -> str:
    """An Atom document (2 queries). Ids are tag URIs of chain facts, so that a reader sees an entry
    once, on any host and in any feed.
    """
    site = settings.SITE_URL
    made = feedgenerator.Atom1Feed(
        title=xml_text(feed.title),
        link=f"{site}{feed.page}",
        feed_url=f"{site}{feed.path}",
        description="On-chain changes of listings, and verdicts on their evidence that turned.",
        language="en",
    )
    types = service_types({entry.provider for entry in entries})
    for entry in entries:
        kind = types.get((entry.provider, entry.service_name), "")
        row = ChangeRow.of(entry, kind, alone=True)
        said = " → ".join(text for text in (row.before, row.after) if text is not None)
        made.add_item(
            title=f"{entry.provider} {WORDS.get(entry.change, entry.change)}",
            link=f"{site}{_path(entry)}",
            description=xml_text(f"{row.title}. {said}"),
            pubdate=entry.at,
            updateddate=entry.at,
            unique_id=_id(entry),
            categories=(entry.change,),
        )
    return str(made.writeString("utf-8"))


def _path(entry: ChangeEntry) -> str:
    if isinstance(entry, VerdictEntry):
        return f"/verifications/{entry.report}"
    return links.service_path(entry.kind, entry.provider, "changes")


def _id(entry: ChangeEntry) -> str:
    if isinstance(entry, VerdictEntry):
        return f"tag:0g-market,2026:{settings.CHAIN_ID}/{entry.report}/{entry.change}"
    log = "view" if entry.log_index is None else entry.log_index
    place = f"{entry.tx_hash or entry.block}/{log}/{entry.service_name}/{entry.provider}"
    return f"tag:0g-market,2026:{settings.CHAIN_ID}/{place}/{entry.change}"


def xml_text(text: str) -> str:
    """Text without the characters that XML 1.0 cannot hold: a provider's string must not break
    the feed.
    """
    return "".join(
        character
        if character in "\t\n"
        or " " <= character < "\ud800"
        or "\ue000" <= character < "\ufffe"
        or character >= "\U00010000"
        else "\ufffd"
        for character in text
    )
