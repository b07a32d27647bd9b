"""The official command line that does the same as an action here (0g-compute-cli 0.8). Pure."""

from __future__ import annotations

import re
from typing import Any

from accounts import money
from accounts.facts import FINE_TUNING, Serving

_TOOL = "0g-compute-cli"
_SAFE = re.compile(r"[0-9A-Za-z.]{1,80}")


def of(action: str, params: dict[str, Any], serving: Serving | None = None) -> tuple[str, ...]:
    """Shell lines for checked parameters (amounts as decimal strings of neuron); empty where the
    tool has no such command. `serving`: the contract that is meant; the tool knows of each kind the
    recommended one.
    """
    amount = money.exact(int(params["amount"])) if "amount" in params else ""
    service = _service(str(params.get("service_name", "inference")))
    provider = str(params.get("provider", ""))
    other = "" if serving is None or serving.recommended else _contract(serving)
    at = f"--provider {provider}{other}"
    lines: dict[str, tuple[str, ...]] = {
        "deposit": (f"deposit --amount {amount}",),
        "transfer": (f"transfer-fund {at} --amount {amount} --service {service}",),
        "retrieve": tuple(
            f"retrieve-fund --provider {each}{other} --service {service}"
            for each in params.get("providers", ())
        ),
        "withdraw": (f"refund --amount {amount}",),
        # Only this one is a user's; `revoke` is the contract owner's (provider-protocol.md 8).
        "acknowledge_signer": (
            (f"inference acknowledge-provider {at}",)
            if service == "inference" and params.get("acknowledged", True)
            else ()
        ),
        "revoke_token": (f"inference revoke-token {at} --token-id {params.get('token_id')}",),
        "revoke_tokens": tuple(
            f"inference revoke-token {at} --token-id {slot}" for slot in params.get("token_ids", ())
        ),
        "revoke_all_tokens": (f"inference revoke-all-tokens {at}",),
    }
    found = lines.get(action, ())
    return tuple(f"{_TOOL} {line}" for line in found if _plain(line))


def _contract(serving: Serving) -> str:
    kind = "fine-tuning" if serving.contract == FINE_TUNING else "inference"
    return f" --{kind}-ca {serving.address}"


def _service(name: str) -> str:
    return "fine-tuning" if name.startswith("fine-tuning") else "inference"


def _plain(line: str) -> bool:
    """Nothing a shell would read as more than words."""
    return all(_SAFE.fullmatch(word.lstrip("-").replace("-", "")) for word in line.split(" "))
