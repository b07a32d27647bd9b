"""Prices over time from changes on chain: steps, their differences, and a window's."""

from __future__ import annotations

import datetime as dt
import json as json_text
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.records import ChangeEntry
from marketplace import pricehistory
from marketplace.pricehistory import deltas, percent, steps

NOW = dt.datetime(2026, 5, 31, tzinfo=dt.UTC)


def change(days_ago: int, change: str, before: Any, after: Any) -> ChangeEntry:
    at = NOW - dt.timedelta(days=days_ago)
    return ChangeEntry(
        1000 - days_ago, at, "0x" + "1" * 64, 0, "inference", "0xP", "inference-v1.0", True,
        change, before, after, False,
    )  # fmt: skip


def prices(given: int, answered: int, **more: str) -> dict[str, str]:
    return {"input_price": str(given), "output_price": str(answered), **more}


def test_steps_hold_until_the_next_and_say_what_moved() -> None:
    found = steps(
        [
            change(90, "registered", None, prices(500, 1000, service_type="chatbot", model="m")),
            change(60, "price", prices(500, 1000), prices(440, 1000)),
            change(50, "price", prices(440, 1000), prices(440, 1000)),
            change(40, "removed", prices(440, 1000), None),
            change(20, "registered", None, prices(400, 1200, service_type="chatbot", model="m")),
            change(10, "price", {"output_price": "1200"}, {"output_price": "1250"}),
        ],
        "chatbot",
    )
    assert [[price.each for price in step.prices] for step in found] == [
        [500, 1000], [440, 1000], [], [400, 1200], [400, 1250],
    ]  # fmt: skip
    assert [step.moved for step in found] == [("", ""), ("−12 %", ""), (), ("", ""), ("", "+4.1 %")]
    said = [(delta.label, delta.text) for delta in deltas(found, NOW)]
    assert said == [("Input", "−9 % in 30 d"), ("Output", "+25 % in 30 d")]
    assert [d.text for d in deltas(found, NOW, 15)] == ["unchanged in 15 d", "+4.1 % in 15 d"]
    assert deltas(found[:3], NOW) == ()
    assert deltas(found[3:], NOW)[1].text == "+4.1 % since it was listed"
    # Not all of many changes is read: the oldest that was is not the listing's beginning.
    entries = [
        change(12, "price", prices(400, 1200), prices(400, 1000)),
        change(10, "price", {"output_price": "1000"}, {"output_price": "1250"}),
    ]
    texts = [delta.text for delta in deltas(steps(entries, "chatbot"), NOW)]
    assert texts == ["unchanged since 19 May 2026", "+25 % since 19 May 2026"]


def test_a_chart_begins_with_the_price_that_held_and_ends_now() -> None:
    registered = prices(500, 1000, service_type="chatbot", model="m")
    found = steps(
        [
            change(90, "registered", None, registered),
            change(60, "price", prices(500, 1000), prices(440, 1000)),
            change(10, "removed", prices(440, 1000), None),
        ],
        "chatbot",
    )
    drawn = pricehistory.chart(found, NOW, "30d", "/x.csv")
    assert drawn is not None and drawn.step and drawn.title == "Price: not listed now"
    inputs = [(point.at, point.values[0].number) for point in drawn.points]
    days = [(NOW - at).days for at, _ in inputs]
    assert days == [30, 10, 0]
    assert [number for _, number in inputs] == ["0.00000000044", "", ""]
    whole = pricehistory.chart(found, NOW, "", "/x.csv")
    assert whole is not None and [point.href[:4] for point in whole.points] == ["/tx/"] * 3 + [""]
    assert whole.points[1].values[0].text.endswith("0G (−12 %)")


