"""The operator's file: the example is complete and right, and every mistake is named."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from provider import config
from provider.errors import ConfigError

EXAMPLE = Path(config.__file__).parent / "example.yaml"
KEY = "0x" + "11" * 32
ADDRESS = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"


@pytest.fixture
def document(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("PROVIDER_WALLET_KEY", KEY)
    found: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    return found


def test_the_example_works_and_states_the_defaults(document: dict[str, Any]) -> None:
    read = config.parse(document, Path("/srv"))
    assert (read.provider, read.state) == (ADDRESS, Path("/srv/state"))
    least = {
        "service": {
            "model": "my-model",
            "input_price": 100_000_000_000,
            "output_price": "4" + "0" * 11,
        },
        "upstream": {"url": document["upstream"]["url"]},
        "chain": {k: document["chain"][k] for k in ("rpc", "inference")},
        "wallet_key": KEY,
        "state": "state",
    }
    short = config.parse(least, Path("/srv"))
    assert (short.limits, short.settlement, short.tee) == (read.limits, read.settlement, read.tee)
    assert (short.upstream, short.service.stake) == (read.upstream, read.service.stake)
    assert (short.jobs, short.service.speech_rule) == (read.jobs, read.service.speech_rule)
    assert short.service.additional_info == read.service.additional_info
    assert short.network.cache_seconds == read.network.cache_seconds
    assert (short.log, short.admin, short.share_unsettled) == (read.log, None, False)
    assert read.admin is None and read.adapters is None


def test_additional_info_is_always_the_same_bytes(document: dict[str, Any]) -> None:
    """Other bytes would withdraw the owner's acknowledgement at the next start."""
    document["service"]["additional_info"] = {"b": 1, "a": {"d": 2, "c": 3}}
    first = config.parse(document, Path()).service.additional_info
    document["service"]["additional_info"] = {"a": {"c": 3, "d": 2}, "b": 1}
    assert config.parse(document, Path()).service.additional_info == first
    assert json.loads(first)["ProviderType"] == "decentralized"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("service", None, "service: is missing"),
        ("service", [], "service: expected a mapping"),
        ("service.model", "", "service.model: expected a text"),
        ("service.type", "oracle", "service.type: expected one of chatbot"),
        ("service.speech_rule", "words", "service.speech_rule: expected one of sdk, broker"),
        ("jobs.queue", -1, "jobs.queue: expected a whole number"),
        ("service.input_price", -1, "service.input_price: expected a whole number"),
        ("service.input_price", 1.5, "service.input_price: expected a whole number"),
        ("service.input_price", True, "service.input_price: expected a whole number"),
        ("service.input_price", "9" * 5000, "service.input_price: expected a whole number"),
        ("service.input_price", 2**256, "service.input_price: expected a whole number"),
        ("service.url", "ftp://x", "service.url: expected an http or https URL"),
        ("service.url", "http://[::1", "service.url: expected an http or https URL"),
        ("service.url", "http://x:99999", "service.url: expected an http or https URL"),
        ("service.additional_info", {"x": "y" * 5000}, "service.additional_info: longer than"),
        ("upstream.url", "localhost:1", "upstream.url: expected an http or https URL"),
        ("upstream.colour", "red", "upstream.colour: unknown setting"),
        ("upstream.idle_seconds", 0, "upstream.idle_seconds: expected a number of seconds"),
        ("upstream.total_seconds", float("inf"), "upstream.total_seconds: expected a number of"),
        ("chain.cache_seconds", 10**400, "chain.cache_seconds: expected a number of seconds"),
        ("upstream.key_env", "NO_SUCH_NAME", "upstream.key: given twice, as key and key_env"),
        ("chain.inference", "0x12", "chain.inference: expected a 0x address"),
        ("wallet_key_env", "NO_SUCH_NAME", "the environment variable NO_SUCH_NAME is not set"),
        ("wallet_key", "0xabc", "wallet_key: given twice"),
        ("tee.key", "0x" + "00" * 32, "tee.key: expected a private key of 64 hex digits"),
        ("tee.key_file", "no-such-file", "tee.key_file: cannot be read"),
        ("settlement.at_shutdown", "no", "settlement.at_shutdown: expected true or false"),
        ("surprise", 1, "surprise: unknown setting"),
    ],
)
def test_every_mistake_is_named(document: dict[str, Any], path: str, value: Any, said: str) -> None:
    broken = copy.deepcopy(document)
    *sections, last = path.split(".")
    place = broken
    for section in sections:
        place = place[section]
    if value is None:
        del place[last]
    else:
        place[last] = value
    with pytest.raises(ConfigError) as problem:
        config.parse(broken, Path("/srv"))
    assert said in str(problem.value)


@pytest.mark.parametrize(
    ("kind", "rule", "prices", "charged"),
    [
        ("text-to-image", "sdk", (5, 0), "output_price"),
        ("image-editing", "broker", (5, 0), "output_price"),
        ("speech-to-text", "sdk", (0, 5), "input_price"),
        ("speech-to-text", "broker", (5, 0), "output_price"),
        ("speech-to-text", "broker", (0, 5), None),
        ("embedding", "broker", (0, 5), "input_price"),
        ("embedding", "broker", (5, 0), None),
        ("speech-to-text", "sdk", (0, 0), None),
        ("text-to-image", "sdk", (0, 5), None),
        ("chatbot", "sdk", (5, 0), None),
    ],
)
def test_nobody_works_for_nothing_by_mistake(
    document: dict[str, Any], kind: str, rule: str, prices: tuple[int, int], charged: str | None
) -> None:
    named = {"input_price": prices[0], "output_price": prices[1]}
    document["service"] |= {"type": kind, "speech_rule": rule, **named}
    if charged is None:
        assert config.parse(document, Path()).service.type == kind
        return
    with pytest.raises(ConfigError, match=f"service.{charged}: {kind} is charged by this price"):
        config.parse(document, Path())


def test_a_wrong_secret_is_never_repeated(document: dict[str, Any]) -> None:
    del document["wallet_key_env"]
    document["wallet_key"] = "correct horse battery staple"
    with pytest.raises(ConfigError) as problem:
        config.parse(document, Path())
    assert "horse" not in str(problem.value)


@pytest.mark.parametrize("text", ["a: [", "- 1", "", "\x00"])
def test_a_broken_file_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "provider.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as problem:
        config.load(path)
    assert "\n" not in str(problem.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(tmp_path / "absent.yaml")
