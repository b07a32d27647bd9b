"""Amounts of 0G as people write them, and back to neuron: exact, never float (1 0G = 10^18 neuron,
ux.md 2).
"""

from __future__ import annotations

import re

from django.utils.translation import gettext as _

NEURON = 10**18
#: What is less is only said to be less.
LEAST = 10**12
# Plain digits only: other scripts' digits look like other numbers to most readers.
WRITTEN = re.compile(r"([0-9]{1,12})(?:\.([0-9]{0,18}))?|\.([0-9]{1,18})")


def parse(text: str) -> int:
    """Neuron of an amount written in 0G (`5`, `0.25`, `.5`). Raises ValueError with a sentence for
    a person.
    """
    written = text.strip().removesuffix("0G").strip() if text.strip() != "0G" else ""
    match = WRITTEN.fullmatch(written)
    if match is None:
        if "," in written:
            raise ValueError(
                _("Write the amount with a point and no separators, for example 1250.5.")
            )
        if re.fullmatch(r"[0-9]*\.[0-9]{19,}", written):
            raise ValueError(_("An amount has at most 18 decimals."))
        raise ValueError(_("Write an amount in 0G, for example 2.5."))
    whole, fraction = match.group(1) or "0", match.group(2) or match.group(3) or ""
    return int(whole) * NEURON + int(fraction.ljust(18, "0"))


def exact(neuron: int) -> str:
    """The whole amount in 0G without trailing zeros: 2500000000000000000 → `2.5`."""
    sign, neuron = ("-", -neuron) if neuron < 0 else ("", neuron)
    whole, fraction = divmod(neuron, NEURON)
    return f"{sign}{whole}" + (f".{fraction:018d}".rstrip("0") if fraction else "")


def told(neuron: int) -> str:
    """The same to be read in a sentence, and not parsed: `1,234.5`."""
    if neuron < 0:
        return "-" + told(-neuron)
    whole, point, fraction = exact(neuron).partition(".")
    return f"{int(whole):,}" + point + fraction


def short(neuron: int) -> str:
    """For reading (ux.md 2): from 1 on 4 decimals, below 4 significant digits, cut and never
    rounded up, as `told`.
    """
    if neuron < 0:
        return "-" + short(-neuron)
    if neuron == 0:
        return "0"
    return "<0.000001" if neuron < LEAST else told(cut(neuron))


def cut(neuron: int) -> int:
    """A positive amount without the digits that `short` leaves out."""
    unit = 10**14 if neuron >= NEURON else 10 ** max(0, len(str(neuron)) - 4)
    return neuron // unit * unit
