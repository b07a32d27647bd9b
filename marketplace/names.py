"""What providers call themselves, in words that their wallets signed (`operators.profile`): nobody
checked a name, except where a domain vouches for its provider."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

from django.db.models import Count, Max, Q, QuerySet

from marketplace import formats
from operators import notes
from operators.models import Profile

#: Words of a question, and providers that one of them may name.
WORDS, MOST = 8, 200
_LENGTH = 40


@dataclass(frozen=True)
class Named:
    """`domain`: the one that names the provider's address, empty where none does."""

    name: str
    domain: str = ""

    @classmethod
    def of(cls, row: Profile) -> Named:
        name = formats.clip(formats.plain(row.name).strip(), _LENGTH)
        return cls(name, row.domain if row.proven else "")


def _heard() -> QuerySet[Profile]:
    return Profile.objects.filter(notes.heard(), withdrawn_at=None)


def names_of(providers: Iterable[str]) -> dict[str, Named]:
    """Of those providers that gave themselves a name (1 query)."""
    rows = _heard().filter(provider__in=set(providers))
    return {row.provider: Named.of(row) for row in rows}


def state() -> tuple[Any, ...]:
    """Changes whenever a name may change (1 query)."""
    rows = Profile.objects.aggregate(Max("signed_at"), Max("withdrawn_at"), Count("pk"))
    return tuple(rows.values())


def known_as(q: str) -> tuple[tuple[str, ...], ...]:
    """For each word of a question the providers whose name has it (`ServiceQuery.known_as`); empty
    where no name has any (1 query)."""
    words = [word.lower() for word in q.replace("\x00", "").split()[:WORDS]]
    if not words:
        return ()
    having = reduce(or_, (Q(name__icontains=word) for word in words))
    names = dict(_heard().filter(having).values_list("provider", "name")[:MOST])
    found = tuple(
        tuple(sorted(address for address, name in names.items() if word in name.lower()))
        for word in words
    )
    return found if any(found) else ()


def all_in(found: tuple[tuple[str, ...], ...]) -> list[str]:
    """The providers whose name has every word."""
    return sorted(set.intersection(*map(set, found))) if found else []
