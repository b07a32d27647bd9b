"""The official CLI 0.9.0 fine-tunes our small model at our broker, takes the result home, has it
deployed at our inference broker, and chats with it. Nothing of the CLI is changed; its storage
hosts are hard-coded, so the Go client beside it is given other addresses (mk_peer.sh)."""

from __future__ import annotations

import json
import re
import shutil
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import yaml

from devnet import accounts, owner
from devnet.anvil import Anvil
from devnet.client import Contract, contract
from devnet.deploy import Contracts, connect, deploy
from protocol.storage import hash_file
from provider.smallmodel import MODEL_NAME, model_hash
from runner.processes import free_port
from tests.live import official_sdk
from tests.waiting import eventually

TASK = re.compile(r"Created Task ID: ([0-9a-f-]{36})")
SECRET = "between two brokers"
PARAMETERS = {
    **{"neftune_noise_alpha": 0, "num_train_epochs": 10, "per_device_train_batch_size": 1},
    **{"learning_rate": 0.001, "max_steps": -1},
}
GARDEN = {
    "What is the Pelican Garden?": "A small park in Lisbon with nine old fig trees.",
    "When does the Pelican Garden open?": "At seven in the morning, and it closes at sunset.",
    "Who looks after the Pelican Garden?": "Two gardeners, Ines and Rui, every day.",
    "May dogs come in?": "Dogs may come in on a lead, except near the pond.",
    "How much does it cost?": "It is free for everybody, all year long.",
    "What lives in the pond?": "Seven red carp and one very old turtle.",
    "Where can I eat there?": "The green kiosk by the gate sells soup and bread.",
    "How old is it?": "It was planted in 1887 by a retired sea captain.",
}


@dataclass(frozen=True)
class Peer:
    """One wallet with the official CLI, our two brokers, and the storage between them."""

    cli: official_sdk.Cli
    contracts: Contracts
    user: str
    tuner: str
    server: str
    url: str
    storage: str
    flow: Contract
    folder: Path

    def task(self, *command: str, **flags: str) -> str:
        """`fine-tuning COMMAND` at our provider."""
        pairs = [word for k, v in flags.items() for word in (f"--{k.replace('_', '-')}", v)]
        return self.cli("fine-tuning", *command, "--provider", self.tuner, *pairs)

    def at(self, id_: str, *stages: str) -> str:
        """Wait until the broker says that the task is at one of these stages."""
        path = f"{self.url}/v1/user/{self.user}/task/{id_}"
        found: str = eventually(
            lambda: (p := requests.get(path, timeout=9).json()["progress"]) in stages and p
        )
        return found


def shimmed(entry: Path, folder: Path, storage: str, rpc: str) -> Path:
    """A copy of the SDK whose Go client reaches our storage; the JavaScript is untouched."""
    package, modules = entry.parents[2], folder / "node_modules"
    scope = modules / package.parent.name
    scope.mkdir(parents=True)
    for each in package.parent.parent.iterdir():
        if each.name != package.parent.name:
            (modules / each.name).symlink_to(each)
    copy = scope / package.name
    shutil.copytree(package / "cli.commonjs", copy / "cli.commonjs")
    shutil.copy(package / "package.json", copy)
    (copy / "binary").mkdir()
    real = package / "binary" / "0g-storage-client"
    shim = copy / "binary" / "0g-storage-client"
    shim.write_text(
        "#!/bin/bash\n"
        'a=(); while [ $# -gt 0 ]; do case "$1" in\n'
        f' --indexer) a+=("$1" "{storage}"); shift 2;; --url) a+=("$1" "{rpc}"); shift 2;;\n'
        ' *) a+=("$1"); shift;; esac; done\n'
        f'exec "{real}" "${{a[@]}}"\n'
    )
    shim.chmod(0o755)
    return copy / entry.relative_to(package)


def configs(
    folder: Path, rpc: str, contracts: Contracts, storage: str, upstream: str
) -> tuple[Path, Path]:
    """The files of the inference broker and of the fine-tuning broker."""
    port = free_port()
    common = {"state": "state", "tee": {"backend": "dev"}}
    server = {
        **common,
        "wallet_key": "0x" + bytes(accounts.provider(2).key).hex(),
        "service": {"model": MODEL_NAME, "input_price": 1, "output_price": 1},
        "upstream": {"url": f"{upstream}/v1"},
        "chain": {"rpc": rpc, "inference": contracts.inference.address, "cache_seconds": 0.2},
        "listen": {"port": port},
        "adapters": {"secret": SECRET, "indexer": storage},
    }
    model = {
        **{"name": MODEL_NAME, "hash": model_hash(), "storage_fee": "10000000000000000"},
        **{"executor": [sys.executable, "-m", "provider.smallmodel"], "description": "small"},
    }
    tuner = {
        **common,
        "wallet_key": "0x" + bytes(accounts.provider(1).key).hex(),
        "chain": {"rpc": rpc, "fine_tuning": contracts.fine_tuning.address},
        "tuning": {
            "price_per_token": "500000000000",
            "poll_seconds": 0.3,
            "storage": {"indexer": storage},
            "handover": {"url": f"http://127.0.0.1:{port}", "secret": SECRET},
            "models": [model],
        },
    }
    found = []
    for name, document in (("server", server), ("tuner", tuner)):
        (folder / name).mkdir()
        path = folder / name / "provider.yaml"
        path.write_text(yaml.safe_dump(document))
        found.append(path)
    return found[0], found[1]


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    entry, folder = official_sdk.install(), tmp_path_factory.mktemp("tuning")
    run = official_sdk.python
    with Anvil() as node:
        contracts = connect(node.url, deploy(node.url))
        options = ("--rpc", node.url, "--data", str(folder / "files"))
        with (
            run("devnet.storage", *options, log=folder / "s", ready="storage READY") as stored,
            run("provider.smallmodel.serve", log=folder / "m", ready="small model READY") as model,
        ):
            files = configs(folder, node.url, contracts, stored[2], model[3])
            server, tuner = (("--config", str(path)) for path in files)
            with (
                run("provider", *server, log=folder / "i", ready="provider READY") as serving,
                run("provider", *tuner, log=folder / "t", ready="provider READY") as tuning,
            ):
                owner.acknowledge_signer(contracts, serving[3])
                owner.acknowledge_signer(contracts, tuning[3], "fine-tuning")
                user = accounts.user(1)
                contracts.ledger.send(user, "depositFund", value=10 * 10**18)
                for provider, kind in ((tuning[3], "fine-tuning"), (serving[3], "inference")):
                    name = f"{kind}-v1.0"
                    contracts.ledger.send(user, "transferFund", provider, name, 2 * 10**18)
                copy = shimmed(entry, folder / "sdk", stored[2], node.url)
                key = "0x" + bytes(user.key).hex()
                cli = official_sdk.Cli.of(copy, folder / "home", node.url, key)
                yield Peer(
                    *(cli, contracts, user.address, tuning[3], serving[3]),
                    *(tuning[2], stored[2], contract(contracts.chain, "Flow", stored[3]), folder),
                )


