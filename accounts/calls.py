"""The transaction an action stands for: address, calldata, value (contracts.md 10). Pure; says
nothing about success.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from accounts.facts import Facts
from protocol import abi

_LEDGER = abi.LEDGER_MANAGER


@dataclass(frozen=True)
class Call:
    """`data` is 0x-hex calldata, `value` neuron; `to` is one of the network's own contracts."""

    to: str
    data: str
    value: int = 0


def encode(action: str, params: dict[str, Any], facts: Facts) -> Call | None:
    """The call of a parsed action; None when its serving contract does not exist."""
    if action in ("deposit", "deposit_for"):
        return _deposit(params, facts)
    if action in ("transfer", "retrieve") and facts.serving is None:
        # The ledger itself looks the name up, so an unknown one still makes a call it can refuse.
        return _ledger(action, params, facts, str(params.get("service_name", "")))
    if action in ("transfer", "retrieve", "withdraw", "delete_ledger"):
        return _ledger(action, params, facts, facts.serving.name if facts.serving else "")
    return _serving(action, params, facts)


def _deposit(params: dict[str, Any], facts: Facts) -> Call:
    if "recipient" in params:
        data = abi.encode_call(_LEDGER, "depositFundFor", params["recipient"])
    else:
        data = abi.encode_call(_LEDGER, "depositFund")
    return Call(facts.ledger, data, params["amount"])


def _ledger(action: str, params: dict[str, Any], facts: Facts, name: str) -> Call:
    arguments: tuple[Any, ...]
    if action == "transfer":
        arguments = ("transferFund", params["provider"], name, params["amount"])
    elif action == "retrieve":
        arguments = ("retrieveFund", params["providers"], name)
    elif action == "withdraw":
        arguments = ("refund", params["amount"])
    else:
        arguments = ("deleteLedger",)
    return Call(facts.ledger, abi.encode_call(_LEDGER, *arguments))


#: action → (function, names of the parameters it takes in order)
_PLAIN: dict[str, tuple[str, tuple[str, ...]]] = {
    "acknowledge_signer": ("acknowledgeTEESigner", ("provider", "acknowledged")),
    "revoke_token": ("revokeToken", ("provider", "token_id")),
    "revoke_tokens": ("revokeTokens", ("provider", "token_ids")),
    "revoke_all_tokens": ("revokeAllTokens", ("provider",)),
    "acknowledge_deliverable": ("acknowledgeDeliverable", ("provider", "deliverable_id")),
    "remove_service": ("removeService", ()),
}
_INFERENCE_FIELDS = (
    "service_type",
    "url",
    "model",
    "verifiability",
    "input_price",
    "output_price",
    "additional_info",
    "tee_signer",
)
#: The parts of a quota, in the order in which the contract takes them.
QUOTA = ("cpu_count", "node_memory", "gpu_count", "node_storage", "gpu_type")
_FINETUNE_FIELDS = ("price_per_token", "occupied", "models", "tee_signer")


def _serving(action: str, params: dict[str, Any], facts: Facts) -> Call | None:
    serving = facts.serving
    if serving is None or not serving.contract:
        return None
    value = 0
    if action in _PLAIN:
        function, names = _PLAIN[action]
        arguments: tuple[Any, ...] = tuple(params[name] for name in names)
    else:
        # Stake is due exactly once, at the first registration (contracts.md 6.7).
        function, value = "addOrUpdateService", 0 if facts.stake else serving.min_stake
        if action == "add_or_update_service":
            arguments = (tuple(params[name] for name in _INFERENCE_FIELDS),)
        else:
            quota = tuple(params["quota"][name] for name in QUOTA)
            arguments = (params["url"], quota, *(params[name] for name in _FINETUNE_FIELDS))
    return Call(serving.address, abi.encode_call(serving.contract, function, *arguments), value)
