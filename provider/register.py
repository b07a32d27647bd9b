"""Keeps the service on chain as the operator's file says (contracts.md 4.1)."""

from __future__ import annotations

import logging
from typing import Any

from provider.chain import Chain
from provider.config import Config, Service
from provider.errors import ChainError, ConfigError, Reverted

RECEIPT_SECONDS = 60

log = logging.getLogger("provider.register")


async def check_network(chain: Chain, config: Config) -> int:
    """The chain id, after making sure that this is the chain and the contract that was meant.

    Raises ConfigError.
    """
    network = config.network
    try:
        chain_id = await chain.number("eth_chainId")
        code = await chain.rpc("eth_getCode", network.inference, "latest")
    except ChainError as error:
        raise ConfigError(f"chain.rpc: no node answers at {network.rpc} ({error})") from error
    if network.chain_id is not None and chain_id != network.chain_id:
        raise ConfigError(
            f"chain.chain_id: {network.rpc} is chain {chain_id}, not {network.chain_id}"
        )
    if code in ("0x", None):
        raise ConfigError(f"chain.inference: there is no contract at {network.inference}")
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
    """Register or update the service if the chain says otherwise, and wait for it.

    Raises ConfigError where the wallet cannot, ChainError where the node does not.
    """
    wanted = listing(service, url=url, signer=signer)
    known = await chain.service()
    if known is not None and all(known[name] == value for name, value in wanted.items()):
        _tell_acknowledgement(known)
        return
    value = 0 if known is not None else service.stake
    await _check_funds(chain, value)
    try:
        transaction = await chain.sign_call("addOrUpdateService", wanted, value=value)
    except Reverted as error:
        raise ConfigError(f"service: the contract refuses the registration ({error})") from error
    await chain.send(transaction)
    receipt = await chain.wait(transaction.hash, RECEIPT_SECONDS)
    if receipt is None:
        raise ChainError(f"the registration {transaction.hash} was not mined in time")
    if receipt.get("status") != "0x1":
        raise ConfigError(f"service: the registration {transaction.hash} was reverted")
    log.info("service %s on chain", "updated" if known is not None else "registered")
    _tell_acknowledgement(await chain.service() or {})


async def _check_funds(chain: Chain, stake: int) -> None:
    balance = await chain.number("eth_getBalance", chain.provider, "latest")
    if balance <= stake:
        raise ConfigError(
            f"wallet_key: {chain.provider} holds {balance} neuron and needs more than {stake} "
            "for stake and gas: fund it"
        )


def _tell_acknowledgement(service: dict[str, Any]) -> None:
    if not service.get("teeSignerAcknowledged"):
        log.warning(
            "the contract owner has not acknowledged signer %s yet: requests will be refused",
            service.get("teeSignerAddress"),
        )