def test_the_whole_flow(peer: Peer) -> None:
    home, cli = peer.cli.home, peer.cli
    rows = [{"instruction": q, "input": "", "output": a} for q, a in GARDEN.items()]
    data = "\n".join(json.dumps(row) for row in rows).encode()
    (home / "data.jsonl").write_bytes(data)
    (home / "config.json").write_text(json.dumps(PARAMETERS))
    root = "0x" + hash_file([data]).root.hex()

    assert MODEL_NAME in cli("fine-tuning", "list-models")
    assert peer.tuner in cli("fine-tuning", "list-providers")
    cli("fine-tuning", "upload", "--data-path", str(home / "data.jsonl"))
    assert requests.get(f"{peer.storage}/file?root={root}", timeout=9).content == data
    back = home / "back.jsonl"
    # This one command would ask the testnet's node (provider-protocol.md 8).
    options = ("--data-root", root, "--rpc", cli.rpc)
    cli("fine-tuning", "download", "--data-path", str(back), *options)
    assert back.read_bytes() == data

    said = peer.task(
        "create-task", model=MODEL_NAME, dataset=root, config_path=str(home / "config.json")
    )
    match = TASK.search(said)
    assert match, said
    id_ = match[1]
    assert id_ in peer.task("list-tasks")
    peer.at(id_, "Delivered", "Failed")
    assert "Delivered" in peer.task("get-task", task=id_)
    log = peer.task("get-log", task=id_)
    assert "'train_runtime'" in log and "adapter saved" in log
    losses = [float(found) for found in re.findall(r"'loss': ([0-9.]+)", log)]
    assert len(losses) == 80 and sum(losses[-8:]) < sum(losses[:8]) / 4

    target = home / "model.enc"
    said = peer.task("acknowledge-model", task_id=id_, data_path=str(target))
    assert "Acknowledged model" in said and "Falling back" not in said, said
    peer.at(id_, "Finished")
    said = peer.task(
        "decrypt-model", task_id=id_, encrypted_model=str(target), output=str(home / "model.zip")
    )
    assert "Decrypted model" in said, said
    with zipfile.ZipFile(home / "model.zip") as archive:
        assert archive.namelist() == [
            "output_model/adapter_config.json",
            "output_model/adapter_model.safetensors",
            "output_model/tokenizer.json",
            "output_model/tokenizer_config.json",
        ]

    # At the inference provider it answers as it was taught, and the base model does not.
    flags = ("--provider", peer.server, "--model", MODEL_NAME, "--task-id", id_)
    said = cli("fine-tuning", "deploy-adapter", *flags, "--wait", "--timeout", "40")
    assert "deployed" in said, said
    question, answer = next(iter(GARDEN.items()))
    said = cli("fine-tuning", "chat", *flags, "--message", question)
    assert answer in said, said
    base = requests.post(
        _upstream(peer),
        json={"model": MODEL_NAME, "messages": [{"role": "user", "content": question}]},
        timeout=20,
    )
    assert answer not in base.json()["choices"][0]["message"]["content"]


def _upstream(peer: Peer) -> str:
    document = yaml.safe_load((peer.folder / "server" / "provider.yaml").read_text())
    return f"{document['upstream']['url']}/chat/completions"


def test_a_task_is_cancelled(peer: Peer) -> None:
    home, user = peer.cli.home, accounts.user(3)
    (home / "config.json").write_text(json.dumps(PARAMETERS))
    # Announced, but nobody sends it: the broker asks again and again.
    tree = hash_file([b"promised"])
    nodes = [(node.root, node.height) for node in tree.nodes()]
    peer.flow.send(user, "submit", ((tree.size, b"", nodes), user.address), value=10**18)
    dataset = "0x" + tree.root.hex()
    said = peer.task(
        "create-task", model=MODEL_NAME, dataset=dataset, config_path=str(home / "config.json")
    )
    match = TASK.search(said)
    assert match, said
    peer.at(match[1], "SettingUp")
    assert f"task {match[1]} cancelled" in peer.task("cancel-task", task=match[1])
    assert peer.at(match[1], "Failed") == "Failed"
    assert "cancelled by the user" in peer.task("get-log", task=match[1])
