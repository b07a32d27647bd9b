"""Links to conversations as `moderation` sees them: subjects of reports, whose owners staff never
reads. Apart from `shares`, which shows them: every process registers this, few show one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection

from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone

from inference.models import Share

#: As `shares.create` makes them.
_LETTERS = 32
_SECRET = re.compile(rf"(/shared/)?([\w-]{{{_LETTERS},}})", re.ASCII)
_TAKEN_OUT = "/shared/..."


def living_links() -> QuerySet[Share]:
    """Links that their time, their owner and their conversation leave open."""
    return Share.objects.filter(
        ends_at__gt=timezone.now(), chat__deleted_at=None, chat__owner__is_active=True
    )


def digest_of(token: str) -> str:
    """By which a link is kept: its secret is not."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def living(digests: Collection[str]) -> dict[str, str]:
    """Of these links those that open something, or would if staff had not ended them, each with
    its owner's wallet (1 query)."""
    rows = living_links().filter(digest__in=digests)
    return dict(rows.values_list("digest", "chat__owner__address"))


def owners(digests: Collection[str]) -> dict[str, str]:
    """The same, also of those whose conversation was deleted a moment ago, or whose owner may not
    sign in: both can come back, and are nobody else's meanwhile (1 query)."""
    rows = Share.objects.filter(digest__in=digests, ends_at__gt=timezone.now())
    return dict(rows.values_list("digest", "chat__owner__address"))


def of_owners(wallets: Collection[str]) -> dict[str, str]:
    """The links of these wallets, as `living` has them (1 query)."""
    rows = living_links().filter(chat__owner__address__in=wallets)
    return dict(rows.values_list("digest", "chat__owner__address"))


def desk_path(digest: str) -> str:
    """Where staff reads a conversation that was reported."""
    return reverse("inference:shared_reported", args=[digest])


def cleaned(digest: str, text: str) -> str:
    """A text about a link without its secret, whatever stands around that (`%2Fshared%2F`, `_`),
    nor any other address of a link."""

    def instead(found: re.Match[str]) -> str:
        if found[1]:
            return _TAKEN_OUT
        said = found[2]
        for at in range(len(said) - _LETTERS + 1):
            if digest_of(secret := said[at : at + _LETTERS]) == digest:
                return said.replace(secret, _TAKEN_OUT)
        return said

    return _SECRET.sub(instead, text)
