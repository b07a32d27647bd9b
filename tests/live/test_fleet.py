"""The demo's outside world in forked processes: all serve, and all end together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
import yaml

from devnet import accounts
from devnet.anvil import Anvil
from devnet.client import Chain
from devnet.deploy import Deployment
from runner.processes import free_port

ROOT = Path(__file__).resolve().parents[2]
BROKERS = 2


class Fleet:
    """`python -m devnet.fleet` with two brokers."""

    def __init__(self, folder: Path, node: Anvil, deployment: Deployment) -> None:
        self.folder = folder
        self.port = free_port()
        command = [sys.executable, "-m", "devnet.fleet", "--port", str(self.port)]
        command += ["--seed-file", str(folder / "seed"), "--anchors", str(folder / "anchors.json")]
        for number in range(1, BROKERS + 1):
            config = folder / f"broker-{number}" / "provider.yaml"
            config.parent.mkdir()
            config.write_text(yaml.safe_dump(self._config(number, node, deployment)))
            command += ["--config", str(config)]
        self.process = subprocess.Popen(
            [*command, "--logs", str(folder)], stdout=subprocess.PIPE, cwd=ROOT, text=True
        )

    @staticmethod
    def _config(number: int, node: Anvil, deployment: Deployment) -> dict[str, Any]:
        key = bytes(accounts.provider(number).key).hex()
        return {
            "wallet_key": f"0x{key}",
            "state": "state",
            "service": {"model": f"fleet-{number}", "input_price": 1, "output_price": 1},
            "upstream": {"url": "http://127.0.0.1:9/v1"},
            "chain": {"rpc": node.url, "inference": deployment.inference},
            "tee": {"machine": {"seed_file": "../seed"}},
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ready(self) -> list[str]:
        """URLs of the brokers once everything serves."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == f"attestation READY {self.url}"
        return [self._broker(number) for number in range(1, BROKERS + 1)]

    def _broker(self, number: int) -> str:
        log = self.folder / f"broker-{number}.log"
        while "provider READY" not in (log.read_text() if log.exists() else ""):
            assert self.process.poll() is None, log.read_text()
        return log.read_text().split("provider READY ")[1].split()[0]

    def tree(self) -> list[psutil.Process]:
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]


@pytest.fixture
def fleet(tmp_path: Path, devnet: Deployment, anvil: Anvil) -> Iterator[Fleet]:
    # Brokers register themselves: the session's chain is left as it was found.
    with Chain(anvil.url).rollback():
        made = Fleet(tmp_path, anvil, devnet)
        yield made
        if made.process.poll() is None:
            made.process.kill()
        made.process.communicate(timeout=10)


def test_brokers_share_one_image_and_the_services_roots(fleet: Fleet) -> None:
    brokers = fleet.ready()
    roots = json.loads((fleet.folder / "anchors.json").read_text())
    assert set(roots) == {"intel", "nvidia", "rim", "nras_issuer"}
    quotes = [requests.get(f"{url}/v1/quote", timeout=10).json()["quote"] for url in brokers]
    assert len(set(quotes)) == BROKERS
    tcb = requests.get(f"{fleet.url}/tdx/certification/v4/tcb?fmspc=D0C06F000000", timeout=10)
    assert tcb.json()["tcbInfo"]["id"] == "TDX"
    tree = fleet.tree()
    assert len(tree) == 1 + BROKERS
    own = [process.memory_full_info().uss for process in tree[1:]]
    assert max(own) < 30 << 20, "a forked broker must not cost as much as one by itself"
    fleet.process.send_signal(signal.SIGTERM)
    assert fleet.process.wait(10) == 0
    assert psutil.wait_procs(tree, timeout=5)[1] == []


def test_a_broker_that_ends_ends_the_fleet_and_is_named(fleet: Fleet) -> None:
    fleet.ready()
    tree = fleet.tree()
    os.kill(tree[2].pid, signal.SIGKILL)
    assert fleet.process.wait(10) == 1
    assert fleet.process.stdout is not None
    assert "broker-2 ended" in fleet.process.stdout.read()
    assert psutil.wait_procs(tree, timeout=5)[1] == []


def test_no_broker_outlives_a_killed_fleet(fleet: Fleet) -> None:
    fleet.ready()
    tree = fleet.tree()
    fleet.process.kill()
    assert psutil.wait_procs(tree, timeout=5)[1] == []


def test_a_damaged_seed_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "seed").write_text("not hex")
    command = [sys.executable, "-m", "devnet.fleet", "--seed-file", str(tmp_path / "seed")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1 and "development seed" in result.stderr
