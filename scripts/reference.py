"""Writes docs/reference.md: every command, variable and endpoint, from where each is defined.

    ./run exec -- python -m scripts.reference

`tests/pure/test_reference.py` fails while the page says something else than the code.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/reference.md"
#: Django's own options, the same for every command.
_COMMON = {
    *("help", "version", "verbosity", "settings", "pythonpath", "traceback"),
    *("no_color", "force_color", "skip_checks"),
}
HEAD = """# Reference

Every command, variable and endpoint of this version, and how long things are kept. Made from the
code by `python -m scripts.reference`, and a test holds it to that.
"""


def page() -> str:
    """The whole page as Markdown. Needs configured Django settings, no database."""
    parts = (HEAD, runs(), commands(), variables(), endpoints(), retention())
    return "\n".join(parts)


def runs() -> str:
    text = ast.get_docstring(ast.parse((ROOT / "run").read_text())) or ""
    listed = re.findall(r"^(\./run .+?)\s{2,}(.+)$", text, re.M)
    return _table("Commands of the checkout", ("command", "does"), listed)


def commands() -> str:
    """Our `manage.py` commands with their options."""
    from django.core.management import get_commands, load_command_class

    rows = []
    for name, app in sorted(get_commands().items()):
        if not (ROOT / app.partition(".")[0]).is_dir():
            continue
        command = load_command_class(app, name)
        options = [_option(action) for action in command.create_parser("manage.py", name)._actions]
        call = " ".join((f"manage.py {name}", *filter(None, options)))
        rows.append((call, str(command.help).strip()))
    return _table("Commands of the site", ("command", "does"), rows)


def _option(action: argparse.Action) -> str:
    if action.dest in _COMMON:
        return ""
    if not action.option_strings:
        name = str(action.metavar or action.dest).upper()
        return f"[{name}]" if action.nargs in ("?", "*") else name
    flag = action.option_strings[-1]
    takes = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
    if action.choices and not action.metavar:
        takes = " " + "|".join(map(str, action.choices))
    return flag + takes if action.required else f"[{flag}{takes}]"


def variables() -> str:
    """What `.env.example` says about each variable that the settings read."""
    rows: list[tuple[str, str, str]] = []
    said: list[str] = []
    over = False  # the last line was a variable: the next comment is about another
    for line in (ROOT / ".env.example").read_text().splitlines():
        if found := re.fullmatch(r"#?([A-Z][A-Z0-9_]+)=(.*)", line):
            rows.append((found[1], found[2], " ".join(said)))
            over = True
            continue
        heading = line.startswith("# ---") or not line.startswith("#")
        said = [] if heading else [*([] if over else said), line.removeprefix("#").strip()]
        over = False
    named: dict[str, tuple[str, str]] = {}
    for name, example, text in rows:
        named.setdefault(name, (example, text))
    table = [(name, example, text) for name, (example, text) in sorted(named.items())]
    return _table("Variables", ("variable", "example", "what for"), table, code=2)


def endpoints() -> str:
    """Paths of the JSON API, and of everything else that answers programs."""
    from marketplace.api import api

    schema: dict[str, Any] = api.get_openapi_schema()
    rows = [
        (f"{method.upper()} {path}", str(about.get("summary", "")))
        for path, methods in sorted(schema["paths"].items())
        for method, about in methods.items()
    ]
    return _table("Endpoints of the JSON API", ("endpoint", "answers"), rows)


def retention() -> str:
    """How long what is kept."""
    from marketplace.retention import RULES

    rows = [
        (rule.job, rule.what, rule.kept, ", ".join(sorted(rule.models)))
        for rule in sorted(RULES, key=lambda rule: rule.what)
    ]
    head = ("deleted by", "what", "kept", "tables")
    return _table("How long things are kept", head, rows)


def _table(title: str, head: tuple[str, ...], rows: list[Any], code: int = 1) -> str:
    """The first `code` columns are code: nothing in them becomes a link."""
    lines = [f"## {title}", "", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in rows:
        cells = [_cell(text) for text in row]
        shown = [f"`{cell}`" if cell else "" for cell in cells[:code]] + cells[code:]
        lines.append(f"| {' | '.join(shown)} |")
    return "\n".join((*lines, ""))


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()


if __name__ == "__main__":
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "marketplace.settings")
    django.setup()
    PAGE.write_text(page())
