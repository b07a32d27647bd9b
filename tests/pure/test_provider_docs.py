"""docs/broker.md says what the code says: every setting with its default, every metric."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from provider import app, config
from provider.metrics import DOORS, EVENTS, PREFIX, Metrics
from provider.pictures import Pictures
from provider.relay import Relay
from provider.section import Notes, Setting
from provider.tuning import options

ROOT = Path(__file__).resolve().parents[2]
DOCS = (ROOT / "docs" / "broker.md").read_text()
ALERTS = ROOT / "deploy" / "provider" / "alerts.yml"


def example(name: str) -> dict[str, Any]:
    """An example with every setting in it, those too that stand behind a #."""
    text = (ROOT / "provider" / name).read_text()
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def asked(parse: Any, document: dict[str, Any]) -> list[Setting]:
    """What a file is asked for by the code that reads it."""
    notes = Notes()
    parse(document, Path("/srv"), notes)
    return notes.settings


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, str]]:
    monkeypatch.setenv("PROVIDER_WALLET_KEY", "0x" + "11" * 32)
    whole = {"admin": {"port": 1}, "adapters": {"secret": "x", "indexer": "http://x"}}
    found = asked(config.parse, example("example.yaml") | whole)
    found += asked(options.parse, example("tuning/example.yaml"))
    shown = {None: "required", "": "none"}
    return {s.path: (s.kind, shown.get(s.default, str(s.default))) for s in found}


def test_every_setting_is_documented_with_its_default(
    settings: dict[str, tuple[str, str]],
) -> None:
    rows = re.findall(r"^\| `([a-z_.\[\]0-9]+)` \| (.*?) \| (.*?) \| (.*?) \|$", DOCS, re.MULTILINE)
    documented = {path: (kind, default) for path, kind, default, _ in rows if path in settings}
    assert documented == settings
    assert len(documented) > 80


def test_the_examples_hold_every_setting(settings: dict[str, tuple[str, str]]) -> None:
    texts = "".join(
        (ROOT / "provider" / name).read_text() for name in ("example.yaml", "tuning/example.yaml")
    )
    left_out = {"wallet_key_password", "tee.key_password", "tee.machine.model_key_password"}
    for path in settings.keys() - left_out:
        name = path.rpartition(".")[2]
        assert re.search(rf"\b{name}(_file|_env)?:", texts), f"{path} is in no example"


def test_every_metric_is_documented_and_alerts_name_no_other() -> None:
    metrics = Metrics()
    with metrics.request("POST", "/v1/proxy/chat/completions") as status:
        status.append(200)
    names = set(re.findall(rf"^# TYPE {PREFIX}_(\S+)", metrics.text().decode(), re.MULTILINE))
    names = {name for name in names if not name.endswith("_created")}
    table = DOCS[DOCS.index("### Metrics") : DOCS.index("## When fees")]
    assert set(re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE)) == names
    used = re.findall(rf"{PREFIX}_([a-z_]+)", ALERTS.read_text())
    assert used and {re.sub("_bucket$", "", name) for name in used} <= names
    rules = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
    assert all(rule.keys() >= {"alert", "expr", "annotations"} for rule in rules)
    # What is 0 or missing for a moment, as before the first look, wakes nobody.
    assert all("for" in rule for rule in rules if rule["labels"]["severity"] == "page")
    # A label nobody sets makes a rule that is silent for ever.
    config = yaml.safe_load(ALERTS.with_name("prometheus.yml").read_text())
    jobs = {job["job_name"] for job in config["scrape_configs"]}
    known = {"event": {*EVENTS}, "door": {*DOORS.values()}, "status": {"5xx"}, "job": jobs}
    named = re.findall(r'(\w+)!?="([^"]*)"', "".join(rule["expr"] for rule in rules))
    assert {label for label, _ in named} == set(known)
    assert all(value in known[label] for label, value in named), named


def test_everything_that_is_sold_has_a_label_of_its_own() -> None:
    doors: Any = (Relay, Pictures)
    sold = {path for kind in config.SERVICE_TYPES for path in app._doors(kind, *doors)}
    assert {*sold, *app._SUBMIT} <= DOORS.keys()


def test_labels_are_never_a_strangers_words() -> None:
    metrics = Metrics()
    for method, path in (("BREW", "/x\ny"), ("GET", "/v1/proxy/chat/completions"), ("POST", "/é")):
        with metrics.request(method, path) as status:
            status.append(404)
    with metrics.request("POST", "/v1/proxy/chat/completions"):
        pass
    text = metrics.text().decode()
    assert f'{PREFIX}_requests_total{{door="other",status="4xx"}} 3.0' in text
    assert f'{PREFIX}_requests_total{{door="chat",status="gone"}} 1.0' in text
    metrics.outcome(77)
    assert 'outcome="other"' in metrics.text().decode()
