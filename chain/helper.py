"""Reading ranges in a process of its own: parsing then takes nothing from the one that folds.

The process answers questions on its standard input until that ends, which it does however its
owner dies. It knows no database and no settings. For our own node only: where calls are counted
(`Budget`), and where waiting for the node is what takes time, one process asks for everything.
"""

from __future__ import annotations

import fcntl
import gc
import os
import pickle
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import IO, Any

from chain.endpoint import Endpoint
from chain.errors import ChainError, Unavailable
from chain.facts import Block, Header, Log, Transaction
from chain.fetch import Fetcher
from chain.rpc import Rpc

ROOT = Path(__file__).resolve().parent.parent
#: Bytes that an answer may wait in, so that few of its pieces wake us (Linux's usual limit).
PIPE_BYTES = 1 << 20
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ
#: Seconds for it to end by itself.
PATIENCE = 2.0


@dataclass(frozen=True, slots=True)
class Question:
    """`Fetcher.range` of one node."""

    url: str
    chain_id: int
    timeout: float
    first: int
    last: int
    addresses: Sequence[str]
    dense: bool


#: Blocks as plain tuples: several times quicker to send than as what they are.
Packed = list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Answer:
    """`blocks`, or the `error` in a sentence; `requests` were sent to the node."""

    requests: int
    blocks: Packed | None = None
    error: str = ""


class Helper:
    """The process, from our side."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from chain import helper; helper.main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self._ready = False
        with suppress(OSError):
            fcntl.fcntl(self._pipe(self._process.stdout), _SET_PIPE_SIZE, PIPE_BYTES)

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe is not None
        return pipe

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def ready(self) -> bool:
        """Whether it has started: importing takes it half a second."""
        if not self._ready:
            said = self._pipe(self._process.stdout)
            if select.select([said], [], [], 0)[0]:
                self._ready = said.read(1) == b"+"
        return self._ready

    def range(
        self, node: Endpoint, chain_id: int, first: int, last: int, addresses: Sequence[str],
        *, dense: bool,
    ) -> list[Block]:  # fmt: skip
        """`Fetcher.range` at `node`; Unavailable where that, or the process, failed."""
        asked = Question(node.url, chain_id, node.timeout, first, last, addresses, dense)
        try:
            _send(self._pipe(self._process.stdin), asked)
            answer = _receive(self._pipe(self._process.stdout))
        except (OSError, EOFError) as error:
            self.close()
            raise Unavailable(f"the reading process ended: {error!r}") from error
        node.requests += answer.requests
        if answer.blocks is None:
            raise Unavailable(answer.error)
        return unpacked(answer.blocks)

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                self._pipe(pipe).close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _send(pipe: IO[bytes], value: object) -> None:
    packed = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    pipe.write(len(packed).to_bytes(8, "big"))
    pipe.write(packed)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    """What the other side sent; it is ours, so it may be unpickled. EOFError when it is gone."""
    size = pipe.read(8)
    packed = pipe.read(int.from_bytes(size, "big"))
    if len(size) < 8 or len(packed) < int.from_bytes(size, "big"):
        raise EOFError
    return pickle.loads(packed)


_HEADER, _TRANSACTION = (attrgetter(*kind.__slots__) for kind in (Header, Transaction))


def packed(blocks: Sequence[Block]) -> Packed:
    """Blocks of which nothing was asked yet."""
    return [
        (_HEADER(b.header), list(map(_TRANSACTION, b.transactions)), list(map(tuple, b.logs)))
        for b in blocks
    ]


def unpacked(blocks: Packed) -> list[Block]:
    return [
        Block(
            Header(*header),
            tuple(Transaction(*each) for each in transactions),
            tuple(map(Log._make, logs)),
        )
        for header, transactions, logs in blocks
    ]


# --- the other side ------------------------------------------------------------------------------


def answer(fetch: Fetcher, asked: Question) -> Answer:
    """What there is to say to one question."""
    before = fetch.rpc.endpoints[0].requests
    blocks, error = None, ""
    try:
        blocks = packed(fetch.range(asked.first, asked.last, asked.addresses, dense=asked.dense))
    except ChainError as found:
        error = str(found)
    return Answer(fetch.rpc.endpoints[0].requests - before, blocks, error)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # our owner ends us by ending
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing else may write between the answers
    output.write(b"+")
    output.flush()
    fetchers: dict[tuple[str, int], Fetcher] = {}
    gc.disable()  # facts hold no cycles (chain.sync)
    with suppress(EOFError, BrokenPipeError):
        while True:
            asked: Question = _receive(sys.stdin.buffer)
            key = (asked.url, asked.chain_id)
            if key not in fetchers:
                rpc = Rpc([asked.url], asked.chain_id, timeout=asked.timeout)
                fetchers[key] = Fetcher(rpc)
            _send(output, answer(fetchers[key], asked))
