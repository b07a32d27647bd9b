"""`python -m devnet`: a local chain with the contracts, and the owner's actions on it."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence

import requests

from devnet import accounts, history, owner
from devnet.anvil import CHAIN_ID, DEVNET_ARGS, Anvil, AnvilError
from devnet.client import Chain, Reverted
from devnet.deploy import Contracts, DeployError, Deployment, connect, deploy, find
from devnet.rpc import RpcError
from runner.processes import free_port

DEFAULT_PORT = 8545
_PROBLEMS = (
    *(AnvilError, DeployError, Reverted, RpcError),
    *(history.HistoryError, FileNotFoundError),
)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m devnet", description=__doc__)
    top.add_argument(
        "--rpc",
        default=os.environ.get("CHAIN_RPC_URLS", "").split(",")[0]
        or f"http://127.0.0.1:{DEFAULT_PORT}",
        help="the node to act on (default: the first of CHAIN_RPC_URLS, or port 8545)",
    )
    commands = top.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start anvil, deploy, print the accounts, stay")
    up.add_argument("--port", type=int, help=f"default: {DEFAULT_PORT}, or a free one")
    up.add_argument(
        "--testnet-minimums", action="store_true", help="0.1 and 0.01 0G instead of 3 and 1"
    )
    commands.add_parser("deploy", help="deploy to --rpc, or find what is there")
    commands.add_parser("accounts", help="print the funded accounts and their keys")
    travel = commands.add_parser("travel", help="move the chain's clock forward")
    travel.add_argument("seconds", type=int)
    past = commands.add_parser("history", help="90 days of a large market, on a chain whose clock "
                               "is that far behind (anvil --timestamp)")  # fmt: skip
    past.add_argument("--services", type=int, default=500)
    _add_owner(commands.add_parser("owner", help="act as the owner of the contracts"))
    return top


def _add_owner(command: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers(dest="action", required=True)
    for name, text in (
        ("ack", "acknowledge the TEE signer of a provider"),
        ("revoke", "withdraw that acknowledgement"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("provider")
        action.add_argument("--kind", choices=owner.KINDS, default="inference")
    lock = actions.add_parser("lock-time", help="seconds a refund waits (3600..604800)")
    lock.add_argument("seconds", type=int)
    lock.add_argument("--kind", choices=owner.KINDS, default="inference")
    penalty = actions.add_parser("penalty", help="percent charged for an unacknowledged result")
    penalty.add_argument("percentage", type=int)
    upgrade = actions.add_parser("upgrade", help="point a beacon at a new implementation")
    upgrade.add_argument("contract", choices=("ledger", "inference", "fine_tuning"))
    upgrade.add_argument("artifact", help="for example LedgerManagerTestnet")


def show(deployment: Deployment) -> str:
    return "\n".join(
        (
            f"chain id      {deployment.chain_id}",
            f"ledger        {deployment.ledger}",
            f"inference     {deployment.inference}",
            f"fine-tuning   {deployment.fine_tuning}",
            f"first block   {deployment.block}",
        )
    )


def up(port: int | None, artifact: str) -> None:
    """Runs until SIGINT or SIGTERM."""
    with Anvil(port=port or free_port(DEFAULT_PORT), args=DEVNET_ARGS) as node:
        deployment = deploy(node.url, ledger_artifact=artifact)
        print(f"RPC           {node.url}\n{show(deployment)}\n\n{accounts.describe()}", flush=True)
        stop = threading.Event()
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, lambda *_: stop.set())
        stop.wait()


def existing(url: str) -> tuple[Deployment, Contracts]:
    """The contracts on a devnet. Raises DeployError elsewhere: our owner key is public."""
    chain = Chain(url)
    if chain.chain_id != CHAIN_ID:
        raise DeployError(f"{url} is chain {chain.chain_id}, not a devnet ({CHAIN_ID})")
    deployment = find(chain)
    if deployment is None:
        raise DeployError(f"no contracts on {url}: run `python -m devnet deploy`")
    return deployment, connect(url, deployment)


def act(options: argparse.Namespace) -> str:
    """Does an owner's action; returns what to print."""
    deployment, contracts = existing(options.rpc)
    if options.action == "ack":
        done = owner.acknowledge_signer(contracts, options.provider, options.kind)
    elif options.action == "revoke":
        done = owner.revoke_signer(contracts, options.provider, options.kind)
    elif options.action == "lock-time":
        done = owner.set_lock_time(contracts, options.seconds, options.kind)
    elif options.action == "penalty":
        done = owner.set_penalty(contracts, options.percentage)
    else:
        return owner.upgrade(contracts, deployment, options.contract, options.artifact)
    return done.tx_hash


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        if options.command == "up":
            ledger = "LedgerManagerTestnet" if options.testnet_minimums else "LedgerManager"
            up(options.port, ledger)
        elif options.command == "accounts":
            print(accounts.describe())
        elif options.command == "deploy":
            print(show(deploy(options.rpc)))
        elif options.command == "history":
            made = history.make(existing(options.rpc)[1], options.services)
            print(f"{made.services} services, {made.transactions} transactions")
        elif options.command == "travel":
            print(existing(options.rpc)[1].chain.travel(options.seconds))
        else:
            print(act(options))
    except requests.RequestException:
        print(f"no node answers at {options.rpc}: run `python -m devnet up`", file=sys.stderr)
        return 1
    except _PROBLEMS as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
