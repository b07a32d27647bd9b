"""What the site keeps about a person: each app says it in its own `personal.py` and registers it,
so that counting, exporting and erasing need no list of tables of their own.

A category is a sentence for its owner and the tables behind it. A table that is no category stands
in `STAYS` with the reason why it is not erased, or in `APART` with the reason why it says nothing
about anybody. `tests/db/test_personal.py` fails for a model that is in none of them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from django.db.models import BinaryField, Field, Model, QuerySet

from accounts import crypto
from accounts.models import User
from chain.fields import NeuronField


class NotYet(Exception):
    """Something is still being written; erasing goes on at the next try."""


class Archive(Protocol):
    """Where an export goes, file by file (`accounts.personal_export`)."""

    def lines(self, path: str, rows: Iterable[dict[str, Any]]) -> None:
        """A file of one JSON document per line."""

    def stream(self, path: str, parts: Iterable[bytes]) -> None:
        """A file as it comes."""


@dataclass(frozen=True)
class Table:
    """Rows of one model that belong to a person: `path` leads from the row to the user (or, with
    `key`, to that value of the user: `pk`, `address`). `secret`: fields that no file may hold;
    `only`: those it holds, where the rest is not theirs; `opened`: (name, field), sealed ones
    that it holds in words under that name, unless they are empty."""

    model: type[Model]
    path: str = "user"
    secret: tuple[str, ...] = ()
    key: str = ""
    only: tuple[str, ...] = ()
    opened: tuple[tuple[str, str], ...] = ()

    def rows(self, user: User) -> QuerySet[Any]:
        value = getattr(user, self.key) if self.key else user
        return self.model._default_manager.filter(**{self.path: value})

    def plain(self, user: User) -> Iterator[dict[str, Any]]:
        """Every row as JSON can hold it, without what is sealed or a secret; oldest first."""
        fields = [
            f for f in self.model._meta.concrete_fields if not self._hidden(f) and f.name != "user"
        ]
        amounts = {f.attname for f in fields if isinstance(f, NeuronField)}
        sealed = [field for _name, field in self.opened]
        rows = self.rows(user).order_by("pk").values(*(f.attname for f in fields), *sealed)
        for row in rows.iterator(chunk_size=500):
            words = {name: crypto.unseal_or_lost(row.pop(field)) for name, field in self.opened}
            plain = {name: _plain(value, name in amounts) for name, value in row.items()}
            yield plain | {name: text for name, text in words.items() if text}

    def _hidden(self, field: Field[Any, Any]) -> bool:
        sealed = "sealed" in field.name or isinstance(field, BinaryField)
        left_out = bool(self.only) and field.name not in self.only
        return sealed or left_out or field.name in self.secret


@dataclass(frozen=True)
class Category:
    """`what` and `why` are sentences for the person. The first table's rows are what is counted.

    `more` writes what rows alone do not say (opened words, files). `before` runs ahead of deleting:
    it ends what is still written (or raises NotYet) and removes what is not in the database.
    `forget` stands in for deleting, where rows are others' too.
    """

    key: str
    title: str
    what: str
    why: str
    tables: tuple[Table, ...]
    more: Callable[[User, Archive], None] | None = None
    before: Callable[[User], None] | None = None
    forget: Callable[[User], int] | None = None

    def count(self, user: User) -> int:
        return self.tables[0].rows(user).count()

    def export(self, user: User, archive: Archive) -> None:
        for table in self.tables:
            archive.lines(f"{self.key}/{table.model._meta.model_name}.ndjson", table.plain(user))
        if self.more is not None:
            self.more(user, archive)

    def erase(self, user: User) -> int:
        """Delete every row, dependents first; how many. Idempotent. Raises NotYet."""
        if self.before is not None:
            self.before(user)
        if self.forget is not None:
            return self.forget(user)
        return sum(table.rows(user).delete()[0] for table in reversed(self.tables))


@dataclass(frozen=True)
class Stays:
    """What mentions a wallet and is not erased, and why."""

    title: str
    why: str
    models: tuple[type[Model], ...]


_categories: dict[str, Category] = {}
#: Keys as each app brought them.
_groups: list[tuple[str, ...]] = []
_stays: dict[str, Stays] = {}
#: Model → why no row of it is about a person.
_apart: dict[type[Model], str] = {}
#: How long rows of a model are kept, in words; the site's table of rules says it (`retention`).
kept: Callable[[type[Model]], str] = lambda model: ""  # noqa: E731 - replaced at start


def register(
    *found: Category, stays: Iterable[Stays] = (), apart: dict[type[Model], str] | None = None
) -> None:
    """Called by each app as it starts; again, it changes nothing."""
    _categories.update((category.key, category) for category in found)
    keys = tuple(category.key for category in found)
    if keys not in _groups:
        _groups.append(keys)
    _stays.update((entry.title, entry) for entry in stays)
    _apart.update(apart or {})


def ask_of_retention(words: Callable[[type[Model]], str]) -> None:
    """Called by the app that has the table of rules."""
    global kept
    kept = words


def categories() -> tuple[Category, ...]:
    """In the order of erasing: the apps above first, whose rows point at those below."""
    return tuple(_categories.values())


def shown() -> tuple[Category, ...]:
    """In the order of the page: the account itself first, staff last."""
    return tuple(_categories[key] for keys in reversed(_groups) for key in keys)


def stays() -> tuple[Stays, ...]:
    return tuple(_stays.values())


def table() -> dict[type[Model], str]:
    """Every model that was spoken of, and how: `erased`, or a reason."""
    found = dict(_apart)
    for entry in _stays.values():
        found |= dict.fromkeys(entry.models, entry.why)
    for category in _categories.values():
        found |= {each.model: "erased" for each in category.tables}
    return found


def _plain(value: Any, amount: bool) -> Any:
    # Amounts exceed what readers of JSON keep exactly.
    if amount and value is not None:
        return str(value)
    if isinstance(value, dt.datetime | dt.date):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value
