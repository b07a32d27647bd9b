"""What somebody pasted, in each form that the original may have had."""

from __future__ import annotations

from inference import answers
from inference.answers import Body


def test_forms_of_a_pasted_text_hold_the_original() -> None:
    for original in (b"a\nb", b"a\nb\n", b"a\nb\n\n"):
        assert original in Body(original.replace(b"\n", b"\r\n"), typed=True).forms()
    assert Body(b"a\r\n").forms() == (b"a\r\n",)
    assert answers.MAX_BODY_BYTES == 8 << 20
