"""Wordings of log limits as nodes send them (architecture.md 4-B.7)."""

from __future__ import annotations

import pytest

from chain.limits import log_limit


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("query returned more than 10000 results", 0),
        (
            "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block "
            "range and no limit on the response size, or you can request any block range with a "
            "cap of 10K logs in the response. Based on your parameters and the response size "
            "limit, this block range should work: [0x64, 0xc7]",
            100,
        ),
        ("eth_getLogs is limited to a 10,000 range", 10000),
        ("block range is too wide", 0),
        ("exceed maximum block range: 5000", 0),
        ("query exceeds max results 20000, retry with the range 100-200", 0),
        ("requested too many blocks from 1 to 9, maximum is set to 2048", 0),
        ("logs matched by query exceeds limit of 10000", 0),
        ("Block range limit exceeded. See more details at https://docs.example/", 0),
        ("eth_getLogs requests with up to a 500 block range are allowed on free plan", 500),
        ("the range is too large", 0),
        ("response is too big", 0),
        ("insufficient funds for gas", None),
        ("execution reverted", None),
        ("header not found", None),
    ],
)
def test_limits_are_recognised(message: str, expected: int | None) -> None:
    assert log_limit(message) == expected
