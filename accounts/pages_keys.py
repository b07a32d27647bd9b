"""The page of keys and sessions."""

from __future__ import annotations

from dataclasses import dataclass, field

from accounts.keys_lasting import Slots
from accounts.models import ProviderKey, SignIn
from accounts.pages_parts import tabs
from accounts.pages_transaction import Link


@dataclass(frozen=True)
class KeyRow:
    key: ProviderKey
    expired: bool

    @property
    def expires_at_unix(self) -> int:
        return int(self.key.expires_at.timestamp()) if self.key.expires_at else 0


@dataclass(frozen=True)
class LastingRow:
    """A key in a slot of its own; `state` as in `accounts.keys_lasting.state`."""

    key: ProviderKey
    state: str
    revoke: str

    @property
    def expires_at_unix(self) -> int:
        return int(self.key.expires_at.timestamp()) if self.key.expires_at else 0


@dataclass(frozen=True)
class SessionRow:
    sign_in: SignIn
    here: bool


@dataclass(frozen=True)
class KeysPage:
    """The site's own short-lived keys, the person's lasting ones, the chain's bitmap, sessions."""

    rows: tuple[KeyRow, ...]
    lasting: tuple[LastingRow, ...]
    slots: tuple[Slots, ...]
    sessions: tuple[SessionRow, ...]
    tabs: tuple[Link, ...] = field(default_factory=lambda: tabs("/account/keys"))
