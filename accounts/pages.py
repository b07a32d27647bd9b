"""One frozen dataclass per page: the whole of what its template sees as `page` (architecture.md
4-E).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from accounts.analytics import Runway, Spending
from accounts.attention import Card
from accounts.closing import Todo
from accounts.history import KINDS, Filter, Statement
from accounts.keys_lasting import Slots
from accounts.models import ProviderKey, SignIn
from accounts.pages_transaction import FORMS, Link, Review, Transaction
from accounts.refunds import Batch, FullQueue, Reduction, Relocked
from accounts.spendable import Spendable
from chain.selectors import Freshness
from ledger.records import Account, MovementEntry, Page, Position

# --- parts ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pager:
    """Previous and next of a list; the template is the kit's."""

    first: int
    last: int
    count: int
    what: str
    previous: str
    next: str
    links: tuple[Link, ...]
    target: str = ""


def pager(page: Page[Any], what: str, path: Callable[[int], str]) -> Pager:
    around = range(max(1, page.number - 2), min(page.pages, page.number + 2) + 1)
    return Pager(
        first=page.first_index,
        last=page.last_index,
        count=page.count,
        what=what,
        previous=path(page.previous_number) if page.previous_number else "",
        next=path(page.next_number) if page.next_number else "",
        links=tuple(Link(str(n), path(n), n == page.number) for n in around),
    )


def tabs(current: str) -> tuple[Link, ...]:
    """The pages of an account."""
    pages = (("Funds", "/account"), ("Refunds", "/account/refunds"))
    more = (("Transactions", "/account/transactions"), ("Keys", "/account/keys"))
    spent = (("Analytics", "/account/analytics"),)
    return tuple(Link(label, path, path == current) for label, path in (*pages, *more, *spent))


@dataclass(frozen=True)
class Share:
    """A part of the bar in ten-thousandths of its width."""

    start: int
    width: int


@dataclass(frozen=True)
class Part:
    label: str
    neuron: int
    testid: str
    share: Share


@dataclass(frozen=True)
class Balances:
    """The four numbers; `available + locked + refunding == total` to the neuron. `wallet` None =
    unknown now.
    """

    wallet: int | None
    available: int
    locked: int
    refunding: int
    total: int
    parts: tuple[Part, ...]
    pending: bool


