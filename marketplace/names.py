"""What providers call themselves, in words that their wallets signed (`operators.profile`): nobody
checked a name, except where a domain vouches for its provider."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, QuerySet

from ledger import selectors, tags
from marketplace import formats
from marketplace.memo import Memo
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


def state() -> tuple[Any, ...]:
    """Changes whenever a profile does; begins with their number (1 query)."""
    return tuple(Profile.objects.aggregate(**_COUNTED).values())


def state_within(now: tags.Moment | None = None) -> QuerySet[Any, Any]:
    """The same as one value, for a statement that reads more (0 queries)."""
    return tags.within(Profile.objects.all(), **_COUNTED)


_COUNTED: dict[str, Any] = {
    "profiles": Count("pk"),
    "signed": tags.moments("signed_at"),
    "withdrawn": tags.moments("withdrawn_at"),
    "checked": tags.moments("domain_checked_at"),
}
_kept = Memo()


def _all(version: str | None = None) -> dict[str, Named]:
    """Every name that is heard (1 query; 1 more without the listings' `version`, and 1 where
    something changed): every list shows some of them, so they are read together."""
    found = state()
    if not found[0]:
        return {}
    listings = selectors.listings_version() if version is None else version
    return _kept.get(f"{listings}/{found}", "names", _read)


def _read() -> dict[str, Named]:
    rows = Profile.objects.filter(notes.heard(), withdrawn_at=None)
    return {row.provider: Named.of(row) for row in rows.only(*_COLUMNS)}


_COLUMNS = ("provider", "name", "domain", "domain_state")


def names_of(providers: Iterable[str], version: str | None = None) -> dict[str, Named]:
    """Of those providers that gave themselves a name; `version`: the listings', where the caller
    knows it (`ledger.selectors.listings_version`)."""
    wanted = list(providers)
    known = _all(version) if wanted else {}
    return {provider: known[provider] for provider in wanted if provider in known}


def known_as(q: str) -> tuple[tuple[str, ...], ...]:
    """For each word of a question the providers whose name has it (`ServiceQuery.known_as`); empty
    where no name has any."""
    words = [word.lower() for word in q.replace("\x00", "").split()[:WORDS]]
    if not words:
        return ()
    names = [(address, said.name.lower()) for address, said in _all().items()]
    found = tuple(
        tuple(sorted(address for address, name in names if word in name)[:MOST]) for word in words
    )
    return found if any(found) else ()


def all_in(found: tuple[tuple[str, ...], ...]) -> list[str]:
    """The providers whose name has every word."""
    return sorted(set.intersection(*map(set, found))) if found else []
