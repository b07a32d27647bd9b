"""Wordings of log limits as nodes send them (architecture.md 4-B.7)."""

from __future__ import annotations

import pytest

from chain.limits import is_pruned, is_rate_limit, log_limit


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
        ("exceed maximum block range: 5000", 5000),
        ("query exceeds max results 20000, retry with the range 100-200", 101),
        ("query exceeds max block range 100000", 100000),
        ("requested too many blocks from 1 to 9, maximum is set to 2048", 2048),
        ("logs matched by query exceeds limit of 10000", 10000),
        ("Block range limit exceeded. See more details at https://docs.example/", 0),
        ("eth_getLogs requests with up to a 500 block range are allowed on free plan", 500),
        ("the range is too large", 0),
        ("response is too big", 0),
        ("maximum [from, to] blocks distance: 10000", 10000),
        ("query returned more than 10000 results. Try with this block range [0x1, 0xA].", 10),
        ("ranges over 10000 blocks are not supported on freetier", 10000),
        ("range 2000 is bigger than range limit 1000", 1000),
        ("eth_getLogs block range too large, range: 200000, max: 10000", 10000),
        ("block range greater than 1024 max", 0),
        ("Query timeout exceeded. Consider reducing your block range.", 0),
        ("Response size should not greater than 150000000 bytes", 0),
        ("backend response too large", 0),
        ("Exceeded max range limit for eth_getLogs: 1000", 1000),
        ("The range is too large. Max is 1k blocks", 1000),
        ("Maximum allowed number of requested blocks is 3500", 3500),
        ("query returns too many logs, narrow your filter", 0),
        ("Try with a smaller block range", 0),
        ("eth_getLogs and eth_newFilter are limited to a 10,000 blocks range", 10000),
        ("please limit the query to at most 1000 blocks", 1000),
        ("block range extends beyond current head block", None),
        ("insufficient funds for gas", None),
        ("execution reverted", None),
        ("header not found", None),
        ("gas limit exceeded", None),
        ("missing trie node 1a2b (path ) state is not available", None),
    ],
)
def test_limits_are_recognised(message: str, expected: int | None) -> None:
    assert log_limit(message) == expected


@pytest.mark.parametrize(
    "message",
    [
        "Too Many Requests",
        "rate limit exceeded",
        "Your app has exceeded its compute units per second capacity",
        "daily request count exceeded, request rate limited",
        "project ID request rate exceeded, too many requests; slow down",
        "request limit reached",
    ],
)
def test_asking_too_often_is_another_thing(message: str) -> None:
    assert is_rate_limit(message)
    assert not is_rate_limit("block range limit exceeded")
    assert not is_rate_limit("query returned more than 10000 results")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("missing trie node 1a2b (path ) state 0x12 is not available", True),
        ("historical state 0xabcd is not available", True),
        ("distance to target block exceeds maximum proof window", True),
        ("state already pruned at block 5", True),
        ("this request requires an archive node", True),
        ("header not found", False),
        ("execution reverted", False),
    ],
)
def test_pruned_nodes_say_so(message: str, expected: bool) -> None:
    assert is_pruned(message) is expected
