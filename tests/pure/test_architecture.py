"""ARCHITECTURE.md tells the newcomer what is true: folders, layers and decisions that exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TEXT = (ROOT / "ARCHITECTURE.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
CONTRACTS = {entry["name"]: entry for entry in PROJECT["importlinter"]["contracts"]}


def test_the_layers_are_those_that_the_linter_holds() -> None:
    for name in ("imports point down", "devnet -> provider -> protocol"):
        assert " → ".join(CONTRACTS[name]["layers"]) in TEXT, name


def test_the_map_names_every_package_and_nothing_else() -> None:
    drawn = TEXT.partition("```\n")[2].partition("```")[0]
    named = set(re.findall(r"(?<![\w/])([a-z]+)/", drawn))
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages - {"scripts"} <= named
    assert all(
        (ROOT / name).is_dir() for name in named - {"pure", "db", "live", "browser", "decisions"}
    )


def test_links_lead_somewhere() -> None:
    for name in ("ARCHITECTURE.md", "README.md", "CONTRIBUTING.md", "SECURITY.md"):
        for target in re.findall(r"\]\((?!https?:|mailto:|#)([^)#]+)", (ROOT / name).read_text()):
            assert (ROOT / target).exists(), f"{name}: {target}"


def test_pages_name_tests_that_exist() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    named = {
        (page.name, name)
        for page in pages
        for name in re.findall(r"tests/\w+/test_\w+\.py", page.read_text())
    }
    assert len(named) > 100
    assert not {f"{page}: {name}" for page, name in named if not (ROOT / name).exists()}


def test_a_long_module_has_a_reason_in_a_decision() -> None:
    """docs/decisions/0020: 450 lines, and no reason stays for what is short again."""
    ours = {path.parent for path in ROOT.glob("*/__init__.py")} | {ROOT / "tests"}
    modules = (path for folder in ours for path in folder.rglob("*.py"))
    long = {
        str(path.relative_to(ROOT))
        for path in modules
        if path.parent.name != "migrations" and len(path.read_text().splitlines()) > 450
    }
    record = (ROOT / "docs/decisions/0020-long-files.md").read_text()
    reasons = dict(re.findall(r"^\| `([\w/]+\.py)` \| (.+) \|$", record, re.MULTILINE))
    assert long == set(reasons)
    assert all(len(reason) > 20 for reason in reasons.values())