def balances(account: Account, wallet: int | None) -> Balances:
    available = account.ledger.available if account.ledger else 0
    total = account.ledger.total if account.ledger else 0
    refunding = account.refunding
    locked = total - available - refunding
    named = (
        ("Available", available, "balance-available"),
        ("Locked at providers", locked, "balance-locked"),
        ("Refunding", refunding, "balance-refunding"),
    )
    parts, start = [], 0
    for label, neuron, testid in named:
        end = start + neuron
        left, right = (start * 10_000 // total, end * 10_000 // total) if total > 0 else (0, 0)
        parts.append(Part(label, neuron, testid, Share(left, right - left)))
        start = end
    pending = bool(account.ledger and account.ledger.pending)
    pending = pending or any(position.pending for position in account.positions)
    return Balances(wallet, available, locked, refunding, total, tuple(parts), pending)


# --- pages ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SignedOut:
    """What a page says to somebody without a session."""

    title: str


@dataclass(frozen=True)
class ProviderChoice:
    """One sub-account or listed service to pay into; `value` is `service_name:provider`."""

    value: str
    label: str
    selected: bool


@dataclass(frozen=True)
class Slider:
    """Legal withdrawals: everything (`available`), or at most `legal` neuron."""

    available: int
    legal: int


@dataclass(frozen=True)
class Form:
    """The one form of the funds page; `amount` is what the person typed, untouched."""

    action: str
    links: tuple[Link, ...]
    takes_amount: bool
    takes_provider: bool
    amount: str = ""
    error: str = ""
    hint: str = ""
    recipient: str = ""
    slots: str = ""
    trust: bool = True
    choices: tuple[ProviderChoice, ...] = ()
    presets: tuple[Link, ...] = ()
    slider: Slider | None = None

    @property
    def label(self) -> str:
        return FORMS[self.action]


@dataclass(frozen=True)
class PositionRow:
    position: Position
    name: str
    top_up: str
    retrieve: str
    trust: str
    unlocked: int
    spendable: str

    @property
    def provider_path(self) -> str:
        return f"/providers/{self.position.provider}"


@dataclass(frozen=True)
class FundsPage:
    address: str
    balances: Balances
    has_account: bool
    rows: tuple[PositionRow, ...]
    form: Form
    review: Review | None
    current: Transaction | None
    freshness: Freshness
    least_deposit: int | None
    contracts: tuple[str, ...]
    cards: tuple[Card, ...] = ()
    closing: tuple[Todo, ...] = ()
    tabs: tuple[Link, ...] = field(default_factory=lambda: tabs("/account"))


@dataclass(frozen=True)
class SpendablePage:
    """Each term of what one provider would let one spend now."""

    spendable: Spendable
    top_up: str
    freshness: Freshness
    tabs: tuple[Link, ...] = field(default_factory=lambda: tabs("/account"))


@dataclass(frozen=True)
class RefundRow:
    provider: str
    service_name: str
    amount: int
    created_at_unix: int
    unlocks_at_unix: int
    unlocked: bool
    collect: str
    lead: int = 0

    @property
    def ticks_to(self) -> int:
        """When it unlocks by this machine's clock, by which browsers count down."""
        return self.unlocks_at_unix - self.lead

    @property
    def requested_at(self) -> datetime:
        return datetime.fromtimestamp(self.created_at_unix, UTC)

    @property
    def unlocks_at(self) -> datetime:
        return datetime.fromtimestamp(self.unlocks_at_unix, UTC)


@dataclass(frozen=True)
class RefundsPage:
    """`unlocked` neuron can be collected now; `full` are pairs that can take no further request."""

    rows: tuple[RefundRow, ...]
    total: int
    unlocked: int
    full: tuple[FullQueue, ...]
    reductions: tuple[Reduction, ...]
    freshness: Freshness
    skip: bool = False
    tabs: tuple[Link, ...] = field(default_factory=lambda: tabs("/account/refunds"))


@dataclass(frozen=True)
class CollectPage:
    """`review` is of the first batch; the rest follow one by one. `sent` are collections under way
    or done, with what became of each.
    """

    batches: tuple[Batch, ...]
    review: Review | None
    current: Transaction | None
    sent: tuple[Transaction, ...]
    relocked: tuple[Relocked, ...]
    contracts: tuple[str, ...]
    freshness: Freshness
    tabs: tuple[Link, ...] = field(default_factory=lambda: tabs("/account/refunds"))

    @property
    def paid(self) -> int:
        return sum(batch.paid for batch in self.batches)


@dataclass(frozen=True)
class MovementRow:
    entry: MovementEntry
    label: str
    source: str


_SOURCES = {"event": "chain event", "transaction": "your transaction", "view": "contract view"}


def movement_rows(entries: Iterable[MovementEntry]) -> tuple[MovementRow, ...]:
    return tuple(
        MovementRow(e, KINDS.get(e.kind, e.kind), _SOURCES.get(e.source, e.source)) for e in entries
    )


@dataclass(frozen=True)
class Option:
    """One choice of a select."""

    value: str
    label: str
    selected: bool


def options(choices: Iterable[tuple[str, str]], chosen: str) -> tuple[Option, ...]:
    return tuple(Option(value, label, value == chosen) for value, label in choices)


@dataclass(frozen=True)
class StatementPage:
    """A month's statement and the way to the others."""

    statement: Statement
    months: tuple[Link, ...]
    address: str
    freshness: Freshness
    tabs: tuple[Link, ...] = field(default_factory=lambda: tabs("/account/transactions"))


@dataclass(frozen=True)
class RunwayRow:
    runway: Runway
    empty_on: date | None
    top_up: str


@dataclass(frozen=True)
class AnalyticsPage:
    """Spend inside a window, in three cuts, and how long the rest lasts."""

    spending: Spending
    windows: tuple[Link, ...]
    runways: tuple[RunwayRow, ...]
    freshness: Freshness
    tabs: tuple[Link, ...] = field(default_factory=lambda: tabs("/account/analytics"))


@dataclass(frozen=True)
class TransactionsPage:
    sent: tuple[Transaction, ...]
    sent_pager: Pager
    movements: tuple[MovementRow, ...]
    movements_pager: Pager
    address: str
    filter: Filter
    kinds: tuple[Option, ...]
    balances: tuple[Option, ...]
    providers: tuple[Option, ...]
    tabs: tuple[Link, ...] = field(default_factory=lambda: tabs("/account/transactions"))


@dataclass(frozen=True)
class TransactionPage:
    tx: Transaction
    contracts: tuple[str, ...]


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


@dataclass(frozen=True)
class AccountPage:
    """Anybody's account, read only: it is all public on the chain."""

    address: str
    balances: Balances
    has_account: bool
    rows: tuple[PositionRow, ...]
    movements: tuple[MovementRow, ...]
    movements_pager: Pager
    freshness: Freshness
