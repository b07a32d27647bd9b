"""docs/reference.md says what the code does: no command, variable or endpoint is missing."""

from __future__ import annotations

import ast

from scripts import reference


def test_the_page_is_what_the_code_says() -> None:
    again = "run: ./run exec -- python -m scripts.reference"
    assert reference.PAGE.read_text() == reference.page(), again


def read_variables() -> set[str]:
    """Names that the settings read from the environment."""
    tree = ast.parse((reference.ROOT / "marketplace/settings.py").read_text())
    return {
        str(node.args[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "env"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }


def test_every_variable_that_is_read_is_explained() -> None:
    text = reference.variables()
    missing = {name for name in read_variables() if f"| `{name}` |" not in text}
    assert len(read_variables()) > 30 and not missing
    assert not [line for line in text.splitlines() if line.endswith("|  |")]
