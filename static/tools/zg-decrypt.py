#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["coincurve>=21", "cryptography>=43", "eth-account>=0.13"]
# ///
"""Decrypt a fine-tuned model of the 0G Compute Network on your own machine.

    uv run zg-decrypt.py --file TASK.bin --out model.zip \
        --rpc RPC_URL --contract FINE_TUNING_CONTRACT --provider PROVIDER --task TASK_ID

In this order, and nothing is written before the last step:
1. the chain is asked for the result's hash, its sealed key and the provider's signing key (which
   --signer names, where the provider has another one by now, or is gone);
2. the file's hash must be the one on the chain;
3. the provider's key must have signed the seals of all its parts;
4. your private key (asked for, or from --keystore) opens the sealed key;
5. the parts are opened, each authenticated, into a file that gets its name when all were good.

Offline: --secret HEX --signer ADDRESS instead of --rpc and what belongs to it; then step 2 is left
out and said so. Your key is used in memory only, and sent nowhere.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any, BinaryIO

from coincurve import PublicKey
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_account import Account
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

SIGNATURE, NONCE, TAG, CHUNK = 65, 12, 16, 64 * 1024 * 1024
HEAD, SEALED = SIGNATURE + NONCE, CHUNK + TAG
LEAF, SEGMENT_LEAVES = 256, 1024
DELIVERABLE = "(string,bytes,bytes,bool,uint256,bool)"
SERVICE = (
    "(address,string,(uint256,uint256,uint256,uint256,string),uint256,bool,string[],address,bool)"
)


class Stop(Exception):
    """Why it does not go on; nothing was written."""


# --- the chain ------------------------------------------------------------------------------------


def call(rpc: str, contract: str, signature: str, types: list[str], values: list[object]) -> bytes:
    data = "0x" + (keccak(text=signature)[:4] + encode(types, values)).hex()
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "eth_call",
        "params": [{"to": contract, "data": data}, "latest"],
    }
    request = urllib.request.Request(
        rpc, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            found = json.loads(answer.read(1 << 20))
    except (OSError, ValueError, HTTPException, RecursionError) as error:
        raise Stop(f"the node at --rpc does not answer: {error}") from None
    found = found if isinstance(found, dict) else {}
    if not isinstance(found.get("result"), str):
        refused = found.get("error")
        message = refused.get("message") if isinstance(refused, dict) else "no result"
        words = "".join(c if c.isprintable() else " " for c in str(message))[:200]
        raise Stop(f"the contract does not know this: {words}")
    return bytes.fromhex(found["result"][2:])


def decoded(kind: str, raw: bytes) -> tuple[Any, ...]:
    """What a contract answers; an address without one answers nothing."""
    try:
        found: tuple[Any, ...] = decode([kind], raw)[0]
        return found
    except (DecodingError, ValueError, OverflowError):
        raise Stop("at --contract there is no fine-tuning contract on this chain") from None


def address(option: str, text: str) -> str:
    try:
        return to_checksum_address(text)
    except ValueError:
        raise Stop(f"--{option} is no address: 0x and 40 hex digits") from None


def from_chain(
    rpc: str, contract: str, user: str, provider: str, task: str, signer: str | None
) -> tuple[bytes, bytes, str]:
    """(root, sealed key, signer) of one result; the provider's present signer unless one is given:
    it may have another key by now, or be gone."""
    raw = call(
        rpc,
        contract,
        "getDeliverable(address,address,string)",
        ["address", "address", "string"],
        [user, provider, task],
    )
    _, root, sealed, acknowledged, _, settled = decoded(DELIVERABLE, raw)
    if not sealed:
        why = "the provider releases the key after your acknowledgement is settled, usually minutes"
        if settled and not acknowledged:
            why = "it was settled without your acknowledgement"
        raise Stop(f"no key is on the chain yet: {why}")
    if signer:
        return root, sealed, signer
    raw = call(rpc, contract, "getService(address)", ["address"], [provider])
    return root, sealed, to_checksum_address(decoded(SERVICE, raw)[6])


# --- the file -------------------------------------------------------------------------------------


def parts(size: int) -> list[tuple[int, int]]:
    if size < HEAD:
        raise Stop("the file is too short to be an encrypted model")
    found = [(at, min(at + SEALED, size)) for at in range(HEAD, size, SEALED)]
    if found and found[-1][1] - found[-1][0] <= TAG:
        raise Stop("the file ends in the middle of a part")
    return found


def read_at(source: BinaryIO, start: int, length: int) -> bytes:
    source.seek(start)
    found = source.read(length)
    if len(found) != length:
        raise Stop("the file changed while it was read")
    return found


def check_seals(source: BinaryIO, size: int, signer: str) -> None:
    """The provider's key signed the tags of all parts; needs no secret."""
    head = read_at(source, 0, SIGNATURE)
    tags = b"".join(read_at(source, end - TAG, TAG) for _, end in parts(size))
    try:
        found = PublicKey.from_signature_and_message(head, keccak(tags), hasher=None)
    except Exception:
        raise Stop("the signature at the file's beginning is malformed") from None
    by = to_checksum_address(keccak(found.format(compressed=False)[1:])[-20:])
    if by != to_checksum_address(signer):
        raise Stop(f"the seals were signed by {by}, not by the provider's key {signer}")


