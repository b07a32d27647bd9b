"""0G storage roots, submissions and segment proofs, against vectors that two JavaScript SDKs and
the Go client agree on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import storage
from protocol.storage import SEGMENT_BYTES, Hasher, Proof, hash_file, proves

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "vectors/provider/storage_roots.json").read_text()
)
FILES = [v for v in VECTORS["vectors"] if 0 < v["size"] < 2_000_000]
_PERIOD = bytes((31 * i + 7) & 255 for i in range(256))


def generated(size: int) -> bytes:
    """The vectors' bytes: byte i = (31 i + 7) & 255."""
    return (_PERIOD * (size // 256 + 1))[:size]


def as_bytes(value: str) -> bytes:
    return bytes.fromhex(value.removeprefix("0x"))


@pytest.mark.parametrize("vector", FILES, ids=lambda v: str(v["size"]))
def test_roots_and_submissions_are_the_networks(vector: dict[str, Any]) -> None:
    tree = hash_file([generated(vector["size"])])
    assert "0x" + tree.root.hex() == vector["root"]
    assert tree.chunks == vector["paddedChunks"]
    nodes = [{"root": "0x" + n.root.hex(), "height": str(n.height)} for n in tree.nodes()]
    assert nodes == vector["submission"]["nodes"]
    assert storage.root_of_nodes(tree.nodes()) == tree.root
    assert storage.submission_heights(vector["size"]) == tuple(n.height for n in tree.nodes())


def test_a_file_of_17_megabytes_passes_in_pieces_and_leaves_hashes_only() -> None:
    vector = VECTORS["vectors"][-1]
    hasher, data = Hasher(), generated(vector["size"])
    for at in range(0, len(data), 1_000_003):
        hasher.update(data[at : at + 1_000_003])
        assert len(hasher._rest) <= SEGMENT_BYTES
    tree = hasher.finish()
    assert "0x" + tree.root.hex() == vector["root"]
    # 72 segments after padding, of which the last four hold no byte of the file.
    assert len(tree.segment_roots) == vector["numSegmentsPadded"]
    assert storage.segment_count(vector["size"]) == 69


def test_proofs_are_the_go_clients() -> None:
    size = 1_311_497
    data, found = generated(size), VECTORS["segment_proofs_for_1311497"]
    tree = hash_file([data])
    assert ["0x" + r.hex() for r in tree.segment_roots] == found["segment_roots"]
    for proof in found["proofs"]:
        index = proof["index"]
        ours = tree.proof(index)
        assert ["0x" + h.hex() for h in ours.lemma] == proof["lemma"]
        assert list(ours.path) == proof["path"]
        segment = data[index * SEGMENT_BYTES : (index + 1) * SEGMENT_BYTES]
        assert proves(ours, root=tree.root, size=size, index=index, data=segment)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9 * SEGMENT_BYTES), st.data())
def test_every_segment_proves_itself_and_nothing_else_does(size: int, data: st.DataObject) -> None:
    tree = hash_file([generated(size)])
    count = storage.segment_count(size)
    index = data.draw(st.integers(0, count - 1))
    segment = generated(size)[index * SEGMENT_BYTES : (index + 1) * SEGMENT_BYTES]
    proof = tree.proof(index)
    claim: dict[str, Any] = {"root": tree.root, "size": size, "index": index, "data": segment}
    assert proves(proof, **claim)
    at = data.draw(st.integers(0, len(segment) - 1))
    changed = segment[:at] + bytes([segment[at] ^ 1]) + segment[at + 1 :]
    assert not proves(proof, **{**claim, "data": changed})
    assert not proves(proof, **{**claim, "data": segment[:-1]})
    assert not proves(proof, **{**claim, "data": segment + b"\1"})
    assert not proves(proof, **{**claim, "index": count})
    assert not proves(Proof(proof.lemma[:-1], proof.path), **claim)
    assert not proves(Proof(proof.lemma, (*proof.path, True)), **claim)
    which = data.draw(st.integers(0, len(proof.lemma) - 1))
    lemma = list(proof.lemma)
    lemma[which] = bytes(31) + b"\7"
    assert not proves(Proof(tuple(lemma), proof.path), **claim)


@given(st.binary(min_size=1, max_size=3000), st.lists(st.integers(1, 700), max_size=20))
def test_how_a_file_is_cut_does_not_matter(data: bytes, cuts: list[int]) -> None:
    whole, hasher, at = hash_file([data]), Hasher(), 0
    for cut in (*cuts, len(data)):
        hasher.update(data[at : at + cut])
        at += cut
    assert hasher.finish() == whole


def test_an_empty_file_has_no_root() -> None:
    with pytest.raises(ValueError, match="empty"):
        hash_file([b""])
