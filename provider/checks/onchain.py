"""What the chain says: the network, the contract, the money, the registration."""

from __future__ import annotations

import datetime as dt
import time
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp

from protocol.abi import stake_slot
from provider.amounts import in_0g
from provider.chain import batch_cost
from provider.checks.findings import Finding, State
from provider.checks.subject import Subject
from provider.errors import ChainError
from provider.node import Node

SKEW_SECONDS, BAD_SKEW_SECONDS = 5, 60


async def look(subject: Subject, session: aiohttp.ClientSession) -> list[Finding]:
    """All of it; ends early where nothing more can be seen."""
    node = Node(
        session,
        subject.rpc,
        kind=subject.kind,
        contract=subject.contract,
        wallet_key=subject.wallet_key,
    )
    found: list[Finding] = []
    try:
        chain_id = await node.number("eth_chainId")
        if subject.chain_id is not None and chain_id != subject.chain_id:
            said = f"the node is on chain {chain_id}, not {subject.chain_id}"
            return [Finding("node", "fail", said, "mend chain.rpc or chain.chain_id")]
        if subject.chain_id is None:
            fix = f"write chain.chain_id: {chain_id}, so that another chain is noticed"
            found.append(
                Finding("node", "warn", f"chain {chain_id}, which the file leaves open", fix)
            )
        else:
            found.append(Finding("node", "ok", f"answers for chain {chain_id}"))
        found.append(await _clock(subject, session, node))
        if await node.rpc("eth_getCode", subject.contract, "latest") in ("0x", None):
            said = f"there is none at {subject.contract}"
            return [*found, Finding("contract", "fail", said, "mend the address in section chain")]
        try:
            await node.recognise()
        except ChainError as error:
            fix = "mend the address in section chain"
            return [*found, Finding("contract", "fail", str(error), fix)]
        service = await node.service()
        found.append(Finding("contract", "ok", f"{subject.kind} at {subject.contract}"))
        found.append(await _stake(subject, node, registered=service is not None))
        found.append(await _gas(subject, node, registered=service is not None))
        found += _registration(subject, service)
    except ChainError as error:
        fix = "see whether the node runs, or mend chain.rpc"
        found.append(Finding("node", "fail", f"{node.host}: {error}", fix))
    return found


async def _clock(subject: Subject, session: aiohttp.ClientSession, node: Node) -> Finding:
    """Nonces of settlements and the life of keys are told by this machine's clock."""
    # The newest block may be old, but not of the future.
    skew = max(await node.now() - time.time(), await _beside_node(subject.rpc, session))
    if skew > SKEW_SECONDS:
        said = f"this machine's clock differs by {skew:.0f} seconds from the node's"
        state: State = "fail" if skew > BAD_SKEW_SECONDS else "warn"
        return Finding("clock", state, said, "let NTP set the clock (timedatectl set-ntp true)")
    return Finding("clock", "ok", "agrees with the node's")


async def _beside_node(rpc: str, session: aiohttp.ClientSession) -> float:
    """Seconds between our clock and the `Date` of the node's answer; 0 where it tells none."""
    try:
        async with session.post(
            rpc,
            json={"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []},
            timeout=aiohttp.ClientTimeout(total=10),
            allow_redirects=False,
        ) as reply:
            told = parsedate_to_datetime(reply.headers.get("date", ""))
            now = dt.datetime.now(dt.UTC)
            return abs((told - now).total_seconds()) - 1  # told in whole seconds
    except (aiohttp.ClientError, TimeoutError, ValueError, TypeError):
        return 0.0


async def _stake(subject: Subject, node: Node, *, registered: bool) -> Finding:
    if not registered:
        said = f"none yet: the first start pays {in_0g(subject.stake)} 0G"
        return Finding("stake", "ok", said)
    slot = stake_slot(subject.kind, node.provider)
    held = await node.number("eth_getStorageAt", subject.contract, slot, "latest")
    if held != subject.stake:
        said = f"the contract holds {in_0g(held)} 0G, the file says {in_0g(subject.stake)} 0G"
        fix = "a stake cannot be changed: write what is held, or remove the service and begin anew"
        return Finding("stake", "warn", said, fix)
    return Finding("stake", "ok", f"{in_0g(held)} 0G")


async def _gas(subject: Subject, node: Node, *, registered: bool) -> Finding:
    balance = await node.number("eth_getBalance", node.provider, "latest")
    price = await node.number("eth_gasPrice")
    batch = batch_cost(price)
    needed = 0 if registered else subject.stake
    said = f"{node.provider} holds {in_0g(balance)} 0G, gas costs {price} neuron"
    if balance <= needed + batch:
        what = "the gas of a settlement" if registered else "stake and gas"
        fix = f"send it more than {in_0g(needed + batch)} 0G, for {what}"
        return Finding("gas wallet", "fail", said, fix)
    if balance < needed + 10 * batch:
        fix = f"send it {in_0g(10 * batch)} 0G, for ten settlements of fifty users"
        return Finding("gas wallet", "warn", said, fix)
    return Finding("gas wallet", "ok", said)


def _registration(subject: Subject, service: dict[str, Any] | None) -> list[Finding]:
    signer = subject.signer
    if service is None:
        said = "not on chain yet: the first start registers it"
        return [
            Finding("registration", "ok", said),
            Finding(
                "acknowledgement",
                "warn",
                "none yet: requests are refused until the contract owner trusts the signer",
                "ask the owner after the first start",
            ),
        ]
    wanted = subject.wanted(signer)
    if not signer:
        del wanted["teeSignerAddress"]
    if not subject.public_url:
        del wanted["url"]
    differ = [name for name, value in wanted.items() if service[name] != value]
    found = []
    if differ:
        said = "; ".join(f"{name} {service[name]!r:.80} → {wanted[name]!r:.80}" for name in differ)
        resets = [name for name in differ if name in subject.resets]
        fix = "the next start writes this to the chain"
        if resets:
            fix += f" and {', '.join(resets)} withdraws the acknowledgement: you earn nothing until"
            fix += " the owner gives it again"
        found.append(Finding("registration", "warn", said, fix))
    else:
        found.append(Finding("registration", "ok", "the chain says what the file says"))
    who = service["teeSignerAddress"]
    if not signer and service["teeSignerAcknowledged"]:
        said = f"the owner trusts {who}, but the state folder holds no key: "
        said += "the next start makes another"
        fix = "put the old state folder back, or the owner has to acknowledge the new signer first"
        found.append(Finding("acknowledgement", "fail", said, fix))
    elif service["teeSignerAcknowledged"]:
        found.append(Finding("acknowledgement", "ok", f"the owner trusts {who}"))
    else:
        said = f"the contract owner has not acknowledged {who}: requests are refused"
        found.append(Finding("acknowledgement", "fail", said, "ask the owner of the contract"))
    return found
