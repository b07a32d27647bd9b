"""The devnet starts, deploys where the SDK looks, and ends with whoever started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from devnet import accounts, scenario
from devnet.__main__ import main
from devnet.anvil import DEVNET_ARGS, Anvil, AnvilError
from devnet.client import Chain
from devnet.deploy import DeployError, connect, deploy
from devnet.rpc import RpcError
from tests.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Outcome:
    code: int
    errors: list[str]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs `python -m devnet` in this process."""

    def run(*arguments: str, rpc: str = "http://127.0.0.1:1") -> Outcome:
        capsys.readouterr()
        code = main(["--rpc", rpc, *arguments])
        return Outcome(code, capsys.readouterr().err.splitlines())

    return run


def answers(url: str) -> bool:
    try:
        Chain(url)
    except requests.RequestException:
        return False
    return True


def test_blocks_come_by_themselves_and_are_final_soon() -> None:
    """A block a second when idle, at once for a transaction, final two blocks later."""
    rarely = ["3600" if one == "1" else one for one in DEVNET_ARGS[:2]]
    with Anvil(args=[*rarely, *DEVNET_ARGS[2:]]) as node:
        assert Chain(node.url).send(accounts.user(1), accounts.user(2).address, value=1).ok
    with Anvil() as node:
        chain = Chain(node.url)
        start = chain.block_number()
        assert eventually(lambda: chain.block_number() >= start + 3, 5)
        final = chain.rpc.call("eth_getBlockByNumber", "finalized", False)
        assert 0 <= chain.block_number() - int(final["number"], 16) <= 4


def test_deploying_twice_finds_the_first_deployment_and_a_used_chain_is_refused() -> None:
    with Anvil() as node, Anvil() as other:
        assert node.url != other.url
        first = deploy(node.url)
        chain = Chain(node.url)
        nonce = chain.rpc.call("eth_getTransactionCount", accounts.owner().address, "latest")
        assert deploy(node.url) == first
        assert nonce == chain.rpc.call(
            "eth_getTransactionCount", accounts.owner().address, "latest"
        )
        Chain(other.url).send(accounts.owner(), accounts.user(1).address, value=1)
        with pytest.raises(DeployError, match="start a fresh chain"):
            deploy(other.url)


def test_a_client_outlives_its_node() -> None:
    """Its connection is kept from call to call, and made anew where the node went."""
    with Anvil() as node:
        chain = Chain(node.url)
        chain.mine(3)
    with pytest.raises(requests.ConnectionError):
        chain.block_number()
    with Anvil(port=node.port):
        assert chain.block_number() < 3


def test_snapshots_and_time_travel() -> None:
    with Anvil() as node:
        contracts = connect(node.url, deploy(node.url))
        chain = contracts.chain
        before = chain.timestamp()
        with chain.rollback():
            contracts.ledger.send(accounts.user(1), "depositFund", value=3 * 10**18)
            assert chain.travel(7 * 86_400) >= before + 7 * 86_400
        _, total = contracts.ledger.view("getAllLedgers", 0, 0)
        assert total == 0
        with pytest.raises(RpcError):
            chain.restore("0x999")


def test_a_scenario_is_repeatable() -> None:
    """The same seed does the same things on a fresh chain, and another seed other things."""

    def run(seed: int) -> list[tuple[object, ...]]:
        with Anvil(args=()) as node:
            steps = scenario.run(seed, 70, deploy(node.url), node.url)
            assert len(steps) == 70
            return [(s.sender, s.contract, s.function, s.args, s.value, s.error) for s in steps]

    first = run(5)
    assert first == run(5)
    assert first != run(6)


def test_the_command_line_runs_a_devnet_and_acts_as_its_owner(
    cli: Callable[..., Outcome],
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "devnet", "up"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        printed = []
        for line in process.stdout:
            printed.append(line)
            if line.startswith("signer 5"):
                break
        text = "".join(printed)
        url = printed[0].split()[1]
        assert url.startswith("http://127.0.0.1:")
        assert "0x9fE46736679d2D9a65F0992F2272dE9f3c7fa6e0" in text
        assert "this key is public and swept on every real chain" in text
        assert "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80" in text

        provider = accounts.provider(1)
        refused = cli("owner", "ack", provider.address, rpc=url)
        assert refused == Outcome(1, [f"ServiceNotExist('{provider.address}',)"])
        contracts = connect(url, deploy(url))
        params = ("chatbot", "http://127.0.0.1", "m", "TeeML", 1, 1, "", accounts.signer(1).address)
        contracts.inference.send(provider, "addOrUpdateService", params, value=100 * 10**18)
        assert cli("owner", "ack", provider.address, rpc=url).code == 0
        assert contracts.inference.view("getService", provider.address)["teeSignerAcknowledged"]
        assert cli("owner", "lock-time", "3600", rpc=url).code == 0
        assert contracts.inference.view("lockTime") == 3600
        assert cli("owner", "penalty", "12", rpc=url).code == 0
        assert contracts.fine_tuning.view("penaltyPercentage") == 12
        assert cli("owner", "revoke", provider.address, rpc=url).code == 0
        assert not contracts.inference.view("getService", provider.address)["teeSignerAcknowledged"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert not answers(url)
    finally:
        process.kill()
        process.wait()


def test_bad_input_is_one_clear_line(cli: Callable[..., Outcome]) -> None:
    assert cli("owner", "ack", accounts.provider(1).address) == Outcome(
        1, ["no node answers at http://127.0.0.1:1: run `python -m devnet up`"]
    )
    with Anvil(chain_id=5) as node:
        assert cli("travel", "1", rpc=node.url) == Outcome(
            1, [f"{node.url} is chain 5, not a devnet (31337)"]
        )
    with pytest.raises(AnvilError, match="anvil ended with code"):
        Anvil(args=("--no-such-flag",)).start()


def test_anvil_dies_with_the_process_that_started_it() -> None:
    """Even when that one is killed without a chance to clean up."""
    program = (
        "from devnet.anvil import Anvil; import time; "
        "node = Anvil().start(); print(node.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert Path(f"/proc/{child}").exists()
    parent.kill()
    parent.wait()

    def gone() -> bool:
        try:
            state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        return state == "Z"

    try:
        assert eventually(gone)
    finally:
        if not gone():
            os.kill(child, signal.SIGKILL)
