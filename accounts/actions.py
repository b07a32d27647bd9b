"""The closed list of actions and their parameters (interfaces.md 3), checked before anything else
looks at them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from django.utils.translation import gettext as _

from accounts.errors import Problem
from protocol import abi
from protocol.addresses import checksum, is_address, is_mistyped

UINT256_MAX = 2**256 - 1
MAX_TEXT_BYTES = 16_384
Parser = Callable[[Any], Any]


def amount(value: Any) -> int:
    """Neuron as a decimal string (or an int); never a float."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(_("must be an amount in neuron, as a string of digits"))
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{1,78}", value):
        raise ValueError(_("must be an amount in neuron, as a string of digits"))
    if not 0 <= int(value) <= UINT256_MAX:
        raise ValueError(_("is outside the range of a uint256"))
    return int(value)


def address(value: Any) -> str:
    """EIP-55; a mixed-case address with a wrong checksum is a typing error and refused."""
    if not isinstance(value, str) or not is_address(value):
        raise ValueError(_("must be an address: 0x and 40 hex digits"))
    if is_mistyped(value):
        raise ValueError(_("has a wrong checksum: check for a typing error"))
    return checksum(value)


def addresses(value: Any) -> list[str]:
    if not isinstance(value, list) or not 1 <= len(value) <= 50:
        raise ValueError(_("must be a list of 1 to 50 addresses"))
    return [address(item) for item in value]


def text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value or len(value.encode()) > MAX_TEXT_BYTES:
        raise ValueError(f"must be a text of at most {MAX_TEXT_BYTES} bytes")
    return value


def texts(value: Any) -> list[str]:
    if not isinstance(value, list) or len(value) > 100:
        raise ValueError(_("must be a list of at most 100 texts"))
    return [text(item) for item in value]


def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(_("must be true or false"))
    return value


def slot(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 255:
        raise ValueError(_("must be a number from 0 to 255"))
    return value


def slots(value: Any) -> list[int]:
    if not isinstance(value, list) or not 1 <= len(value) <= 256:
        raise ValueError(_("must be a list of 1 to 256 numbers"))
    return [slot(item) for item in value]


def quota(value: Any) -> dict[str, Any]:
    names = ("cpu_count", "node_memory", "gpu_count", "node_storage")
    if not isinstance(value, dict) or set(value) != {*names, "gpu_type"}:
        raise ValueError(f"must have exactly the fields {', '.join(names)}, gpu_type")
    return {**{n: amount(value[n]) for n in names}, "gpu_type": text(value["gpu_type"])}


_PROVIDER: dict[str, Parser] = {"provider": address}
_AT: dict[str, Parser] = {"provider": address, "service_name": text}
PARAMETERS: dict[str, dict[str, Parser]] = {
    "deposit": {"amount": amount},
    "deposit_for": {"recipient": address, "amount": amount},
    "transfer": {**_AT, "amount": amount},
    "retrieve": {"providers": addresses, "service_name": text},
    "withdraw": {"amount": amount},
    "delete_ledger": {},
    "acknowledge_signer": {**_AT, "acknowledged": flag},
    "revoke_token": {**_PROVIDER, "token_id": slot},
    "revoke_tokens": {**_PROVIDER, "token_ids": slots},
    "revoke_all_tokens": _PROVIDER,
    "acknowledge_deliverable": {**_PROVIDER, "deliverable_id": text},
    "add_or_update_service": {
        "service_name": text,
        "service_type": text,
        "url": text,
        "model": text,
        "verifiability": text,
        "input_price": amount,
        "output_price": amount,
        "additional_info": text,
        "tee_signer": address,
    },
    "add_or_update_finetune_service": {
        "service_name": text,
        "url": text,
        "quota": quota,
        "price_per_token": amount,
        "occupied": flag,
        "models": texts,
        "tee_signer": address,
    },
    "remove_service": {"service_name": text},
}
#: May be left out: the recommended contract of the action's kind is meant.
OPTIONAL = {"service_name"}
_FINE_TUNING_ACTIONS = ("acknowledge_deliverable", "add_or_update_finetune_service")
LISTING_ACTIONS = ("add_or_update_service", "add_or_update_finetune_service")


def parse(action: Any, params: Any) -> dict[str, Any]:
    """The checked parameters of an action. Raises Problem naming the field and the rule."""
    shape = PARAMETERS.get(action) if isinstance(action, str) else None
    if shape is None:
        raise Problem("unknown_action", f"`action` must be one of: {', '.join(PARAMETERS)}.")
    if not isinstance(params, dict):
        raise Problem("invalid_request", "`params` must be an object.")
    unknown = sorted(set(params) - set(shape))
    if unknown:
        raise Problem("invalid_request", f"`params.{str(unknown[0])[:40]}` is not known here.")
    checked: dict[str, Any] = {}
    for name, parser in shape.items():
        if name not in params:
            if name in OPTIONAL:
                continue
            raise Problem("invalid_request", f"`params.{name}` is missing.")
        try:
            checked[name] = parser(params[name])
        except ValueError as error:
            raise Problem("invalid_request", f"`params.{name}` {error}.") from None
    return checked


def default_contract(action: str) -> str:
    """The ABI whose recommended deployment is meant when no `service_name` is given."""
    return abi.FINE_TUNING_SERVING if action in _FINE_TUNING_ACTIONS else abi.INFERENCE_SERVING


def providers_of(params: dict[str, Any]) -> list[str]:
    """The providers an action looks at, each once, in order."""
    named = [params["provider"]] if "provider" in params else params.get("providers", ())
    return list(dict.fromkeys(named))


_PARSERS = {name: parser for shape in PARAMETERS.values() for name, parser in shape.items()}


def jsonable(params: dict[str, Any]) -> dict[str, Any]:
    """Checked parameters for storage and for asking again: amounts as decimal strings."""
    return {name: _plain(value, _PARSERS[name]) for name, value in params.items()}


def _plain(value: Any, parser: Parser) -> Any:
    if parser is amount:
        return str(value)
    return {name: str(part) for name, part in value.items()} if parser is quota else value
