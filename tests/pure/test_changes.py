"""On-chain changes in words, from the shapes that the index stores."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketplace.changes import CHANGES, TEXT_LENGTH, texts

SNAPSHOT = {
    "model": "flux",
    "service_type": "text-to-image",
    "input_price": "0",
    "output_price": "3000000000000000",
}


@pytest.mark.parametrize(
    ("change", "before", "after", "service_type", "said"),
    [
        (
            "price",
            {"input_price": "500000000000", "output_price": "1200000000000"},
            {"input_price": "420000000000", "output_price": "1200000000000"},
            "chatbot",
            ("input 0.5 0G / 1M", "input 0.42 0G / 1M"),
        ),
        (
            "price",
            {"input_price": "0", "output_price": "3000000000000000"},
            {"input_price": "0", "output_price": "2000000000000000"},
            "text-to-image",
            ("0.003 0G / image", "0.002 0G / image"),
        ),
        (
            "price",
            {"input_price": "5", "output_price": "7"},
            {"input_price": "5", "output_price": "8"},
            "embedding",
            (None, "only one that this type is not billed by"),
        ),
        (  # the dearer one is shown, and which of the two is billed depends on the broker
            "price",
            {"input_price": "5", "output_price": "7"},
            {"input_price": "7", "output_price": "5"},
            "speech-to-text",
            (None, None),
        ),
        (
            "price",
            {"price_per_token": "500000000000"},
            {"price_per_token": "0"},
            "",
            ("0.5 0G / 1M", "0 0G / 1M"),
        ),
        ("url", {"url": "https://a"}, {"url": "https://b"}, "", ("https://a", "https://b")),
        ("staked", {"stake": "0"}, {"stake": "100" + "0" * 18}, "", ("0 0G", "100 0G")),
        ("models", {"model_list": ["a"]}, {"model_list": ["a", "b"]}, "", ("a", "a, b")),
        ("acknowledged", None, {"tee_signer": "0xA"}, "", (None, "0xA")),
        ("unacknowledged", None, {"tee_signer": "0xA"}, "", ("0xA", None)),
        ("occupied", {"occupied": False}, {"occupied": True}, "", (None, None)),
        ("registered", None, SNAPSHOT, "", (None, "flux · 0.003 0G / image")),
        ("removed", SNAPSHOT, None, "", ("flux · 0.003 0G / image", None)),
    ],
)
def test_what_is_said(
    change: str, before: Any, after: Any, service_type: str, said: tuple[str | None, str | None]
) -> None:
    assert texts(change, before, after, service_type) == said


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from([*CHANGES, "occupied", "unheard of"]), json, json, st.text())
def test_nothing_stored_can_break_a_timeline(
    change: str, before: Any, after: Any, service_type: str
) -> None:
    for text in texts(change, before, after, service_type):
        assert text is None or 0 < len(text) <= TEXT_LENGTH
