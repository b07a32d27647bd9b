"""A place to try the fine-tuning broker in: a chain, 0G storage, broker processes, users that sign
as a careful client does."""

from __future__ import annotations

import base64
import io
import json
import signal
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import yaml

from devnet import accounts, owner
from devnet.client import Contract, contract
from devnet.deploy import Contracts
from protocol import ecies, model_file, tuning
from protocol.digests import personal_digest, sign
from protocol.storage import SEGMENT_BYTES, hash_file
from tests.forks import Forked
from tests.live.provider_lab import ONE, Person, ready, spawned
from tests.waiting import eventually

MODEL, MODEL_HASH = "lab-model", "0x" + "5a" * 32
PRICE, STORAGE_FEE = 5 * 10**11, 10**16
PARAMETERS = {
    **{"neftune_noise_alpha": 5, "num_train_epochs": 2, "per_device_train_batch_size": 2},
    **{"learning_rate": 0.0002, "max_steps": -1},
}
SERVICE = "fine-tuning-v1.0"


@dataclass
class Broker:
    """One fine-tuning broker process, which can be killed and started again."""

    config: Path
    address: str
    url: str = ""
    process: Forked | None = None

    def start(self) -> Broker:
        self.process = spawned(self.config)
        self.url = ready(self.process, self.config).split()[2]
        return self

    def stop(self, number: int = signal.SIGKILL) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(60)
            assert self.process.stdout is not None
            self.process.stdout.close()

    def get(self, path: str) -> Any:
        answer = requests.get(self.url + path, timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def task(self, user: Person, id_: str) -> Any:
        return self.get(f"/v1/user/{user.address}/task/{id_}")

    def log(self, user: Person, id_: str) -> str:
        return requests.get(f"{self.url}/v1/user/{user.address}/task/{id_}/log", timeout=10).text

    def until(self, user: Person, id_: str, *stages: str, seconds: float = 30) -> Any:
        """The task, once it is at one of these stages."""
        found: Any = None

        def there() -> bool:
            nonlocal found
            found = self.task(user, id_)
            return found["progress"] in stages

        try:
            eventually(there, seconds)
        except AssertionError as late:
            raise AssertionError(f"{found}\n{self.log(user, id_)}") from late
        return found


class TuningLab:
    """The chain, the storage, and everything that is done to them directly."""

    def __init__(
        self, contracts: Contracts, rpc: str, storage: str, flow: str, folder: Path
    ) -> None:
        self.contracts = contracts
        self.rpc = rpc
        self.storage = storage
        self.flow: Contract = contract(contracts.chain, "Flow", flow)
        self.folder = folder
        self.brokers: list[Broker] = []

    def close(self) -> None:
        for broker in self.brokers:
            broker.stop()

    def person(self) -> Person:
        """Somebody with 1000 0G in the wallet."""
        person = Person()
        self.contracts.chain.rpc.call("anvil_setBalance", person.address, hex(1000 * ONE))
        return person

    def funded(self, broker: Broker, amount: int = ONE) -> Person:
        """Somebody with a fine-tuning sub-account."""
        person = self.person()
        ledger = self.contracts.ledger
        ledger.send(person.wallet, "depositFund", value=3 * ONE)
        ledger.send(person.wallet, "transferFund", broker.address, SERVICE, amount)
        return person

    def broker(self, **tuning_changes: Any) -> Broker:
        """A registered and acknowledged broker of its own provider, with the scripted executor;
        a change to None leaves a setting out."""
        provider = self.person()
        folder = self.folder / f"broker-{len(self.brokers)}"
        folder.mkdir()
        script = str(Path(__file__).with_name("scripted_executor.py"))
        model = {
            **{"name": MODEL, "hash": MODEL_HASH, "storage_fee": str(STORAGE_FEE)},
            **{"executor": [sys.executable, script], "description": "for tests"},
        }
        settings: dict[str, Any] = {
            "price_per_token": str(PRICE),
            "poll_seconds": 0.2,
            "storage": {"indexer": self.storage},
            "models": [model],
            **tuning_changes,
        }
        config = {
            "wallet_key": "0x" + provider.key.hex(),
            "state": "state",
            "chain": {"rpc": self.rpc, "fine_tuning": self.contracts.fine_tuning.address},
            "tuning": {name: value for name, value in settings.items() if value is not None},
        }
        (folder / "provider.yaml").write_text(yaml.safe_dump(config))
        broker = Broker(folder / "provider.yaml", provider.address)
        self.brokers.append(broker)
        broker.start()
        owner.acknowledge_signer(self.contracts, provider.address, "fine-tuning")
        return broker

    def store(self, data: bytes) -> str:
        """Put a file into storage as user 4; its root."""
        tree = hash_file([data])
        by = accounts.user(4)
        nodes = [(n.root, n.height) for n in tree.nodes()]
        fee = tree.chunks * self.flow.view("pricePerSector")
        self.flow.send(by, "submit", ((tree.size, b"", nodes), by.address), value=fee)
        for index in range(0, -(-tree.size // SEGMENT_BYTES)):
            piece, proof = data[index * SEGMENT_BYTES :][:SEGMENT_BYTES], tree.proof(index)
            body = {
                "root": "0x" + tree.root.hex(),
                "index": index,
                "data": base64.b64encode(piece).decode(),
                "proof": {"lemma": ["0x" + h.hex() for h in proof.lemma], "path": proof.path},
            }
            answer = requests.post(self.storage + "/file/segment", json=body, timeout=10)
            assert answer.json()["code"] == 0, answer.text
        return "0x" + tree.root.hex()

    def account(self, user: Person, broker: Broker) -> Any:
        return self.contracts.fine_tuning.view("getAccount", user.address, broker.address)

    def deliverable(self, user: Person, broker: Broker, id_: str) -> Any:
        return self.contracts.fine_tuning.view("getDeliverable", user.address, broker.address, id_)

    def acknowledge(self, user: Person, broker: Broker, id_: str) -> None:
        serving = self.contracts.fine_tuning
        serving.send(user.wallet, "acknowledgeDeliverable", broker.address, id_)

    def opened(self, user: Person, broker: Broker, id_: str, raw: bytes) -> zipfile.ZipFile:
        """The result, decrypted as its user would."""
        sealed = self.deliverable(user, broker, id_)["encryptedSecret"]
        service = self.contracts.fine_tuning.view("getService", broker.address)
        plain = b"".join(
            model_file.decrypt(
                io.BytesIO(raw),
                len(raw),
                key=ecies.unseal(sealed, user.key),
                signer=service["teeSignerAddress"],
            )
        )
        return zipfile.ZipFile(io.BytesIO(plain))


def dataset(*behave: str) -> bytes:
    """A dataset of five rows that makes the scripted executor behave."""
    rows = [{"text": " ".join(behave)}, *({"text": f"row {n}"} for n in range(4))]
    return "\n".join(json.dumps(row) for row in rows).encode()


def signed(user: Person, hash_: bytes) -> str:
    return "0x" + sign(personal_digest(hash_), user.key).hex()


def task_body(user: Person, dataset_hash: str, **changes: Any) -> dict[str, Any]:
    """What a client sends to create a task; `nonce` may be among the changes."""
    nonce = int(changes.pop("nonce", time.time() * 1000 * 10_000 + 40))
    return {
        "userAddress": user.address,
        "datasetHash": dataset_hash,
        "trainingParams": json.dumps(PARAMETERS),
        "preTrainedModelHash": MODEL_HASH,
        "fee": "0",
        "nonce": str(nonce),
        "signature": signed(user, tuning.task_hash(user.address, nonce, dataset_hash)),
        "wait": False,
        **changes,
    }


def post(broker: Broker, user: Person, path: str, body: Any) -> requests.Response:
    return requests.post(f"{broker.url}/v1/user/{user.address}/{path}", json=body, timeout=10)


def create(broker: Broker, user: Person, dataset_hash: str, **changes: Any) -> str:
    answer = post(broker, user, "task", task_body(user, dataset_hash, **changes))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def upload(broker: Broker, user: Person, data: bytes, **changes: Any) -> requests.Response:
    """Send a dataset into the TEE, the file first, as the official client does."""
    at = changes.get("timestamp", int(time.time()))
    fields: dict[str, Any] = {
        "file": ("data.jsonl", data, "application/octet-stream"),
        "signature": (None, changes.get("signature") or signed(user, _upload(user, at))),
        "timestamp": (None, str(at)),
    }
    url = f"{broker.url}/v1/user/{user.address}/dataset"
    return requests.post(url, files=fields, timeout=30)


def _upload(user: Person, at: int) -> bytes:
    return tuning.upload_hash(user.address, at)


def download(broker: Broker, user: Person, id_: str, *, at: int = 0) -> requests.Response:
    """Fetch the encrypted result from the TEE."""
    at = at or int(time.time())
    body = {"signature": signed(user, tuning.download_hash(id_, at)), "timestamp": at}
    return post(broker, user, f"task/{id_}/lora", body)
