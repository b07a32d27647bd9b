"""The price of 0G in US dollars: what is taken from a source, and how amounts are written."""

from __future__ import annotations

import datetime as dt
import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from net.errors import BadAnswer
from probes import dollars
from probes.dollars import Price

NOW = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
THEN = int(NOW.timestamp()) - 90
ONE = 10**18


def answer(usd: Any = 0.557195, at: Any = THEN, **more: Any) -> bytes:
    return json.dumps({"zero-gravity": {"usd": usd, "last_updated_at": at, **more}}).encode()


def price(micro: int) -> Price:
    return Price(micro, NOW, "a.example")


def test_an_answer_is_read_to_the_last_digit() -> None:
    found = dollars.read(answer(usd_24h_change=-3.1), "a.example", NOW)
    assert found == Price(557_195, NOW - dt.timedelta(seconds=90), "a.example")
    assert found.text == "$0.557195"
    assert [price(n).text for n in (100, 420_000, 1_000_000, 1_234_500_000)] == [
        *("$0.0001", "$0.42", "$1.00", "$1234.50")
    ]
    # A number that no float holds.
    sent = answer(0).replace(b'"usd": 0', b'"usd": 0.30000049999999999999999')
    assert dollars.read(sent, "a.example", NOW).micro == 300_000
    assert dollars.read(answer(3), "a.example", NOW).micro == 3_000_000


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"", "not JSON"),
        (b"[]", "not about one coin"),
        (b"{}", "not about one coin"),
        (b'{"a": {}, "b": {}}', "not about one coin"),
        (b'{"a": 1}', "not about one coin"),
        (b'{"status": {"error_code": 429}}', "no price"),
        (answer("0.5"), "no price"),
        (answer(True), "no price"),
        (answer(None), "no price"),
        (answer(0), "no price"),
        (answer(-1), "no price"),
        (answer(10**9), "no price"),
        (answer(1e-9), "no price"),
        (answer(1e300), "no price"),
        (answer(0.5, None), "since when"),
        (answer(0.5, "now"), "since when"),
        (answer(0.5, THEN + 3_600), "still to come"),
        (answer(0.5, 10**30), "still to come"),
        (answer(0.5, THEN - 90_000), "a day old"),
        (answer(0.5, -(10**30)), "a day old"),
        (answer(0.5).replace(b"0.5", b"NaN"), "not JSON"),
        (answer(0.5).replace(b"0.5", b"1e999999999999999999999"), "JSON"),
        (b"[" * 100 + b"]" * 100, "nested deeper"),
        (answer(0.5, note="x" * 20_000), "more than"),
        (answer(0.5, note=[0] * 2_000), "more than"),
    ],
)
def test_what_is_no_price_is_refused_in_words_of_ours(sent: bytes, why: str) -> None:
    with pytest.raises(BadAnswer, match=why):
        dollars.read(sent, "a.example", NOW)


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda deeper: st.lists(deeper, max_size=3)
    | st.dictionaries(st.sampled_from(["usd", "last_updated_at", "a"]), deeper, max_size=3),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_any_answer_is_a_price_or_refused(sent: bytes) -> None:
    try:
        found = dollars.read(sent, "a.example", NOW)
    except BadAnswer:
        return
    assert 100 <= found.micro <= 10**11 and found.at <= NOW + dollars.AHEAD


@pytest.mark.parametrize(
    ("neuron", "micro", "said"),
    [
        (0, 500_000, ""),
        (-ONE, 500_000, ""),
        (ONE, 420_000, "≈\u00a0$0.42"),
        (ONE, 425_000, "≈\u00a0$0.42"),  # half to even
        (ONE, 435_000, "≈\u00a0$0.44"),
        (ONE, 14_900, "≈\u00a0$0.01"),
        (ONE, 10_000, "≈\u00a0$0.01"),
        (ONE, 9_960, "≈\u00a0$0.01"),
        (ONE, 9_940, "≈\u00a0$0.0099"),
        (ONE // 1000, 4_250_000, "≈\u00a0$0.0042"),
        (ONE // 10**6, 1_234_000, "≈\u00a0$0.0000012"),
        (ONE // 10**6, 1_000_000, "≈\u00a0$0.0000010"),
        (1, 100, "<\u00a0$0.000001"),
        (2_500_000 * ONE, 557_195, "≈\u00a0$1,392,987.50"),
        (999_999_999_999 * ONE, 10**6, "≈\u00a0$999,999,999,999.00"),
        (10**12 * ONE, 10**6, "≈\u00a0$1.000\u00a0×\u00a010¹²"),
        (2**256 - 1, 10**6, "≈\u00a0$1.157\u00a0×\u00a010⁵⁹"),
    ],
)
def test_an_amount_is_never_nothing_and_never_a_float(neuron: int, micro: int, said: str) -> None:
    assert price(micro).of(neuron) == said


@given(st.integers(1, 2**128), st.integers(100, 10**11))
def test_an_amount_is_as_exact_as_it_is_written(neuron: int, micro: int) -> None:
    said, value = price(micro).of(neuron), neuron * micro  # in 10^-24 of a dollar
    if said.startswith("<"):
        assert value < 10**18
        return
    said, _, places = said.removeprefix("≈\u00a0$").partition("\u00a0×\u00a010")
    whole, _, rest = said.replace(",", "").partition(".")
    shown = int(whole) * 10**24 + int(rest.ljust(24, "0"))
    shown *= 10 ** int(unicodedata.normalize("NFKC", places) or 0)
    # Half of the second significant digit, or half a cent.
    most = max(value // 18, 10**22 // 2 if value > 10**22 else 0)
    assert shown > 0 and abs(shown - value) <= most


def test_age_is_said_after_an_hour_and_ends_it_after_a_day() -> None:
    ages = [dt.timedelta(minutes=59), dt.timedelta(minutes=61), dt.timedelta(hours=25)]
    assert [price(1).late(NOW + age) for age in ages] == [False, True, True]
    assert [price(1).ended(NOW + age) for age in ages] == [False, False, True]
