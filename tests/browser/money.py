"""What browser tests about money start from: one person, their provider, the contract."""

from __future__ import annotations

import time
from typing import Any

from chain.selectors import head
from devnet import accounts as cast
from devnet import signatures
from devnet.deploy import Contracts

ALICE = cast.user(1)
NEURON = 10**18
NAME = "inference-v1.0"
_ITEM = ("user", "provider", "totalFee", "requestsHash", "nonce", "signature")


def caught_up(contracts: Contracts) -> None:
    """The index has read what the chain says now."""
    newest = int(contracts.chain.rpc.call("eth_blockNumber"), 16)
    until = time.monotonic() + 20
    while head().indexed_block < newest:
        assert time.monotonic() < until, "the index does not follow"
        time.sleep(0.1)


def ledger(contracts: Contracts) -> Any:
    return contracts.ledger.view("getLedger", ALICE.address)


def held(contracts: Contracts, provider: str) -> Any:
    return contracts.inference.view("getAccount", ALICE.address, provider)


def funded(contracts: Contracts, provider: str, *, deposit: int = 10, moved: int = 4) -> None:
    """Alice deposits and transfers to `provider`, in 0G; the index need not know yet."""
    contracts.ledger.send(ALICE, "depositFund", value=deposit * NEURON)
    contracts.ledger.send(ALICE, "transferFund", provider, NAME, moved * NEURON)


def settle(contracts: Contracts, provider: str, fee: int) -> None:
    """Provider 1 charges her `fee` neuron, with its signer's signature."""
    item = signatures.settlement(
        signatures.Domain(contracts.chain.chain_id, contracts.inference.address),
        cast.signer(1),
        user=ALICE.address,
        provider=provider,
        fee=fee,
        nonce=1,
        requests_hash=b"\1" * 32,
    )
    contracts.inference.send(
        cast.provider(1), "settleFeesWithTEE", [tuple(item[name] for name in _ITEM)]
    )
