"""Reading requests and answers without trusting either."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.fees import Tariff, Usage
from provider.asks import MAX_INPUTS, Terms, read_embeddings
from provider.errors import Refused
from provider.limits import SHARES, Windows
from provider.meter import PICTURE_TOKENS, AnswerMeter, VectorMeter, read_prompt

TARIFF = Tariff(3, 5)
STREAM = (
    b'data: {"choices":[{"delta":{"content":"one "}}]}\r\n\r\n'
    b': keep-alive\n\ndata: {"choices":[{"delta":{"content":"two thr"}}],"usage":null}\n\n'
    b'data:{"choices":[{"delta":{"content":"ee"}},{"delta":{"content":" x"}}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":4}}\n\ndata: [DONE]'
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_a_stream_costs_the_same_however_it_is_cut(cuts: list[int]) -> None:
    meter = AnswerMeter()
    edges = [0, *sorted(cuts), len(STREAM)]
    for start, end in pairwise(edges):
        meter.feed(STREAM[start:end])
    meter.end()
    assert meter.done and meter.usage == Usage(10, 4)
    assert meter.fee(TARIFF) == 50


def test_words_are_counted_across_chunks_until_usage_comes() -> None:
    meter = AnswerMeter()
    assert meter.fee(TARIFF) == 0
    for line in STREAM.split(b"\n")[:5]:
        meter.feed(line + b"\n")
    assert meter.fee(TARIFF) == 5 * 3  # "one two thr"
    meter.feed(b"\n".join(STREAM.split(b"\n")[5:8]) + b"\n")
    assert meter.fee(TARIFF) == 5 * 4  # "one two three x"


def test_usage_stays_known_when_more_comes_after_it() -> None:
    meter = AnswerMeter()
    meter.feed(b'data: {"usage":{"prompt_tokens":10,"completion_tokens":4}}\n')
    meter.feed(b'data: {"choices":[{"delta":{"content":"more words"}}],"usage":null}\n')
    assert meter.fee(TARIFF) == 50


@given(st.lists(st.binary(max_size=60)))
def test_hostile_streams_never_raise_and_never_cost_negative(parts: list[bytes]) -> None:
    meter = AnswerMeter()
    for part in parts:
        meter.feed(b"data: " + part + b"\n")
        meter.feed(part)
    meter.end()
    assert meter.fee(TARIFF) >= 0


def test_a_line_without_end_is_forgotten() -> None:
    meter = AnswerMeter()
    for _ in range(40):
        meter.feed(b"data: " + b"x" * 100_000)
    assert len(meter._line) <= 1024 * 1024
    meter.feed(b'\ndata: {"choices":[{"delta":{"content":"word"}}]}\n')
    assert meter.fee(TARIFF) == 5


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"<html>", b'{"a":', b"\xff"])
def test_what_is_no_object_is_no_answer(body: bytes) -> None:
    assert not AnswerMeter().whole(body)


def test_odd_answers_are_read_as_far_as_they_go() -> None:
    meter = AnswerMeter()
    odd = {"choices": [7, {"message": None}, {"message": {"content": ["a"]}}], "usage": [1]}
    assert meter.whole(json.dumps(odd).encode())
    assert meter.fee(TARIFF) == 0


def prompt(document: dict[str, Any]) -> bytes:
    return json.dumps({"model": "m", "messages": [], **document}, indent=1).encode()


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"stream": False},
        {"stream": None},
        {"stream": True, "stream_options": {"include_usage": True, "x": 1}},
    ],
)
def test_bytes_stay_untouched_when_nothing_changes(document: dict[str, Any]) -> None:
    raw = prompt(document)
    assert read_prompt(raw, "m").body is raw


@pytest.mark.parametrize(
    ("document", "changed"),
    [
        ({"stream": True}, {"stream_options": {"include_usage": True}}),
        (
            {"stream": True, "stream_options": {"include_usage": False, "x": 1}},
            {"stream_options": {"include_usage": True, "x": 1}},
        ),
        ({"stream": True, "stream_options": 7}, {"stream_options": {"include_usage": True}}),
        ({"model": "other"}, {"model": "m"}),
    ],
)
def test_only_what_must_change_changes(document: dict[str, Any], changed: dict[str, Any]) -> None:
    raw = prompt(document)
    sent = json.loads(read_prompt(raw, "m").body)
    assert sent == {**json.loads(raw), **changed}


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model":"m","messages":[],"max_tokens":1,"max_tokens":1000000}',
        b'{"model":"m","messages":[],"messages":[{"role":"user"}]}',
        b'{"model":"m","messages":[{"role":"user","role":"system"}]}',
        # Servers in Go heed the last of these, the Kelvin sign included.
        b'{"model":"m","messages":[],"MODEL":"dear"}',
        b'{"model":"m","messages":[],"MAX_TO\xe2\x84\xaaENS":1000000}',
        b'{"model":"m","messages":[],"Stream":true}',
        b'{"model":"m","messages":[],"a":1,"A":2}',
    ],
)
def test_a_request_with_two_meanings_is_refused(raw: bytes) -> None:
    """We would reserve by one reading and the upstream would work by the other."""
    with pytest.raises(Refused):
        read_prompt(raw, "m")


def test_the_upstream_may_know_the_model_by_another_name() -> None:
    assert json.loads(read_prompt(prompt({}), "vendor/m-2").body)["model"] == "vendor/m-2"


def test_the_estimate_follows_the_limits_asked_for() -> None:
    def expected(**document: Any) -> Usage:
        return read_prompt(prompt(document), "m").expected

    size = len(prompt({}))
    assert expected() == Usage(size // 4 + 1, 1024)
    assert expected(max_tokens=10).completion_tokens == 10
    assert expected(max_tokens=10, n=3).completion_tokens == 30
    for older, newer in ((10, 20), (20, 10)):  # SGLang heeds the older, vLLM the newer
        both = expected(max_tokens=older, max_completion_tokens=newer)
        assert both.completion_tokens == 20
    # llama.cpp heeds a name of its own before both, and without the others, too.
    assert expected(max_tokens=10, n_predict=9000).completion_tokens == 9000
    assert expected(max_tokens=10, n_predict=5).completion_tokens == 10
    assert expected(n_predict=5).completion_tokens == 1024
    with pytest.raises(Refused, match="n_predict"):
        expected(max_tokens=10, n_predict=-1)


@given(st.binary(max_size=200))
def test_hostile_bodies_are_refused_politely(raw: bytes) -> None:
    with pytest.raises(Refused) as refusal:
        read_prompt(raw, "m")
    assert refusal.value.status == 400


def test_pictures_are_reserved_for_by_their_number_and_not_by_their_bytes() -> None:
    def expected(*urls: str) -> int:
        parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        body = {"model": "m", "messages": [{"role": "user", "content": parts}]}
        return read_prompt(json.dumps(body).encode(), "m").expected.prompt_tokens

    plain = expected()
    one, two = expected("data:," + "A" * 10**6), expected("data:,A", "data:,A")
    assert plain + PICTURE_TOKENS <= one <= plain + PICTURE_TOKENS + 30
    assert two >= plain + 2 * PICTURE_TOKENS
    for odd in (7, [7], [{"image_url": 7}], [{"image_url": {"url": ["data:"]}}], None):
        body = {"model": "m", "messages": [{"role": "user", "content": odd}, 7]}
        assert read_prompt(json.dumps(body).encode(), "m").expected.prompt_tokens < 100


TERMS = Terms("m", "", TARIFF, "sdk")


def texts(given: Any, **more: Any) -> bytes:
    return json.dumps({"model": "m", "input": given, **more}, indent=1).encode()


@pytest.mark.parametrize(
    ("given", "tokens"),
    [("four", 2), (["four", "eight888"], 2 + 3), ([7, 8, 9], 3), ([[7, 8], [9]], 3)],
)
def test_texts_go_on_as_they_came_and_are_reserved_by_their_tokens(given: Any, tokens: int) -> None:
    raw = texts(given, encoding_format="base64")
    ask = read_embeddings(raw, "", TERMS)
    assert (ask.body, ask.estimate) == (raw, 3 * tokens)
    renamed = read_embeddings(texts(given, model="other"), "", TERMS)
    assert json.loads(renamed.body) == {"model": "m", "input": given}


@pytest.mark.parametrize(
    "given", [None, "", [], [""], ["a", 7], [[]], [[1], 2.5], [True], {"a": 1}, ["a"] * 2049]
)
def test_what_is_no_text_is_refused(given: Any) -> None:
    assert MAX_INPUTS == 2048
    with pytest.raises(Refused, match="input must be"):
        read_embeddings(texts(given), "", TERMS)
    with pytest.raises(Refused, match="encoding_format"):
        read_embeddings(texts("a", encoding_format="int8"), "", TERMS)


def test_embeddings_cost_the_input_tokens_that_were_counted() -> None:
    meter = VectorMeter()
    usage = {"prompt_tokens": 7, "total_tokens": 900, "completion_tokens": 900}
    assert meter.whole(json.dumps({"data": [], "usage": usage}).encode())
    assert meter.fee(TARIFF) == 7 * 3


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"data":[]}',
        b'{"data":[],"usage":{"prompt_tokens":-1}}',
        b'{"usage":{"prompt_tokens":1}}',
    ],
)
def test_embeddings_without_a_count_are_no_answer(body: bytes) -> None:
    assert not VectorMeter().whole(body)


def test_millions_of_values_are_not_read() -> None:
    """Thirty MB of empty objects were a GB of memory, for anybody with an account."""
    raw = b'{"messages":[' + b"{}," * 10_000_000 + b"{}]}"
    with pytest.raises(Refused, match="values"):
        read_prompt(raw, "m")


def test_an_ipv6_network_has_so_many_shares_and_fills_no_table() -> None:
    """A /48 costs nothing, and holds 65,536 customers."""
    windows = Windows(1)

    def let_in(who: str) -> bool:
        try:
            windows.count(who, 60.0)
        except Refused as refusal:
            assert refusal.status == 429 and "Retry-After" in refusal.headers
            return False
        return True

    inside = [let_in(f"2001:db8:0:{number:x}::/64") for number in range(SHARES + 100)]
    assert inside == [True] * SHARES + [False] * 100 and len(windows._counts) == SHARES + 1
    assert let_in("2001:db8:1::/64") and let_in("192.0.2.1") and not let_in("192.0.2.1")
