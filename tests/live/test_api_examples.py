"""The documentation's examples run as they are printed, against the real site over HTTP."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests

from tests import factories
from tests.db import api_rows

pytestmark = pytest.mark.django_db(transaction=True)
ROOT = Path(__file__).resolve().parent.parent.parent
PRINTED = "http://127.0.0.1:8000"


def world() -> None:
    factories.market(7)
    factories.purse(factories.ALICE)
    api_rows.movement(factories.ALICE, serving=factories.INFERENCE, provider=factories.PETRA)


def blocks() -> list[str]:
    """The indented blocks of docs/api.md that are commands or programs."""
    found = re.findall(r"(?:^    .*\n(?:^\n(?=    ))?)+", (ROOT / "docs/api.md").read_text(), re.M)
    programs = [re.sub(r"^    ", "", block, flags=re.M).strip() for block in found]
    split = [part for block in programs for part in re.split(r"\n\n(?=curl )", block)]
    return [block for block in split if block.startswith(("curl ", "import "))]


def test_every_example_of_the_guide_runs(asgi_server: str) -> None:
    world()
    found = blocks()
    assert sum(block.startswith("curl ") for block in found) >= 3
    assert sum(block.startswith("import ") for block in found) >= 2
    for block in found:
        assert PRINTED in block
        text = block.replace(PRINTED, asgi_server)
        command = ["sh", "-c", text] if text.startswith("curl ") else [sys.executable, "-c", text]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert ran.returncode == 0, (block, ran.stderr)
        assert factories.address(0) in ran.stdout or "304" in ran.stdout or "200" in ran.stdout
        assert "/api/docs#" not in ran.stdout, (block, ran.stdout)


def test_every_command_on_the_page_of_endpoints_runs(
    asgi_server: str, tmp_path: Path, devnet: Any
) -> None:
    world()
    page = requests.get(f"{asgi_server}/api/docs", timeout=30).text
    printed = [html.unescape(text) for text in re.findall(r"<code>(curl .*?)</code>", page)]
    commands = [text for text in printed if "Bearer" not in text]
    assert len(commands) > 12
    for text in commands:
        assert asgi_server in text
        told = ["sh", "-c", text.replace("curl -s", "curl -s -w '%{http_code}' -o answer", 1)]
        ran = subprocess.run(
            told, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert ran.stdout == "200", (text, ran.stdout, (tmp_path / "answer").read_text()[:300])
