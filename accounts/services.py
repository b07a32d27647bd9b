"""Writes of `accounts`: previews that were checked against the chain, and the life of an intent
(ux.md 3).
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts import (
    actions,
    calls,
    money,
    node,
    preview,
    preview_words,
    reading,
    refusals,
    selectors,
)
from accounts.errors import NodeUnavailable, Problem, Refused, RpcError
from accounts.facts import Facts
from accounts.preview import Effect, Plan, Predicted
from ledger import selectors as ledger
from protocol import abi

#: Headroom over the node's estimate: a block in between may touch more storage.
GAS_HEADROOM_PERCENT = 25
#: Gas that paying out at one provider takes beyond finding its refunds locked, and the seconds
#: within which a reviewed transaction comes into a block.
_PAYOUT_GAS, _MINED_WITHIN = 60_000, 600
#: Letters of results at one provider. Fewer always have the gas to be deleted: what runs out of it
#: leaves the ledger a 64th, too little to go on. A node is asked about few providers at once.
_LONG, _MOST_LONG = 5_000, 3
#: How nodes say that a call failed, and not they themselves.
_OF_THE_CALL = re.compile(r"revert|\be?vm\b|gas|opcode|stack|jump")
#: Seconds before a node that lags is asked again.
PAUSES = (0.3, 0.7)


@dataclass(frozen=True)
class Preview:
    """A transaction that the contract accepts at this block, ready to be reviewed and sent."""

    action: str
    params: dict[str, Any]
    call: calls.Call
    gas: int
    fee: int
    effects: tuple[Effect, ...]
    warnings: tuple[str, ...]
    facts: Facts
    #: Those of `warnings` that nobody should overlook.
    grave: frozenset[str] = frozenset()

    @property
    def digest(self) -> str:
        """Names exactly what a person reviewed: the call, its effects and the signing keys behind
        it, but not the changing gas price.
        """
        shown = [e.to_json() for e in self.effects if e.what not in ("gas", "wallet")]
        keys = [
            [provider, listing.signer, listing.owner_acknowledged] if listing else [provider]
            for provider, listing in sorted(self.facts.listings.items())
        ]
        body = [self.action, self.call.to, self.call.data, str(self.call.value), shown, keys]
        return hashlib.sha256(orjson.dumps(body)).hexdigest()

    def to_json(self) -> dict[str, Any]:
        return {
            "to": self.call.to,
            "data": self.call.data,
            "value": str(self.call.value),
            "gas": str(self.gas),
            "effects": [effect.to_json() for effect in self.effects],
            "warnings": list(self.warnings),
        }


def check(action: str, raw_params: Any, sender: str) -> Preview:
    """Plan, simulate from `sender`, estimate gas and check the wallet's balance, all at the newest
    block.

    Raises Refused with the contract's error name, Problem for requests and wallets that cannot
    work, NodeError when the chain does not answer.
    """
    params = actions.parse(action, raw_params)
    facts = facts_now(action, params, sender)
    call = calls.encode(action, params, facts)
    plan, predicted = _planned(action, params, facts)
    if call is None:
        raise refused(predicted or Predicted("ServiceNotFound", abi.ZERO_ADDRESS), action)
    if facts.wallet < call.value:
        raise too_poor(facts.wallet, call.value)
    gas = _simulate(action, call, facts, plan)
    if plan is None:
        # The contract accepts what our rules refuse: then our numbers would be wrong too.
        raise Problem(
            "preview_disagrees",
            _(
                "Our rules and the contract disagree about this transaction, so its effects "
                "cannot be shown."
            ),
            _("Nothing was sent. Please report this."),
            status=500,
        )
    if preview_words.CLOSES in plan.warnings:
        gas, plan = _closing(gas, plan, facts)
    fee = gas * facts.gas_price
    if facts.wallet < call.value + fee:
        raise too_poor(facts.wallet, call.value + fee)
    effects = (*plan.effects, Effect("gas", 0, fee))
    grave = preview_words.GRAVE & set(plan.warnings)
    return Preview(action, params, call, gas, fee, effects, plan.warnings, facts, grave)


def facts_now(action: str, params: dict[str, Any], sender: str) -> Facts:
    """`reading.facts` of a node that has come to the sender's own last transaction: behind one
    address there may be several, and by one that lags nothing that it was sent for can be done.
    """
    known = selectors.last_block(sender)
    for pause in (*PAUSES, None):
        facts = reading.facts(action, params, sender)
        if facts.block >= known:
            return facts
        if pause is not None:
            time.sleep(pause)
    raise NodeUnavailable("The node has not come to the last transaction's block.")


def _planned(
    action: str, params: dict[str, Any], facts: Facts
) -> tuple[Plan | None, Predicted | None]:
    try:
        return preview.plan(action, params, facts), None
    except Predicted as predicted:
        return None, predicted


def _simulate(action: str, call: calls.Call, facts: Facts, plan: Plan | None) -> int:
    """Gas limit of a call the contract accepts. Raises Refused with the contract's own error."""
    request = {
        "from": facts.sender,
        "to": call.to,
        "data": call.data,
        "value": hex(call.value),
    }
    outcome, estimate = node.call_many(
        [("eth_call", [request, hex(facts.block)]), ("eth_estimateGas", [request])]
    )
    error = next((one for one in (outcome, estimate) if isinstance(one, RpcError)), None)
    if error is not None:
        # A call that runs out of gas reverts without a word.
        silent = error.data in ("", "0x")
        closes = silent and plan is not None and preview_words.CLOSES in plan.warnings
        if silent and error is outcome and not _OF_THE_CALL.search(str(error).lower()):
            raise error  # the node's own trouble is no word of the contract
        if not closes and (error.data or error is outcome):
            raise _refused_by_chain(action, error, call, facts)
        raise Problem(
            "cannot_estimate_gas",
            _("The node cannot estimate the gas of this transaction."),
            _(
                "Check that your wallet holds enough 0G for its gas. If it does, fine-tuning "
                "providers may have stored more for you than one block can clear. To withdraw "
                "what the account holds without closing it, first transfer one neuron "
                "(0.000000000000000001 0G) to a provider that you have used."
            )
            if closes
            else _("Check that your wallet holds enough 0G for the amount and its gas."),
        )
    gas = _with_headroom(node.quantity(estimate))
    return gas + _PAYOUT_GAS * _unlocking(facts) if action == "retrieve" else gas


