"""`python -m provider check`: says what is wrong, and nothing where nothing is."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from devnet import accounts as cast
from devnet.anvil import Anvil
from devnet.client import Chain
from provider.checks import look, onchain
from provider.checks.findings import Finding
from provider.node import Node
from runner.processes import free_port
from tests.forks import PROVIDER
from tests.live.provider_lab import Broker, Lab, Upstream, served

EMPTY = "0x" + "22" * 20
KEY = bytes(cast.provider(1).key)


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with served(Saying()) as url:
        yield url + "/v1"


class Saying(Upstream):
    """Also answers what the check asks."""

    async def do_Say(self, send: Any, stream: bool) -> None:
        if b"unheard-of" in self.bodies[-1]:
            await self._json(send, 404, b'{"error":{"message":"no such model"}}')
        else:
            await self.do_plain(send, stream)


@pytest.fixture
def broker(lab: Lab, upstream: str) -> Iterator[Broker]:
    made = Broker(lab, lab.person(), upstream)
    made.config.chmod(0o600)
    yield made
    if made.alive:
        made.stop()


async def found(broker: Broker) -> dict[str, Finding]:
    return {finding.name: finding for finding in await look(broker.config)}


async def test_before_the_first_start_it_makes_nothing_and_finds_nothing_to_mend(
    broker: Broker,
) -> None:
    findings = await found(broker)
    assert {f.name for f in findings.values() if f.state == "fail"} == set()
    assert findings["registration"].said == "not on chain yet: the first start registers it"
    assert findings["stake"].said == "none yet: the first start pays 100 0G"
    assert findings["price"].said == (
        "0.1 0G per million tokens asked, 0.4 0G per million tokens answered"
    )
    assert findings["upstream answer"].said == "answers with usage"
    assert findings["upstream stream"].said == "streams with usage"
    assert findings["public URL"] == Finding(
        "public URL", "ok", f"{broker.url} leads to this broker"
    )
    assert not broker.state.exists() and "signer" not in findings


async def test_beside_a_running_broker_everything_agrees(lab: Lab, broker: Broker) -> None:
    broker.start()
    findings = await found(broker)
    waits = findings["acknowledgement"]
    assert waits.state == "fail" and "has not acknowledged" in waits.said
    lab.acknowledge(broker.address)
    findings = await found(broker)
    assert {f.name for f in findings.values() if f.state == "fail"} == set()
    assert {f.name for f in findings.values() if f.state == "warn"} == {"attestation", "TLS"}
    assert findings["registration"].said == "the chain says what the file says"
    assert (findings["stake"].said, findings["store"].said) == (
        "100 0G",
        "in use by a running broker",
    )
    assert findings["public URL"].state == "ok" and findings["clock"].state == "ok"


async def test_it_tells_what_the_next_start_would_change(lab: Lab, broker: Broker) -> None:
    broker.start()
    lab.acknowledge(broker.address)
    broker.stop()
    broker.set("service", output_price="7")
    findings = await found(broker)
    assert findings["registration"].said == "outputPrice 400000000000 → 7"
    assert "withdraws" not in findings["registration"].fix
    broker.set("service", model="other", stake=str(101 * 10**18))
    findings = await found(broker)
    assert "model 'lab-model' → 'other'" in findings["registration"].said
    assert "model withdraws the acknowledgement" in findings["registration"].fix
    assert findings["stake"].state == "warn" and "101 0G" in findings["stake"].said
    assert findings["upstream"].state == "warn"  # it does not list that model


async def test_the_address_of_another_contract_is_told_before_anything_is_bound_to_it(
    lab: Lab, broker: Broker
) -> None:
    right = str(lab.contracts.inference.address)
    for wrong in (lab.contracts.ledger.address, lab.contracts.fine_tuning.address):
        broker.set("chain", inference=str(wrong))
        finding = (await found(broker))["contract"]
        said = f"{wrong} is another contract than InferenceServing"
        assert (finding.state, finding.said) == ("fail", said)
        code, printed = PROVIDER.run("provider", "--config", str(broker.config), env=os.environ)
        assert code == 2 and f"provider: chain.inference: {said}" in printed
    broker.set("chain", inference=right)
    broker.start()  # in the same state folder


async def test_a_lost_signer_is_told_before_the_next_start_replaces_it(
    lab: Lab, broker: Broker
) -> None:
    broker.start()
    lab.acknowledge(broker.address)
    broker.stop()
    (broker.state / "development-signer.key").unlink()
    lost = (await found(broker))["acknowledgement"]
    assert lost.state == "fail" and "holds no key: the next start makes another" in lost.said
    assert "put the old state folder back" in lost.fix
    # Gas for a part of a settlement is gas for none.
    lab.contracts.chain.rpc.call("anvil_setBalance", broker.address, hex(10**12))
    poor = (await found(broker))["gas wallet"]
    assert poor.state == "fail" and poor.fix.endswith("for the gas of a settlement")


@pytest.mark.parametrize(
    ("section", "values", "name", "said"),
    [
        ("chain", {"chain_id": 16661}, "node", "is on chain 31337, not 16661"),
        ("chain", {"inference": EMPTY}, "contract", "there is none at 0x2222"),
        ("chain", {"rpc": "http://127.0.0.1:9"}, "node", "does not answer"),
        ("upstream", {"url": "http://127.0.0.1:9/v1"}, "upstream", "does not answer"),
        ("upstream", {"model": "unheard-of"}, "upstream answer", "status 404"),
        ("service", {"url": "http://127.0.0.1:9"}, "public URL", "does not answer from here"),
        ("service", {"url": "http://provider.invalid"}, "TLS", "everybody on the way reads keys"),
        ("listen", {"host": "203.0.113.1"}, "listen", "cannot listen on 203.0.113.1"),
        ("tee", {"backend": "lying"}, "attestation", "signs answers that were not given"),
        ("surprise", {}, "configuration", "provider.yaml:28: surprise: unknown setting"),
    ],
)
async def test_what_is_wrong_is_named_with_its_fix(
    broker: Broker, section: str, values: dict[str, Any], name: str, said: str
) -> None:
    broker.set(section, **values)
    finding = (await found(broker))[name]
    if name == "configuration":
        said = said.split(":")[2]
    assert finding.state == "fail" and said in finding.said, finding
    assert finding.fix and ("mostly in /v1" in finding.fix) == (said == "status 404")


async def test_money_secrets_and_stores_are_looked_at(lab: Lab, broker: Broker) -> None:
    lab.contracts.chain.rpc.call("anvil_setBalance", broker.address, hex(10**20))
    broker.config.chmod(0o644)
    broker.state.mkdir(mode=0o700)
    with closing(sqlite3.connect(broker.state / "broker.sqlite3")) as db:
        db.execute("PRAGMA user_version = 99")
    findings = await found(broker)
    assert findings["gas wallet"].state == "fail" and "more than 100" in findings["gas wallet"].fix
    assert findings["secret wallet_key"].fix == f"chmod 600 {broker.config}"
    assert "newer broker (version 99" in findings["store"].said
    (broker.state / "broker.sqlite3").write_bytes(b"no database" * 1000)
    assert (await found(broker))["store"].state == "fail"
    assert broker.owner.key.hex() not in str(await found(broker))


async def test_another_broker_behind_the_url_is_not_ours(
    lab: Lab, broker: Broker, upstream: str
) -> None:
    other = Broker(lab, lab.person(), upstream).start()
    broker.set("service", url=other.url)
    finding = (await found(broker))["public URL"]
    assert finding.said == f"{other.url} leads to another provider's broker"
    broker.set("service", url=upstream.removesuffix("/v1"))
    assert "it is not this broker" in (await found(broker))["public URL"].said
    other.stop()


def test_the_command_prints_and_exits(broker: Broker, tmp_path: Path) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        return PROVIDER.run("provider", "check", *arguments, env=os.environ)

    code, said = run("--config", str(broker.config))
    assert code == 0, said
    assert "ready to open: 0 to mend" in said and "→" in said
    broker.set("listen", port=free_port(), hots="x")
    code, said = run("--config", str(broker.config), "--json")
    told = json.loads(said)
    assert (code, told["ok"]) == (1, False)
    (finding,) = told["findings"]
    assert finding["said"].endswith("listen.hots: unknown setting (did you mean host?)")


@pytest.mark.parametrize(("ahead", "state"), [(0, "ok"), (30, "warn"), (7_200, "fail")])
async def test_a_chain_whose_clock_is_ahead_is_told(ahead: int, state: str) -> None:
    """Of a node of its own: its time cannot be turned back."""
    with Anvil() as anvil:
        chain = Chain(anvil.url)
        if ahead:
            chain.travel(ahead)
        subject: Any = SimpleNamespace(rpc=anvil.url)
        async with aiohttp.ClientSession() as session:
            node = Node(session, anvil.url, kind="InferenceServing", contract=EMPTY, wallet_key=KEY)
            found = await onchain._clock(subject, session, node)
    assert found.state == state and ("differs by" in found.said) == bool(ahead)
