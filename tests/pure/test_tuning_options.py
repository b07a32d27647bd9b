"""The fine-tuning broker's file: the example is complete and valid, mistakes are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from provider.errors import ConfigError
from provider.tuning import options

EXAMPLE = Path(options.__file__).with_name("example.yaml")
KEY = "0x" + "11" * 32


def example() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    del found["wallet_key_env"]
    return {**found, "wallet_key": KEY}


def test_the_example_is_valid(tmp_path: Path) -> None:
    found = options.parse(example(), Path("/nowhere"))
    assert found.price_per_token == 500_000_000_000
    assert found.models[0].command == ("python", "-m", "my_trainer")
    assert found.models[0].customised and found.storage and found.handover
    assert options.is_tuning(EXAMPLE)
    assert not options.is_tuning(EXAMPLE.parent.parent / "example.yaml")
    assert not options.is_tuning(Path("/nowhere.yaml"))
    no_day = tmp_path / "provider.yaml"
    no_day.write_text("tuning: 2026-13-45\n")
    assert not options.is_tuning(no_day), "it is read once more by what says what is wrong"


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("tuning.price_per_token", -1, "tuning.price_per_token: expected a whole number"),
        ("tuning.models", [], "tuning.models: expected a list of 1 to 50"),
        ("tuning.models.0.hash", "0x12", "hash: expected 0x and 64"),
        ("tuning.models.0.executor", "python -m x", "executor: expected a list"),
        ("tuning.models.0.executor", ["python", 3], "executor: expected texts"),
        ("tuning.models.0.usage_file", "no.zip", "usage_file: there is no such file"),
        ("tuning.models.0.name", "n" * 101, "name: longer than 100"),
        ("tuning.models.0.colour", "red", "colour: unknown setting"),
        ("tuning.storage.indexer", "ftp://x", "indexer: expected an http"),
        ("tuning.handover.secret", "", "secret: is missing"),
        ("tuning.quota.gpu_count", "many", "gpu_count: expected a whole number"),
        ("chain.fine_tuning", "0x12", "fine_tuning: expected a 0x address"),
        ("wallet_key", "", "wallet_key: is missing"),
        ("colour", "red", "colour: unknown setting"),
    ],
)
def test_mistakes_are_named(path: str, value: Any, words: str) -> None:
    document = example()
    *parents, last = path.split(".")
    place: Any = document
    for name in parents:
        place = place[int(name)] if name.isdigit() else place[name]
    place[last] = value
    with pytest.raises(ConfigError, match=words.replace("[", r"\[")):
        options.parse(document, Path("/nowhere"))


def test_two_models_of_one_name() -> None:
    document = example()
    document["tuning"]["models"] *= 2
    with pytest.raises(ConfigError, match="same name or hash"):
        options.parse(document, Path("/nowhere"))
    document["tuning"]["models"] = [
        {"name": "Qwen2.5-0.5B-Instruct", "executor": ["x"]},
        {"name": "other", "hash": "0x" + "22" * 32, "executor": ["x"]},
    ]
    known, other = options.parse(document, Path("/nowhere")).models
    assert known.hash.startswith("0xb4f76a88") and not known.customised and other.customised
