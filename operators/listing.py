"""A listing as its operator edits it: texts as typed, values as the contract takes them. Pure.

The texts are the form's; the values are the parameters of `accounts.actions`
(`add_or_update_service`, `add_or_update_finetune_service`). What is refused here the contract would
mostly take, and every client would then fail on it.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from accounts import actions, calls, money, url_words
from accounts.preview_trust import MAX_INFO_BYTES
from net import addresses, strictjson
from net.addresses import Policy
from net.errors import BadAnswer, BadUrl, Refused
from net.limits import JsonLimits
from protocol.fees import EMBEDDING, IMAGES, SPEECH

INFERENCE, FINE_TUNING = "inference", "fine-tuning"
KINDS = (INFERENCE, FINE_TUNING)
ACTIONS = {INFERENCE: "add_or_update_service", FINE_TUNING: "add_or_update_finetune_service"}
MAX_TEXT = 300
MAX_TYPED = 20_000
MILLION = 10**6
SERVICE_TYPES = ("chatbot", *IMAGES, SPEECH, EMBEDDING)
VERIFIABILITIES = ("TeeML", "OpML", "ZKML", "")
PRICES = ("input_price", "output_price", "price_per_token")
QUOTA = calls.QUOTA
FIELDS: Mapping[str, tuple[str, ...]] = {
    INFERENCE: (
        *("url", "model", "service_type", "verifiability", "input_price", "output_price"),
        *("tee_signer", "additional_info"),
    ),
    FINE_TUNING: ("url", "models", "price_per_token", "occupied", *QUOTA, "tee_signer"),
}
LABELS = {
    "url": gettext_noop("URL"),
    "model": gettext_noop("Model"),
    "models": gettext_noop("Models"),
    "service_type": gettext_noop("Type"),
    "verifiability": gettext_noop("Verifiability"),
    "input_price": gettext_noop("Input price"),
    "output_price": gettext_noop("Output price"),
    "price_per_token": gettext_noop("Price"),
    "tee_signer": gettext_noop("Signer"),
    "additional_info": gettext_noop("Additional information"),
    "occupied": gettext_noop("Occupied"),
    "cpu_count": gettext_noop("CPU cores"),
    "node_memory": gettext_noop("Memory, GB"),
    "gpu_count": gettext_noop("GPUs"),
    "node_storage": gettext_noop("Storage, GB"),
    "gpu_type": gettext_noop("GPU type"),
}
Values = dict[str, Any]


def inside(field: str) -> str:
    """A field's label within a sentence: small in English but for abbreviations, in other languages
    as they write it."""
    said = _(LABELS[field])
    if said != LABELS[field] or said[:2].isupper():
        return said
    return said[0].lower() + said[1:]


_SHAPE = JsonLimits(max_depth=8, max_bytes=MAX_INFO_BYTES)
_NEURON = re.compile(r"([0-9]{1,78})\s*neuron")
#: More digits than this before the point are shown, and typed, in neuron.
_MOST_WHOLE = 10**12


@dataclass(frozen=True)
class Unit:
    """What people name a price in: `scale` of the contract's units, so that a price in neuron
    times `scale` is an amount of 0G."""

    label: str
    scale: int
    each: str


NEURON_EACH = gettext_noop("neuron per unit")
TOKENS = Unit(gettext_noop("0G per 1M tokens"), MILLION, gettext_noop("token"))


def unit_of(field: str, service_type: str) -> Unit:
    """The unit of a price field (provider-protocol.md 5.1; contracts.md 4)."""
    if field == "output_price" and service_type in IMAGES:
        return Unit(gettext_noop("0G per image"), 1, gettext_noop("image"))
    if field != "price_per_token" and service_type == SPEECH:
        return Unit(gettext_noop("0G per second"), 1, gettext_noop("second"))
    return TOKENS


#: The price that services of a type have, and are not billed by.
UNBILLED = {EMBEDDING: "output_price", **dict.fromkeys(IMAGES, "input_price")}


# --- values → texts -------------------------------------------------------------------------------


def price_text(neuron: int, unit: Unit) -> str:
    """The exact price in its unit: `0.42`; beyond what an amount may be, in neuron."""
    whole = neuron * unit.scale
    return f"{neuron} neuron" if whole >= _MOST_WHOLE * money.NEURON else money.exact(whole)


def price_texts(prices: Sequence[int], unit: Unit) -> tuple[list[str], str]:
    """Several exact prices, and the unit of all of them: neuron where one is beyond an amount."""
    if max(prices, default=0) * unit.scale >= _MOST_WHOLE * money.NEURON:
        return [f"{price:,}" for price in prices], NEURON_EACH
    return [price_text(price, unit) for price in prices], unit.label


def texts(kind: str, values: Values) -> dict[str, str]:
    """The form's texts of what is on chain; parsing them gives the values back."""
    flat = {**values, **values.get("quota", {})}
    service_type = str(flat.get("service_type", ""))
    return {name: _text(name, flat[name], service_type) for name in FIELDS[kind]}


def _text(name: str, value: Any, service_type: str) -> str:
    if name.endswith("price") or name == "price_per_token":
        return price_text(value, unit_of(name, service_type))
    if name == "occupied":
        return "yes" if value else ""
    if name == "models":
        return "\n".join(value)
    return str(value)


def blank(kind: str) -> dict[str, str]:
    """The form of somebody who offers nothing yet."""
    given = {"service_type": "chatbot", "verifiability": "TeeML", "additional_info": "{}"}
    return {name: given.get(name, "") for name in FIELDS[kind]}


