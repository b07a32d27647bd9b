"""The guides for newcomers run as they are printed: their blocks marked `run`, against the real
site, a provider, and a database and chain of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from accounts import tokens
from accounts.models import User
from devnet.deploy import Deployment
from inference.openai import app, listing
from provider import config
from runner.valkey import EmbeddedValkey
from tests import factories
from tests.db import api_rows
from tests.db.chat_world import world
from tests.live.chat_upstream import ThreadedUpstream
from tests.live.test_drill import Site, migrated
from tests.live.test_openai_relay import provider

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
PRINTED, PRINTED_MODEL = "http://127.0.0.1:8000", "zg-docs-reader@"
PRINTED_PROVIDER = "0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc"


def blocks(page: str) -> list[tuple[str, str]]:
    """Language and text of the blocks that say they are run."""
    return re.findall(r"^```(\w+) run\n(.*?)^```", (DOCS / f"{page}.md").read_text(), re.M | re.S)


def run(language: str, text: str, site: str, **env: str) -> str:
    """What a block prints. A request that is refused fails like a program that does."""
    for printed, here in (
        (PRINTED, site),
        (PRINTED_MODEL, "test-model@"),
        ('"zg-docs-reader"', '"test-model"'),
        (PRINTED_PROVIDER, factories.PETRA),
        ("curl -s", "curl --fail-with-body -s"),
    ):
        text = text.replace(printed, here)
    command = ["sh", "-ec", text] if language == "sh" else [sys.executable, "-c", text]
    done = subprocess.run(
        command, env={**os.environ, **env}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (text, done.stdout, done.stderr)
    return done.stdout


@pytest.mark.django_db(transaction=True)
def test_developers_get_what_the_guide_and_the_recipes_promise(
    asgi_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_known", (0.0, []))
    app.relay.forget()
    with ThreadedUpstream(provider) as upstream:
        alice: User = world(upstream.url, model="test-model").owner
        factories.change(factories.PETRA)
        api_rows.movement(factories.ALICE, serving=factories.INFERENCE, provider=factories.PETRA)
        wanted = {"label": "guide", "scopes": ["inference", "read"], "per_minute": 600}
        token = tokens.create(alice, tokens.Wanted.of(wanted)).secret
        said = [
            run(language, text, asgi_server, ZGM_TOKEN=token)
            for page in ("start-developer", "relay", "recipes")
            for language, text in blocks(page)
        ]
    lists, cheapest, asked, streamed, own, feed, proof, ranked, table, changes, checked = said
    assert '"model": "test-model"' in lists and "test-model" in cheapest
    assert "One two three" in asked and re.search(r"verified \d+ neuron", asked)
    assert '"verdict":"verified"' in streamed.replace(" ", "")
    assert '"verified"' in own and "<feed" in feed
    assert "these bytes: True  the chain's key: True" in proof
    assert "0G a month  test-model" in ranked and table.count("\n") >= 1
    assert "nothing new 304" in changes and "inference" in checked


@pytest.mark.usefixtures("django_db_modify_db_settings")
def test_hosts_get_what_the_guide_promises(anvil: Any, devnet: Deployment, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with EmbeddedValkey() as cache, migrated(tmp_path / "pg") as database:
        site = Site(database, cache.url, anvil.url, tmp_path)
        site.sh("python manage.py follow --once")
        said = "".join(site.sh(text) for _, text in blocks("start-host"))
    assert said.count("ok ") >= 5 and "no drift" in said and "wrong" not in said
    for words in ("admin", "moderator"):
        assert words in said


def test_the_operators_file_is_one_that_a_broker_takes_at_the_demos_contract(
    devnet: Deployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    page = (DOCS / "start-operator.md").read_text()
    (text,) = re.findall(r"^```yaml\n(.*?)^```", page, re.M | re.S)
    monkeypatch.setenv("PROVIDER_WALLET_KEY", "0x" + "11" * 32)
    file = tmp_path / "provider.yaml"
    file.write_text(text)
    assert config.load(file).service.model == "my-model"
    assert yaml.safe_load(text)["chain"]["inference"] == devnet.inference
