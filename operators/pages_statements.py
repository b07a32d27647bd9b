"""Pages of what an operator says: notes and profile, each with the statement that waits."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from accounts.pages_parts import Option
from accounts.pages_transaction import Link
from operators import profile_domain
from operators.models import Note, Profile
from operators.profile_signing import Prepared
from operators.tabs import tabs


@dataclass(frozen=True)
class Field:
    name: str
    value: str
    error: str


def fields(
    names: tuple[str, ...], typed: Mapping[str, str], errors: Mapping[str, str]
) -> dict[str, Field]:
    return {name: Field(name, typed.get(name, ""), errors.get(name, "")) for name in names}


@dataclass(frozen=True)
class NotesPage:
    may: bool
    form: Mapping[str, Field]
    kinds: tuple[Option, ...]
    waiting: Prepared | None
    notes: tuple[Note, ...]
    #: Those of them that others see now.
    shown: frozenset[uuid.UUID]
    problem: str = ""
    tabs: tuple[Link, ...] = field(default_factory=lambda: tabs("/operator/notes"))


@dataclass(frozen=True)
class ProfilePage:
    may: bool
    address: str
    form: Mapping[str, Field]
    waiting: Prepared | None
    profile: Profile | None
    problem: str = ""
    tabs: tuple[Link, ...] = field(default_factory=lambda: tabs("/operator/profile"))

    @property
    def proof(self) -> str:
        """What the domain's file has to say."""
        return f'{{"providers": ["{self.address}"]}}'

    @property
    def proof_url(self) -> str:
        named = self.profile.domain if self.profile and self.profile.domain else "your-domain"
        return profile_domain.url_of(named)
