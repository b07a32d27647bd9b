"""From a dataset in the browser's hands to a decrypted model, through the site's own doors, against
a real broker, chain and storage; and what goes wrong on the way."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from eth_account import Account
from eth_account.messages import encode_defunct

from accounts.models import User
from devnet.anvil import Anvil
from devnet.deploy import connect, deploy
from finetune import files, follow, results, services
from finetune.models import Dataset, Draft, Place, PlaceState, Task
from ledger import services as ledger
from protocol import tuning
from tests.live import official_sdk
from tests.live.provider_lab import ONE, Person
from tests.live.tuning_lab import MODEL, SERVICE, Broker, TuningLab

pytestmark = pytest.mark.django_db(transaction=True)
TOOL = Path(__file__).resolve().parent.parent.parent / "static/tools/zg-decrypt.py"


@pytest.fixture
def lab(tmp_path: Path, settings: Any) -> Iterator[TuningLab]:
    cache.clear()
    with Anvil() as node:
        contracts = connect(node.url, deploy(node.url))
        arguments = ("--rpc", node.url, "--data", str(tmp_path / "files"))
        with official_sdk.python(
            "devnet.storage", *arguments, log=tmp_path / "storage.log", ready="storage READY"
        ) as words:
            settings.CHAIN_RPC_URLS = (node.url,)
            settings.ALLOW_PRIVATE_PROVIDERS = True
            settings.STORAGE_INDEXER_URL = words[2]
            lab = TuningLab(contracts, node.url, words[2], words[3], tmp_path)
            yield lab
            lab.close()


class Browser:
    """A signed-in person at the site, who signs what the doors ask for."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self.user = User.objects.for_address(person.address)
        self.client = Client()
        self.client.force_login(self.user, backend="django.contrib.auth.backends.ModelBackend")

    def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        answer = self.client.post(path, json.dumps(body or {}), content_type="application/json")
        assert answer.status_code == status, answer.content
        return answer.json()

    def signed(self, path: str) -> dict[str, Any]:
        """What the page's script sends after the wallet has signed."""
        wanted = self.post(f"{path}/prepare")
        message = encode_defunct(bytes.fromhex(wanted["digest"][2:]))
        signature = Account.sign_message(message, self.person.key).signature.hex()
        assert len(wanted["digest"]) == 66  # always 32 bytes (provider-protocol.md 6.5)
        return {"signature": f"0x{signature}", "timestamp": wanted.get("timestamp")}

    def upload(self, raw: bytes) -> Dataset:
        made = self.post("/fine-tuning/datasets", {"name": "rows.jsonl", "size": len(raw)}, 201)
        here = f"/fine-tuning/datasets/{made['id']}"
        for number in reversed(made["missing"]):  # any order
            part = raw[number * files.PIECE_BYTES :][: files.PIECE_BYTES]
            answer = self.client.put(f"{here}/pieces/{number}", part, "application/octet-stream")
            assert answer.status_code == 200, answer.content
        self.post(f"{here}/finish")
        dataset = Dataset.objects.get(pk=made["id"])
        services.check(dataset)
        dataset.refresh_from_db()
        return dataset

    def draft(self, broker: Broker, dataset: Dataset) -> str:
        """Through the wizard's forms; the path of the draft."""
        choice = {"choice": f"{broker.address}||{MODEL}"}
        answer = self.client.post("/fine-tuning/new", choice)
        path = answer["Location"].rsplit("/", 1)[0]
        step = self.client.post(f"{path}/dataset", {"dataset": str(dataset.pk)})
        assert step["Location"] == f"{path}/config", step.content
        fields = {key: rule.default for key, rule in tuning.PARAMETERS.items()}
        step = self.client.post(f"{path}/config", {**fields, "num_train_epochs": "2"})
        assert step["Location"] == f"{path}/price", step.content
        assert b"tuning-price" in self.client.get(f"{path}/price").content
        return str(path)

    def send(self, path: str) -> Place:
        self.post(f"{path}/upload", self.signed(f"{path}/upload"))
        place = Place.objects.select_related("dataset__user", "dataset__file").get()
        services.send(place)
        place.refresh_from_db()
        return place

    def create(self, path: str) -> Task:
        made = self.post(f"{path}/task", self.signed(f"{path}/task"), 201)
        return Task.objects.get(pk=made["url"].rsplit("/", 1)[1])


def rows(*behave: str) -> bytes:
    texts = [" ".join(behave), *(f"row {n}" for n in range(11))]
    return "\n".join(json.dumps({"text": text}) for text in texts).encode()


