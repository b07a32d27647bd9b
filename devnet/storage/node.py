"""What a storage node and an indexer answer, as JSON-RPC methods (provider-protocol.md 7.3)."""

from __future__ import annotations

import base64
import binascii
import inspect
import threading
import time
from collections.abc import Callable
from typing import Any

from devnet.client import Chain
from devnet.storage import flow
from devnet.storage.files import Files, Known, Segment
from protocol.storage import SEGMENT_CHUNKS, Proof

MAX_LOG_BLOCKS = 5000


class BadCall(ValueError):
    """The parameters do not fit the method."""


class NoMethod(ValueError):
    """There is no such method."""


class Node:
    """One node that knows of itself only. Methods block."""

    def __init__(self, files: Files, chain: Chain, flow_address: str, url: str) -> None:
        self.files = files
        self._chain = chain
        self._flow = flow_address
        self.url = url
        self._lock = threading.Lock()
        self._head = 0
        self._methods: dict[str, Callable[..., Any]] = {
            "zgs_getStatus": self.status,
            "zgs_getShardConfig": self.shard,
            "zgs_getFileInfo": self.file_info,
            "zgs_getFileInfoByTxSeq": self.file_info,
            "zgs_checkFileFinalized": self._finalized,
            "zgs_uploadSegment": self.upload,
            "zgs_uploadSegmentByTxSeq": self.upload,
            "zgs_uploadSegments": self._upload_all,
            "zgs_uploadSegmentsByTxSeq": self._upload_all,
            "zgs_downloadSegment": self._download,
            "zgs_downloadSegmentByTxSeq": self._download,
            "zgs_downloadSegmentWithProof": self._download_proven,
            "zgs_downloadSegmentWithProofByTxSeq": self._download_proven,
            "zgs_getSectorProof": self._unsupported,
            "indexer_getSelectedNodes": self._nodes,
            "indexer_getShardedNodes": self._nodes,
            "indexer_getNodeLocations": self._locations,
            "indexer_getFileLocations": self._file_locations,
        }

    def call(self, method: object, given: object) -> Any:
        """The result of a method. Raises NoMethod, BadCall, and Refusal for unwanted bytes."""
        handler = self._methods.get(method) if isinstance(method, str) else None
        if handler is None:
            raise NoMethod(f"the method {method!r:.60} does not exist")
        if given is not None and not isinstance(given, list):
            raise BadCall("params: expected a list")
        try:
            inspect.signature(handler).bind(*(given or []))
        except TypeError as error:
            raise BadCall(f"params: {error}") from error
        self.look()
        return handler(*(given or []))

    def look(self) -> None:
        """Read what the chain announced since the last look."""
        with self._lock:
            head = self._chain.block_number()
            first = self.files.next_block
            if head + 1 < first:  # an anvil that was set back: announce again what is there
                first = 0
            while first <= head:
                last = min(first + MAX_LOG_BLOCKS - 1, head)
                found = flow.announced(self._chain, self._flow, first, last)
                self.files.announce(found, last + 1)
                first = last + 1
            self._head = head

    def known(self, which: object) -> Known | None:
        """A file by 0x root or number. Raises BadCall for neither."""
        if type(which) is int and which >= 0:
            return self.files.find(which) if which < 2**63 else None
        return self.files.find(_hash(which))

    # ---- about the node and its files ------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """`zgs_getStatus`; clients take the Flow contract's address from here."""
        version = {"major": 0, "minor": 4, "build": 0}
        return {
            "connectedPeers": 1,
            "logSyncHeight": self._head,
            "logSyncBlock": "0x" + "00" * 32,
            "nextTxSeq": self.files.count(),
            "networkIdentity": {
                "chainId": self._chain.chain_id,
                "flowAddress": self._flow,
                "p2pProtocolVersion": version,
            },
        }

    def shard(self) -> dict[str, int]:
        """`zgs_getShardConfig`: this node holds everything."""
        return {"shardId": 0, "numShard": 1}

    def file_info(self, which: object, _available: object = False) -> dict[str, Any] | None:
        """`zgs_getFileInfo`: what is known about a file, None where it was not announced."""
        found = self.known(which)
        if found is None:
            return None
        file = found.file
        tx = {
            "streamIds": [],
            "data": [],
            "dataMerkleRoot": "0x" + file.root.hex(),
            "startEntryIndex": file.start,
            "size": file.size,
            "seq": file.seq,
        }
        return {
            "tx": tx,
            "finalized": found.finalized,
            "isCached": False,
            "uploadedSegNum": found.segments,
            "pruned": False,
        }

    def _finalized(self, which: object) -> bool | None:
        found = self.known(which)
        return found.finalized if found else None

    # ---- bytes -----------------------------------------------------------------------------

    def upload(self, given: object, _seq: object = None) -> int:
        """Take one segment with its proof."""
        self.files.put(segment(given))
        return 0

    def _upload_all(self, given: object, _seq: object = None) -> int:
        if not isinstance(given, list):
            raise BadCall("expected a list of segments")
        for each in given:
            self.upload(each)
        return 0

    def _download(self, which: object, start: object, end: object) -> str | None:
        found = self.known(which)
        if type(start) is not int or type(end) is not int or end - start > SEGMENT_CHUNKS:
            raise BadCall("expected chunks of one segment")
        data = self.files.read(found.file, start, end) if found else None
        return None if data is None else base64.b64encode(data).decode()

    def _download_proven(self, which: object, index: object) -> dict[str, Any] | None:
        found = self.known(which)
        tree = self.files.tree(found.file) if found else None
        if found is None or tree is None or type(index) is not int or not 0 <= index < found.needed:
            return None
        first = index * SEGMENT_CHUNKS
        data = self.files.read(found.file, first, first + SEGMENT_CHUNKS) or b""
        proof = tree.proof(index)
        return {
            "root": "0x" + found.file.root.hex(),
            "data": base64.b64encode(data).decode(),
            "index": index,
            "proof": {"lemma": ["0x" + h.hex() for h in proof.lemma], "path": list(proof.path)},
            "fileSize": found.file.size,
        }

    def _unsupported(self, *_: object) -> None:
        raise NoMethod("sector proofs are for miners")

    # ---- as an indexer ---------------------------------------------------------------------

    def _self(self) -> dict[str, Any]:
        return {"url": self.url, "config": self.shard(), "latency": 1, "since": int(time.time())}

    def _nodes(self, *_: object) -> dict[str, Any]:
        return {"trusted": [self._self()], "discovered": []}

    def _locations(self) -> dict[str, Any]:
        return {self.url: dict.fromkeys(("city", "region", "country", "location", "timezone"), "")}

    def _file_locations(self, root: object) -> list[dict[str, Any]] | None:
        return [self._self()] if self.known(root) else None


