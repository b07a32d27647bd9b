"""Every custom error of the three contracts has a sentence; none shows a hole."""

from __future__ import annotations

import pytest

from accounts import refusals
from protocol import abi

SAMPLES = {"address": "0x" + "11" * 20, "string": "<id>", "uint256": 3 * 10**18}


@pytest.mark.parametrize("shape", abi.errors().values(), ids=lambda s: s.signature)
def test_every_error_of_the_contracts_has_a_sentence_and_a_fix(shape: abi.ErrorShape) -> None:
    arguments = {a.name: SAMPLES[a.type] for a in shape.inputs}
    assert shape.name in refusals.SENTENCES
    for action in ("deposit", "withdraw"):
        title, fix = refusals.sentence(shape.name, arguments, action)
        assert title.endswith(".") and fix.endswith(".")
        assert "{" not in title + fix
        if not any(other.name == shape.name and other != shape for other in abi.errors().values()):
            assert "…" not in title + fix


def test_a_withdrawal_that_leaves_too_little_is_told_both_legal_amounts() -> None:
    title, fix = refusals.sentence(
        "MinimumDepositRequired", {"provided": 2 * 10**18, "required": 3 * 10**18}, "withdraw"
    )
    assert title == "You may withdraw all of it, or leave at least 3 0G. 2 would remain."
    assert fix == "Withdraw everything, or 1 0G less."


def test_the_table_holds_no_error_that_no_contract_knows() -> None:
    assert set(refusals.SENTENCES) == {shape.name for shape in abi.errors().values()}
