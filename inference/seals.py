"""Conversations at rest: every conversation has a key of its own, and what people and models said
is kept only under that key (AES-256-GCM).

The key of a kept conversation is sealed with `FIELD_KEYS` (`accounts.crypto`) beside it, so turning
those over touches one short field per conversation. The key of a conversation that is *not* kept
lives in Redis alone and goes with the session: what the database then still holds can be read by
nobody, and the next sweep deletes it.
"""

from __future__ import annotations

import os
import zlib
from datetime import timedelta
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.core.cache import cache

from accounts import crypto
from accounts.crypto import Unreadable as Unreadable

#: Shown in place of words whose key is gone; never stored.
LOST = crypto.LOST
#: What unpacking may yield at most, bytes; nothing larger is ever packed (`relay`).
MAX_UNPACKED = 32 << 20
_NONCE = 12


class Box:
    """Seals and opens the fields of one conversation. A field's name is authenticated with it, so
    that sealed values cannot be swapped between fields or conversations.
    """

    def __init__(self, key: bytes, chat: UUID) -> None:
        self._cipher = AESGCM(key)
        self._chat = chat.bytes

    def seal(self, name: str, data: bytes) -> bytes:
        """`nonce || ciphertext || tag`; b"" stays b"" (an empty field is no secret)."""
        if not data:
            return b""
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, data, self._chat + name.encode())

    def open(self, name: str, sealed: bytes | memoryview) -> bytes:
        """The bytes again. Raises Unreadable for anything altered, swapped or foreign."""
        sealed = bytes(sealed)
        if not sealed:
            return b""
        try:
            return self._cipher.decrypt(
                sealed[:_NONCE], sealed[_NONCE:], self._chat + name.encode()
            )
        except (InvalidTag, ValueError):
            raise Unreadable(f"The field {name!r} was altered or belongs elsewhere.") from None

    def seal_text(self, name: str, text: str) -> bytes:
        # Lone surrogates (JSON can carry them) have no UTF-8 form.
        return self.seal(name, text.encode("utf-8", "replace"))

    def text(self, name: str, sealed: bytes | memoryview) -> str:
        """The words, or LOST: one broken field must not take the page with it."""
        try:
            return self.open(name, sealed).decode("utf-8", "replace")
        except Unreadable:
            return LOST

    def pack(self, name: str, data: bytes) -> bytes:
        """`seal` of compressed bytes."""
        return self.seal(name, zlib.compress(data, 6)) if data else b""

    def unpack(self, name: str, sealed: bytes | memoryview) -> bytes:
        """What was packed. Raises Unreadable."""
        packed = self.open(name, sealed)
        return zlib.decompressobj().decompress(packed, MAX_UNPACKED) if packed else b""


class LostBox(Box):
    """Stands for a key that is gone: opens and seals nothing."""

    def __init__(self) -> None:
        pass

    def seal(self, name: str, data: bytes) -> bytes:
        raise Unreadable("The key of this conversation is gone.")

    def open(self, name: str, sealed: bytes | memoryview) -> bytes:
        if not sealed:
            return b""
        raise Unreadable("The key of this conversation is gone.")


def new_key() -> bytes:
    return AESGCM.generate_key(bit_length=256)


def seal_key(key: bytes) -> str:
    """The key for the database, under the newest of FIELD_KEYS."""
    return crypto.seal(key.hex())


def box(chat: UUID, sealed_key: str) -> Box:
    """The box of a conversation: from its sealed key, or from Redis where it has none."""
    try:
        key = crypto.unseal(sealed_key) if sealed_key else cache.get(_name(chat))
        return Box(bytes.fromhex(key), chat) if key else LostBox()
    except Unreadable:
        return LostBox()


def lend_key(chat: UUID, key: bytes, lifetime: timedelta) -> None:
    """Keep the key of an unkept conversation in Redis for as long as its session may live."""
    cache.set(_name(chat), key.hex(), timeout=max(1, int(lifetime.total_seconds())))


def forget_key(chat: UUID) -> None:
    cache.delete(_name(chat))


def lent(chats: list[UUID]) -> set[UUID]:
    """Those of `chats` whose key is still in Redis (one round trip)."""
    found = cache.get_many([_name(chat) for chat in chats])
    return {chat for chat in chats if _name(chat) in found}


def _name(chat: UUID) -> str:
    return f"chat-key:{chat}"