def storage_root(source: BinaryIO, size: int) -> bytes:
    """The Merkle root of 0G storage."""
    count = -(-size // LEAF)
    power = 1 << max(count - 1, 0).bit_length()
    unit = power // 16 if power >= 16 else 1
    padded = count if count == power else -(-count // unit) * unit
    zero, roots, done = keccak(bytes(LEAF)), [], 0
    source.seek(0)
    while done < padded:
        leaves = []
        for _ in range(min(SEGMENT_LEAVES, padded - done)):
            piece = source.read(LEAF)
            leaves.append(keccak(piece.ljust(LEAF, b"\0")) if piece else zero)
        done += len(leaves)
        roots.append(tree(leaves))
    return tree(roots)


def tree(row: list[bytes]) -> bytes:
    while len(row) > 1:
        above = [keccak(row[i] + row[i + 1]) for i in range(0, len(row) - 1, 2)]
        row = above + row[-1:] if len(row) % 2 else above
    return row[0]


def check_hash(source: BinaryIO, size: int, root: bytes) -> None:
    if storage_root(source, size) == root:
        return
    source.seek(0)
    if keccak(source.read()) != root:
        raise Stop("the file is not the one that the chain names")


# --- the keys -------------------------------------------------------------------------------------


def unseal(sealed: bytes, private_key: bytes) -> bytes:
    """The file's key: ECIES as the network uses it (HKDF-SHA256, AES-256-GCM)."""
    if len(sealed) < 97 or sealed[0] != 4:
        raise Stop("the sealed key on the chain is malformed")
    sender, nonce, tag, text = sealed[:65], sealed[65:81], sealed[81:97], sealed[97:]
    shared = PublicKey(sender).multiply(private_key).format(compressed=False)
    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=None).derive(sender + shared)
    try:
        return AESGCM(key).decrypt(nonce, text + tag, None)
    except InvalidTag:
        raise Stop("this wallet's key does not open it: it is sealed for another one") from None


def opened(source: BinaryIO, size: int, key: bytes) -> Iterator[bytes]:
    first = int.from_bytes(read_at(source, SIGNATURE, NONCE), "big")
    for number, (start, end) in enumerate(parts(size)):
        nonce = ((first + number) % 2**96).to_bytes(NONCE, "big")
        try:
            yield AESGCM(key).decrypt(nonce, read_at(source, start, end - start), None)
        except InvalidTag:
            raise Stop(f"part {number + 1} was altered, or the key is another file's") from None


def wallet_key(keystore: str | None) -> bytes:
    if keystore:
        password = getpass.getpass("Password of the keystore: ")
        try:
            return bytes(Account.decrypt(Path(keystore).read_text(), password))
        except (OSError, ValueError) as error:
            raise Stop(f"the keystore cannot be opened: {error}") from None
        except Exception:  # what its library says of JSON that is something else
            raise Stop(f"{keystore} is no keystore of a wallet") from None
    text = os.environ.get("ZG_PRIVATE_KEY") or getpass.getpass("Private key of your wallet: ")
    try:
        key = bytes.fromhex(text.strip().removeprefix("0x"))
    except ValueError:
        key = b""
    if len(key) != 32:
        raise Stop("a private key has 64 hex digits")
    return key


def write(target: Path, pieces: Iterator[bytes]) -> int:
    """All or nothing, readable by nobody else."""
    half = target.with_name(target.name + ".part")
    written = 0
    # Not into what is there: it may be somebody else's, and readable by them.
    try:
        new = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        why = "of a run that was cut off, or somebody else's"
        raise Stop(f"{half} is there already, {why}: remove it") from None
    try:
        with os.fdopen(new, "wb") as out:
            for piece in pieces:
                out.write(piece)
                written += len(piece)
        half.replace(target)
    finally:
        half.unlink(missing_ok=True)
    return written


def run(given: argparse.Namespace) -> None:
    online = all((given.rpc, given.contract, given.provider, given.task))
    if not online and not (given.secret and given.signer):
        raise Stop("give --rpc --contract --provider --task, or --secret and --signer")
    path, target = Path(given.file), Path(given.out)
    if target.exists() and not given.force:
        raise Stop(f"{target} exists already; --force replaces it")
    for option in ("contract", "provider", "user", "signer"):
        if named := getattr(given, option):
            setattr(given, option, address(option, named))
    size = path.stat().st_size
    key = None if online and given.user else wallet_key(given.keystore)
    user = given.user or Account.from_key(key).address
    with path.open("rb") as source:
        if online:
            root, sealed, signer = from_chain(
                given.rpc, given.contract, user, given.provider, given.task, given.signer
            )
            check_hash(source, size, root)
            print(f"the file is the one that the chain names: 0x{root.hex()}")
        else:
            sealed, signer = bytes.fromhex(given.secret.removeprefix("0x")), given.signer
            print("offline: the file's hash was not compared with the chain")
        check_seals(source, size, signer)
        print(f"the provider's key signed it: {to_checksum_address(signer)}")
        secret = unseal(sealed, key or wallet_key(given.keystore))
        written = write(target, opened(source, size, secret))
    print(f"{target}: {written:,} bytes")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--file", required=True, help="the encrypted result")
    parser.add_argument("--out", required=True, help="where the zip goes")
    parser.add_argument("--rpc", help="URL of a node")
    parser.add_argument("--contract", help="address of the fine-tuning contract")
    parser.add_argument("--provider", help="address of the provider")
    parser.add_argument("--task", help="id of the task")
    parser.add_argument("--user", help="your address; then the key is asked for after all checks")
    parser.add_argument("--secret", help="offline: the sealed key, hex")
    parser.add_argument("--signer", help="the provider's signing key (default: its key of today)")
    parser.add_argument("--keystore", help="a keystore file instead of a private key")
    parser.add_argument("--force", action="store_true", help="replace --out")
    try:
        run(parser.parse_args())
    except Stop as why:
        print(f"STOPPED: {why}. Nothing was written.", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f"STOPPED: {error}. Nothing was written.", file=sys.stderr)
        return 1
    except EOFError:
        print("STOPPED: nobody typed a key. Nothing was written.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nSTOPPED. Nothing was written.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
