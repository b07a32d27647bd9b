"""The networks this site knows: addresses, creation blocks and public links, as facts
(contracts.md 1)."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Network:
    """One chain with its 0G Compute deployment.

    `start_block` is the creation block of the LedgerManager proxy; serving contracts are discovered
    from its events and back-filled from `serving_start_blocks` (address, lower case -> block) or,
    for unknown ones, from `start_block`. Links are None where the network has none.
    """

    name: str
    label: str
    chain_id: int
    ledger_address: str
    start_block: int
    rpc_urls: tuple[str, ...] = ()
    explorer_url: str | None = None
    faucet_url: str | None = None
    serving_start_blocks: dict[str, int] = field(default_factory=dict)


DEVNET = Network(
    name="devnet",
    label="Local devnet",
    chain_id=31337,
    # Where the deployment order of contracts.md 13.2 puts the LedgerManager proxy.
    ledger_address="0x9fE46736679d2D9a65F0992F2272dE9f3c7fa6e0",
    start_block=0,
)

GALILEO = Network(
    name="galileo",
    label="0G Galileo testnet",
    chain_id=16602,
    ledger_address="0xE70830508dAc0A97e6c087c75f402f9Be669E406",
    start_block=6_947_899,
    rpc_urls=("https://evmrpc-testnet.0g.ai",),
    explorer_url="https://chainscan-galileo.0g.ai",
    faucet_url="https://faucet.0g.ai",
    serving_start_blocks={
        "0xa79f4c8311ff93c06b8cfb403690cc987c93f91e": 6_948_111,
        "0x562a07530bde7fe867e84f5a278829ab5463e92a": 20_123_297,
        "0xc6c075d8039763c8f1ebe580be5addf2fd6941ba": 20_295_540,
    },
)

ARISTOTLE = Network(
    name="aristotle",
    label="0G Aristotle mainnet",
    chain_id=16661,
    ledger_address="0x2dE54c845Cd948B72D2e32e39586fe89607074E3",
    start_block=13_219_885,
    rpc_urls=("https://evmrpc.0g.ai",),
    explorer_url="https://chainscan.0g.ai",
    serving_start_blocks={
        "0x47340d900bdfec2bd393c626e12ea0656f938d84": 13_220_064,
        "0x4e3474095518883744ddf135b7e0a23301c7f9c0": 24_343_771,
    },
)

NETWORKS: dict[str, Network] = {n.name: n for n in (DEVNET, GALILEO, ARISTOTLE)}
