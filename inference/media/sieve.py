"""Pictures taken out of a JSON answer while it arrives, so that a large answer is never whole in
memory: not as text, not as a document, and no picture twice. Pure.

A JSON text has pictures as long strings of base64. Strings beyond LONG characters are decoded as
they come and replaced by a word that leads to them; what is left is a small document.
"""

from __future__ import annotations

import binascii
import re
import secrets
from typing import Any

from net import strictjson
from net.errors import BadAnswer, TooLarge
from net.limits import JsonLimits

#: Characters of a string that is kept as text; an address is shorter, any picture longer.
LONG = 64 << 10
#: Of what is left of an answer without its long strings; bytes.
MOST_REST = 1 << 20
_SHAPE = JsonLimits(max_depth=12, max_bytes=2 * MOST_REST)
# A string up to its end, or to a backslash that ends the piece. Not one step of ours for each
# escape: a provider may send nothing else, and everybody waits meanwhile.
_INSIDE = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)


class Sieve:
    """Takes an answer in pieces. Raises BadAnswer where too much is left of it.

    `most`: bytes of one picture; of a larger one the rest is dropped, and it counts as none.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._rest = bytearray()
        self._long: list[_Long] = []
        self._mark = secrets.token_hex(16)
        #: The string that one is in: kept as text, or long already.
        self._text: bytearray | None = None
        self._inside: _Long | None = None
        self._escaped = False

    def feed(self, piece: bytes) -> None:
        at = 0
        while at < len(piece):
            at = self._in_string(piece, at) if self._text is not None else self._between(piece, at)
        if len(self._rest) > MOST_REST:
            raise BadAnswer(f"JSON of more than {MOST_REST} bytes beside its pictures")

    def document(self) -> Any:
        """The value; long strings in it are words for `picture`. Raises BadAnswer."""
        if self._text is not None:
            raise BadAnswer("the text is not JSON")
        return strictjson.loads(bytes(self._rest), _SHAPE)

    def picture(self, text: str) -> bytes | None:
        """What a long string held, once; None for a text that stands for none. Raises ValueError
        for what is no base64, TooLarge."""
        mark, _, number = text.partition(":")
        if mark != self._mark:
            return None
        return self._long[int(number)].taken()

    def _between(self, piece: bytes, at: int) -> int:
        quote = piece.find(b'"', at)
        end = len(piece) if quote < 0 else quote + 1
        self._rest += piece[at:end]
        if quote >= 0:
            self._text, self._inside = bytearray(), None
        return end

    def _in_string(self, piece: bytes, at: int) -> int:
        if self._escaped:
            self._escaped = False
            self._add(b"\\" + piece[at : at + 1])
            return at + 1
        found = _INSIDE.match(piece, at)
        assert found is not None  # it may be empty
        self._add(found[0])
        match piece[found.end() : found.end() + 1]:
            case b'"':
                self._close()
            case b"\\":
                self._escaped = True
        return found.end() + 1

    def _add(self, part: bytes) -> None:
        assert self._text is not None
        if self._inside is None:
            self._text += part
            if len(self._text) <= LONG:
                return
            part, self._inside = bytes(self._text), _Long(self._most)
            self._text.clear()
            self._long.append(self._inside)
        self._inside.add(part)

    def _close(self) -> None:
        assert self._text is not None
        if self._inside is not None:
            self._inside.end()
            self._text += f"{self._mark}:{len(self._long) - 1}".encode()
        self._rest += self._text + b'"'
        self._text = self._inside = None


class _Long:
    """A long string, decoded as it comes; `_wrong` is what to raise for it."""

    def __init__(self, most: int) -> None:
        self._most, self._size = most, 0
        self._parts: list[bytes] = []
        self._left = bytearray()
        self._ended = False
        self._wrong: Exception | None = None

    def add(self, part: bytes) -> None:
        if self._wrong:
            return
        # JSON may write a slash as `\/`; base64 has no other letter that needs an escape.
        self._left += part.replace(b"\\/", b"/")
        # Gathered before: a part kept for each few bytes that arrive would cost many times as much.
        if len(self._left) >= LONG:
            self._decode(len(self._left) // 4 * 4)

    def _decode(self, length: int) -> None:
        """The first so many characters of what is left."""
        text = bytes(self._left[:length])
        del self._left[:length]
        try:
            if self._ended:
                raise ValueError("base64 goes on after its end")
            data = binascii.a2b_base64(text, strict_mode=True)
        except ValueError as error:
            self._drop(error)
            return
        self._ended = text.endswith(b"=")
        self._size += len(data)
        if self._size > self._most:
            self._drop(TooLarge(f"more than {self._most} bytes"))
        else:
            self._parts.append(data)

    def _drop(self, why: Exception) -> None:
        self._wrong, self._left = why, bytearray()
        self._parts.clear()

    def end(self) -> None:
        if len(self._left) % 4:
            self._drop(ValueError("base64 ends in the middle"))
        elif self._left:
            self._decode(len(self._left))

    def taken(self) -> bytes:
        """Its bytes, which are not kept here any longer. Raises ValueError, TooLarge."""
        if self._wrong:
            raise self._wrong
        data = b"".join(self._parts)
        self._drop(ValueError("it was taken before"))
        return data
