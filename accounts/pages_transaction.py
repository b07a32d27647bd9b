"""What is said about one transaction: its review before, its state after (ux.md 3)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import orjson
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from eth_utils.address import is_address

from accounts import commands, follow, money, preview_words, refusals, stored_sentences, unheard
from accounts.models import RECONSIDERED, Intent, State
from accounts.refunds import paid_by
from accounts.services import Preview
from chain import selectors as chain

#: After this long in `submitted` the page says that it takes longer than usual (ux.md 3).
SLOW = timedelta(seconds=60)
#: action → label of its form on the funds page.
FORMS = {
    "deposit": gettext_noop("Deposit"),
    "transfer": gettext_noop("Transfer"),
    "retrieve": gettext_noop("Retrieve"),
    "withdraw": gettext_noop("Withdraw"),
    "deposit_for": gettext_noop("Deposit for another"),
    "acknowledge_signer": gettext_noop("Acknowledge a signing key"),
    "revoke_tokens": gettext_noop("Revoke keys"),
    "revoke_all_tokens": gettext_noop("Revoke all keys"),
    "delete_ledger": gettext_noop("Close the account"),
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
    "wallet": gettext_noop("Wallet"),
    "available": gettext_noop("Available"),
    "locked": gettext_noop("Locked at providers"),
    "refunding": gettext_noop("Refunding"),
    "sub_account": gettext_noop("Held at provider"),
    "stake": gettext_noop("Stake"),
    "gas": gettext_noop("Gas, about"),
    "signer_acknowledged": gettext_noop("Signing key acknowledged"),
    "refund_cancelled": gettext_noop("Pending refund"),
    "key_revoked": gettext_noop("Key revoked"),
    "service": gettext_noop("Service"),
}


#: What `preview_trust` says of a service and of keys; in English, since a digest is made of it.
_SERVICE = (gettext_noop("listed"), gettext_noop("not listed"))
_GENERATION = re.compile(r"generation (\d+)")


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
    """Rows of stored effects (`Effect.to_json`), in their order, gas last, without a service that
    was listed and stays so."""
    return tuple(
        EffectRow(e["what"], _(_LABELS[e["what"]]), e.get("who", ""), *_values(e))
        for e in effects
        if e["what"] != "service" or e["before"] != e["after"]
    )


def _values(effect: dict[str, Any]) -> tuple[int, int] | tuple[str, str]:
    before, after = effect["before"], effect["after"]
    if isinstance(before, str) and before.isdigit() and str(after).isdigit():
        return int(before), int(after)
    return _word(before), _word(after)


def _word(value: Any) -> str:
    words: dict[Any, str] = {True: _("yes"), False: _("no"), None: "–"}
    words |= {word: _(word) for word in _SERVICE}
    if generation := _GENERATION.fullmatch(str(value)):
        return _("generation %(number)s") % {"number": generation[1]}
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
            Note(_warning(text), "bad" if text in preview.grave else "")
            for text in preview.warnings
        ),
        action=preview.action,
        params=orjson.dumps(params).decode(),
        seen=preview.digest,
        commands=commands.of(preview.action, params, preview.facts.serving),
    )


def _warning(text: str) -> str:
    return stored_sentences.translated(text, preview_words.SENTENCES)


def title(action: str, params: dict[str, Any]) -> str:
    """`Deposit 5 0G`: what the transaction is, in a few words."""
    amount = f"{money.short(int(params['amount']))} 0G" if "amount" in params else ""
    words = {
        "deposit": _("Deposit %(amount)s") % {"amount": amount},
        "deposit_for": _("Deposit %(amount)s for another account") % {"amount": amount},
        "transfer": _("Transfer %(amount)s to a provider") % {"amount": amount},
        "retrieve": _("Retrieve from providers"),
        "withdraw": _("Withdraw %(amount)s") % {"amount": amount},
        "delete_ledger": _("Close the account"),
        "acknowledge_signer": _("Acknowledge a signing key")
        if params.get("acknowledged", True)
        else _("Withdraw an acknowledgement"),
        "revoke_token": _("Revoke a key"),
        "revoke_tokens": _("Revoke keys"),
        "revoke_all_tokens": _("Revoke all keys"),
        "acknowledge_deliverable": _("Acknowledge a result"),
        "add_or_update_service": _("Publish the service"),
        "add_or_update_finetune_service": _("Publish the fine-tuning service"),
        "remove_service": _("Remove the service"),
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
    State.PRECHECKED: gettext_noop("Checked against the contract. Nothing was sent yet."),
    State.AWAITING_WALLET: gettext_noop(
        "Confirm in your wallet. A request may be hidden behind this window; "
        "open the wallet from the browser's toolbar."
    ),
    State.REJECTED: gettext_noop("You declined. Nothing was sent."),
    State.SUBMITTED: gettext_noop("Sent. Waiting for a block. You can leave this page."),
    State.INCLUDED: gettext_noop("In a block. Our index reads it next."),
    State.INDEXED: gettext_noop("Confirmed. The numbers on this site include it."),
    State.FINAL: gettext_noop("A reorganisation of the chain can no longer undo it."),
}
#: What a rejected one is called that nobody declined.
_ENDS = {
    "wallet_error": gettext_noop("Error in the wallet"),
    "given_up": gettext_noop("Given up"),
    "asked_again": gettext_noop("Not known"),
    "kept_back": gettext_noop("Not sent"),
}
_STEPS = (
    gettext_noop("Confirm in wallet"),
    gettext_noop("Sent"),
    gettext_noop("In a block"),
    gettext_noop("Confirmed"),
    gettext_noop("Final"),
)
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
POLL_UNSURE = 15


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
    warnings: tuple[str, ...]
    #: Seconds that it has waited for a block; None where it does not.
    waited: int | None = None

    @property
    def may_send(self) -> bool:
        return self.intent.state in (State.PRECHECKED, State.AWAITING_WALLET, State.REJECTED)

    @property
    def waits_for_wallet(self) -> bool:
        return self.intent.state == State.AWAITING_WALLET

    @property
    def arrived(self) -> bool:
        return self.intent.state in (State.INCLUDED, State.INDEXED, State.FINAL)

    @property
    def following(self) -> Link | None:
        """What the flow goes on with after this step."""
        return next(iter(ahead(self.intent.then)), None)

    @property
    def leads_on(self) -> bool:
        """Whether the step may still arrive, and something follows then."""
        return bool(self.intent.then) and not self.arrived and not self.retry_path

    @property
    def next_path(self) -> str:
        """The same as a path, once this step is in a block."""
        return self.intent.then if self.arrived else ""

    @property
    def counted(self) -> bool:
        """Whether the numbers of this site include it, so that what follows can build on it."""
        return self.intent.state in (State.INDEXED, State.FINAL)

    @property
    def retrieved(self) -> bool:
        """Whether a lock has begun by it that somebody may wait for."""
        return self.arrived and self.intent.action == "retrieve" and self._gains("locked") < 0

    @property
    def collected(self) -> bool:
        """Whether it paid out what was unlocked, which can be withdrawn now."""
        return self.arrived and self.collects

    @property
    def collects(self) -> bool:
        """Whether that was what it was sent for."""
        return self.intent.action == "retrieve" and self._gains("available") > 0

    @property
    def brought_nothing(self) -> bool:
        """Whether nothing came back by it, though that was reviewed."""
        return self.counted and self.collects and not paid_by(self.intent)

    def _gains(self, what: str) -> int:
        rows = [row for row in self.rows if row.what == what]
        return sum(int(row.after) - int(row.before) for row in rows if row.is_amount)

    @property
    def way_back(self) -> str:
        """What the way back is called, where the last step is done."""
        return way_back(self.intent.then)

    @property
    def retry_path(self) -> str:
        """The form again, filled in, where sending anew makes sense."""
        done = (State.REVERTED, State.DROPPED, State.REPLACED, State.BLOCKED)
        if self.intent.state not in done:
            return ""
        return going_on(form_path(self.intent.action, self.intent.params), self.intent.then)


def way_back(path: str) -> str:
    """The name of the place where money was missing; empty while another step of ours follows."""
    if path.startswith("/playground/"):
        return _("Back to the playground")
    return _("Back to fine-tuning") if path.startswith("/fine-tuning/") else ""


def ahead(then: str) -> tuple[Link, ...]:
    """What a flow goes on with, in order: forms of the funds page, and at last the place where
    money was missing. `then` is as `forms.next_step` returns it.
    """
    found: list[Link] = []
    while then:
        query = dict(parse_qsl(urlsplit(then).query))
        back = way_back(then)
        found.append(Link(back or _form_title(query), then))
        then = "" if back else query.get("then", "")
    return tuple(found)


def _form_title(query: Mapping[str, str]) -> str:
    """What a form's transaction is, as far as its address says it."""
    action = query.get("action", "deposit")
    try:
        return title(action, {"amount": money.parse(query.get("amount", ""))})
    except ValueError:
        return _(FORMS[action])


