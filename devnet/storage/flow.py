"""The Flow contract on a devnet: deploying it, and reading what it announces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from devnet import accounts
from devnet.abi import load
from devnet.client import Chain
from devnet.deploy import DeployError
from protocol.storage import MAX_FILE_BYTES, Node, padded_chunks, root_of_nodes

#: Its account deploys nothing but this, so that the address is the same on every devnet.
DEPLOYER = "storage"


@dataclass(frozen=True, slots=True)
class Announced:
    """One file announced on chain; `start` is its first sector in the log of all files."""

    seq: int
    root: bytes
    size: int
    start: int


def deploy_flow(url: str) -> str:
    """Deploy the contract, or find it; its address. Raises DeployError."""
    chain, by = Chain(url), accounts.role(DEPLOYER)
    sent = int(chain.rpc.call("eth_getTransactionCount", by.address, "latest"), 16)
    if not sent:
        return chain.deploy(by, "Flow")
    address = first_contract_of(by.address)
    if chain.code(address):
        return address
    raise DeployError(f"account {by.address} has already been used on {url}: start a fresh chain")


def first_contract_of(deployer: str) -> str:
    """The address of the contract that an account's first transaction creates (EIP-55)."""
    # RLP of [address, 0]: a list of 22 bytes, a string of 20, and the empty string.
    created = keccak(b"\xd6\x94" + bytes.fromhex(deployer[2:]) + b"\x80")[-20:]
    return str(to_checksum_address(created))


def announced(chain: Chain, flow: str, first: int, last: int) -> list[Announced]:
    """The files announced in these blocks, in order; what cannot be a file is left out."""
    event = next(e for e in load("Flow").events.values() if e.name == "Submit")
    query = {
        "address": flow,
        "topics": [event.topic],
        "fromBlock": hex(first),
        "toBlock": hex(last),
    }
    logs: list[Mapping[str, Any]] = chain.rpc.call("eth_getLogs", query)
    found = []
    for log in logs:
        args = event.decode(log["topics"], bytes.fromhex(log["data"][2:]))
        nodes = [Node(n["root"], n["height"]) for n in args["submission"]["nodes"]]
        size = int(args["length"])
        fits = size <= MAX_FILE_BYTES and padded_chunks(size) == sum(1 << n.height for n in nodes)
        if fits:
            found.append(
                Announced(args["submissionIndex"], root_of_nodes(nodes), size, args["startPos"])
            )
    return found
