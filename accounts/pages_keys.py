"""The page of keys and sessions."""

from __future__ import annotations

from dataclasses import dataclass, field

from accounts import browsers, money
from accounts.keys_lasting import Slots
from accounts.models import AccessToken, ProviderKey, SignIn
from accounts.pages_parts import Pager, tabs
from accounts.pages_transaction import Link
from accounts.tokens import DAYS, DEFAULT_DAYS, DEFAULT_PER_MINUTE, MOST_PER_MINUTE


@dataclass(frozen=True)
class KeyRow:
    """A provider key; `state` as in `accounts.keys_lasting.state`, `revoke` the form that ends it
    alone, where there is one."""

    key: ProviderKey
    state: str
    revoke: str = ""


@dataclass(frozen=True)
class SessionRow:
    sign_in: SignIn
    here: bool

    @property
    def name(self) -> str:
        return browsers.name(self.sign_in.agent)


@dataclass(frozen=True)
class TokenRow:
    """A personal access token; `state` as in `accounts.tokens.state`; `overlaps`: its replaced
    secret still works."""

    token: AccessToken
    state: str
    overlaps: bool

    @property
    def expires_at_unix(self) -> int:
        return int(self.token.expires_at.timestamp())

    @property
    def ended(self) -> bool:
        return self.state in ("expired", "revoked")


@dataclass(frozen=True)
class KeysPage:
    """The site's own short-lived keys, the person's lasting ones, the chain's bitmap, personal
    tokens, sessions.
    """

    own: tuple[KeyRow, ...]
    lasting: tuple[KeyRow, ...]
    lasting_pager: Pager
    slots: tuple[Slots, ...]
    sessions: tuple[SessionRow, ...]
    tokens: tuple[TokenRow, ...] = ()
    #: Whose settings are being changed.
    changing: AccessToken | None = None
    token_days: tuple[int, ...] = DAYS
    token_rate: int = DEFAULT_PER_MINUTE
    token_rate_most: int = MOST_PER_MINUTE
    token_default_days: int = DEFAULT_DAYS
    tabs: tuple[Link, ...] = field(default_factory=lambda: tabs("/account/keys"))

    @property
    def changing_limit(self) -> str:
        limit = self.changing.spend_limit if self.changing else None
        return "" if limit is None else money.exact(limit)

    @property
    def changing_models(self) -> str:
        return "\n".join(self.changing.model_names) if self.changing else ""

    @property
    def changing_providers(self) -> str:
        return "\n".join(self.changing.providers) if self.changing else ""
