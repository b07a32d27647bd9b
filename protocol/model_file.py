"""The encrypted file a fine-tuned model is delivered in (provider-protocol.md 6.8).

`signature (65) | first nonce (12) | chunks`, each chunk AES-256-GCM of at most 64 MiB and its
16-byte tag; nonces count up as 96-bit numbers. The TEE signer signs all tags together, raw, with v
0 or 1: whoever knows where chunks end can check the signature without any key, and must do so
before anything is decrypted.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from eth_utils.crypto import keccak

from protocol.digests import SIGNATURE_BYTES, BadSignature, recover

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
CHUNK_BYTES = 64 * 1024 * 1024
HEAD_BYTES = SIGNATURE_BYTES + NONCE_BYTES
_SEALED_CHUNK = CHUNK_BYTES + TAG_BYTES


class BadModelFile(ValueError):
    """The file is not what the provider's signer vouched for; the text says what is wrong."""


def encrypt(
    source: BinaryIO,
    target: BinaryIO,
    *,
    key: bytes,
    sign: Callable[[bytes], bytes],
    nonce: bytes = b"",
) -> None:
    """Write `source`, encrypted and signed, to the seekable `target`.

    At most one chunk is in memory. `sign` gives the TEE signer's 65 bytes for a digest; `nonce` (12
    bytes) is random unless a test gives it.
    """
    nonce = nonce or secrets.token_bytes(NONCE_BYTES)
    start = target.tell()
    target.write(bytes(SIGNATURE_BYTES) + nonce)
    cipher = AESGCM(key)
    tags = b""
    number = 0
    while piece := _read(source, CHUNK_BYTES):
        sealed = cipher.encrypt(_nonce(nonce, number), piece, None)
        target.write(sealed)
        tags += sealed[-TAG_BYTES:]
        number += 1
    signature = sign(keccak(tags))
    end = target.tell()
    target.seek(start)
    target.write(signature[:64] + bytes([signature[64] - 27]))
    target.seek(end)


def signer_of(source: BinaryIO, size: int) -> str:
    """The EIP-55 address that signed the tags of the file of `size` bytes in `source`.

    Reads the head and the tags only, and decrypts nothing. Raises BadModelFile.
    """
    if size < HEAD_BYTES:
        raise BadModelFile("the file is too short to be an encrypted model")
    source.seek(0)
    head = _read(source, HEAD_BYTES)
    tags = b"".join(_tag(source, end) for _, end in _chunks(size))
    if head[64:65] not in (b"\0", b"\1"):
        raise BadModelFile("the signature at its beginning is malformed")
    try:
        return recover(keccak(tags), head[:64] + bytes([head[64] + 27]))
    except BadSignature as error:
        raise BadModelFile("the signature at its beginning is malformed") from error


def check_signer(source: BinaryIO, size: int, signer: str) -> None:
    """Make sure that `signer` signed the file. Raises BadModelFile."""
    found = signer_of(source, size)
    if found.lower() != signer.lower():
        raise BadModelFile(f"signed by {found}, not by the provider's signer {signer}")


def decrypt(source: BinaryIO, size: int, *, key: bytes, signer: str) -> Iterator[bytes]:
    """The plaintext, chunk by chunk, each authenticated before it is given.

    The signature over all tags is checked before the first. Raises BadModelFile, at a later chunk
    perhaps: keep nothing of a file that was not read to its end.
    """
    check_signer(source, size, signer)
    source.seek(SIGNATURE_BYTES)
    nonce = _read(source, NONCE_BYTES)
    cipher = AESGCM(key)
    for number, (start, end) in enumerate(_chunks(size)):
        source.seek(start)
        try:
            yield cipher.decrypt(_nonce(nonce, number), _read(source, end - start), None)
        except InvalidTag as error:
            raise BadModelFile("wrong key, or the file was changed") from error


def _chunks(size: int) -> list[tuple[int, int]]:
    """Where each chunk starts and ends, tag included."""
    if size < HEAD_BYTES:
        raise BadModelFile("the file is too short to be an encrypted model")
    found = [(at, min(at + _SEALED_CHUNK, size)) for at in range(HEAD_BYTES, size, _SEALED_CHUNK)]
    if found and found[-1][1] - found[-1][0] <= TAG_BYTES:
        raise BadModelFile("the file ends in the middle of a chunk")
    return found


def _tag(source: BinaryIO, end: int) -> bytes:
    source.seek(end - TAG_BYTES)
    return _read(source, TAG_BYTES)


def _read(source: BinaryIO, size: int) -> bytes:
    """`size` bytes, fewer only at the end of the file."""
    parts = []
    while size and (part := source.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _nonce(first: bytes, number: int) -> bytes:
    return ((int.from_bytes(first, "big") + number) % 2**96).to_bytes(NONCE_BYTES, "big")
