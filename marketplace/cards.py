"""Facts of a model card as a provider declares them in its additional information. Pure.

Nothing here was checked: whoever shows it says "declared". The keys are those that brokers and
OpenAI-compatible model lists use (provider-protocol.md 1.6, 3.4), whatever their spelling. What is
not said is empty, and shown as unknown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from marketplace import formats
from protocol.declared import context_of

#: Which verifier it says understands its evidence: its word for the kind of TEE.
VERIFIER_PATTERN = r'"TEEVerifier"[ \t\r\n]*:[ \t\r\n]*"([A-Za-z0-9_.-]{1,40})"'
_VERIFIER = re.compile(VERIFIER_PATTERN)
_LENGTH = 80

_SAID: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("max_output", ("maxcompletiontokens", "maxoutputtokens", "maxoutput")),
    ("input", ("inputmodalities",)),
    ("output", ("outputmodalities",)),
    ("modality", ("modality", "modalities")),
    ("quantization", ("quantization", "quantisation", "precision", "dtype")),
    ("licence", ("license", "licence")),
    ("hub", ("huggingface", "huggingfaceid", "hfrepo")),
    ("weights", ("huggingface", "huggingfaceid", "hfrepo", "canonicalid")),
)

#: The fields of a card that are shown, in the order of `Card.facts`.
FACTS = ("context", "max_output", "modalities", "quantization", "licence", "weights")


@dataclass(frozen=True)
class Card:
    """`context` and `max_output` in tokens; all else in the provider's words, fit to be shown."""

    context: int | None = None
    max_output: int | None = None
    modalities: str = ""
    quantization: str = ""
    licence: str = ""
    weights: str = ""
    #: The same where its key says that it is of Hugging Face.
    hub: str = ""

    @property
    def facts(self) -> tuple[tuple[str, str], ...]:
        """Label and text of every fact, empty where the provider does not say."""
        return (
            (_("Context"), _tokens(self.context)),
            (_("Longest answer"), _tokens(self.max_output)),
            (_("Modalities"), self.modalities),
            (_("Quantization"), self.quantization),
            (_("Licence"), self.licence),
            (_("Weights"), self.weights),
        )

    @property
    def unsaid(self) -> tuple[str, ...]:
        """The labels of all else."""
        return tuple(label for label, text in self.facts if not text)


#: Where a stranger's link to weights may lead: model hubs, whose addresses say what they are.
_HUBS = re.compile(
    r"https://(?:huggingface\.co|modelscope\.cn|www\.modelscope\.cn|github\.com)"
    r"/[A-Za-z0-9_.~%/-]{1,200}"
)

_NAMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9][A-Za-z0-9_.-]{0,95}")


def linked(card: Card) -> tuple[tuple[str, str, str], ...]:
    """Each fact that the provider says, with where it leads: empty but for weights on a model
    hub."""
    leads = card.weights if _HUBS.fullmatch(card.weights) else ""
    if card.hub == card.weights and _NAMED.fullmatch(card.hub):
        leads = f"https://huggingface.co/{card.hub}"
    return tuple(
        (label, text, leads if text == card.weights else "") for label, text in card.facts if text
    )


def _tokens(number: int | None) -> str:
    return "" if number is None else _("%(n)s tokens") % {"n": f"{number:,}"}


def verifier_of(additional_info: str) -> str:
    """The declared kind of evidence in lower case; empty where none is declared."""
    found = _VERIFIER.search(additional_info)
    return found[1].lower() if found else ""


def card(additional_info: str) -> Card:
    """What a listing's additional information says about its model. Never raises."""
    said = _said(formats.json_object(additional_info))
    directions = " → ".join(text for text in (said.get("input"), said.get("output")) if text)
    longest = said.get("max_output", "")
    return Card(
        context=context_of(additional_info),
        max_output=int(longest) if longest.isdigit() and longest.isascii() else None,
        modalities=directions or said.get("modality", ""),
        quantization=said.get("quantization", ""),
        licence=said.get("licence", ""),
        weights=said.get("weights", ""),
        hub=said.get("hub", ""),
    )


def _said(info: Mapping[str, Any]) -> dict[str, str]:
    """The first text found under each name, in the object itself and the objects within it."""
    places = [info, *(value for value in info.values() if isinstance(value, dict))]
    plain: dict[str, str] = {}
    for place in places:
        for key, value in place.items():
            text = _text(value)
            if text:
                plain.setdefault(re.sub(r"[^a-z0-9]", "", key.lower())[:40], text)
    return {name: plain[key] for name, keys in _SAID for key in reversed(keys) if key in plain}


def _text(value: object) -> str:
    if isinstance(value, list):
        parts = [part for part in value[:6] if isinstance(part, str)]
        return _fit(", ".join(parts))
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return ""
    return _fit(str(value)) if isinstance(value, str) or abs(value) < 10**12 else ""


def _fit(text: str) -> str:
    return formats.clip(formats.plain(" ".join(text.split())), _LENGTH)
