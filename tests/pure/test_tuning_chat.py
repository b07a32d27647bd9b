"""Which model of a provider is asked: its base model, a tuned one, or both side by side."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from inference.prompts import Prompt, adapter_of

HERE, THERE = "0x" + "aB" * 20, "0x" + "12" * 20
NAME = "ft-zg-small-696a892a-cf7"


def asked(**more: Any) -> list[tuple[str, str | None, int]]:
    """Provider, adapter and column of each question."""
    prompt = Prompt.of({"key": str(uuid4()), "text": "hello", "provider": HERE, **more})
    return [(q["provider"], q["adapter"], q.get("lane", 0)) for q in prompt.questions()]


def test_a_tuned_model_is_asked_at_its_own_provider_alone() -> None:
    tuned = f"{NAME}@{HERE}"
    assert asked() == [(HERE, None, 0)]
    assert asked(adapter="base") == [(HERE, "", 0)]
    assert asked(adapter=tuned) == [(HERE, NAME, 0)]
    assert asked(adapter=tuned, beside=True) == [(HERE, NAME, 0), (HERE, "", 1)]
    assert asked(adapter=tuned, beside=True, also=THERE) == [(HERE, NAME, 0), (HERE, "", 1)]
    assert asked(adapter=tuned, also=THERE) == [(HERE, NAME, 0), (THERE, "", 1)]
    # Another provider was chosen meanwhile: it has no such model, and `beside` says nothing.
    assert asked(adapter=f"{NAME}@{THERE}", beside=True) == [(HERE, "", 0)]
    assert asked(beside=True) == [(HERE, None, 0)]


@pytest.mark.parametrize(
    "value", [None, 1, {}, "", "ft-", NAME, f"gpt@{HERE}", f"ft-../x@{HERE}", f"{NAME}@{HERE}x"]
)
def test_what_names_no_tuned_model_says_nothing(value: object) -> None:
    assert adapter_of(value, HERE) is None
