"""The fine-tuning broker: from a signed task to a decrypted result, its queue, its refusals, its
failures, and its death at every stage."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import requests
from eth_utils.crypto import keccak

from devnet.anvil import Anvil
from devnet.deploy import connect, deploy
from protocol import tuning
from protocol.digests import personal_digest, sign
from protocol.storage import hash_file
from provider.tuning.endpoints import WAITING_BYTES
from tests.live import official_sdk
from tests.live.provider_lab import ChaosRpc, Person, health_path, served
from tests.live.tuning_lab import (
    MODEL,
    MODEL_HASH,
    PARAMETERS,
    PRICE,
    STORAGE_FEE,
    Broker,
    TuningLab,
    create,
    dataset,
    download,
    post,
    signed,
    task_body,
    upload,
)
from tests.waiting import eventually

FEE = 5000 * 2 * PRICE + STORAGE_FEE  # five rows of 1000 tokens, two epochs


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TuningLab]:
    folder = tmp_path_factory.mktemp("tuning")
    with Anvil() as node:
        contracts = connect(node.url, deploy(node.url))
        arguments = ("--rpc", node.url, "--data", str(folder / "files"))
        with official_sdk.python(
            "devnet.storage", *arguments, log=folder / "storage.log", ready="storage READY"
        ) as words:
            lab = TuningLab(contracts, node.url, words[2], words[3], folder)
            yield lab
            lab.close()


@pytest.fixture(scope="module")
def broker(lab: TuningLab) -> Broker:
    return lab.broker()


def cancel(broker: Broker, user: Person, id_: str, **changes: Any) -> requests.Response:
    body = {"signature": signed(user, tuning.cancel_hash(id_)), **changes}
    return post(broker, user, f"task/{id_}/cancel", body)


def test_from_a_dataset_in_storage_to_a_decrypted_result(lab: TuningLab, broker: Broker) -> None:
    user = lab.funded(broker)
    root = lab.store(dataset("ok"))
    id_ = create(broker, user, root)
    task = broker.until(user, id_, tuning.DELIVERED)
    assert (task["fee"], task["modelType"], task["datasetHash"]) == (str(FEE), 1, root)
    delivered = lab.deliverable(user, broker, id_)
    assert task["deliverTime"] == delivered["timestamp"] and not delivered["encryptedSecret"]
    said = broker.log(user, id_)
    assert "train ok with lab-model" in said and f"= {FEE} neuron" in said
    assert "{'loss': 1.5, 'epoch': 1.0}" in said
    # From storage and from the TEE come the same bytes, under the root on chain.
    model_root = delivered["modelRootHash"]
    url = f"{lab.storage}/file?root=0x{model_root.hex()}"
    raw = requests.get(url, timeout=10).content
    assert hash_file([raw]).root == model_root
    from_tee = download(broker, user, id_)
    assert from_tee.status_code == 200 and from_tee.content == raw
    # Another address sees neither that nor the task under its own name.
    other = lab.person()
    assert download(broker, other, id_).status_code == 403
    assert download(broker, user, id_, at=int(time.time()) - 400).status_code == 403
    path = f"/v1/user/{other.address}/task/{id_}"
    assert requests.get(broker.url + path, timeout=10).status_code == 404

    lab.acknowledge(user, broker, id_)
    broker.until(user, id_, tuning.FINISHED)
    settled = lab.account(user, broker)
    assert settled["balance"] == 10**18 - FEE
    with lab.opened(user, broker, id_, raw) as archive:
        assert archive.namelist() == ["output_model/adapter_config.json", "output_model/weights"]
        assert json.loads(archive.read("output_model/adapter_config.json")) == PARAMETERS
    # What the broker keeps is encrypted.
    kept = broker.config.parent / "state" / "tasks" / id_
    assert sorted(p.name for p in kept.iterdir()) == ["progress.log", "result.enc"]
    latest = broker.get(f"/v1/user/{user.address}/task?latest=true")
    assert [t["id"] for t in latest] == [id_]


def test_the_image_finds_it_healthy(broker: Broker) -> None:
    assert requests.get(broker.url + health_path(), timeout=10).status_code == 200


def test_a_dataset_that_is_sent_to_the_tee(lab: TuningLab, broker: Broker) -> None:
    user, data = lab.funded(broker), dataset("ok", "x" * 300_000)
    answer = upload(broker, user, data)
    assert answer.status_code == 200, answer.text
    hash_ = answer.json()["datasetHash"]
    assert hash_ == "0x" + keccak(data).hex()
    assert upload(broker, user, data, signature="0x" + "11" * 65).status_code == 401
    assert upload(broker, user, data, timestamp=int(time.time()) + 120).status_code == 403
    assert upload(broker, user, b"").status_code == 400
    not_a_form = requests.post(f"{broker.url}/v1/user/{user.address}/dataset", data=b"x", timeout=9)
    assert not_a_form.status_code == 400
    # Wallets are free: while much waits, only who has an account may send more.
    stranger = lab.person()
    assert upload(broker, stranger, data).status_code == 200
    many = broker.config.parent / "state/datasets/0xmany/0x"
    many.parent.mkdir()
    with many.open("wb") as file:
        file.truncate(WAITING_BYTES)
    no = upload(broker, stranger, data)
    assert no.status_code == 403 and "too many datasets wait" in no.text
    assert upload(broker, user, data).status_code == 200
    many.unlink()
    # An SDK that dropped the hash's leading zero byte is understood.
    nonce = next(
        n
        for n in range(time.time_ns(), time.time_ns() + 10**6)
        if tuning.task_hash(user.address, n, hash_)[0] == 0
    )
    short = tuning.task_hash(user.address, nonce, hash_).lstrip(b"\0")
    signature = "0x" + sign(personal_digest(short), user.key).hex()
    id_ = create(broker, user, hash_, nonce=nonce, signature=signature)
    broker.until(user, id_, tuning.DELIVERED)
    # Somebody else does not get at it by its hash.
    other = lab.funded(broker)
    failed = create(broker, other, hash_)
    broker.until(other, failed, tuning.FAILED)
    assert "storage does not know" in broker.log(other, failed)
    lab.acknowledge(user, broker, id_)
    broker.until(user, id_, tuning.FINISHED)


def test_the_queue_and_cancelling(lab: TuningLab) -> None:
    broker = lab.broker(queue=3)
    users = [lab.funded(broker) for _ in range(4)]
    slow, quick = lab.store(dataset("slow", "queue")), lab.store(dataset("ok", "queue"))
    first = create(broker, users[0], slow)

    def refused(user: Person, **changes: Any) -> str:
        answer = post(broker, user, "task", task_body(user, quick, **changes))
        assert answer.status_code == 409
        return str(answer.json()["error"])

    assert "unfinished task" in refused(users[0], wait=True)
    assert "in-progress tasks" in refused(users[1])
    second = create(broker, users[1], quick, wait=True)
    third = create(broker, users[2], quick, wait=True)
    assert refused(users[3], wait=True) == "task queue is full"
    assert requests.get(broker.url + "/v1/task/pending", timeout=9).text == "3"
    # Cancelling: by the owner, with the owner's signature, before training.
    assert cancel(broker, users[2], second).status_code == 403
    assert cancel(broker, users[1], second, signature="0x" + "22" * 65).status_code == 401
    done = cancel(broker, users[1], second)
    assert (done.status_code, done.text) == (200, f"task {second} cancelled")
    assert broker.task(users[1], second)["progress"] == tuning.FAILED
    assert "cancelled by the user" in broker.log(users[1], second)
    assert cancel(broker, users[1], second).status_code == 409
    broker.until(users[0], first, tuning.SETTING_UP)
    assert cancel(broker, users[0], first).status_code == 200  # stops the executor that counts
    broker.until(users[2], third, tuning.DELIVERED)
    assert broker.task(users[0], first)["progress"] == tuning.FAILED
    assert cancel(broker, users[2], third).status_code == 409
    running = create(broker, users[0], slow)
    broker.until(users[0], running, tuning.TRAINING)
    assert "training has begun" in cancel(broker, users[0], running).json()["error"]
    broker.stop(signal.SIGTERM)


def test_what_is_no_task(lab: TuningLab, broker: Broker) -> None:
    user, hash_ = lab.funded(broker), "0x" + "77" * 32
    stranger, other = lab.person(), lab.person()

    def error(by: Person = user, status: int = 400, **changes: Any) -> str:
        answer = post(broker, by, "task", {**task_body(by, hash_), **changes})
        assert answer.status_code == status, answer.text
        return str(answer.json()["error"])

    assert "AccountNotExists" in error(stranger)
    assert "userAddress" in error(userAddress=other.address)
    assert "address mismatch" in error(status=401, signature=task_body(other, hash_)["signature"])
    assert "address mismatch" in error(status=401, nonce="5")
    assert "unsupported model" in error(preTrainedModelHash="0x" + "00" * 32)
    assert "learning_rate" in error(
        trainingParams=json.dumps({**PARAMETERS, "learning_rate": 2e-06})
    )
    assert "datasetHash" in error(datasetHash="../../etc/passwd")
    assert "nonce" in error(nonce="-1") and "wait" in error(wait="yes")
    assert "invalid nonce: 0" in error(**task_body(user, hash_, nonce=0))
    assert "JSON" in post(broker, user, "task", [1]).json()["error"]
    url = f"{broker.url}/v1/user/nobody/task"
    assert requests.get(url, timeout=9).json() == {"error": "invalid user address"}
    missing = requests.get(f"{broker.url}/v1/user/{user.address}/task/7", timeout=9)
    assert (missing.status_code, missing.json()) == (404, {"error": "task not found"})
    assert requests.get(broker.url + "/v1/nothing", timeout=9).json()["error"]
    assert broker.get(f"/v1/user/{user.address}/task") == []
    (model,) = broker.get("/v1/model")
    assert (model["name"], model["hash"]) == (MODEL, MODEL_HASH)
    assert broker.get(f"/v1/model/{MODEL}") == model
    signer = lab.contracts.fine_tuning.view("getService", broker.address)["teeSignerAddress"]
    assert broker.get("/v1/quote")["report_data"]
    assert signer != broker.address


@pytest.mark.parametrize(
    ("behave", "words"),
    [
        ("crash", "the executor ended with code 3"),
        ("nothing", "the executor trained nothing"),
        ("endless", "stopped after 2 seconds"),
    ],
)
def test_training_that_fails(lab: TuningLab, behave: str, words: str) -> None:
    broker = next((b for b in lab.brokers if "two-seconds" in b.config.read_text()), None)
    if broker is None:
        broker = lab.broker(train_seconds=2, quota={"gpu_type": "two-seconds"})
    user = lab.funded(broker)
    id_ = create(broker, user, lab.store(dataset(behave)))
    broker.until(user, id_, tuning.FAILED)
    assert words in broker.log(user, id_)
    # Nothing was charged, and the next task is welcome.
    assert lab.account(user, broker)["balance"] == 10**18
    again = create(broker, user, lab.store(dataset("ok")))
    broker.until(user, again, tuning.DELIVERED)


def test_a_task_that_costs_more_than_there_is(lab: TuningLab, broker: Broker) -> None:
    user = lab.funded(broker)
    rows = dataset("ok", "poor") + b'\n{"text":"row"}' * 1000
    id_ = create(broker, user, lab.store(rows))
    broker.until(user, id_, tuning.FAILED)
    said = f"insufficient balance: {10**18} neuron, the task costs {FEE + 1000 * 2000 * PRICE}"
    assert said in broker.log(user, id_)


def test_a_result_that_nobody_acknowledges(lab: TuningLab) -> None:
    broker = lab.broker(acknowledge_seconds=3600)
    user = lab.funded(broker)
    id_ = create(broker, user, lab.store(dataset("ok", "forgotten")))
    broker.until(user, id_, tuning.DELIVERED)
    lab.contracts.chain.travel(3000)
    time.sleep(0.6)  # three polls
    assert broker.task(user, id_)["progress"] == tuning.DELIVERED
    lab.contracts.chain.travel(700)
    broker.until(user, id_, tuning.FINISHED)
    left = lab.deliverable(user, broker, id_)
    assert (left["acknowledged"], left["settled"], left["encryptedSecret"]) == (False, True, b"")
    assert lab.account(user, broker)["balance"] == 10**18 - FEE * 30 // 100
    assert "the penalty is charged" in broker.log(user, id_)
    # The pair is stuck (contracts.md 6.5): a task whose result cannot be delivered is not taken.
    again = post(broker, user, "task", task_body(user, "0x" + "77" * 32))
    assert again.status_code == 409
    assert again.json()["error"] == f"previous deliverable not acknowledged: {id_}"


def test_a_trained_model_waits_for_storage_to_work_again(lab: TuningLab) -> None:
    broker = lab.broker(storage={"indexer": lab.storage, "max_fee": 1})
    user, other = lab.funded(broker), lab.funded(broker)
    id_ = create(broker, user, lab.store(dataset("ok", "waits")))
    eventually(lambda: "delivery waits: announcing the file would cost" in broker.log(user, id_))
    assert broker.task(user, id_)["progress"] == tuning.DELIVERING
    # It does not hold up others' training or delivery, not even where the disk fails it first, and
    # is said once.
    broker.stop(signal.SIGTERM)
    result = broker.config.parent / "state" / "tasks" / id_ / "result.enc"
    result.unlink()
    (blocked := result.with_suffix(".part")).mkdir()
    broker.start()
    eventually(lambda: "delivery waits: the provider's disk" in broker.log(user, id_))
    second = create(broker, other, lab.store(dataset("ok", "waits too")), wait=True)
    broker.until(other, second, tuning.DELIVERING)
    eventually(lambda: "delivery waits: announcing" in broker.log(other, second))
    assert broker.log(user, id_).count("delivery waits") == 2
    broker.stop(signal.SIGTERM)
    blocked.rmdir()
    text = broker.config.read_text()
    broker.config.write_text(text.replace("max_fee: 1", "max_fee: 1000000000000000000"))
    broker.start()
    for who, task in ((user, id_), (other, second)):
        broker.until(who, task, tuning.DELIVERED)
    broker.stop(signal.SIGTERM)


def test_it_survives_its_death_at_every_stage(lab: TuningLab) -> None:
    broker = lab.broker()
    user = lab.funded(broker)
    id_ = create(broker, user, lab.store(dataset("slow", "killed")))
    survived = []
    for stage in (tuning.SETTING_UP, tuning.TRAINING, tuning.DELIVERING, tuning.DELIVERED):
        left = tuning.STAGES[tuning.STAGES.index(stage) :]
        survived.append(broker.until(user, id_, *left)["progress"])
        broker.stop(signal.SIGKILL)
        broker.start()
    broker.until(user, id_, tuning.DELIVERED)
    lab.acknowledge(user, broker, id_)
    eventually(lambda: broker.task(user, id_)["progress"] != tuning.DELIVERED)
    broker.stop(signal.SIGKILL)
    broker.start()
    broker.until(user, id_, tuning.FINISHED)
    assert survived[:2] == [tuning.SETTING_UP, tuning.TRAINING]
    account = lab.account(user, broker)
    assert len(account["deliverables"]) == 1 and account["balance"] == 10**18 - FEE
    raw = download(broker, user, id_).content
    with lab.opened(user, broker, id_, raw) as archive:
        assert len(archive.namelist()) == 2
    left_over = [p for p in psutil.process_iter() if any(id_ in w for w in _words_of(p))]
    assert not left_over


def stay(broker: Broker) -> None:
    """It starts where it was: another address would be a transaction, too."""
    port = int(broker.url.rpartition(":")[2])
    broker.config.write_text(f"{broker.config.read_text()}listen: {{port: {port}}}\n")


def test_a_delivery_under_way_at_its_death_is_waited_for(lab: TuningLab) -> None:
    """A second one would be refused, and with it the task would fail, its result on the chain."""
    broker = lab.broker(storage=None)
    user = lab.funded(broker)
    stay(broker)
    sent = upload(broker, user, dataset("slow", "under way")).json()["datasetHash"]
    id_ = create(broker, user, sent)
    broker.until(user, id_, tuning.TRAINING)
    call = lab.contracts.chain.rpc.call

    def waiting() -> int:
        counts = [call("eth_getTransactionCount", broker.address, x) for x in ("pending", "latest")]
        return int(counts[0], 16) - int(counts[1], 16)

    call("evm_setAutomine", False)
    call("evm_setIntervalMining", 0)
    try:
        eventually(lambda: waiting() == 1)
        broker.stop(signal.SIGKILL)
        broker.start()
        said = "delivery waits: the chain does not answer, or has not taken an earlier transaction"
        eventually(lambda: said in broker.log(user, id_))
        assert waiting() == 1
    finally:
        call("evm_mine")
        call("evm_setAutomine", True)
    broker.until(user, id_, tuning.DELIVERED)
    assert len(lab.account(user, broker)["deliverables"]) == 1
    broker.stop(signal.SIGTERM)


class Behind(ChaosRpc):
    """Of nodes behind one address the one that is asked for deliverables stands at `block`."""

    block = ""
    asked = 0
    view = "0x" + keccak(b"getDeliverable(address,address,string)")[:4].hex()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def given() -> Any:
            message = await receive()
            call = json.loads(message["body"])
            method, params = call["method"], call["params"]
            if self.block and method == "eth_call" and params[0]["data"].startswith(self.view):
                params[1] = self.block
            self.asked += bool(self.block) and method == "eth_estimateGas"
            return {**message, "body": json.dumps(call).encode()}

        await super().__call__(scope, given, send)


def test_a_delivery_that_a_node_does_not_show_yet_is_no_failure(lab: TuningLab) -> None:
    """The contract refuses a second one: the result is there, and its fee is not lost."""
    chaos = Behind(lab.rpc)
    with served(chaos) as url:
        broker = lab.broker(storage=None)
        user = lab.funded(broker)
        stay(broker)
        broker.stop(signal.SIGTERM)
        broker.config.write_text(broker.config.read_text().replace(lab.rpc, url))
        broker.start()
        chaos.block = lab.contracts.chain.rpc.call("eth_blockNumber")
        sent = upload(broker, user, dataset("ok", "not shown yet")).json()["datasetHash"]
        id_ = create(broker, user, sent)
        eventually(lambda: lab.account(user, broker)["deliverables"])
        eventually(lambda: chaos.asked >= 3)  # it was sent once, and refused since
        chaos.block = ""
        broker.until(user, id_, tuning.DELIVERED)
        broker.stop(signal.SIGTERM)


def test_blocks_that_the_chain_takes_back_are_made_up_for(lab: TuningLab) -> None:
    """The delivery is lost, and then the settlement: neither task nor fee is."""
    for method, value in (("evm_setIntervalMining", 0), ("evm_setAutomine", True)):
        lab.contracts.chain.rpc.call(method, value)  # no block beside those of the test
    broker = lab.broker(storage=None, poll_seconds=3600)  # it looks when it is started
    user = lab.funded(broker)
    stay(broker)
    sent = upload(broker, user, dataset("ok", "taken back")).json()["datasetHash"]
    id_ = create(broker, user, sent)

    def look(*, lost: int = 0) -> None:
        broker.stop()
        if lost:
            lab.contracts.chain.rpc.call("anvil_reorg", lost, [])
            lab.contracts.chain.rpc.call("anvil_dropAllTransactions")
        broker.start()

    broker.until(user, id_, tuning.DELIVERED)
    look(lost=1)
    eventually(lambda: lab.account(user, broker)["deliverables"])
    broker.until(user, id_, tuning.DELIVERED)
    lab.acknowledge(user, broker, id_)
    for lost in (0, 1):
        look(lost=lost)
        eventually(lambda: lab.deliverable(user, broker, id_)["settled"])
    look()
    broker.until(user, id_, tuning.FINISHED)
    assert lab.account(user, broker)["balance"] == 10**18 - FEE
    broker.stop(signal.SIGTERM)


def _words_of(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []
