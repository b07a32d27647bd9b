"""What a chat answer costs at most, for any text and any tokenizer."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from inference import costs, wire
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
