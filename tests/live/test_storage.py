"""The devnet's 0G storage: the official Go client's uploads and downloads, the gateway a web page
uses, resuming, and segments that do not belong."""

from __future__ import annotations

import base64
import random
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from devnet import accounts
from devnet.anvil import Anvil
from devnet.client import Chain, Contract, contract
from devnet.rpc import Rpc, RpcError
from devnet.storage.flow import deploy_flow
from protocol import storage
from protocol.storage import SEGMENT_BYTES, FileTree, hash_file
from tests.live import official_sdk


def generated(size: int, salt: int) -> bytes:
    return random.Random(salt).randbytes(size)


@dataclass(frozen=True)
class Storage:
    """A chain, the node on it, and the official client."""

    rpc: str
    url: str
    flow: Contract
    client: Path
    folder: Path

    def go(self, *arguments: str) -> str:
        """What the official Go client printed; it has to succeed."""
        done = subprocess.run(
            [str(self.client), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def announce(self, tree: FileTree) -> None:
        """Submit a file on chain as user 2, paying too much."""
        nodes = [(n.root, n.height) for n in tree.nodes()]
        user = accounts.user(2)
        fee = tree.chunks * self.flow.view("pricePerSector")
        before = self.flow.chain.balance(self.flow.address)
        self.flow.send(user, "submit", ((tree.size, b"", nodes), user.address), value=fee + 10**18)
        assert self.flow.chain.balance(self.flow.address) == before + fee

    def info(self, tree: FileTree) -> Any:
        return self.get(f"/file/info/0x{tree.root.hex()}")

    def get(self, path: str) -> Any:
        answer = requests.get(self.url + path, timeout=10)
        assert answer.status_code == 200
        return answer.json()

    def put(self, tree: FileTree, index: int, piece: bytes, **changes: Any) -> Any:
        """POST a segment to the gateway, as a browser or our site does."""
        proof = tree.proof(index)
        body = {
            "root": "0x" + tree.root.hex(),
            "index": index,
            "data": base64.b64encode(piece).decode(),
            "proof": {"lemma": ["0x" + h.hex() for h in proof.lemma], "path": list(proof.path)},
            **changes,
        }
        answer = requests.post(self.url + "/file/segment", json=body, timeout=10)
        assert answer.status_code == 200
        return answer.json()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    client = official_sdk.install().parents[2] / "binary" / "0g-storage-client"
    folder = tmp_path_factory.mktemp("storage")
    with Anvil() as node, started(node.url, folder) as (url, flow):
        assert deploy_flow(node.url) == flow
        chain = Chain(node.url)
        yield Storage(node.url, url, contract(chain, "Flow", flow), client, folder)


def started(rpc: str, folder: Path) -> Any:
    """The storage process: a context that gives (url, flow)."""
    arguments = ("--rpc", rpc, "--data", str(folder / "files"))
    ready = official_sdk.python(
        "devnet.storage", *arguments, log=folder / "storage.log", ready="storage READY"
    )

    class Words:
        def __enter__(self) -> tuple[str, str]:
            words = ready.__enter__()
            return words[2], words[3]

        def __exit__(self, *error: Any) -> None:
            ready.__exit__(*error)

    return Words()


@pytest.mark.parametrize("size", [1, 257, 262_145, 1_311_497])
def test_the_go_client_uploads_and_downloads(store: Storage, size: int, tmp_path: Path) -> None:
    data, path = generated(size, salt=1), tmp_path / "data"
    path.write_bytes(data)
    root = "0x" + hash_file([data]).root.hex()
    key = bytes(accounts.user(1).key).hex()
    said = store.go(
        *("upload", "--url", store.rpc, "--key", key, "--indexer", store.url),
        *("--file", str(path), "--skip-tx=false", "--log-level=debug"),
    )
    assert root in said
    back = tmp_path / "back"
    said = store.go(
        "download", "--file", str(back), "--indexer", store.url, "--roots", root, "--proof"
    )
    assert said.strip().endswith("Succeeded to validate the downloaded file")
    assert back.read_bytes() == data
    assert requests.get(f"{store.url}/file?root={root}", timeout=10).content == data


def test_the_gateway_takes_a_file_in_pieces_and_gives_any_part(store: Storage) -> None:
    data = generated(1_000_000, salt=2)
    tree = hash_file([data])
    assert store.info(tree)["code"] == 101
    pieces = [data[at : at + SEGMENT_BYTES] for at in range(0, len(data), SEGMENT_BYTES)]
    assert store.put(tree, 0, pieces[0])["code"] == 101
    store.announce(tree)
    for index in (3, 0, 1):
        assert store.put(tree, index, pieces[index]) == {
            **{"code": 0, "message": "Success"},
            "data": "Segment upload ok",
        }
    half = store.info(tree)["data"]
    assert (half["uploadedSegNum"], half["finalized"], half["tx"]["size"]) == (3, False, 1_000_000)
    whole = f"/file?root=0x{tree.root.hex()}"
    assert store.get(whole)["code"] == 103
    # What does not belong is refused and changes nothing.
    wrong = pieces[2][:-1] + bytes([pieces[2][-1] ^ 1])
    assert store.put(tree, 2, wrong)["code"] == 1
    assert store.put(tree, 2, pieces[1])["code"] == 1
    assert store.put(tree, 1, pieces[2])["code"] == 1
    assert store.put(tree, 2, pieces[2], proof={"lemma": [], "path": []})["code"] == 1
    assert store.put(tree, 2, pieces[2], data="%%%")["code"] == 1
    assert store.info(tree)["data"]["uploadedSegNum"] == 3
    assert store.put(tree, 2, pieces[2])["code"] == 0
    seq = store.info(tree)["data"]["tx"]["seq"]
    assert store.get(f"/files/info?cid={seq}&cid=0x{'00' * 32}")["data"] == [
        store.info(tree)["data"],
        None,
    ]
    for asked, start, end in (
        ("bytes=0-", 0, len(data)),
        ("bytes=262100-262200", 262_100, 262_201),
        ("bytes=-5", len(data) - 5, len(data)),
    ):
        answer = requests.get(store.url + whole, headers={"Range": asked}, timeout=10)
        assert (answer.status_code, answer.content) == (206, data[start:end])
        assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(data)}"
    beyond = requests.get(store.url + whole, headers={"Range": "bytes=1000000-"}, timeout=10)
    assert beyond.status_code == 416


def test_a_restarted_node_knows_its_files(store: Storage, tmp_path: Path) -> None:
    data = generated(600_000, salt=3)
    tree = hash_file([data])
    store.announce(tree)
    with started(store.rpc, tmp_path) as (url, _):
        other = Storage(store.rpc, url, store.flow, store.client, tmp_path)
        assert other.put(tree, 0, data[:SEGMENT_BYTES])["code"] == 0
    with started(store.rpc, tmp_path) as (url, _):
        other = Storage(store.rpc, url, store.flow, store.client, tmp_path)
        assert other.info(tree)["data"]["uploadedSegNum"] == 1
        for index in (1, 2):
            piece = data[index * SEGMENT_BYTES : (index + 1) * SEGMENT_BYTES]
            assert other.put(tree, index, piece)["code"] == 0
        answer = requests.get(f"{url}/file?root=0x{tree.root.hex()}", timeout=10)
        assert answer.content == data


def test_segments_may_come_first_and_calls_must_make_sense(store: Storage) -> None:
    rpc, data = Rpc(store.url), generated(5000, salt=4)
    tree = hash_file([data])
    proof = {"lemma": ["0x" + h.hex() for h in tree.proof(0).lemma], "path": None}
    sent = {
        **{"root": "0x" + tree.root.hex(), "index": 0, "fileSize": len(data), "proof": proof},
        "data": base64.b64encode(data + bytes(120)).decode(),
    }
    assert rpc.call("zgs_uploadSegments", [sent]) == 0
    assert rpc.call("zgs_getFileInfo", "0x" + tree.root.hex(), False) is None
    store.announce(tree)
    info = rpc.call("zgs_getFileInfo", "0x" + tree.root.hex(), True)
    assert info["finalized"] is True
    chunk = rpc.call("zgs_downloadSegment", "0x" + tree.root.hex(), 19, 20)
    assert base64.b64decode(chunk) == data[19 * 256 :].ljust(256, b"\0")
    with_proof = rpc.call("zgs_downloadSegmentWithProof", "0x" + tree.root.hex(), 0)
    assert with_proof["proof"]["lemma"] == proof["lemma"]
    status = rpc.call("zgs_getStatus")
    assert status["networkIdentity"]["flowAddress"].lower() == store.flow.address.lower()
    for method, params, code in (
        ("zgs_nothing", [], -32601),
        ("zgs_getFileInfo", [], -32602),
        ("zgs_getFileInfo", ["0x12"], -32602),
        ("zgs_uploadSegment", [{**sent, "fileSize": "5000"}], -32602),
        ("zgs_uploadSegment", [{**sent, "root": "0x" + "11" * 32}], -32000),
        ("zgs_downloadSegment", ["0x" + tree.root.hex(), 0, 5000], -32602),
    ):
        with pytest.raises(RpcError) as caught:
            rpc.call(method, *params)
        assert caught.value.code == code, method
    long = requests.get(f"{store.url}/file/info/{'9' * 5000}", timeout=10)
    assert long.json()["message"] == "Invalid parameter: expected a hash of 32 bytes"


def test_the_contract_takes_only_what_can_be_a_file(store: Storage) -> None:
    tree = hash_file([generated(70_000, salt=5)])
    nodes = [(n.root, n.height) for n in tree.nodes()]
    user = accounts.user(2)

    def attempt(size: int, parts: list[Any], value: int) -> str:
        call = store.flow.encode("submit", ((size, b"", parts), user.address))
        with pytest.raises(Exception) as caught:
            store.flow.chain.send(user, store.flow.address, call, value=value)
        return str(caught.value)

    fee = tree.chunks * store.flow.view("pricePerSector")
    assert "NotEnoughFee" in attempt(70_000, nodes, fee - 1)
    for size, parts in ((0, nodes), (70_000, []), (70_000, [*nodes, nodes[-1]]), (10**9, nodes)):
        assert "InvalidSubmission" in attempt(size, parts, 10**18)
    assert storage.padded_chunks(70_000) == tree.chunks
