"""Neuron as people read them."""

from __future__ import annotations

from decimal import Decimal


def in_0g(neuron: int) -> str:
    """Whole and exact, in 0G: `1500000000000000000` is `1.5`."""
    text = f"{Decimal(neuron).scaleb(-18):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
