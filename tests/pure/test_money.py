"""Amounts as people write them: exact, plain digits, never a guess."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts import money


@given(st.integers(0, 10**30 - 1))
def test_every_amount_survives_writing_and_reading(neuron: int) -> None:
    assert money.parse(money.exact(neuron)) == neuron
    assert money.parse(f" {money.exact(neuron)} 0G ") == neuron
    if neuron >= 10**12:
        # cut, never rounded up
        assert money.parse(money.short(neuron).replace(",", "")) <= neuron


def test_amounts_in_sentences_have_separators() -> None:
    """What a form is filled with has none: it is parsed."""
    amount = 1_234_567 * money.NEURON + money.NEURON // 4
    assert money.told(amount) == money.short(amount) == "1,234,567.25"
    assert money.told(-amount) == money.short(-amount) == "-1,234,567.25"
    assert money.told(-money.NEURON // 2) == "-0.5" and money.exact(amount) == "1234567.25"


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "-1", "+1", "1e3", "0x10", "1_0", "1,5", "1 000", "٣", "１", "1.٣", "−1", "NaN"),
        *("1." + "0" * 19, "1" * 13, "5 0G0G", "1\n2", "0G"),
    ],
)
def test_what_is_no_plain_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"[Aa]mount"):
        money.parse(text)
