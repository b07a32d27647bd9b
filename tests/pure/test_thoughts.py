"""What is thought inside an answer, however its pieces were cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.thoughts import Thoughts
from inference.wire import Piece


@pytest.mark.parametrize(
    ("text", "answer", "thought"),
    [
        ("<think>\nSix by 7.\n</think>\n\nIt is **42**.", "It is **42**.", "\nSix by 7.\n"),
        ("\n <think></think>\n Yes\n", "Yes\n", ""),
        (" " * 101 + "<think>a</think>b", " " * 101 + "<think>a</think>b", ""),
        (" \n<", " \n<", ""),
        ("<think>a <b></thin </think>b</think>", "b</think>", "a <b></thin "),
        ("<think>up to the limit", "", "up to the limit"),
        ("Write <think>x</think>.", "Write <think>x</think>.", ""),
        ("  <thinker>", "  <thinker>", ""),
        ("<thi", "<thi", ""),
        ("", "", ""),
    ],
)
@given(data=st.data())
def test_thoughts_are_told_from_the_answer(
    text: str, answer: str, thought: str, data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    thoughts = Thoughts()
    said = [thoughts.take(Piece(part)) for part in parts]
    said.append(thoughts.take(Piece(finish_reason="stop", reasoning="!")))
    assert "".join(piece.text for piece in said) == answer
    assert "".join(piece.reasoning for piece in said) == thought + "!"
    assert said[-1].finish_reason == "stop" and thoughts.found == (answer != text)