def intent_path(intent: Intent) -> str:
    return f"/account/transactions/{intent.pk}"


#: Actions of other pages; forms of listings keep what was typed (`operators.listing_state`).
_ELSEWHERE = {
    "add_or_update_service": "/operator/listing/inference/edit",
    "add_or_update_finetune_service": "/operator/listing/fine-tuning/edit",
    "remove_service": "/operator/listing",
    "acknowledge_deliverable": "/fine-tuning#tasks",
}


def form_path(action: str, params: Mapping[str, Any]) -> str:
    """The funds page with this action's form, filled in with checked parameters."""
    if action in _ELSEWHERE:
        name = params.get("service_name", "")
        return _ELSEWHERE[action] + (f"?{urlencode({'service_name': name})}" if name else "")
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


def going_on(path: str, then: str) -> str:
    """A form of the funds page with what comes after it."""
    return f"{path}&{urlencode({'then': then})}" if then and path.startswith("/account?") else path


def transaction(intent: Intent) -> Transaction:
    state = State(intent.state)
    waits = state == State.SUBMITTED
    waited = timezone.now() - intent.submitted_at if waits and intent.submitted_at else None
    slow = waited is not None and waited > SLOW
    note = refusals.translated(intent.code, intent.reason) or _(_NOTES.get(state, ""))
    pace = chain.block_seconds() if waits and not slow else None
    if pace and not intent.reason:
        note = _(
            "Sent. Waiting for a block; they come about every %(n)s s. You can leave this page."
        ) % {"n": pace}
    if slow and not intent.reason:
        note = _(
            "Taking longer than usual. You can leave this page, or speed it up or cancel it in "
            "your wallet."
        )
    end = intent.code if state == State.REJECTED else ""
    return Transaction(
        intent=intent,
        title=title(intent.action, intent.params),
        label=_(_ENDS.get(end, state.label)),
        tone="warn" if end in ("wallet_error", "asked_again") else _TONES.get(state, ""),
        note=note,
        steps=_steps(state),
        poll=_poll(intent, slow=slow),
        path=intent_path(intent),
        rows=effect_rows(intent.effects),
        warnings=tuple(map(_warning, intent.warnings)),
        waited=None if waited is None else max(0, int(waited.total_seconds())),
    )


def _poll(intent: Intent, *, slow: bool) -> int:
    """What may have been sent in silence, or arrive late, as long as the server looks for it."""
    if intent.state == State.REJECTED:
        young = timezone.now() - intent.updated_at < unheard.SEARCHED_FOR
        return POLL_UNSURE if young and intent.unsure else 0
    if intent.may_arrive and intent.submitted_at is not None:
        young = timezone.now() - intent.submitted_at < follow.RECONSIDERED_FOR
        return POLL_UNSURE if young else 0
    return 5 if slow else _POLL_SECONDS.get(State(intent.state), 0)


def _steps(state: State) -> tuple[Step, ...]:
    reached = _REACHED.get(state, 0)
    here = "failed" if state in RECONSIDERED else "current"
    states = (*["done"] * reached, here, *["next"] * len(_STEPS))
    return tuple(map(Step, map(_, _STEPS), states))
