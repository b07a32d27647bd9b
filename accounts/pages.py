"""One frozen dataclass per page: the whole of what its template sees as `page` (architecture.md
4-E).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from django.utils import timezone

from accounts import money
from accounts.models import Intent, ProviderKey, State
from accounts.services import Preview
from chain.selectors import Freshness
from ledger.records import Account, MovementEntry, Page, Position

#: After this long in `submitted` the page says that it takes longer than usual (ux.md 3).
SLOW = timedelta(seconds=60)


# --- parts ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Link:
    label: str
    path: str
    current: bool = False
    count: int | None = None


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
    """The four pages of an account."""
    pages = (("Funds", "/account"), ("Refunds", "/account/refunds"))
    more = (("Transactions", "/account/transactions"), ("Keys", "/account/keys"))
    return tuple(Link(label, path, path == current) for label, path in (*pages, *more))


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


# --- review ---------------------------------------------------------------------------------------

_LABELS = {
    "wallet": "Wallet",
    "available": "Available",
    "locked": "Locked at providers",
    "refunding": "Refunding",
    "sub_account": "Held at provider",
    "stake": "Stake",
    "gas": "Gas, at most",
    "signer_acknowledged": "Signing key trusted",
    "refund_cancelled": "Pending refund",
    "key_revoked": "Key revoked",
    "service": "Service",
}


@dataclass(frozen=True)
class EffectRow:
    """One line of the review table: amounts as neuron, everything else as text."""

    what: str
    label: str
    who: str
    before: int | str
    after: int | str

    @property
    def is_amount(self) -> bool:
        return isinstance(self.before, int)


def effect_rows(effects: Iterable[dict[str, Any]]) -> tuple[EffectRow, ...]:
    """Rows of stored effects (`Effect.to_json`), in their order, gas last."""
    return tuple(
        EffectRow(e["what"], _LABELS[e["what"]], e.get("who", ""), *_values(e)) for e in effects
    )


def _values(effect: dict[str, Any]) -> tuple[int, int] | tuple[str, str]:
    before, after = effect["before"], effect["after"]
    if isinstance(before, str) and before.isdigit() and str(after).isdigit():
        return int(before), int(after)
    words = {True: "yes", False: "no", None: "–"}
    return str(words.get(before, before)), str(words.get(after, after))


@dataclass(frozen=True)
class Review:
    """What the person is about to send, or why they cannot. `contracts` is the closed list for the
    script.
    """

    state: str
    title: str = ""
    fix: str = ""
    code: str = ""
    rows: tuple[EffectRow, ...] = ()
    warnings: tuple[str, ...] = ()
    action: str = ""
    params: str = ""
    seen: str = ""
    fixes: tuple[Link, ...] = ()

    @property
    def blocked(self) -> bool:
        return self.state == "blocked"


def review(preview: Preview, params: dict[str, Any]) -> Review:
    return Review(
        state=State.PRECHECKED,
        title=title(preview.action, params),
        rows=effect_rows(e.to_json() for e in preview.effects),
        warnings=preview.warnings,
        action=preview.action,
        params=orjson.dumps(params).decode(),
        seen=preview.digest,
    )


def title(action: str, params: dict[str, Any]) -> str:
    """`Deposit 5 0G`: what the transaction is, in a few words."""
    amount = f"{money.short(int(params['amount']))} 0G" if "amount" in params else ""
    words = {
        "deposit": f"Deposit {amount}",
        "deposit_for": f"Deposit {amount} for another account",
        "transfer": f"Transfer {amount} to a provider",
        "retrieve": "Retrieve from providers",
        "withdraw": f"Withdraw {amount}",
        "delete_ledger": "Close the account",
        "acknowledge_signer": "Trust a signing key"
        if params.get("acknowledged", True)
        else "Withdraw trust in a signing key",
        "revoke_token": "Revoke a key",
        "revoke_tokens": "Revoke keys",
        "revoke_all_tokens": "Revoke all keys",
        "acknowledge_deliverable": "Acknowledge a result",
        "add_or_update_service": "Publish the service",
        "add_or_update_finetune_service": "Publish the fine-tuning service",
        "remove_service": "Remove the service",
    }
    return words[action]


# --- a transaction --------------------------------------------------------------------------------

_TONES = {
    State.BLOCKED: "bad",
    State.REVERTED: "bad",
    State.REPLACED: "warn",
    State.DROPPED: "warn",
    State.INDEXED: "ok",
    State.FINAL: "ok",
}
_NOTES = {
    State.PRECHECKED: "Checked against the contract. Nothing was sent yet.",
    State.AWAITING_WALLET: "Confirm in your wallet. A request may be hidden behind this window; "
    "open the wallet from the browser's toolbar.",
    State.REJECTED: "You declined. Nothing was sent.",
    State.SUBMITTED: "Sent. Waiting for a block. You can leave this page.",
    State.INCLUDED: "In a block. Our index reads it next.",
    State.INDEXED: "Confirmed. The numbers on this site include it.",
    State.FINAL: "Final.",
}
_STEPS = ("Confirm in wallet", "Sent", "In a block", "Confirmed", "Final")
_REACHED = {
    State.SUBMITTED: 2,
    State.INCLUDED: 3,
    State.INDEXED: 4,
    State.FINAL: 5,
    State.REVERTED: 2,
    State.REPLACED: 1,
    State.DROPPED: 1,
}
_POLL_SECONDS = {State.SUBMITTED: 1, State.INCLUDED: 1, State.INDEXED: 2}


@dataclass(frozen=True)
class Step:
    label: str
    state: str


@dataclass(frozen=True)
class Transaction:
    """One transaction as every page shows it; `poll` is in seconds, 0 = nothing more will happen."""

    intent: Intent
    title: str
    label: str
    tone: str
    note: str
    steps: tuple[Step, ...]
    poll: int
    path: str
    rows: tuple[EffectRow, ...]

    @property
    def may_send(self) -> bool:
        return self.intent.state in (State.PRECHECKED, State.AWAITING_WALLET, State.REJECTED)

    @property
    def waits_for_wallet(self) -> bool:
        return self.intent.state == State.AWAITING_WALLET

    @property
    def retry_path(self) -> str:
        """The form again, filled in, where sending anew makes sense."""
        done = (State.REVERTED, State.DROPPED, State.REPLACED, State.BLOCKED)
        return form_path(self.intent) if self.intent.state in done else ""


def intent_path(intent: Intent) -> str:
    return f"/account/transactions/{intent.pk}"


def form_path(intent: Intent) -> str:
    """The funds page with this action's form."""
    return f"/account?action={intent.action}" if intent.action in FORMS else "/account"


