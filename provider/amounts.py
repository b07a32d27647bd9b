"""Neuron as people read them."""

from __future__ import annotations


def in_0g(neuron: int) -> str:
    """Whole and exact, in 0G: `1500000000000000000` is `1.5`."""
    whole, rest = divmod(neuron, 10**18)
    return f"{whole}.{rest:018}".rstrip("0").rstrip(".")
