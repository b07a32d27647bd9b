"""Undoing a content encoding, in bounded pieces. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable

from net.errors import BadAnswer, BrokenOff

#: Takes what came, and b"" at the end.
Decoder = Callable[[bytes], Iterable[bytes]]


class Inflate:
    """Undoes gzip or deflate in bounded pieces, so that a bomb meets the size limit and not the
    memory.
    """

    _PIECE = 64 << 10

    def __init__(self, window: int) -> None:
        self._engine = zlib.decompressobj(window)

    def __call__(self, data: bytes) -> Iterable[bytes]:
        try:
            if not data:
                if not self._engine.eof:
                    raise BrokenOff("the compressed answer ends in the middle")
                return
            while data:
                yield self._engine.decompress(data, self._PIECE)
                data = self._engine.unconsumed_tail
                if self._engine.unused_data:
                    raise BadAnswer("bytes after the end of a compressed answer")
        except zlib.error:
            raise BadAnswer("the compressed answer cannot be read") from None


def identity(data: bytes) -> Iterable[bytes]:
    return (data,)


def decoder(encoding: str) -> Decoder:
    """What undoes `encoding`. Raises BadAnswer for one that was never asked for."""
    match encoding.strip().lower():
        case "" | "identity":
            return identity
        case "gzip" | "x-gzip":
            return Inflate(16 + zlib.MAX_WBITS)
        case "deflate":
            return Inflate(zlib.MAX_WBITS)
    raise BadAnswer("the answer uses a compression that was not asked for")
