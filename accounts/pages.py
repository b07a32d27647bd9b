"""One frozen dataclass per page: the whole of what its template sees as `page` (architecture.md
4-E). Here: the money of now; `pages_*` hold the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from django.utils.translation import gettext as _

from accounts.attention import Card
from accounts.closing import Todo
from accounts.pages_parts import MovementRow, Pager, tabs
from accounts.pages_transaction import FORMS, Link, Review, Step, Transaction, ahead, way_back
from accounts.preview_words import KEYS_GO
from accounts.spendable import Spendable
from chain.selectors import Freshness
from ledger.records import Account, Position


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
    unknown now. `pending`: the newest block in them that is not final yet, 0 where all are.
    """

    wallet: int | None
    available: int
    locked: int
    refunding: int
    total: int
    parts: tuple[Part, ...]
    pending: int


def balances(account: Account, wallet: int | None) -> Balances:
    available = account.ledger.available if account.ledger else 0
    total = account.ledger.total if account.ledger else 0
    refunding = account.refunding
    locked = total - available - refunding
    named = (
        (_("Available"), available, "balance-available"),
        (_("Locked at providers"), locked, "balance-locked"),
        (_("Refunding"), refunding, "balance-refunding"),
    )
    parts, start = [], 0
    for label, neuron, testid in named:
        end = start + neuron
        left, right = (start * 10_000 // total, end * 10_000 // total) if total > 0 else (0, 0)
        parts.append(Part(label, neuron, testid, Share(left, right - left)))
        start = end
    rows = (*account.positions, *((account.ledger,) if account.ledger else ()))
    pending = max((row.block for row in rows if row.pending), default=0)
    return Balances(wallet, available, locked, refunding, total, tuple(parts), pending)


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
    then: str = ""
    choices: tuple[ProviderChoice, ...] = ()
    presets: tuple[Link, ...] = ()
    slider: Slider | None = None
    #: Nothing could be taken out: there is no account.
    empty: bool = False
    #: The step before this one, where it is in a block.
    done: str = ""

    @property
    def label(self) -> str:
        return _(FORMS[self.action])

    @property
    def impossible(self) -> bool:
        """Whether nothing could be reviewed, whatever is typed."""
        return self.empty or (self.takes_provider and not self.choices)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The flow that this form is a step of."""
        before = (Step(self.done, "done"),) if self.done else ()
        after = (Step(link.label, "next") for link in ahead(self.then))
        return (*before, Step(self.label, "current"), *after)

    @property
    def way_back(self) -> str:
        """What the way back is called, where nothing else follows (`pages_transaction`)."""
        return way_back(self.then)


@dataclass(frozen=True)
class PositionRow:
    position: Position
    name: str
    top_up: str
    retrieve: str
    trust: str
    unlocked: int
    spendable: str
    verdict: str
    #: Lists leave the service out.
    hidden: bool = False
    #: Neuron charged in the last seven days, and for how many days the rest is enough at this pace.
    week: int = 0
    days: int | None = None

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
    contracts: tuple[str, ...]
    cards: tuple[Card, ...] = ()
    closing: tuple[Todo, ...] = ()
    #: When the review has more to pay out, by this machine's clock; 0: never.
    more_at_unix: int = 0
    tabs: tuple[Link, ...] = field(default_factory=lambda: tabs("/account"))

    @property
    def lost_by_closing(self) -> str:
        """What goes with the account, and should be saved first."""
        return _(KEYS_GO) if any(row.position.keeps_results for row in self.rows) else ""


@dataclass(frozen=True)
class SpendablePage:
    """Each term of what one provider would let one spend now."""

    spendable: Spendable
    top_up: str
    freshness: Freshness
    tabs: tuple[Link, ...] = field(default_factory=lambda: tabs("/account"))


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
