"""What a transaction will do, by the contracts' exact rules: every balance before → after
(contracts.md 3, 6).

Pure: `plan` sees the facts of one block and nothing else. It predicts a refusal in the order in
which the contract checks; the caller then asks the node (`eth_call`), and the contract has the last
word.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from accounts import preview_money, preview_trust
from accounts.facts import Facts
from accounts.preview_types import Effect, Plan, Predicted

__all__ = ["Effect", "Plan", "Predicted", "plan"]

_PLANS: dict[str, Callable[[dict[str, Any], Facts], Plan]] = {
    "deposit": preview_money.deposit,
    "deposit_for": preview_money.deposit_for,
    "transfer": preview_money.transfer,
    "retrieve": preview_money.retrieve,
    "withdraw": preview_money.withdraw,
    "delete_ledger": preview_money.delete_ledger,
    "acknowledge_signer": preview_trust.acknowledge_signer,
    "revoke_token": preview_trust.revoke_token,
    "revoke_tokens": preview_trust.revoke_tokens,
    "revoke_all_tokens": preview_trust.revoke_all_tokens,
    "acknowledge_deliverable": preview_trust.acknowledge_deliverable,
    "add_or_update_service": preview_trust.add_or_update,
    "add_or_update_finetune_service": preview_trust.add_or_update,
    "remove_service": preview_trust.remove_service,
}


def plan(action: str, params: dict[str, Any], facts: Facts) -> Plan:
    """The effects of a parsed action (`accounts.actions.parse`). Raises Predicted."""
    return _PLANS[action](params, facts)
