"""ECIES on secp256k1, as fine-tuning providers hand over model keys (provider-protocol.md 6.9).

A sealed text is an ephemeral public key (65 bytes, uncompressed), a nonce (16), a tag (16) and the
ciphertext. The AES key is HKDF-SHA256 over both points, uncompressed, without salt and info.
"""

from __future__ import annotations

import secrets

from coincurve import PrivateKey, PublicKey
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PUBLIC_KEY_BYTES = 65
NONCE_BYTES = 16
TAG_BYTES = 16
OVERHEAD_BYTES = PUBLIC_KEY_BYTES + NONCE_BYTES + TAG_BYTES


class CannotOpen(ValueError):
    """The text was not sealed for this key, or somebody changed it; the text says which it can."""


def public_key_of(private_key: bytes) -> bytes:
    """The uncompressed public key (65 bytes) of a private key."""
    return bytes(PrivateKey(private_key).public_key.format(compressed=False))


def seal(
    plaintext: bytes, public_key: bytes, *, ephemeral: bytes | None = None, nonce: bytes = b""
) -> bytes:
    """`plaintext` for the owner of the 65-byte `public_key`.

    `ephemeral` (32 bytes) and `nonce` (16) are random unless a test gives them. Raises ValueError
    for bytes that are no public key.
    """
    own = PrivateKey(ephemeral) if ephemeral else PrivateKey()
    sender = own.public_key.format(compressed=False)
    nonce = nonce or secrets.token_bytes(NONCE_BYTES)
    shared = PublicKey(public_key).multiply(own.secret).format(compressed=False)
    sealed = AESGCM(_key(sender, shared)).encrypt(nonce, plaintext, None)
    return bytes(sender + nonce + sealed[-TAG_BYTES:] + sealed[:-TAG_BYTES])


def unseal(sealed: bytes, private_key: bytes) -> bytes:
    """What was sealed for the owner of the 32-byte `private_key`. Raises CannotOpen."""
    if not sealed:
        raise CannotOpen("there is nothing to open: the key has not been released yet")
    if len(sealed) < OVERHEAD_BYTES or sealed[0] != 4:
        raise CannotOpen("this is not a sealed text")
    sender, rest = sealed[:PUBLIC_KEY_BYTES], sealed[PUBLIC_KEY_BYTES:]
    nonce, tag = rest[:NONCE_BYTES], rest[NONCE_BYTES : NONCE_BYTES + TAG_BYTES]
    try:
        shared = PublicKey(sender).multiply(private_key).format(compressed=False)
    except ValueError as error:
        raise CannotOpen("it does not begin with a public key") from error
    cipher = AESGCM(_key(sender, shared))
    try:
        return cipher.decrypt(nonce, rest[NONCE_BYTES + TAG_BYTES :] + tag, None)
    except InvalidTag as error:
        raise CannotOpen("it was sealed for another key, or changed on its way") from error


def _key(sender: bytes, shared: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=None).derive(sender + shared)