def _unlocking(facts: Facts) -> int:
    """At how many of the named providers a refund unlocks after the block at which nodes estimate,
    and before the transaction may be in one: paying it out takes more than the estimate."""
    lock_time = facts.serving.lock_time if facts.serving else 0
    soon = range(facts.mined + 1, facts.mined + _MINED_WITHIN + 1)
    held = (account for account in facts.accounts.values() if account is not None)
    return sum(any(r.created_at + lock_time in soon for r in one.refunds) for one in held)


def _with_headroom(gas: int) -> int:
    return gas * (100 + GAS_HEADROOM_PERCENT) // 100


def _closing(gas: int, plan: Plan, facts: Facts) -> tuple[int, Plan]:
    """The gas limit with which an account ends at its providers too, and the plan that says so, and
    what is lost with it.

    The ledger goes on where a serving contract runs out of gas (contracts.md 3.4): then what is
    there stays, and a node takes the little that suffices for that as its estimate.
    """
    held = ledger.account(facts.sender).positions
    if any(position.keeps_results for position in held):
        plan = Plan(plan.effects, (*plan.warnings, preview_words.KEYS_GO))
    long = [
        position
        for position in held
        if sum(len(one.id + one.model_root_hash) for one in position.deliverables) > _LONG
    ]
    if not long:
        return gas, plan
    asked = []
    for p in long[:_MOST_LONG]:
        data = abi.encode_call(abi.FINE_TUNING_SERVING, "deleteAccount", facts.sender, p.provider)
        asked.append(("eth_estimateGas", [{"from": facts.ledger, "to": p.serving, "data": data}]))
    block, *found = node.call_many([("eth_getBlockByNumber", [hex(facts.block), False]), *asked])
    clearing = [node.quantity(one) for one in found if not isinstance(one, RpcError)]
    gas += _with_headroom(sum(clearing))
    most = node.quantity(block.get("gasLimit")) if isinstance(block, dict) else gas
    if len(clearing) < len(long) or gas > most:
        plan = Plan(plan.effects, (*plan.warnings, preview_words.STAYS))
    return min(gas, most), plan


def _refused_by_chain(action: str, error: RpcError, call: calls.Call, facts: Facts) -> Problem:
    decoded = abi.decode_error(error.data)
    if decoded is None:
        selector = error.data[:10] or gettext_noop("no reason")
        return _in_words("unknown_revert", lambda: refusals.sentence(selector, {}))
    name, arguments = decoded
    if name == "CallFailed":
        return _inner_refusal(call, facts, arguments)
    told = tuple(arguments.values())
    return _in_words(name, lambda: refusals.sentence(name, arguments, action), told)


def _inner_refusal(call: calls.Call, facts: Facts, arguments: dict[str, Any]) -> Problem:
    """`transferFund` hides why the serving contract refused (contracts.md 11.20): ask that contract
    as the ledger does.
    """
    called = abi.decode_call(abi.LEDGER_MANAGER, call.data)
    if called is not None and facts.serving is not None and facts.serving.contract:
        provider = called[1]["provider"]
        data = abi.encode_call(facts.serving.contract, "addAccount", facts.sender, provider, "")
        request = {"from": facts.ledger, "to": facts.serving.address, "data": data}
        (outcome,) = node.call_many([("eth_call", [request, hex(facts.block)])])
        inner = abi.decode_error(outcome.data) if isinstance(outcome, RpcError) else None
        if inner is not None:
            return _in_words("CallFailed", lambda: _both(arguments, *inner))
    return _in_words("CallFailed", lambda: refusals.sentence("CallFailed", arguments))


def _both(arguments: Mapping[str, Any], inner: str, given: Mapping[str, Any]) -> tuple[str, str]:
    """That the transfer is refused, and why; what to do about the latter."""
    reason, fix = refusals.sentence(inner, given)
    return f"{refusals.sentence('CallFailed', arguments)[0]} {reason}", fix


def _in_words(
    code: str, said: Callable[[], tuple[str, str]], arguments: tuple[object, ...] = ()
) -> Refused:
    """In the reader's language, and in English for what is kept."""
    with translation.override("en"):
        stored, _fix = said()
    return Refused(code, *said(), arguments=arguments, stored=stored)


def refused(predicted: Predicted, action: str) -> Refused:
    """The problem of a predicted refusal, in the contract's words."""
    shape = next(e for e in abi.errors().values() if e.name == predicted.name)
    named = dict(zip((a.name for a in shape.inputs), predicted.arguments_, strict=False))
    return _in_words(
        predicted.name,
        lambda: refusals.sentence(predicted.name, named, action),
        predicted.arguments_,
    )


def too_poor(has: int, needs: int, fix: str = "") -> Problem:
    """A wallet that holds less than a transaction takes, in neuron."""
    return Problem(
        "insufficient_wallet_balance",
        _("Your wallet holds %(held)s 0G; this needs %(needed)s 0G with gas.")
        % {"held": money.short(has), "needed": money.short(needs)},
        fix or _("Enter less, or send 0G to your wallet first."),
        status=422,
    )