def segment(given: object, *, root: bytes | None = None, size: int | None = None) -> Segment:
    """A segment from JSON; `root` and `size` stand in for what the caller knows already.

    Raises BadCall.
    """
    if not isinstance(given, dict):
        raise BadCall("segment: expected an object")
    data, index = given.get("data"), given.get("index")
    size = given.get("fileSize") if size is None else size
    if type(index) is not int or type(size) is not int or not isinstance(data, str):
        raise BadCall("segment: expected data, index and fileSize")
    try:
        raw = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadCall("segment: data is not base64") from error
    return Segment(root or _hash(given.get("root")), index, size, raw, _proof(given.get("proof")))


def _proof(given: object) -> Proof:
    lemma = given.get("lemma") if isinstance(given, dict) else None
    path = given.get("path") if isinstance(given, dict) else None
    path = [] if path is None else path  # Go writes an empty list as null
    if not isinstance(lemma, list) or not isinstance(path, list) or len(lemma) > 64:
        raise BadCall("proof: expected lemma and path")
    if not all(isinstance(step, bool) for step in path):
        raise BadCall("proof: expected true and false in path")
    return Proof(tuple(_hash(each) for each in lemma), tuple(path))


def _hash(text: object) -> bytes:
    if isinstance(text, str) and text.startswith("0x") and len(text) == 66:
        try:
            return bytes.fromhex(text[2:])
        except ValueError:
            pass
    raise BadCall("expected a hash of 32 bytes")