def until(task: Task, *stages: str, seconds: float = 40) -> Task:
    deadline = time.monotonic() + seconds
    while task.progress not in stages:
        assert time.monotonic() < deadline, (task.progress, task.error)
        time.sleep(0.3)
        follow.look(task)
        task = Task.objects.select_related("user", "dataset").get(pk=task.pk)
    return task


def indexed() -> None:
    ledger.follow(once=True)


def test_dataset_to_decrypted_adapter(lab: TuningLab, tmp_path: Path) -> None:
    broker = lab.broker()
    person = lab.funded(broker)
    indexed()
    alice = Browser(person)
    dataset = alice.upload(rows("ok"))
    assert (dataset.state, dataset.rows, dataset.kind) == ("good", 12, "text")
    path = alice.draft(broker, dataset)
    assert b"Sign and send" in alice.client.get(f"{path}/sign").content
    assert alice.post(f"{path}/task/prepare", status=400)["code"] == "dataset_not_sent"
    assert alice.send(path).state == PlaceState.THERE
    task = until(alice.create(path), tuning.DELIVERED)
    assert not Draft.objects.exists()
    assert task.fee is not None and task.fee > 0
    assert [p.stage for p in task.passages.order_by("pk")] == list(tuning.STAGES[:7])
    indexed()
    page = alice.client.get(f"/fine-tuning/tasks/{task.pk}").content.decode()
    assert 'data-testid="deadline"' in page and 'data-testid="task-acknowledge"' in page
    assert "Acknowledge a result" in page and "loss" in page
    # From the provider with a signature, and from storage without one: the same bytes.
    proof = alice.signed(f"/fine-tuning/tasks/{task.pk}/fetch")
    alice.post(f"/fine-tuning/tasks/{task.pk}/fetch", proof)
    results.fetch(task, proof["signature"], proof["timestamp"])
    task.refresh_from_db()
    assert (task.result_state, task.result_error) == ("here", "")
    named = lab.deliverable(person, broker, str(task.remote_id))
    assert "0x" + named["modelRootHash"].hex() in (task.result_root, task.result_keccak)
    raw = b"".join(alice.client.get(f"/fine-tuning/tasks/{task.pk}/result"))
    rest = alice.client.get(f"/fine-tuning/tasks/{task.pk}/result", headers={"Range": "bytes=100-"})
    assert rest.status_code == 206 and b"".join(rest) == raw[100:]
    assert (
        alice.post(f"/fine-tuning/tasks/{task.pk}/fetch", {"from": "storage"}, 409)["code"]
        == "already_here"
    )
    Task.objects.update(result_state="")
    alice.post(f"/fine-tuning/tasks/{task.pk}/fetch", {"from": "storage"})
    results.fetch(task, "", 0)
    task.refresh_from_db()
    assert task.result_state == "here"
    # The chain: acknowledged, settled, key released; the tool opens it with the wallet's key.
    lab.acknowledge(person, broker, str(task.remote_id))
    task = until(task, tuning.FINISHED)
    indexed()
    page = alice.client.get(f"/fine-tuning/tasks/{task.pk}").content.decode()
    assert "sealed for your wallet" in page and "Settled in" in page
    (tmp_path / "in.bin").write_bytes(raw)
    told = {
        "rpc": lab.rpc,
        "contract": lab.contracts.fine_tuning.address,
        "provider": broker.address,
        "task": str(task.remote_id),
        "user": person.address,
    }
    options = [part for name, value in told.items() for part in (f"--{name}", value)]
    # Its provider may be gone by then: the page's command names whose seals they are.
    key = re.search(r"wallet_key: '?(0x\w+)", broker.config.read_text())
    assert key is not None
    broker.stop()
    lab.contracts.fine_tuning.send(Account.from_key(key[1]), "removeService")
    options += ["--signer", task.tee_signer]
    page = alice.client.get(f"/fine-tuning/decrypt?task={task.pk}").content.decode()
    assert f"--user {person.address} --signer {task.tee_signer}" in page
    done = subprocess.run(
        [sys.executable, TOOL, "--file", "in.bin", "--out", "model.zip", *options],
        cwd=tmp_path,
        env={"ZG_PRIVATE_KEY": person.key.hex(), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "the one that the chain names" in done.stdout
    # One bit elsewhere: nothing is written, not even before the key is asked for.
    (tmp_path / "in.bin").write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    tampered = subprocess.run(
        [sys.executable, TOOL, "--file", "in.bin", "--out", "tampered.zip", *options],
        cwd=tmp_path,
        env={"ZG_PRIVATE_KEY": person.key.hex(), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert tampered.returncode != 0 and not list(tmp_path.glob("tampered*"))
    with zipfile.ZipFile(tmp_path / "model.zip") as found:
        assert any(name.startswith("output_model/") for name in found.namelist())
    # Nobody else sees any of it.
    bob = Browser(lab.person())
    for path in ("", "/log", "/loss.csv", "/result"):
        assert bob.client.get(f"/fine-tuning/tasks/{task.pk}{path}").status_code == 404


def test_what_goes_wrong(lab: TuningLab) -> None:
    broker = lab.broker()
    person = lab.funded(broker)
    indexed()
    alice = Browser(person)
    bad = alice.upload(b'{"text": "good"}\n{"messages": []}\nnot json\n\xff\n')
    assert bad.state == "bad" and bad.problem_count == 3
    assert [line for line, _ in bad.problems] == [2, 3, 4]
    step = alice.client.post("/fine-tuning/new", {"choice": f"{broker.address}||{MODEL}"})
    path = step["Location"].rsplit("/", 1)[0]
    refused = alice.client.post(f"{path}/dataset", {"dataset": str(bad.pk)})
    assert refused.status_code == 400 and "has problems" in refused.content.decode()
    assert "line 3" in refused.content.decode()
    # A signature that is not the wallet's, and one that is too old.
    dataset = alice.upload(rows("slow"))
    path = alice.draft(broker, dataset)
    proof = alice.signed(f"{path}/upload")
    old = {**proof, "timestamp": proof["timestamp"] - 4_000}
    assert alice.post(f"{path}/upload", old, 400)["code"] == "signature_old"
    wrong = {**proof, "timestamp": proof["timestamp"] - 1}
    assert alice.post(f"{path}/upload", wrong, 400)["code"] == "wrong_signature"
    assert alice.send(path).state == PlaceState.THERE
    task = alice.create(path)
    # One unfinished task per wallet and provider, in the provider's own words.
    second = alice.draft(broker, dataset)
    said = alice.post(f"{second}/task", alice.signed(f"{second}/task"), 409)
    assert said["code"] in ("unfinished_task", "provider_busy")
    assert Draft.objects.filter(pk=second.rsplit("/", 1)[1]).exists()  # nothing is lost
    # The provider goes away: what was told stays, and that it does not answer is said.
    until(task, *tuning.STAGES[1:])
    broker.stop()
    follow.look(task)
    task.refresh_from_db()
    assert task.failures == 1 and task.error and task.look_next is not None
    page = alice.client.get(f"/fine-tuning/tasks/{task.pk}").content.decode()
    assert "no answer" in page and "we keep asking" in page
    # A file that is not what the chain names is never called verified.
    file = files.create(alice.user, 500)
    files.put(file, 0, bytes(500))
    results.judge(task, file)
    task.refresh_from_db()
    assert task.result_state == "wrong"
    assert alice.client.get(f"/fine-tuning/tasks/{task.pk}/result").status_code == 404


def test_a_missed_deadline_costs_the_penalty_and_the_model(lab: TuningLab) -> None:
    broker = lab.broker(acknowledge_seconds=1)
    person = lab.funded(broker)
    indexed()
    alice = Browser(person)
    dataset = alice.upload(rows("ok"))
    path = alice.draft(broker, dataset)
    alice.send(path)
    task = until(alice.create(path), tuning.DELIVERED, tuning.FINISHED, tuning.FAILED)
    lab.contracts.chain.travel(90_000)
    task = until(task, tuning.FINISHED, tuning.FAILED)
    indexed()
    page = alice.client.get(f"/fine-tuning/tasks/{task.pk}").content.decode()
    assert "the penalty was charged" in page
    mine = page + alice.client.get("/fine-tuning").content.decode()
    assert mine.count("You did not acknowledge the result in time") == 2
    assert "sealed for your wallet" not in mine and "data-fetch=" not in mine
    assert re.search(r'<li data-state="failed">UserAcknowledged', page)
    left = lab.account(person, broker)["balance"]
    assert task.fee is not None
    assert ONE - left == tuning.penalty(task.fee, 30)
    # From here on the contract refuses every result of this pair (contracts.md 5), so nothing that
    # would be lost is signed.
    again = alice.draft(broker, dataset)
    assert alice.post(f"{again}/task/prepare", status=400)["code"] == "results_refused"
    # Made elsewhere: found by asking the provider.
    Task.objects.all().delete()
    alice.client.post("/fine-tuning/adopt", {"provider": broker.address})
    assert Task.objects.get().remote_id == task.remote_id
    assert SERVICE in Task.objects.get().service_name
