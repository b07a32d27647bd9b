"""Whether our own line is down: then nobody answers, which is no provider's silence."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from urllib.parse import urlsplit

from asgiref.sync import sync_to_async
from django.db.models import Exists
from django.db.models.fields.json import KeyTextTransform
from django.utils import timezone

from attestation import asking
from attestation.models import Standing
from attestation.runs import Draft
from attestation.selectors import listed
from net.client import Client

#: So many other hosts that answered their last check fall silent together because our line broke.
WITNESSES = 3
#: A check that is older says little about now.
LATELY = dt.timedelta(hours=24)
#: What somebody declares who is asked for evidence (`attestation.declared`).
_ASKED = ("tee", "separated", "centralized")


async def is_down(client: Client, url: str, drafts: Sequence[Draft]) -> bool:
    """After a run of the service at `url`: whether it, and `WITNESSES` others that are asked now,
    say nothing at all. False where fewer are known."""
    if not all(draft.mute for draft in drafts):
        return False
    others = await sync_to_async(_well)(_host(url))
    if len(others) < WITNESSES:
        return False
    heard = (asking.ask(client, f"{other.rstrip('/')}/", "", pauses=()) for other in others)
    return all(asked.mute for asked in await asyncio.gather(*heard))


def _well(apart: str) -> list[str]:
    """URLs of `WITNESSES` hosts that answered their last check, in no order (1 query)."""
    rows = Standing.objects.filter(
        Exists(listed()),
        unreachable_since=None,
        declared__in=_ASKED,
        tried_at__gt=timezone.now() - LATELY,
    )
    hosts: dict[str, str] = {}
    named = rows.annotate(url=KeyTextTransform("url", "basis")).order_by("?")
    for url in named.values_list("url", flat=True)[:1_000]:
        if url and _host(url) != apart:
            hosts.setdefault(_host(url), url)
        if len(hosts) == WITNESSES:
            break
    return list(hosts.values())


def _host(url: str) -> str:
    """Host and port, or all of an unreadable URL."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2].lower()
    except ValueError:
        return url