# --- texts → values -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parsed:
    """`values` is whole only without `errors` (field → sentence). `prices`: exact neuron of each
    price field that could be read."""

    values: Values
    errors: Mapping[str, str]
    prices: Mapping[str, int]


def parse(kind: str, typed: Mapping[str, str], policy: Policy) -> Parsed:
    """What was typed as parameters of the kind's action. `policy`: which hosts a URL may name."""
    values: Values = {}
    errors: dict[str, str] = {}
    service_type = typed.get("service_type", "")
    for name in FIELDS[kind]:
        try:
            values[name] = _parsed(name, typed.get(name, ""), service_type, policy)
        except ValueError as error:
            errors[name] = str(error)
    prices = {name: values[name] for name in values if name in PRICES}
    if kind == FINE_TUNING:
        values["quota"] = {name: values.pop(name) for name in QUOTA if name in values}
    return Parsed(values, errors, prices)


def _parsed(name: str, text: str, service_type: str, policy: Policy) -> Any:
    if len(text) > MAX_TYPED:
        raise ValueError(_("This is too long."))
    if name in PRICES:
        return _price(text, unit_of(name, service_type))
    if name == "url":
        return _url(text.strip(), policy)
    return _PARSERS[name](text)


def _price(text: str, unit: Unit) -> int:
    exact = _NEURON.fullmatch(text.strip())
    if exact:
        return actions.amount(exact[1])
    amount = money.parse(text)
    if amount % unit.scale:
        raise ValueError(
            _("The contract holds whole neuron per %(each)s: at most 12 decimals here.")
            % {"each": _(unit.each)}
        )
    return amount // unit.scale


def _url(text: str, policy: Policy) -> str:
    if not text:
        raise ValueError(_("Enter the address that your broker answers at."))
    if text.endswith("/"):
        raise ValueError(_("Leave the slash at the end away: clients append /v1/… themselves."))
    try:
        target = addresses.parse(text, policy)
    except (BadUrl, Refused) as error:
        said = url_words.translated(error)
        raise ValueError(f"{said[:1].upper()}{said[1:]}.") from None
    if "?" in text:
        raise ValueError(_("Leave the query away: clients append a path."))
    if target.scheme != "https" and not policy.allow_private:
        raise ValueError(_("Use https://: browsers and most clients refuse anything else."))
    return text


def _name(text: str) -> str:
    text = text.strip()
    if not text:
        raise ValueError(_("Enter the name that requests are to carry."))
    return _clean(text)


def _clean(text: str) -> str:
    """A short text of one line without characters that hide or reorder it."""
    if len(text) > MAX_TEXT:
        raise ValueError(_("At most %(most)s characters.") % {"most": MAX_TEXT})
    if any(unseen(c) for c in text):
        raise ValueError(_("It contains a control character or one that cannot be seen."))
    return text


def unseen(c: str) -> bool:
    """A character that hides or reorders text, ends a line, or means nothing to anybody."""
    return unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def _signer(text: str) -> str:
    text = text.strip()
    if not text:
        raise ValueError(_("Enter the address of the key that signs answers."))
    try:
        found = actions.address(text)
    except ValueError as error:
        raise ValueError(_("It %(error)s.") % {"error": error}) from None
    if not int(found, 16):
        raise ValueError(_("The zero address signs nothing: users could never be charged."))
    return found


def _info(text: str) -> str:
    """Text for additionalInfo: empty, or a JSON object as clients read it."""
    size = len(text.encode("utf-8", "replace"))
    if size > MAX_INFO_BYTES:
        raise ValueError(
            _("The contract takes %(most)s bytes; this has %(size)s.")
            % {"most": f"{MAX_INFO_BYTES:,}", "size": f"{size:,}"}
        )
    if not text.strip():
        return ""
    if "\0" in text or any(unicodedata.category(c) == "Cs" for c in text):
        raise ValueError(_("It contains characters that no JSON has."))
    try:
        value = strictjson.loads(text.encode(), _SHAPE)
    except BadAnswer:
        raise ValueError(_where(text)) from None
    if not isinstance(value, dict):
        raise ValueError(_("Clients expect a JSON object: { … }."))
    if value.get("TargetSeparated") is True:
        try:
            actions.address(value.get("TargetTeeAddress"))
        except ValueError:
            raise ValueError(
                _("TargetSeparated needs TargetTeeAddress, the address of the model's own signer.")
            ) from None
    return text


def _where(text: str) -> str:
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return _("This is not JSON: line %(line)s, column %(column)s: %(error)s.") % {
            "line": error.lineno,
            "column": error.colno,
            "error": error.msg,
        }
    except RecursionError:
        pass
    return _("This JSON is nested too deeply.")


def _models(text: str) -> list[str]:
    found = [_clean(line.strip()) for line in text.splitlines() if line.strip()]
    if not found:
        raise ValueError(_("Name at least one model, one on each line."))
    if len(found) > 100 or len(set(found)) < len(found):
        raise ValueError(_("At most 100 models, each once."))
    return found


def _number(text: str) -> int:
    text = text.strip()
    if not re.fullmatch(r"[0-9]{1,12}", text):
        raise ValueError(_("Enter a whole number."))
    return int(text)


_PARSERS: Mapping[str, Callable[[str], Any]] = {
    "model": _name,
    "service_type": _name,
    "verifiability": lambda text: _clean(text.strip()),
    "tee_signer": _signer,
    "additional_info": _info,
    "models": _models,
    "occupied": lambda text: text == "yes",
    "gpu_type": lambda text: _clean(text.strip()),
    **{name: _number for name in QUOTA if name != "gpu_type"},
}
