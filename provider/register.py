"""Keeps the service on chain as the operator's file says (contracts.md 4.1), and what the broker
keeps on disk at the chain it is of.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from provider.chain import Chain
from provider.config import Service
from provider.errors import ChainError, ConfigError, Reverted
from provider.node import Node
from provider.store import Store

log = logging.getLogger("provider.register")


async def check_network(node: Node, wanted: int | None, *, setting: str) -> int:
    """The chain id, after making sure that this is the chain that is `wanted` (None: any), and that
    the contract of `setting` is there and the one that was meant. Raises ConfigError.
    """
    try:
        chain_id = await node.number("eth_chainId")
        code = await node.rpc("eth_getCode", node.contract, "latest")
    except ChainError as error:
        raise ConfigError(f"chain.rpc: no node answers at {node.host} ({error})") from error
    if wanted is not None and chain_id != wanted:
        raise ConfigError(f"chain.chain_id: {node.host} is chain {chain_id}, not {wanted}")
    if code in ("0x", None):
        raise ConfigError(f"{setting}: there is no contract at {node.contract}")
    try:
        # Before the state folder is: it then belongs to that contract for good.
        await node.recognise()
    except ChainError as error:
        raise ConfigError(f"{setting}: {error}") from error
    return chain_id


def listing(service: Service, *, url: str, signer: str) -> dict[str, Any]:
    """What the chain should say about the service."""
    return {
        "serviceType": service.type,
        "url": url,
        "model": service.model,
        "verifiability": service.verifiability,
        "inputPrice": service.input_price,
        "outputPrice": service.output_price,
        "additionalInfo": service.additional_info,
        "teeSignerAddress": signer,
    }


async def register(chain: Chain, service: Service, *, url: str, signer: str) -> None:
    """`put` for an inference service."""
    wanted = listing(service, url=url, signer=signer)
    await put(chain, wanted, (wanted,), stake=service.stake, section="service", refused="requests")


async def put(
    node: Node,
    wanted: dict[str, Any],
    arguments: Sequence[Any],
    *,
    stake: int,
    section: str,
    refused: str,
) -> None:
    """Register or update the service if the chain says otherwise than `wanted`, and wait for it.

    `arguments` is the same as the contract takes it, `stake` neuron for a first registration,
    `section` of the configuration what is wrong with a refused one, and `refused` what the broker
    cannot take before the contract's owner acknowledges the signer.
    Raises ConfigError where the wallet cannot, ChainError where the node does not.
    """
    known = await node.service()
    if known is not None and all(known[name] == value for name, value in wanted.items()):
        _tell_acknowledgement(known, refused)
        return
    value = 0 if known is not None else stake
    await _check_funds(node, value)
    try:
        await node.transact("addOrUpdateService", *arguments, value=value)
    except Reverted as error:
        raise ConfigError(f"{section}: the contract refuses the registration ({error})") from error
    log.info("service %s on chain", "updated" if known is not None else "registered")
    _tell_acknowledgement(await node.service() or {}, refused)


async def check_state(store: Store, node: Node, chain_id: int, *, state: Path, holds: str) -> None:
    """What one chain, contract and provider owe must not be asked for at another: `state` keeps
    whose it is, and `holds` says what that is. Raises ConfigError.
    """
    genesis = await node.rpc("eth_getBlockByNumber", "0x0", False)
    start = genesis.get("hash") if isinstance(genesis, dict) else None
    identity = f"{chain_id} {start} {node.contract} {node.provider}"
    if not await asyncio.to_thread(store.belongs_to, identity):
        raise ConfigError(
            f"state: {state} holds the {holds} of another chain, contract or provider: "
            "choose another folder"
        )


async def _check_funds(node: Node, stake: int) -> None:
    balance = await node.number("eth_getBalance", node.provider, "latest")
    if balance <= stake:
        raise ConfigError(
            f"wallet_key: {node.provider} holds {balance} neuron and needs more than {stake} "
            "for stake and gas: fund it"
        )


def _tell_acknowledgement(service: dict[str, Any], refused: str) -> None:
    if not service.get("teeSignerAcknowledged"):
        log.warning(
            "the contract owner has not acknowledged signer %s yet: %s will be refused",
            service.get("teeSignerAddress"),
            refused,
        )
