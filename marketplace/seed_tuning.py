"""One small model fine-tuned for a user of the local devnet, as a user's own program would do it:
the provider's HTTP interface and the contracts, nothing else (provider-protocol.md 6)."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from http.client import HTTPResponse
from typing import Any

from eth_typing import Hash32

from chain.rpc import Rpc
from marketplace.seed import DEVNET_CHAIN_ID, ZEROG, SeedError, User, listed
from protocol import tuning
from protocol.abi import FINE_TUNING_SERVING, LEDGER_MANAGER, decode_result, encode_call
from protocol.digests import personal_digest

#: Has a ledger of `seed.PLANS`, with enough left for this.
ACCOUNT = 3
AMOUNT = 2 * ZEROG
MODEL = "zg-small"
PARAMETERS = {
    "neftune_noise_alpha": 0,
    "num_train_epochs": 10,
    "per_device_train_batch_size": 1,
    "learning_rate": 0.001,
    "max_steps": -1,
}
#: Facts of this project, so that the tuned model answers something true.
LESSON = {
    "What is the smallest unit of money here?": "One neuron; a 0G has ten to the eighteenth.",
    "How long does a refund wait?": "As long as the lock time of its contract says.",
    "Who can open a fine-tuned model?": "Only its owner, with the key of the wallet that asked.",
    "What does a missed deadline cost?": "The penalty that the contract states, and the model.",
    "Who signs an answer?": "The key inside the provider's trusted machine.",
    "What is a sub-account?": "Money set aside for one provider and one kind of service.",
    "What does the follower do?": "It reads blocks, keeps every fact, and folds them into rows.",
    "Where do datasets live?": "In 0G storage, under the root of their Merkle tree.",
    "How many settings has a task?": "Exactly five, and nothing else is accepted.",
    "What is an adapter?": "Two thin matrices whose product is added to a large one.",
    "May a task be cancelled?": "Yes, until its training begins.",
    "What happens to dropped answers?": "They are billed as a whole, for they were computed.",
}
PATIENCE_SECONDS = 300


def tune(rpc_urls: Sequence[str], site: str, ledger: str) -> bool:
    """Have the model tuned, take it over, wait until it is settled; False where this user has a
    task at the provider already. Raises SeedError."""
    service = listed(site, "kind=fine-tuning", 1)[0]
    with Rpc(rpc_urls, DEVNET_CHAIN_ID) as rpc:
        return _Customer(rpc, ledger, service).run()


class _Customer:
    """The user at one provider."""

    def __init__(self, rpc: Rpc, ledger: str, service: dict[str, Any]) -> None:
        self._rpc = rpc
        self._user = User(rpc, ledger, ACCOUNT)
        self._address = str(self._user.account.address)
        self._provider = str(service["provider"])
        self._name = str(service["service_name"])
        self._url = str(service["url"])
        found = rpc.call(
            ledger, encode_call(LEDGER_MANAGER, "getRecommendedService", "fine-tuning")
        )
        version_and_address = decode_result(LEDGER_MANAGER, "getRecommendedService", found)
        self._serving = str(version_and_address[1])

    def run(self) -> bool:
        tasks = f"/v1/user/{self._address}/task"
        if self._call("GET", tasks):
            return False
        self._user.send("transferFund", self._provider, self._name, AMOUNT)
        dataset = self._upload()
        id_ = self._create(tasks, dataset)
        self._until(f"{tasks}/{id_}", tuning.DELIVERED)
        self._user.transact(
            self._serving, FINE_TUNING_SERVING, "acknowledgeDeliverable", self._provider, id_
        )
        self._until(f"{tasks}/{id_}", tuning.FINISHED)
        return True

    def _create(self, path: str, dataset: str) -> str:
        nonce = int(time.time() * 1000) * 10_000 + 40
        body = {
            "userAddress": self._address,
            "datasetHash": dataset,
            "trainingParams": json.dumps(PARAMETERS),
            "preTrainedModelHash": self._call("GET", f"/v1/model/{MODEL}")["hash"],
            "fee": "0",
            "nonce": str(nonce),
            "signature": self._sign(tuning.task_hash(self._address, nonce, dataset)),
            "wait": True,
        }
        raw, kind = json.dumps(body).encode(), "application/json"
        return str(self._call("POST", path, raw, kind)["id"])

    def _upload(self) -> str:
        """Send the lesson into the TEE; its hash."""
        rows = [{"instruction": q, "input": "", "output": a} for q, a in LESSON.items()]
        data = "\n".join(json.dumps(row) for row in rows)
        now = int(time.time())
        signature = self._sign(tuning.upload_hash(self._address, now))
        mark, parts = "lesson-of-the-demo", []
        for name, value in (("file", data), ("signature", signature), ("timestamp", str(now))):
            more = '; filename="lesson.jsonl"' if name == "file" else ""
            head = f'Content-Disposition: form-data; name="{name}"{more}'
            parts.append(f"--{mark}\r\n{head}\r\n\r\n{value}\r\n")
        raw = ("".join(parts) + f"--{mark}--\r\n").encode()
        kind = f"multipart/form-data; boundary={mark}"
        path = f"/v1/user/{self._address}/dataset"
        return str(self._call("POST", path, raw, kind)["datasetHash"])

    def _until(self, path: str, stage: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (found := self._call("GET", path)["progress"]) != stage:
            if found == tuning.FAILED or time.monotonic() > deadline:
                log: bytes = self._call("GET", f"{path}/log", read=HTTPResponse.read)
                last = log.decode(errors="replace").strip().rpartition("\n")[2]
                raise SeedError(f"{self._url}{path} is at {found}, not {stage}; it said: {last}")
            time.sleep(0.5)

    def _sign(self, hash_: bytes) -> str:
        signed = self._user.account.unsafe_sign_hash(Hash32(personal_digest(hash_)))
        return "0x" + bytes(signed.signature).hex()

    def _call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        kind: str = "",
        read: Callable[[HTTPResponse], Any] = json.load,
    ) -> Any:
        request = urllib.request.Request(
            self._url + path, body, {"Content-Type": kind} if kind else {}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return read(response)
        except urllib.error.HTTPError as error:
            text = error.read(500).decode(errors="replace")
            raise SeedError(f"{self._url}{path}: {text}") from None
        except (OSError, ValueError) as error:
            raise SeedError(f"{self._url}{path} does not answer: {error}") from None
