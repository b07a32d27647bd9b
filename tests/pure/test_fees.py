"""Fees and balance rules against worked examples, and the laws that hold for every price and
usage.
"""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import fees
from protocol.fees import Tariff, Tier, Usage

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "vectors/provider/fee_examples.json").read_text()
)
BY_NAME = {example["name"]: example for example in VECTORS["fees"]}
PRICES = st.integers(0, 10**24)
COUNTS = st.integers(0, 10**9)


def inputs(name: str) -> dict[str, Any]:
    return dict(BY_NAME[name]["inputs"])


@pytest.mark.parametrize("name", [name for name in BY_NAME if name.startswith("chat")])
def test_chat_examples(name: str) -> None:
    given_ = inputs(name)
    info: dict[str, Any] = {}
    if "divisor" in given_:
        info["cacheTokenBilling"] = {"divisor": given_["divisor"]}
    if "tiers" in given_:
        info["tieredPricing"] = {"tiers": given_["tiers"]}
    tariff = fees.tariff(
        int(given_["inputPrice"]), int(given_["outputPrice"]), json.dumps(info) if info else ""
    )
    if "cache_write_tokens" in given_:
        tariff = Tariff(
            tariff.input_price,
            tariff.output_price,
            cache_write=(given_["numerator"], given_["denominator"]),
        )
    usage = Usage(
        given_["prompt_tokens"],
        given_["completion_tokens"],
        given_.get("cached_tokens", 0),
        given_.get("cache_write_tokens", 0),
    )
    assert fees.chat_fee(tariff, usage) == int(BY_NAME[name]["fee_neuron"])


def test_the_other_examples() -> None:
    image = inputs("image_generation_n3")
    assert fees.image_fee(int(image["outputPrice"]), image["n"]) == 9_000_000_000_000_000
    speech = inputs("stt_tokens")
    tariff = Tariff(int(speech["inputPrice"]), int(speech["outputPrice"]))
    fee = fees.speech_fee(tariff, speech["input_tokens"], speech["output_tokens"])
    assert fee == int(BY_NAME["stt_tokens"]["fee_neuron"])
    for name in ("stt_duration_0_4", "stt_duration_12_49", "stt_duration_12_5"):
        example = BY_NAME[name]
        length = fees.seconds(example["inputs"]["seconds"])
        assert length is not None
        expected = example["fee_neuron"]
        assert fees.speech_duration_fee(tariff, length, "broker") == int(
            expected["broker_source_read"]
        )
        assert fees.speech_duration_fee(tariff, length, "sdk") == int(expected["sdk_0_9_0_rule"])


@pytest.mark.parametrize("case", VECTORS["balance_checks"], ids=lambda c: c["name"])
def test_balance_examples(case: dict[str, Any]) -> None:
    lack = fees.shortfall(
        balance=int(case["account_balance"]),
        pending_refund=int(case["pending_refund"]),
        unsettled=int(case["unsettled"]),
        request_fee=int(case["current_request_estimate"]),
    )
    assert (lack is None) == case["accepted"]
    if lack is not None:
        assert (lack.available, lack.required) == (int(case["available"]), int(case["required"]))


def test_the_refusal_reads_like_the_reference_server() -> None:
    lack = fees.Shortfall(10**18, 10**18, 1_362_000_000_000_000, 600_000_000_000)
    assert fees.shortfall_text(lack, "0xP") == (
        "insufficient balance: your locked balance is 1.000000 0G, but the required minimum is "
        "1.001363 0G (breakdown: minimum reserve 1.000000 0G + unsettled fees 0.001362 0G + "
        "current request fee 0.000001 0G). Please add more funds with: 0g-compute-cli "
        "transfer-fund --provider 0xP --amount <amount>"
    )


@given(PRICES, PRICES, COUNTS, COUNTS, COUNTS, COUNTS, st.integers(0, 1000))
def test_a_chat_fee_is_whole_never_negative_and_never_above_the_plain_one(
    input_price: int, output_price: int, prompt: int, answer: int, cached: int, write: int, div: int
) -> None:
    plain = input_price * prompt + output_price * answer
    fee = fees.chat_fee(
        Tariff(input_price, output_price, div), Usage(prompt, answer, cached, write)
    )
    assert type(fee) is int and output_price * answer <= fee <= plain
    if div <= 1 or not cached:
        assert fee == plain


@given(PRICES, COUNTS, COUNTS)
def test_one_more_token_never_costs_less(price: int, prompt: int, answer: int) -> None:
    tariff = Tariff(price, 2 * price, 10, tiers=(Tier(1000), Tier(0, 3, 2, 2)))
    fee = fees.chat_fee(tariff, Usage(prompt, answer, prompt // 2))
    assert fees.chat_fee(tariff, Usage(prompt, answer + 1, prompt // 2)) >= fee
    assert fees.chat_fee(tariff, Usage(prompt + 1, answer, prompt // 2)) >= fee


SMALL = st.integers(0, 40)
TIERS = st.builds(Tier, SMALL, SMALL, st.integers(1, 3), SMALL, st.integers(1, 3))


@given(st.lists(TIERS, max_size=4), SMALL, SMALL, SMALL, SMALL)
def test_the_most_covers_fewer_tokens_in_dearer_tiers(
    tiers: list[Tier], prompt: int, answer: int, more: int, longer: int
) -> None:
    tariff = Tariff(3, 5, tiers=tuple(tiers))
    most = fees.most_fee(tariff, Usage(prompt + more, answer + longer))
    assert most >= fees.chat_fee(tariff, Usage(prompt, answer))


def test_without_usage_words_are_counted() -> None:
    assert fees.words_fee(7, " one  two\nthree ") == 21
    assert fees.speech_words_fee(7, "one two") == 28
    assert fees.speech_words_fee(7, "") == 700


@pytest.mark.parametrize(
    "info",
    [
        "",
        "not json",
        "[]",
        "[" * 100_000,
        '{"cacheTokenBilling":{"divisor":-1}}',
        '{"cacheTokenBilling":{"divisor":true}}',
        '{"cacheTokenBilling":7,"tieredPricing":[]}',
        '{"tieredPricing":{"tiers":[{"maxInputTokens":"x"}]}}',
        '{"tieredPricing":{"tiers":[{},{"inputMultiplierDenominator":0}]}}',
        json.dumps({"tieredPricing": {"tiers": [{}] * 33}}),
    ],
)
def test_hostile_additional_info_leaves_the_plain_prices(info: str) -> None:
    assert fees.tariff(3, 5, info) == Tariff(3, 5)


@pytest.mark.parametrize("value", [None, -1, 1.0, True, "1.5", "-1", "²", 2**53 + 1, "9" * 17, []])
def test_hostile_counts_are_no_counts(value: object) -> None:
    assert fees.count(value) is None
    assert fees.chat_usage({"prompt_tokens": value, "completion_tokens": 1}) is None


def test_usage_reads_what_upstreams_write() -> None:
    assert fees.chat_usage({"prompt_tokens": "12", "completion_tokens": 3}) == Usage(12, 3)
    detailed = {
        "prompt_tokens": 12,
        "completion_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 4, "cache_creation_tokens": None},
    }
    assert fees.chat_usage(detailed) == Usage(12, 3, 4)
    assert fees.chat_usage([]) is None


@pytest.mark.parametrize("value", ["nan", "inf", -1, True, None, "x", "1e400"])
def test_hostile_durations_are_none(value: object) -> None:
    assert fees.seconds(value) is None
    assert fees.seconds("12.50") == Decimal("12.5")