def transaction(intent: Intent) -> Transaction:
    state = State(intent.state)
    slow = (
        state == State.SUBMITTED
        and intent.submitted_at is not None
        and timezone.now() - intent.submitted_at > SLOW
    )
    note = intent.reason or _NOTES.get(state, "")
    if slow and not intent.reason:
        note = (
            "Taking longer than usual. You can leave this page, or speed it up or cancel it in "
            "your wallet."
        )
    return Transaction(
        intent=intent,
        title=title(intent.action, intent.params),
        label=state.label,
        tone=_TONES.get(state, ""),
        note=note,
        steps=_steps(state),
        poll=5 if slow else _POLL_SECONDS.get(state, 0),
        path=intent_path(intent),
        rows=effect_rows(intent.effects),
    )


def _steps(state: State) -> tuple[Step, ...]:
    reached = _REACHED.get(state, 0)
    failed = state in (State.REVERTED, State.REPLACED, State.DROPPED)
    steps = []
    for number, label in enumerate(_STEPS):
        if number < reached:
            steps.append(Step(label, "done"))
        elif number == reached:
            steps.append(Step(label, "failed" if failed else "current"))
        else:
            steps.append(Step(label, "next"))
    return tuple(steps)


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


#: action → label of its form on the funds page.
FORMS = {
    "deposit": "Deposit",
    "transfer": "Transfer",
    "retrieve": "Retrieve",
    "withdraw": "Withdraw",
    "deposit_for": "Deposit for another",
}


@dataclass(frozen=True)
class Form:
    """The one form of the funds page; `amount` is what the person typed, untouched."""

    action: str
    links: tuple[Link, ...]
    amount: str = ""
    error: str = ""
    hint: str = ""
    recipient: str = ""
    choices: tuple[ProviderChoice, ...] = ()
    presets: tuple[Link, ...] = ()

    @property
    def label(self) -> str:
        return FORMS[self.action]

    @property
    def takes_amount(self) -> bool:
        return self.action != "retrieve"

    @property
    def takes_provider(self) -> bool:
        return self.action in ("transfer", "retrieve")


@dataclass(frozen=True)
class PositionRow:
    position: Position
    name: str
    top_up: str
    retrieve: str
    unlocked: int

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

    @property
    def requested_at(self) -> datetime:
        return datetime.fromtimestamp(self.created_at_unix, UTC)

    @property
    def unlocks_at(self) -> datetime:
        return datetime.fromtimestamp(self.unlocks_at_unix, UTC)


@dataclass(frozen=True)
class RefundsPage:
    rows: tuple[RefundRow, ...]
    total: int
    freshness: Freshness
    tabs: tuple[Link, ...] = field(default_factory=lambda: tabs("/account/refunds"))


@dataclass(frozen=True)
class MovementRow:
    entry: MovementEntry
    label: str
    source: str


_KINDS = {
    "deposit": "Deposit",
    "deposit_received": "Deposit by another wallet",
    "withdraw": "Withdrawal",
    "transfer": "Transfer",
    "refund_requested": "Refund requested",
    "refund_cancelled": "Refund cancelled",
    "refund_paid": "Refund paid",
    "settlement": "Charged by provider",
    "account_deleted": "Account closed",
    "opening": "Opening balance",
}
_SOURCES = {"event": "chain event", "transaction": "your transaction", "view": "contract view"}


def movement_rows(entries: Iterable[MovementEntry]) -> tuple[MovementRow, ...]:
    return tuple(
        MovementRow(e, _KINDS.get(e.kind, e.kind), _SOURCES.get(e.source, e.source))
        for e in entries
    )


@dataclass(frozen=True)
class TransactionsPage:
    sent: tuple[Transaction, ...]
    sent_pager: Pager
    movements: tuple[MovementRow, ...]
    movements_pager: Pager
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
class KeysPage:
    rows: tuple[KeyRow, ...]
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