def test_a_change_of_type_changes_the_unit_and_compares_nothing() -> None:
    found = steps(
        [
            change(9, "registered", None, prices(7, 9, service_type="chatbot", model="m")),
            change(5, "type", {"service_type": "chatbot"}, {"service_type": "text-to-image"}),
        ],
        "text-to-image",
    )
    assert [[price.unit for price in step.prices] for step in found] == [
        ["1M tokens", "1M tokens"],
        ["image"],
    ]
    assert found[1].moved == ("",) and deltas(found, NOW) == ()
    drawn = pricehistory.chart(found, NOW, "30d", "/x.csv")
    assert drawn is not None and drawn.title == "Price: now per image"
    # So it is where the listing was removed meanwhile, and came again as another.
    again = [
        change(9, "price", prices(7, 9), prices(7, 12)),
        change(7, "removed", prices(7, 12, service_type="chatbot", model="m"), None),
        change(5, "registered", None, prices(0, 3, service_type="text-to-image", model="n")),
    ]
    units = [[price.unit for price in step.prices] for step in steps(again, "text-to-image")]
    assert units == [["1M tokens", "1M tokens"], [], ["image"]]
    # In one transaction with the price: the new one never was that of a million tokens.
    at_once = [
        change(9, "registered", None, prices(7, 9, service_type="chatbot", model="m")),
        change(5, "price", prices(7, 9), prices(0, 3 * 10**15)),
        change(5, "type", {"service_type": "chatbot"}, {"service_type": "text-to-image"}),
    ]
    held = [[(price.each, price.unit) for price in step.prices] for step in steps(at_once, "")]
    assert held == [[(7, "1M tokens"), (9, "1M tokens")], [(3 * 10**15, "image")]]
    assert [step.begins for step in steps(at_once, "")] == [True, False]
    # Where the beginning is not shown, the first change's `before` is the price until then.
    late = steps([change(5, "price", prices(7, 9), prices(7, 12))], "chatbot")
    assert [price.each for price in late[0].prices] == [7, 12]
    # A change that says no price, before any that does, does not say that it was not listed.
    info = change(9, "additional_info", {"additional_info": "{}"}, {"additional_info": "{ }"})
    told = [info, change(5, "price", prices(7, 9), prices(7, 12))]
    assert [len(step.prices) for step in steps(told, "chatbot")] == [2]


def test_cached_input_and_long_requests_are_prices_too() -> None:
    def info(divisor: int, dear: int) -> dict[str, str]:
        tiers = [{"maxInputTokens": 500}, {"maxInputTokens": 0, "inputMultiplier": dear}]
        billing = {"cacheTokenBilling": {"divisor": divisor}, "tieredPricing": {"tiers": tiers}}
        return {"additional_info": json_text.dumps(billing)}

    plain = {"additional_info": "{}"}
    found = steps(
        [
            change(90, "registered", None, prices(500, 1000, service_type="chatbot", model="m")),
            change(80, "additional_info", plain, info(10, 2)),
            change(20, "additional_info", info(10, 2), info(5, 4)),
        ],
        "chatbot",
    )
    assert [len(step.prices) for step in found] == [2, 5, 5]
    assert found[2].moved == ("", "", "+100 %", "+100 %", "")
    said = {delta.label: delta.text for delta in deltas(found, NOW)}
    assert said["Input"] == "unchanged in 30 d" and said["Cached input"] == "+100 % in 30 d"
    assert said["Input of the longest requests"] == "+100 % in 30 d"
    drawn = pricehistory.chart(found, NOW, "", "/x.csv")
    assert drawn is not None and len(drawn.series) == 5
    assert drawn.points[0].values[2].text == "no price of its own"
    ended = steps(
        [change(40, "price", None, prices(5, 9)), change(9, "additional_info", info(5, 4), plain)],
        "",
    )
    assert [(d.label, d.text) for d in deltas(ended, NOW)][2] == (
        "Cached input",
        "no longer of its own",
    )


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (100, 88, "−12 %"),
        (1000, 1042, "+4.2 %"),
        (3, 1, "−66.6 %"),
        (10**30, 10**30 + 1, "+<0.1 %"),
        (0, 5, "was 0"),
        (1, 5000, "+499,900 %"),
    ],
)
def test_percentages_are_cut_never_rounded(before: int, after: int, said: str) -> None:
    assert percent(before, after) == said


FIELDS = ["input_price", "output_price", "service_type", "additional_info"]
json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner),
    max_leaves=6,
)


@given(st.lists(st.tuples(st.sampled_from(pricehistory.KINDS), json, json), max_size=6), st.text())
def test_nothing_stored_can_break_it(entries: list[tuple[str, Any, Any]], kind: str) -> None:
    listed = [change(50 - i, name, old, new) for i, (name, old, new) in enumerate(entries)]
    found = steps(listed, kind)
    assert all(len(step.moved) == len(step.prices) for step in found)
    deltas(found, NOW)
    for window in pricehistory.WINDOWS:
        drawn = pricehistory.chart(found, NOW, window, "")
        assert (drawn is None) == (not any(step.prices for step in found))
        assert drawn is None or all(len(p.values) == len(drawn.series) for p in drawn.points)
