"""What is said about one transaction: its review before, its state after (ux.md 3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import orjson
from django.utils import timezone
from eth_utils.address import is_address

from accounts import commands, money
from accounts.models import Intent, State
from accounts.services import Preview

#: After this long in `submitted` the page says that it takes longer than usual (ux.md 3).
SLOW = timedelta(seconds=60)
#: action → label of its form on the funds page.
FORMS = {
    "deposit": "Deposit",
    "transfer": "Transfer",
    "retrieve": "Retrieve",
    "withdraw": "Withdraw",
    "deposit_for": "Deposit for another",
    "acknowledge_signer": "Acknowledge a signing key",
    "revoke_tokens": "Revoke keys",
    "revoke_all_tokens": "Revoke all keys",
    "delete_ledger": "Close the account",
}
#: Those that are always offered; the others are reached from where they belong.
TABS = ("deposit", "transfer", "retrieve", "withdraw", "deposit_for")


@dataclass(frozen=True)
class Link:
    label: str
    path: str
    current: bool = False
    count: int | None = None


_LABELS = {
    "wallet": "Wallet",
    "available": "Available",
    "locked": "Locked at providers",
    "refunding": "Refunding",
    "sub_account": "Held at provider",
    "stake": "Stake",
    "gas": "Gas, about",
    "signer_acknowledged": "Signing key acknowledged",
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
    return _word(before), _word(after)


def _word(value: Any) -> str:
    words = {True: "yes", False: "no", None: "–"}
    text = str(words.get(value, value))
    # Two of them stand side by side on a phone; the sentences below have them in full.
    return f"{text[:6]}…" if is_address(text) else text


@dataclass(frozen=True)
class Note:
    """One sentence of a review; `tone` is a notice's: empty or bad."""

    text: str
    tone: str = ""


@dataclass(frozen=True)
class Review:
    """What the person is about to send, or why they cannot: `blocked` where it is known to fail,
    `draft` where nobody could be asked (`retry` asks again).
    """

    state: str
    title: str = ""
    heading: str = ""
    retry: str = ""
    then: str = ""
    arguments: tuple[Any, ...] = ()
    fix: str = ""
    code: str = ""
    rows: tuple[EffectRow, ...] = ()
    notes: tuple[Note, ...] = ()
    action: str = ""
    params: str = ""
    seen: str = ""
    fixes: tuple[Link, ...] = ()
    commands: tuple[str, ...] = ()

    @property
    def ready(self) -> bool:
        return self.state == State.PRECHECKED


def review(preview: Preview, params: dict[str, Any]) -> Review:
    return Review(
        state=State.PRECHECKED,
        title=title(preview.action, params),
        rows=effect_rows(e.to_json() for e in preview.effects),
        notes=tuple(
            Note(text, "bad" if text in preview.grave else "") for text in preview.warnings
        ),
        action=preview.action,
        params=orjson.dumps(params).decode(),
        seen=preview.digest,
        commands=commands.of(preview.action, params),
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
        "acknowledge_signer": "Acknowledge a signing key"
        if params.get("acknowledged", True)
        else "Withdraw an acknowledgement",
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
    State.FINAL: "A reorganisation of the chain can no longer undo it.",
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
    """One transaction as every page shows it; `poll` is in seconds, 0 = nothing more happens."""

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
    def next_path(self) -> str:
        """What the flow goes on with, once this step is in a block."""
        arrived = (State.INCLUDED, State.INDEXED, State.FINAL)
        return self.intent.then if self.intent.state in arrived else ""

    @property
    def way_back(self) -> str:
        """What the way back is called, where the last step is done."""
        return way_back(self.intent.then)

    @property
    def retry_path(self) -> str:
        """The form again, filled in, where sending anew makes sense."""
        done = (State.REVERTED, State.DROPPED, State.REPLACED, State.BLOCKED)
        return (
            form_path(self.intent.action, self.intent.params) if self.intent.state in done else ""
        )


def way_back(path: str) -> str:
    """The name of the place where money was missing; empty while another step of ours follows."""
    if path.startswith("/playground/"):
        return "Back to the playground"
    return "Back to fine-tuning" if path.startswith("/fine-tuning/") else ""


def intent_path(intent: Intent) -> str:
    return f"/account/transactions/{intent.pk}"


#: Actions of a provider's operator, whose forms keep what was typed (`operators.listing_state`).
_LISTINGS = {
    "add_or_update_service": "/operator/listing/inference/edit",
    "add_or_update_finetune_service": "/operator/listing/fine-tuning/edit",
    "remove_service": "/operator/listing",
}


def form_path(action: str, params: Mapping[str, Any]) -> str:
    """The funds page with this action's form, filled in with checked parameters."""
    if action in _LISTINGS:
        name = params.get("service_name", "")
        return _LISTINGS[action] + (f"?{urlencode({'service_name': name})}" if name else "")
    if action not in FORMS:
        return "/account"
    query = {"action": action}
    if "amount" in params:
        query["amount"] = money.exact(int(params["amount"]))
    providers = params.get("providers") or [params.get("provider", "")]
    if providers[0]:
        name = params.get("service_name", "")
        query |= {"account": f"{name}:{providers[0]}"} if name else {"provider": providers[0]}
    if "recipient" in params:
        query["recipient"] = str(params["recipient"])
    if "token_ids" in params:
        query["slots"] = ", ".join(map(str, params["token_ids"]))
    if params.get("acknowledged") is False:
        query["trust"] = "no"
    return "/account?" + urlencode(query)


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
