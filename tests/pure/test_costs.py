"""What a chat answer costs at most, for any text and any tokenizer; what a transcript costs."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from inference import costs, wire
from inference.openai import asks, outcome
from protocol.fees import Tariff

#: What a model's template puts around a message, and before the first one where nobody wrote it.
AROUND, BEFORE = 8, 24


@given(st.lists(st.text(), min_size=1, max_size=4), st.integers(0, 5000))
@example(["🙂" * 100], 1)
def test_up_to_holds_for_a_tokenizer_that_knows_no_character(texts: list[str], answer: int) -> None:
    messages = [wire.Message("user", text) for text in texts]
    body = wire.request_body(model="m", messages=messages, max_tokens=answer)
    read = BEFORE + sum(AROUND + len(text.encode()) for text in texts)
    assert costs.most(Tariff(7, 3), len(body), answer) >= 7 * read + 3 * answer


@pytest.mark.parametrize(
    ("body", "prices", "cost"),
    [
        (b'{"text": "a", "usage": {"type": "tokens", "input_tokens": 9, "output_tokens": 4}}',
         (2, 5), (38, "known")),
        (b'{"text": "a", "usage": {"type": "duration", "seconds": 3}}', (5, 5), (15, "known")),
        (b'{"text": "a", "duration": 3}', (2, 5), (6, "estimated")),
        (b'{"text": "a", "duration": 2.4}', (5, 5), (10, "estimated")),
        (b'{"text": "one two"}', (5, 5), (20, "estimated")),
        (b"1\n00:00:00,000 --> 00:00:03,000\none\n", (5, 5), (15, "estimated")),
    ],
)  # fmt: skip
def test_what_costs_the_same_by_every_rule_and_was_counted_is_known(
    body: bytes, prices: tuple[int, int], cost: tuple[int, costs.Kind]
) -> None:
    ask = asks.Ask(asks.TRANSCRIPTIONS, "", b"", "m")
    found = outcome.cost(ask, Tariff(*prices), body, outcome.Outcome(), 99)
    assert found == costs.Cost(*cost) == costs.of_transcript(Tariff(*prices), body)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 9), ("é " * 9, 9), ("é " * 10, 30), ("x" * 72, 9), ("語" * 30, 90), (" " * 73, 73)],
)
def test_up_to_grows_with_an_answer_that_heeds_no_limit(text: str, tokens: int) -> None:
    assert costs.written(text, 9) == tokens
