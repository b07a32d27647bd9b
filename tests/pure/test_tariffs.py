"""What a listing costs in the units people compare by, and what its provider says about its
model."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts import money
from marketplace import cards, filters, formats, tariffs
from marketplace.tariffs import Workload
from protocol import fees
from protocol.declared import context_of

INFO = json.dumps(
    {
        "cacheTokenBilling": {"divisor": 10},
        "tieredPricing": {
            "tiers": [
                {"maxInputTokens": 1000, "inputMultiplier": 3, "inputMultiplierDenominator": 2},
                {"maxInputTokens": 0, "inputMultiplier": 2, "outputMultiplier": 3},
            ]
        },
    }
)


def test_a_list_shows_what_a_small_request_pays_and_the_page_all_tiers() -> None:
    offer = tariffs.offer("chatbot", 420_000_000_000, 1_200_000_000_000, INFO)
    assert [price.neuron for price in offer.prices] == [63 * 10**16, 12 * 10**17]
    assert offer.cached is not None and offer.cached.neuron == 63 * 10**15
    rows = [(tier.up_to, tier.input.neuron, tier.output) for tier in offer.tiers]
    answered = [formats.prices("", 0, price)[1] for price in (12 * 10**11, 36 * 10**11)]
    assert rows == [(1000, 63 * 10**16, answered[0]), (0, 84 * 10**16, answered[1])]
    assert offer.tiers[1].cached is not None and offer.tiers[1].cached.neuron == 84 * 10**15


def test_other_types_keep_their_own_units_whatever_they_say() -> None:
    assert tariffs.offer("text-to-image", 7, 5, INFO).prices[0].unit == "image"
    minute = tariffs.offer("speech-to-text", 7, 5, INFO)
    assert minute.prices[0].neuron == 7 * 60 and minute.cached is None and not minute.tiers


@given(
    price=st.integers(0, 10**15).map(lambda n: n * 10),
    requests=st.integers(1, 500),
    tokens=st.tuples(st.integers(0, 4000), st.integers(0, 4000)),
    cached=st.integers(0, 400).map(lambda n: n * 10),
)
def test_a_month_is_thirty_days_of_equal_requests(
    price: int, requests: int, tokens: tuple[int, int], cached: int
) -> None:
    tariff = fees.tariff(price, price * 3, INFO)
    prompt, answer = tokens
    cached = min(cached, prompt // 10 * 10)
    one = fees.chat_fee(tariff, fees.Usage(prompt, answer, cached))
    work = Workload(prompt * requests, answer * requests, cached * requests, requests)
    month = work.monthly(tariff)
    # The division by the cache's divisor rounds once a day instead of once a request.
    assert 0 <= month - one * requests * 30 < requests * 30


def test_the_length_of_a_request_decides_its_tier() -> None:
    tariff = fees.tariff(10, 10, INFO)
    assert Workload(10_000, 0, 0, 10).monthly(tariff) == 30 * 10_000 * 15
    assert Workload(10_000, 0, 0, 9).monthly(tariff) == 30 * 10_000 * 20


@pytest.mark.parametrize(
    ("info", "context"),
    [
        ('{"context_length": 8192}', 8192),
        ('{"contextLength":"131072"}', 131072),
        ('{"a": {"max_model_len" :\n 4096}}', 4096),
        ('{"context_length": 12345678901}', None),
        ('{"context_length": -5}', None),
        ('{"context_length": 1.5}', None),
        ('{"context_length": 0}', None),
        ("not json", None),
    ],
)
def test_context(info: str, context: int | None) -> None:
    assert context_of(info) == context == cards.card(info).context


def test_a_card_says_what_is_declared_and_leaves_the_rest_unknown() -> None:
    said: dict[str, Any] = {
        "architecture": {"input_modalities": ["text", "image", 5], "output_modalities": ["text"]},
        "max_completion_tokens": 4096,
        "License": "apache-2.0\u202e",
        "quantization": "fp8",
    }
    facts = dict(cards.card(json.dumps(said)).facts)
    assert facts["Modalities"] == "text, image → text" and facts["Longest answer"] == "4,096 tokens"
    assert facts["Licence"] == "apache-2.0\ufffd" and facts["Quantization"] == "fp8"
    assert facts["Context"] == facts["Weights"] == ""


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ).map(json.dumps)
    | st.text()
)
def test_no_text_of_a_provider_breaks_a_card_or_a_price(info: str) -> None:
    facts = cards.card(info).facts
    assert all(len(text) <= 80 for _, text in facts)
    assert tariffs.offer("chatbot", 1, 2, info).prices
    assert cards.verifier_of(info) == cards.verifier_of(info).lower()


@pytest.mark.parametrize(
    ("text", "neuron"),
    [("0.42", 42 * 10**16), (".5", 5 * 10**17), ("3.", 3 * 10**18), ("0.000000000000000001", 1)],
)
def test_a_price_in_a_filter_is_exact(text: str, neuron: int) -> None:
    assert filters.price_text(text) == text and money.parse(text) == neuron


@pytest.mark.parametrize("text", ["", ".", "1e5", "-1", "1,5", "NaN", "0x1", "1" * 13, "٣"])
def test_what_is_no_price_is_not_asked_for(text: str) -> None:
    assert filters.price_text(text) == ""
