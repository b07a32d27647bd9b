"""0G storage: a file's Merkle root, its on-chain submission, and proofs of its segments
(provider-protocol.md 7.1, 7.2).

A file is cut into chunks of 256 bytes and segments of 1024 chunks; it is hashed as it comes, so a
file of any size needs the memory of one segment and 32 bytes per segment. All hashes are keccak256.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from eth_hash.auto import keccak  # half the time of eth_utils' checks around it

CHUNK_BYTES = 256
SEGMENT_CHUNKS = 1024
SEGMENT_BYTES = CHUNK_BYTES * SEGMENT_CHUNKS
#: The Go client splits larger files into several roots, which nothing in compute uses.
MAX_FILE_BYTES = 4 * 1024**3


@dataclass(frozen=True)
class Node:
    """One subtree of an on-chain submission: its root, and the height (log2 of its chunks)."""

    root: bytes
    height: int


@dataclass(frozen=True)
class Proof:
    """That a segment belongs to a file: the segment's root, siblings from the bottom up, the file's
    root; `path` says for each step whether the node so far is the left child.

    A file of one segment has its root alone and no path.
    """

    lemma: tuple[bytes, ...]
    path: tuple[bool, ...]


@dataclass(frozen=True)
class FileTree:
    """The hashes of one file of `size` bytes.

    `segment_roots` cover the padded file; `last_leaves` are the chunk hashes of its last segment.
    """

    size: int
    segment_roots: tuple[bytes, ...]
    last_leaves: tuple[bytes, ...]

    @property
    def root(self) -> bytes:
        """The 32 bytes that name the file on chain and in storage."""
        return tree_root(self.segment_roots)

    @property
    def chunks(self) -> int:
        """Chunks after padding: what the Flow contract charges for."""
        return padded_chunks(self.size)

    def nodes(self) -> tuple[Node, ...]:
        """The submission's subtrees, left to right: powers of two, largest first."""
        found: list[Node] = []
        at = 0
        for height in submission_heights(self.size):
            width = 1 << height
            if width >= SEGMENT_CHUNKS:
                first = at // SEGMENT_CHUNKS
                hashes = self.segment_roots[first : first + width // SEGMENT_CHUNKS]
            else:
                first = at % SEGMENT_CHUNKS
                hashes = self.last_leaves[first : first + width]
            found.append(Node(tree_root(hashes), height))
            at += width
        return tuple(found)

    def proof(self, index: int) -> Proof:
        """The proof of segment `index`. Raises IndexError for a segment the file does not have."""
        if not 0 <= index < len(self.segment_roots):
            raise IndexError(index)
        steps = _steps(index, len(self.segment_roots))
        lemma = [self.segment_roots[index]]
        level: Sequence[bytes] = self.segment_roots
        row = 0
        for step in steps:
            while row < step.row:
                level, row = _parents(level), row + 1
            lemma.append(level[step.sibling])
        end = (self.root,) if steps else ()
        return Proof((*lemma, *end), tuple(step.is_left for step in steps))


class Hasher:
    """Hashes a file while it passes: `update` with pieces of any size, then `finish` once."""

    def __init__(self) -> None:
        self.size = 0
        self._roots: list[bytes] = []
        self._rest = bytearray()

    def update(self, piece: bytes) -> None:
        """The next bytes of the file. Raises ValueError beyond MAX_FILE_BYTES."""
        self.size += len(piece)
        if self.size > MAX_FILE_BYTES:
            raise ValueError("storage files end at 4 GiB")
        self._rest += piece
        # The last full segment stays: it may be the one whose leaves the submission needs.
        while len(self._rest) > SEGMENT_BYTES:
            self._roots.append(segment_root(bytes(self._rest[:SEGMENT_BYTES])))
            del self._rest[:SEGMENT_BYTES]

    def finish(self) -> FileTree:
        """The file's hashes. Raises ValueError for an empty file, which has no root."""
        if not self.size:
            raise ValueError("an empty file has no storage root")
        chunks = padded_chunks(self.size)
        left = chunks - len(self._roots) * SEGMENT_CHUNKS
        leaves = _leaves(bytes(self._rest), min(left, SEGMENT_CHUNKS))
        roots = [*self._roots, tree_root(leaves)]
        left -= len(leaves)
        while left:
            leaves = (_zero_leaf(),) * min(left, SEGMENT_CHUNKS)
            roots.append(tree_root(leaves))
            left -= len(leaves)
        return FileTree(self.size, tuple(roots), leaves)


def hash_file(pieces: Iterable[bytes]) -> FileTree:
    """The hashes of a file given in pieces of any size. Raises ValueError for an empty one."""
    hasher = Hasher()
    for piece in pieces:
        hasher.update(piece)
    return hasher.finish()


def padded_chunks(size: int) -> int:
    """How many chunks a file of `size` bytes fills after padding.

    Up to the next sixteenth of the power of two above it.
    """
    count = -(-size // CHUNK_BYTES)
    power = 1 << max(count - 1, 0).bit_length()
    if count == power:
        return count
    unit = power // 16 if power >= 16 else 1
    return -(-count // unit) * unit


def segment_count(size: int) -> int:
    """Segments that hold bytes of the file (padding may add others, which nobody transmits)."""
    return -(-size // SEGMENT_BYTES)


def submission_heights(size: int) -> tuple[int, ...]:
    """The heights of a submission's nodes: the padded chunks in binary, largest first."""
    chunks = padded_chunks(size)
    return tuple(h for h in range(chunks.bit_length() - 1, -1, -1) if chunks >> h & 1)


def root_of_nodes(nodes: Sequence[Node]) -> bytes:
    """The file's root from its submission alone: folded from the right.

    Raises ValueError without nodes.
    """
    if not nodes:
        raise ValueError("a submission has at least one node")
    found = nodes[-1].root
    for node in reversed(nodes[:-1]):
        found = keccak(node.root + found)
    return found


def segment_root(data: bytes, size: int | None = None, index: int = 0) -> bytes:
    """The root of one segment's bytes.

    With the file's `size`, segment `index` is padded as that file is; without it, to whole chunks.
    """
    return tree_root(_leaves(data, _segment_chunks(size, index) if size is not None else 0))


def segment_bytes(size: int, index: int) -> int:
    """How many bytes of a file of `size` bytes lie in segment `index`."""
    return max(0, min(SEGMENT_BYTES, size - index * SEGMENT_BYTES))


def proves(proof: Proof, *, root: bytes, size: int, index: int, data: bytes) -> bool:
    """Whether `data` is segment `index` of the file with that root and size.

    `data` may carry the padding that some clients send. The path is not believed: it follows from
    index and size.
    """
    if not 0 <= index < segment_count(size):
        return False
    expected = segment_bytes(size, index)
    if len(data) < expected or data[expected:].strip(b"\0"):
        return False
    if len(data) > _segment_chunks(size, index) * CHUNK_BYTES:
        return False
    steps = _steps(index, -(-padded_chunks(size) // SEGMENT_CHUNKS))
    if proof.path != tuple(step.is_left for step in steps):
        return False
    if len(proof.lemma) != (len(steps) + 2 if steps else 1) or proof.lemma[-1] != root:
        return False
    found = segment_root(data[:expected], size, index)
    if proof.lemma[0] != found:
        return False
    for sibling, is_left in zip(proof.lemma[1:], proof.path, strict=False):
        found = keccak(found + sibling if is_left else sibling + found)
    return found == root


def tree_root(hashes: Sequence[bytes]) -> bytes:
    """The root over a row of hashes: pairs are hashed, an odd last one moves up unchanged."""
    level = hashes
    while len(level) > 1:
        level = _parents(level)
    return level[0]


def _parents(level: Sequence[bytes]) -> list[bytes]:
    found = [keccak(level[i] + level[i + 1]) for i in range(0, len(level) - 1, 2)]
    return [*found, level[-1]] if len(level) % 2 else found


@cache
def _zero_leaf() -> bytes:
    return keccak(bytes(CHUNK_BYTES))


def _leaves(data: bytes, chunks: int) -> tuple[bytes, ...]:
    """The chunk hashes of `data`, padded with zeros to at least `chunks` chunks."""
    full = [
        keccak(data[at : at + CHUNK_BYTES].ljust(CHUNK_BYTES, b"\0"))
        for at in range(0, len(data), CHUNK_BYTES)
    ]
    return (*full, *(_zero_leaf() for _ in range(chunks - len(full))))


def _segment_chunks(size: int, index: int) -> int:
    return max(0, min(SEGMENT_CHUNKS, padded_chunks(size) - index * SEGMENT_CHUNKS))


@dataclass(frozen=True)
class _Step:
    """One hashing on the way up: with the node `sibling` of `row`, which is right of a left one."""

    row: int
    sibling: int
    is_left: bool


def _steps(index: int, count: int) -> list[_Step]:
    """The way from leaf `index` of `count` to the root; where it moves up unchanged is no step."""
    found = []
    row = 0
    while count > 1:
        sibling = index ^ 1
        if sibling < count:
            found.append(_Step(row, sibling, index % 2 == 0))
        index, count, row = index // 2, (count + 1) // 2, row + 1
    return found
