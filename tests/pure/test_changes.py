"""On-chain changes in words, from the shapes that the index stores."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.turns import Types, around
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
    assert texts(change, before, after, Types(service_type, service_type)) == said


def test_prices_are_in_the_units_of_the_types_around_their_change() -> None:
    before = {"input_price": "500000000000", "output_price": "1200000000000"}
    after = {"input_price": "0", "output_price": "3000000000000000"}
    assert texts("price", before, after, Types("chatbot", "text-to-image")) == (
        "input 0.5 0G / 1M · output 1.2 0G / 1M",
        "0.003 0G / image",
    )


def test_what_a_listing_was_follows_from_what_came_later() -> None:
    def turn(change: str, block: int, log: int | None, before: Any, after: Any = None) -> Any:
        place = {"change": change, "block": block, "log_index": log, "provider": "0xP"}
        return SimpleNamespace(**place, before=before, after=after)

    chat, images, speech = ({"service_type": name} for name in ("chat", "images", "speech"))
    later = [
        turn("type", 5, 2, chat, images),
        turn("removed", 7, 1, {**images, "model": "m"}),
        turn("type", 9, None, speech, chat),
    ]
    for block, log, before, after in (
        (4, 9, "chat", "chat"),
        (5, 1, "chat", "chat"),
        (5, 2, "chat", "images"),
        (5, 3, "images", "images"),
        (8, 0, "speech", "speech"),
        (9, 7, "speech", "speech"),
        (9, None, "speech", "chat"),
        (10, 0, "now", "now"),
    ):
        assert around(turn("price", block, log, None), later, "now") == (before, after)
    assert around(turn("price", 4, 0, None), [turn("type", 5, 0, ["odd"])], "now").before == "now"


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from([*CHANGES, "occupied", "unheard of"]), json, json, st.text())
def test_nothing_stored_can_break_a_timeline(
    change: str, before: Any, after: Any, service_type: str
) -> None:
    for text in texts(change, before, after, Types(service_type, service_type)):
        assert text is None or 0 < len(text) <= TEXT_LENGTH
