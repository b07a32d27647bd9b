"""Every picture of the documentation is shown somewhere, and a command makes it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from scripts import diagrams, screenshots

ROOT = Path(__file__).resolve().parent.parent.parent
#: Every page without its code.
PAGES = {
    path.name: re.sub(r"^```.*?^```|`[^`\n]*`", "", path.read_text(), flags=re.M | re.S)
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
}


def shown() -> set[str]:
    """Names of the pictures that pages show, by Markdown or by HTML."""
    text = "\n".join(PAGES.values())
    return {
        Path(path).name
        for pair in re.findall(r'!\[[^\]]+\]\(([^)]+)\)|(?:src|srcset)="([^"]+)"', text)
        for path in pair
        if path
    }


def test_pictures_are_shown_exist_and_are_made_by_a_command() -> None:
    files = {path.name for path in (ROOT / "docs/images").iterdir()}
    photographs = {
        name for picture in screenshots.PICTURES for name in screenshots.names(picture).values()
    }
    assert files == photographs | diagrams.files().keys(), "python -m scripts.screenshots"
    assert shown() <= files
    twins = {screenshots.names(picture)["dark"] for picture in screenshots.PICTURES}
    assert files - twins <= shown()


def test_the_command_needs_no_django() -> None:
    """It joins a demo of another process; what it takes from the tests must not import models."""
    env = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    command = [sys.executable, "-c", "import scripts.screenshots"]
    subprocess.run(command, cwd=ROOT, env=env, check=True)


def test_drawings_are_what_the_command_draws() -> None:
    for name, text in diagrams.files().items():
        assert (ROOT / "docs/images" / name).read_text() == text, "python -m scripts.diagrams"
        assert text.count("<title") == text.count("<desc") == 1 and "<script" not in text


def test_every_picture_says_in_words_what_it_shows() -> None:
    for name, page in PAGES.items():
        for text in re.findall(r"!\[([^\]]*)\]\(", page):
            assert len(text) > 12, f"{name}: {text!r}"
