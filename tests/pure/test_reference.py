"""docs/reference.md says what the code does: no command, variable or endpoint is missing."""

from __future__ import annotations

from scripts import reference


def test_the_page_is_what_the_code_says() -> None:
    again = "run: ./run exec -- python -m scripts.reference"
    assert reference.PAGE.read_text() == reference.page(), again


def test_every_variable_that_is_read_is_explained() -> None:
    text = reference.variables()
    missing = {name for name in reference.read_variables() if f"| `{name}` |" not in text}
    assert len(reference.read_variables()) > 30 and not missing
    assert not [line for line in text.splitlines() if line.endswith("|  |")]
