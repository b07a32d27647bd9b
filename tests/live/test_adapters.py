"""Tuned models at an inference broker: handed over, opened, deployed by their owners alone; and
everything that could be wrong with what is handed over."""

from __future__ import annotations

import io
import signal
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from devnet import owner
from devnet.anvil import Anvil
from devnet.deploy import connect, deploy
from protocol import ecies, model_file, tuning
from protocol.digests import sign
from provider.smallmodel import MODEL_NAME
from provider.smallmodel.network import load_base, new_adapter
from provider.smallmodel.tune import save_adapter
from provider.tuning.handover import PATH, bearer, private_key
from runner.processes import free_port
from tests.live import official_sdk
from tests.live.provider_lab import Person
from tests.live.tuning_lab import Broker, TuningLab
from tests.waiting import eventually

SECRET, KEY = "shared", b"\x07" * 32
_TASK = "%08x-0000-4000-8000-000000000000"


class World:
    """An inference broker that takes adapters, the small model behind it, and storage."""

    def __init__(self, lab: TuningLab, folder: Path) -> None:
        self.lab = lab
        self.folder = folder
        self.upstream = free_port()
        provider = lab.person()
        config = {
            "wallet_key": "0x" + provider.key.hex(),
            "state": "state",
            "service": {"model": MODEL_NAME, "input_price": 1, "output_price": 1},
            "upstream": {"url": f"http://127.0.0.1:{self.upstream}/v1"},
            "chain": {
                "rpc": lab.rpc,
                "inference": lab.contracts.inference.address,
                "cache_seconds": 0.2,
            },
            "adapters": {"secret": SECRET, "indexer": lab.storage},
        }
        (folder / "provider.yaml").write_text(yaml.safe_dump(config))
        self.broker = Broker(folder / "provider.yaml", provider.address)
        lab.brokers.append(self.broker)
        self.broker.start()
        owner.acknowledge_signer(lab.contracts, provider.address)

    def model(self) -> Any:
        """The upstream: a context, so that it can be restarted."""
        arguments = ("--port", str(self.upstream))
        return official_sdk.python(
            "provider.smallmodel.serve",
            *arguments,
            log=self.folder / "model.log",
            ready="small model READY",
        )

    def customer(self) -> Person:
        person = self.lab.person()
        ledger = self.lab.contracts.ledger
        ledger.send(person.wallet, "depositFund", value=3 * 10**18)
        ledger.send(
            person.wallet, "transferFund", self.broker.address, "inference-v1.0", 2 * 10**18
        )
        return person

    def hand_over(self, number: int, user: Person, files: dict[str, bytes], **changes: Any) -> Any:
        """Store a result and tell the broker of it; the answer."""
        packed, sealed = io.BytesIO(), io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        packed.seek(0)
        model_file.encrypt(packed, sealed, key=KEY, sign=lambda d: sign(d, b"\x08" * 32))
        root = self.lab.store(sealed.getvalue())
        key = changes.pop("key", KEY)
        body = {
            "taskId": _TASK % number,
            "userAddress": user.address,
            "baseModel": MODEL_NAME,
            "storageHash": root,
            "providerEncKey": "0x"
            + ecies.seal(key, ecies.public_key_of(private_key(SECRET))).hex(),
            **changes,
        }
        headers = {"Authorization": f"Bearer {bearer(SECRET)}"}
        return requests.post(self.broker.url + PATH, json=body, headers=headers, timeout=10)

    def adapter(self, user: Person, number: int) -> Any:
        return self.get(user, f"/{self.name(number)}").json()

    def get(self, user: Person, path: str = "") -> requests.Response:
        headers = {"Authorization": user.provider_key(self.broker.address)}
        url = f"{self.broker.url}/v1/lora/adapters{path}"
        return requests.get(url, headers=headers, timeout=10)

    def deploy(self, user: Person, number: int) -> requests.Response:
        headers = {"Authorization": user.provider_key(self.broker.address)}
        body = {"taskId": _TASK % number, "baseModel": MODEL_NAME}
        url = f"{self.broker.url}/v1/lora/adapters/deploy"
        return requests.post(url, json=body, headers=headers, timeout=10)

    def ask(self, user: Person, model: str) -> requests.Response:
        body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
        headers = {"Authorization": user.provider_key(self.broker.address)}
        url = f"{self.broker.url}/v1/proxy/chat/completions"
        return requests.post(url, json=body, headers=headers, timeout=30)

    def until(self, user: Person, number: int, *states: str) -> Any:
        return eventually(
            lambda: (a := self.adapter(user, number)).get("state") in states and a, 60
        )

    @staticmethod
    def name(number: int) -> str:
        return tuning.adapter_name(MODEL_NAME, _TASK % number)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of an adapter that fits."""
    import numpy as np

    base, tokenizer = load_base()
    folder = tmp_path_factory.mktemp("adapter")
    made = new_adapter(base.shape, 4, 8, np.random.default_rng(1))
    save_adapter(folder, made, tokenizer)
    return {f"output_model/{p.name}": p.read_bytes() for p in folder.iterdir()}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("adapters")
    with Anvil() as node, ExitStack() as stack:
        contracts = connect(node.url, deploy(node.url))
        arguments = ("--rpc", node.url, "--data", str(folder / "files"))
        words = stack.enter_context(
            official_sdk.python(
                "devnet.storage", *arguments, log=folder / "storage.log", ready="storage READY"
            )
        )
        lab = TuningLab(contracts, node.url, words[2], words[3], folder)
        yield World(lab, folder)
        lab.close()


def test_an_adapter_belongs_to_its_owner_and_outlives_both_processes(
    world: World, good: dict[str, bytes]
) -> None:
    user, other = world.customer(), world.customer()
    name = world.name(1)
    with world.model():
        assert world.hand_over(1, user, good).status_code == 202
        world.until(user, 1, "ready")
        assert "call deploy-adapter first" in world.ask(user, name).json()["error"]
        assert world.deploy(other, 1).status_code == 404
        assert world.get(other).json() == {"adapters": []}
        assert world.deploy(user, 1).status_code == 202
        world.until(user, 1, "active")
        answer = world.ask(user, name)
        assert answer.status_code == 200 and answer.json()["model"] == name
        assert answer.headers["ZG-Res-Key"]
        assert "not the owner" in world.ask(other, name).json()["error"]
        assert "not found" in world.ask(user, "ft-nothing").json()["error"]
        # Handed over once more, with another key: nothing changes.
        assert world.hand_over(1, other, good).status_code == 202
        assert world.adapter(user, 1)["state"] == "active"
        world.broker.stop(signal.SIGKILL)
        world.broker.start()
        world.until(user, 1, "active")
        assert world.ask(user, name).status_code == 200
    # The key on disk is the broker's; what was unpacked holds the plain files and no more.
    folder = world.folder / "state" / "adapters" / name
    assert sorted(f"output_model/{p.name}" for p in folder.iterdir()) == sorted(good)


def test_what_cannot_be_taken_over(world: World, good: dict[str, bytes]) -> None:
    user = world.customer()
    url = world.broker.url + PATH
    assert requests.post(url, json={}, timeout=10).status_code == 403
    headers = {"Authorization": f"Bearer {SECRET}"}
    assert requests.post(url, json={}, headers=headers, timeout=10).status_code == 403
    for changes in (
        {"baseModel": "other"},
        {"taskId": "../../x"},
        {"storageHash": "0x12"},
        {"providerEncKey": "0x" + "11" * 129},
        {"userAddress": "nobody"},
        {"key": b"short"},
    ):
        assert world.hand_over(2, user, good, **changes).status_code == 400, changes
    # Taken, and found to be no good: a wrong key, a file that would land elsewhere, no adapter.
    assert world.hand_over(3, user, good, key=b"\x09" * 32).status_code == 202
    assert "wrong key" in world.until(user, 3, "failed")["error"]
    # Asked for again it is fetched again, and no more of it than its folder is kept.
    assert world.deploy(user, 3).status_code == 202
    assert "wrong key" in world.until(user, 3, "failed")["error"]
    kept = world.folder / "state" / "adapters"
    assert not [*kept.glob("*.enc"), *kept.glob("*.zip")]
    escape = {**good, "../../escape": b"x", "output_model/../escape": b"x", "/etc/x": b"x"}
    assert world.hand_over(4, user, escape).status_code == 202
    world.until(user, 4, "ready")
    assert not list(world.folder.rglob("*escape*"))
    with world.model():
        broken = {**good, "output_model/adapter_model.safetensors": b"\0" * 50}
        assert world.hand_over(5, user, broken).status_code == 202
        world.until(user, 5, "ready")
        world.deploy(user, 5)
        assert "400" in world.until(user, 5, "failed")["error"]
        assert "failed to deploy" in world.ask(user, world.name(5)).json()["error"]
        # What its owner asks for is loaded, also where it has to be fetched once more.
        (kept / f"{world.name(6)}.enc").write_bytes(b"cut off")
        assert world.hand_over(6, user, good).status_code == 202
        world.until(user, 6, "failed")
        assert world.deploy(user, 6).status_code == 202
        world.until(user, 6, "active")
